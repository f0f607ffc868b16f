"""The API's description against what is served: requests are made from it, good ones and bad ones, and replies compared.

schemathesis makes them, from a seed. By hand, with more of them:

    schemathesis --config-file tests/e2e/described.toml run URL/openapi.json -n 200
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from described_gateway import described_gateway

from accesskit import made
from frontkit import FrontRig
from weft.serve.access import Access

TOKEN = "a-token-of-this-test"
CONFIG = Path(__file__).parent / "described.toml"
WATCHDOG_S = 600

AUTH = """\
auth: {keys: true, roles: {admin: "true"}}
"""
"""Whoever has a key administers: each operation is tried with it, and without."""


async def findings(url: str, folder: Path, *, token: str, phases: str, examples: int) -> str:
    """What schemathesis says that is wrong; empty: nothing."""
    command = [
        sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run", f"{url}/openapi.json",
        "-H", f"Authorization: Bearer {token}", "--seed", "1", "-n", str(examples), "--no-color",
        "--phases", phases, "--request-timeout", "20", "--warnings", "off",
    ]  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(WATCHDOG_S):
        said, _ = await process.communicate()
    text = said.decode(errors="replace")
    assert "Tested:" in text, text
    return "" if process.returncode == 0 else text


MANY = pytest.mark.network
"""Takes minutes: with --all."""


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.parametrize(
    ("phases", "examples", "auth"),
    [
        pytest.param("examples,fuzzing", 2, "", id="few"),
        pytest.param("examples,coverage,fuzzing", 60, "", marks=MANY, id="many"),
        pytest.param("examples,coverage,fuzzing", 5, AUTH, marks=MANY, id="keys"),
    ],
)
async def test_what_is_served_fits_its_description(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, phases: str, examples: int, auth: str
) -> None:
    """Every operation: statuses, content types, headers and schemas of replies; what is wrong is refused; nothing is a 500."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1])
    async with AsyncExitStack() as stack:
        rig = FrontRig(tmp_path, stack)
        await rig.gateway(described_gateway(tmp_path) + auth, Access(None if auth else TOKEN))
        token = await made(rig) if auth else TOKEN
        found = await findings(rig.url, tmp_path, token=token, phases=phases, examples=examples)
        assert not found, found

"""The guide on other protocols, followed word for word: its programs and its line of curl, against a gateway of this process."""

from __future__ import annotations

import asyncio
import io
import json
import re
import shlex
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, redirect_stdout
from pathlib import Path

import httpx
import pytest

from frontkit import GATEWAY, FrontRig
from protocolkit import CITED, SPEAKER, SPOKEN, delta, usage

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "guides" / "speak-other-protocols.md").read_text()
PROGRAMS = dict(re.findall(r"^```python file=([\w.]+)\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL))
CURL = re.search(r"^```console\n(curl .*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
HERE = "http://localhost:8080"

SAID = [delta(content="Thirty days "), delta(content="[1]."), delta("stop", annotations=[CITED]), usage(9, 3)]
PRINTED = {
    "claude.py": "Thirty days [1].\n[1] Handbook: Thirty days.\n",
    "responses.py": "Thirty days [1].\nThirty days [1].\n",
    "tools.py": "chatqna ['frequency_penalty'",
}


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[FrontRig]:
    """A gateway whose chatqna says what it is told to."""
    async with AsyncExitStack() as stack:
        rig = FrontRig(tmp_path, stack)
        (tmp_path / "chat.py").write_text(SPEAKER)
        text = SPOKEN.replace("CHUNKS", json.dumps(json.dumps(SAID))).replace("name: talk", "name: chatqna")
        await rig.gateway(f"{text}---\n{GATEWAY}  - {{path: /v1/chatqna, megaservice: chatqna}}\n")
        yield rig


def run(program: str) -> str:
    """What a program prints."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(compile(program, "program", "exec"), {"__name__": "__main__"})
    return printed.getvalue()


@pytest.mark.parametrize("name", PROGRAMS)
async def test_a_program_of_the_guide_runs(rig: FrontRig, name: str) -> None:
    """As it stands there, but for the address; it prints what the model said, and what that stands on."""
    printed = await asyncio.to_thread(run, PROGRAMS[name].replace(HERE, rig.url))
    assert printed.startswith(PRINTED[name]), printed
    if name == "tools.py":
        assert printed.endswith("Thirty days [1].\n['Thirty days.']\n")


async def test_the_line_with_a_key_is_answered_once(rig: FrontRig) -> None:
    """Sent twice, the second is told what the first was."""
    assert CURL is not None
    words = shlex.split(CURL[1])
    headers = dict(words[at + 1].split(": ") for at, word in enumerate(words) if word == "-H")
    body = words[words.index("-d") + 1]
    async with httpx.AsyncClient(base_url=rig.url) as client:
        replies = [
            await client.post(words[1].removeprefix(HERE), content=body, headers=headers) for _ in range(2)
        ]
    assert replies[0].text == replies[1].text
    assert replies[1].headers["idempotent-replayed"] == "true"


def test_the_settings_are_json() -> None:
    """A client reads them as they stand."""
    (settings,) = re.findall(r"^```json\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    assert json.loads(settings)["mcpServers"]["weft"]["url"] == f"{HERE}/mcp"

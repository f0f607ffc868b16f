"""The guide on limits, followed to the letter: its gateway, what a caller sees of it, and every part of a file that it shows."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from frontkit import FrontRig, ask
from weft.plan import check
from weft.registry.components import Components
from weft.spec.load import load

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "limit-use.md"
TEXT = GUIDE.read_text(encoding="utf-8")
FILES = dict(re.findall(r"^```\w+ file=([\w.-]+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL))
SHOWN = dict(re.findall(r"^```text shows=(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL))
PARTS = re.findall(r"^```yaml part=file\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
ROUTES = re.findall(r"^```yaml part=route\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[FrontRig]:
    (tmp_path / "say.py").write_text(FILES["say.py"])
    async with AsyncExitStack() as stack:
        yield FrontRig(tmp_path, stack)


async def test_a_caller_sees_what_the_guide_shows(rig: FrontRig) -> None:
    """The headers of the first reply, and the refusal of the fourth."""
    gateway = await rig.gateway(FILES["front.yaml"])
    question = {"model": "llm", "messages": [{"role": "user", "content": "Hello?"}]}
    sent = '{"model": "llm", "messages": [{"role": "user", "content": "Hello?"}]}'
    assert sent in TEXT
    reply = await gateway.request(
        "POST", "/v1/chat/completions", sent.encode(), headers=[("content-type", "application/json")]
    )
    lines = [f"{name}: {value}" for name, value in reply.headers.items() if "ratelimit" in name]
    remaining = next(int(line.split(": ")[1]) for line in lines if "remaining-tokens" in line)
    seen = "\n".join(lines)
    assert f"{5000 - remaining} tokens are gone" in TEXT
    assert _without_times(SHOWN["first"]) == _without_times(seen)
    for _ in range(2):
        assert (await ask(gateway, **question))[0] == 200
    status, body, headers = await ask(gateway, **question)
    assert (status, body["error"]["code"]) == (429, "rate_limit_exceeded")
    shown = re.search(r'"message":"(.*?)"', SHOWN["refused"])
    assert shown is not None
    assert re.sub(r"\d+ s$", "", shown[1]) == re.sub(r"\d+ s$", "", body["error"]["message"])
    assert int(headers["retry-after"]) <= 63


def _without_times(text: str) -> str:
    text = re.sub(r";t=\d+", ";t=", text.strip())
    return re.sub(r"(reset-\w+): .*", r"\1:", text)


@pytest.mark.parametrize("part", PARTS)
def test_what_is_shown_of_a_file_is_valid(tmp_path: Path, part: str) -> None:
    """Every part of a Gateway file that the guide shows passes the check."""
    (tmp_path / "say.py").write_text(FILES["say.py"])
    head = FILES["front.yaml"].partition("routes:")[0]
    (tmp_path / "front.yaml").write_text(head + part)
    check(load(str(tmp_path / "front.yaml")), Components())


def test_what_is_shown_of_a_route_is_valid(tmp_path: Path) -> None:
    """The route with a reserve passes the check, with a megaservice of that name."""
    (tmp_path / "say.py").write_text(FILES["say.py"])
    head = FILES["front.yaml"].partition("---")[0]
    mega = (
        '---\napiVersion: weft/v1\nkind: Megaservice\nname: answers\nversion: "1.0.0"\ncontract: chat\n'
        "nodes: {answer: {service: llm, fill_from: request, inputs: {messages: request.messages}}}\noutput: answer\n"
        "---\napiVersion: weft/v1\nkind: Gateway\nname: front\nroutes:\n"
    )
    (route,) = ROUTES
    indented = "".join(f"    {line}\n" for line in route.splitlines())
    (tmp_path / "front.yaml").write_text(head + mega + "  -" + indented[3:])
    check(load(str(tmp_path / "front.yaml")), Components())

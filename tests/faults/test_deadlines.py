"""Work that takes longer than it may: 504 with its code, and the backends are told to stop."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from faultkit import CHAT, chat, sse, weft

from weft.run.breaker import FAILURES
from weft.testing.faulty import FaultyServer

SERVICES = """
    kind: Services
    services:
      llm: {{component: openai-chat, config: {{url: "{url}/v1", model: m, timeout_s: {timeout_s}}}}}
    """
MEGASERVICE = """
    kind: Megaservice
    name: qa
    contract: chat
    nodes:
      answer: {{service: llm, inputs: {{messages: request.messages}}{node}}}
    output: answer
    {timeout}
    """
OUTER = """
    kind: Megaservice
    name: outer
    contract: chat
    nodes:
      nested: {{component: megaservice/qa, inputs: {{messages: request.messages}}}}
    output: nested
    {timeout}
    """
ELSEWHERE = """
    kind: Placement
    services:
      llm: {{at: "{url}"}}
    """

SHORT_S = 0.15

WHERE = {
    "header": {},
    "node": {"node": f", timeout_s: {SHORT_S}"},
    "megaservice": {"timeout": f"timeout_s: {SHORT_S}"},
    "megaservice around it": {"outer": f"timeout_s: {SHORT_S}"},
    "component": {"timeout_s": str(SHORT_S)},
}


def documents(url: str, where: str, *, elsewhere: bool) -> list[str]:
    said = {"node": "", "timeout": "", "outer": "", "timeout_s": "60"} | WHERE[where]
    found = [
        SERVICES.format(url=url, timeout_s=said["timeout_s"]),
        MEGASERVICE.format(node=said["node"], timeout=said["timeout"]),
        OUTER.format(timeout=said["outer"]),
    ]
    return [*found, ELSEWHERE.format(url=url)] if elsewhere else found


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("where", "elsewhere"),
    [(where, False) for where in WHERE] + [(where, True) for where in WHERE if where != "component"],
    ids=lambda value: (
        {False: "adapter", True: "http"}.get(value, value) if isinstance(value, bool) else value
    ),
)
async def test_a_deadline_shorter_than_the_work(
    tmp_path: Path, where: str, *, elsewhere: bool, stream: bool
) -> None:
    """Whoever sets it: 504 with the documented code, node and time in it, and the backend's connection ends."""
    headers = [("x-weft-timeout-ms", str(int(SHORT_S * 1000)))] if where == "header" else []
    async with FaultyServer("silence") as server:
        async with weft(tmp_path, *documents(server.url, where, elsewhere=elsewhere)) as running:
            reply = await running.ask(CHAT, chat(stream=stream, model="outer"), *headers)
            assert reply.status == 504
            error = msgspec.json.decode(reply.body)["error"]
            assert error["code"] == "deadline_exceeded"
            assert error["node"] in ("nested", "answer")
            assert error["elapsed_s"] > 0
            await server.until_left()
        await server.until_closed()


@pytest.mark.parametrize("elsewhere", [False, True], ids=["adapter", "http"])
@pytest.mark.parametrize("where", ["header", "node", "megaservice", "megaservice around it"])
async def test_a_deadline_in_mid_answer(tmp_path: Path, where: str, *, elsewhere: bool) -> None:
    """What was said stands, the error is the last event, and no ``[DONE]`` follows."""
    headers = [("x-weft-timeout-ms", str(int(SHORT_S * 2000)))] if where == "header" else []
    async with (
        FaultyServer("silence-in-body") as server,
        weft(tmp_path, *documents(server.url, where, elsewhere=elsewhere)) as running,
    ):
        reply = await running.ask(CHAT, chat(stream=True, model="outer"), *headers)
        assert reply.status == 200
        events = sse(reply.body)
        assert b'"two "' in events[1]
        assert msgspec.json.decode(events[-1])["error"]["code"] == "deadline_exceeded"
        assert b"[DONE]" not in events
        await server.until_left()


async def test_a_service_is_told_how_long_it_may_take(tmp_path: Path) -> None:
    """The milliseconds that are left, never more than the caller gave."""
    async with (
        FaultyServer("well") as server,
        weft(tmp_path, *documents(server.url, "header", elsewhere=True)) as running,
    ):
        assert (await running.ask(CHAT, chat(model="qa"), ("x-weft-timeout-ms", "9000"))).status == 200
        assert 0 < int(server.asked[0].headers["x-weft-timeout-ms"]) <= 9000


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("behaviour", ["status-500", "cut-in-body"])
async def test_a_service_that_keeps_failing_is_left_alone(
    tmp_path: Path, behaviour: str, *, stream: bool
) -> None:
    """Its circuit opens, whatever kind of reply fails: 503 at once, and it is not asked."""
    async with (
        FaultyServer(behaviour) as server,
        weft(tmp_path, *documents(server.url, "header", elsewhere=True)) as running,
    ):
        for _ in range(FAILURES):
            await running.ask(CHAT, chat(model="qa", stream=stream))
        reply = await running.ask(CHAT, chat(model="qa", stream=stream))
        assert reply.status == 503
        error = msgspec.json.decode(reply.body)["error"]
        assert (error["code"], error["service"]) == ("unavailable", "llm")
        assert reply.headers.get("retry-after") == "1"
        assert len(server.asked) == FAILURES

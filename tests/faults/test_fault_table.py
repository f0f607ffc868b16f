"""What a caller is told when a server behind a megaservice misbehaves: behaviour x way there x streamed or not.

The whole way is real: spec, plan, run, transport or adapter, gateway, sockets. A failure is never a 200 that looks whole;
its error says where; and afterwards nothing of the request is left.
"""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from faultkit import CHAT, chat, sse, weft, words

from weft.http.client import Reply
from weft.testing.faulty import BEHAVIOURS, REFUSED, USAGE, WORDS, FaultyServer

DEADLINE_MS = 400


@dataclass(frozen=True)
class Told:
    """An error as the caller reads it.

    Attributes:
        words: A pattern in its message.
        names: Whether it says node, service, component, endpoint and time.
    """

    status: int
    code: str
    words: str = ""
    names: bool = True


@dataclass(frozen=True)
class InStream:
    """A stream that begins, says this much, and ends with this error."""

    said: str
    code: str
    words: str = ""


WELL = "well"
"""The whole answer is there: what is wrong came after its end."""

UNREACHABLE = Told(502, "unreachable", "ended before the reply")
STATUS = Told(502, "backend_status")
REPLY = Told(502, "backend_reply")
TIME = Told(504, "deadline_exceeded", "time allowed|in time")
CUT = InStream("one two ", "backend_reply", "cut short")

Outcome = Told | InStream | str

WHOLE: Mapping[str, Outcome | Mapping[str, Outcome]] = {
    REFUSED: Told(502, "unreachable", "no connection"),
    "closed": UNREACHABLE,
    "reset": UNREACHABLE,
    "cut-in-head": Told(502, "backend_reply", "ended in its head"),
    "not-http": Told(502, "backend_reply", "status line"),
    "status-500": Told(502, "backend_status", "answered 500: .*CUDA out of memory"),
    "html-504": Told(502, "backend_status", "answered 504: .*Gateway Time-out"),
    "status-401": Told(502, "backend_status", "answered 401"),
    "redirect": Told(502, "backend_status", "answered 302"),
    # A service of ours that starts says so to its caller's caller; a stranger's 503 is a status like any other.
    "status-503": {
        "http": Told(503, "unavailable", "loading the model"),
        "own-reranker": Told(503, "unavailable", "loading the model"),
        "": Told(502, "backend_status", "answered 503: .*loading the model"),
    },
    "status-429": Told(429, "overloaded", "the queue is full", names=False),
    "no-content": Told(502, "backend_reply", "204|nothing said"),
    "empty-body": REPLY,
    "wrong-type": Told(502, "backend_reply", "text/html"),
    "wrong-shape": REPLY,
    "truncated-json": REPLY,
    "error-with-200": {"openai-chat": Told(502, "service_failed", "CUDA out of memory"), "": REPLY},
    "length-longer": Told(502, "backend_reply", "cut short"),
    "length-shorter": REPLY,
    "cut-in-body": Told(502, "backend_reply", "cut short"),
    "cut-between-events": Told(502, "backend_reply", "cut short"),
    "reset-in-body": Told(502, "backend_reply", "cut short"),
    "huge-body": Told(502, "backend_reply", "larger than 67108864 bytes"),
    "huge-length": Told(502, "backend_reply", "larger than 67108864 bytes"),
    "silence": TIME,
    "silence-in-body": TIME,
    "slow-head": TIME,
    "slow-body": TIME,
    "byte-by-byte": WELL,
    "carriage-returns": WELL,
    WELL: WELL,
}
"""Behaviour to what is told; where ways differ, by way, ``""`` being the others."""

STREAMED: Mapping[str, Outcome | Mapping[str, Outcome]] = {
    **{name: told for name, told in WHOLE.items() if isinstance(told, Told) and told.code != "backend_reply"},
    "cut-in-head": WHOLE["cut-in-head"],
    "not-http": WHOLE["not-http"],
    "status-503": WHOLE["status-503"],
    # Nothing has been said yet when these are noticed, so the status can still tell it.
    "no-content": Told(502, "backend_reply", "no event stream"),
    "empty-body": Told(502, "backend_reply", "the stream ended"),
    "wrong-type": Told(502, "backend_reply", "no event stream.*text/html"),
    "wrong-shape": Told(502, "backend_reply", "is no (chat )?chunk"),
    "truncated-json": Told(502, "backend_reply", "is no (chat )?chunk"),
    "error-with-200": Told(502, "service_failed", "CUDA out of memory"),
    "huge-body": Told(502, "backend_reply", "longer than 4194304 bytes"),
    "huge-length": Told(502, "backend_reply", "longer than 4194304 bytes"),
    # The stream had begun: its status is out, and its last event tells it.
    "cut-in-body": CUT,
    "cut-between-events": CUT,
    "reset-in-body": CUT,
    "no-end": InStream("one two ", "backend_reply", "ended"),
    "error-in-stream": InStream("one two ", "service_failed", "CUDA out of memory"),
    "error-then-done": InStream("one two ", "service_failed", "CUDA out of memory"),
    "silence-in-body": InStream("one two ", "deadline_exceeded", "time allowed"),
    # The answer was whole before its framing broke. An adapter has seen the model's own end, and needs no more.
    "length-longer": WELL,
    "length-shorter": {"openai-chat": WELL, "": InStream("".join(WORDS), "backend_reply", "ended")},
    "byte-by-byte": WELL,
    "carriage-returns": WELL,
    WELL: WELL,
}

CHAT_SERVICES = """
    kind: Services
    services:
      llm: {{component: openai-chat, config: {{url: "{url}/v1", model: m}}}}
    expose: [llm]
    """
CHAT_MEGASERVICE = """
    kind: Megaservice
    name: qa
    contract: chat
    nodes:
      answer: {service: llm, fill_from: request, inputs: {messages: request.messages}}
    output: answer
    """
RANK_SERVICES = """
    kind: Services
    services:
      ranker: {{component: tei-reranker, config: {{url: "{url}"}}}}
    """
RANK_MEGASERVICE = """
    kind: Megaservice
    name: rank
    contract: reranker
    nodes:
      best: {service: ranker, inputs: {query: request.query, documents: request.documents}}
    output: best
    """
ELSEWHERE = """
    kind: Placement
    services:
      {service}: {{at: "{url}"}}
    """

USING_MEGASERVICE = """
    kind: Megaservice
    name: using
    contract: chat
    nodes:
      answer: {component: "./parts.py:Asker", uses: {chat: llm}, inputs: {messages: request.messages}}
    output: answer
    """
ASKER = '''
from weft.contracts.chat import Chat, ChatRequest, ChatResponse


class Asker:
    """Asks the model that it uses."""

    def __init__(self, chat: Chat) -> None:
        self._chat = chat

    async def invoke(self, request: ChatRequest) -> ChatResponse:
        """The model's answer."""
        return await self._chat.invoke(request)
'''


@dataclass(frozen=True)
class Way:
    """How a request comes to the server that misbehaves."""

    documents: tuple[str, ...]
    names: tuple[str | None, str, str]
    path: str
    model: str = ""

    def spec(self, url: str) -> list[str]:
        """The documents, for a server at ``url``."""
        return [d.format(url=url, service=self.names[1]) if "{url}" in d else d for d in self.documents]


WAYS = {
    "http": Way((CHAT_SERVICES, CHAT_MEGASERVICE, ELSEWHERE), ("answer", "llm", "openai-chat"), CHAT),
    "openai-chat": Way((CHAT_SERVICES, CHAT_MEGASERVICE), ("answer", "llm", "openai-chat"), CHAT),
    # Exposed services answer by themselves: there is no node.
    "exposed http": Way(
        (CHAT_SERVICES, CHAT_MEGASERVICE, ELSEWHERE), (None, "llm", "openai-chat"), CHAT, "llm"
    ),
    "exposed openai-chat": Way((CHAT_SERVICES, CHAT_MEGASERVICE), (None, "llm", "openai-chat"), CHAT, "llm"),
    "own-reranker": Way(
        (RANK_SERVICES, RANK_MEGASERVICE, ELSEWHERE), ("best", "ranker", "tei-reranker"), "/v1/reranking"
    ),
    "tei-reranker": Way(
        (RANK_SERVICES, RANK_MEGASERVICE), ("best", "ranker", "tei-reranker"), "/v1/reranking"
    ),
}
MODES = {"whole": None, "streamed": False, "streamed with usage": True}
"""Whether a stream is asked for its usage: without it, events are looked at one by one; with it, bytes are relayed."""

CASES = [
    pytest.param(behaviour, way, mode, id=f"{behaviour}, {way}, {mode}")
    for mode in MODES
    for behaviour in (WHOLE if mode == "whole" else STREAMED)
    for way in WAYS
    if mode == "whole" or WAYS[way].path == CHAT
]


def expected(behaviour: str, way: str, mode: str) -> Outcome:
    found = (WHOLE if mode == "whole" else STREAMED)[behaviour]
    way = way.removeprefix("exposed ")
    return found.get(way, found.get("", "")) if isinstance(found, Mapping) else found


def question(way: str, mode: str) -> Any:
    if WAYS[way].path != CHAT:
        return {"query": "q", "documents": [{"text": "a"}, {"text": "b"}]}
    model = WAYS[way].model or "qa"
    if mode == "whole":
        return chat(model=model)
    options = {"stream_options": {"include_usage": True}} if MODES[mode] else {}
    return chat(stream=True, model=model, **options)


def check_error(error: Any, way: Way, url: str, told: Told | InStream) -> None:
    """The stable code, the words, and where it happened, in the message and beside it."""
    message = error.get("message") or error["detail"]
    assert error["code"] == told.code, message
    assert re.search(told.words, message), message
    if isinstance(told, Told) and not told.names:
        return
    node, service, component = way.names
    at_node = f"node '{node}', " if node else ""
    assert f"({at_node}service '{service}', component '{component}', at {url}" in message
    assert re.search(r", after \d+\.\d{3} s\)$", message), message
    assert (error.get("node"), error["service"], error["component"]) == way.names
    assert error["endpoint"].startswith(url)
    assert error["elapsed_s"] >= 0
    assert error["request_id"]


def check_told(reply: Reply, way: Way, url: str, told: Told) -> None:
    body = msgspec.json.decode(reply.body)
    assert reply.status == told.status
    if way.path == CHAT:
        assert reply.headers.get("content-type") == "application/json"
        assert set(body) == {"error"}
        assert set(body["error"]) >= {"message", "type", "param", "code"}
        check_error(body["error"], way, url, told)
    else:
        assert reply.headers.get("content-type") == "application/problem+json"
        assert body["status"] == told.status
        assert set(body) >= {"type", "title", "detail"}
        check_error(body, way, url, told)


def check_in_stream(reply: Reply, way: Way, url: str, told: InStream) -> None:
    assert reply.status == 200
    *chunks, last = sse(reply.body)
    assert b"[DONE]" not in chunks
    assert words(chunk for chunk in chunks if b'"choices"' in chunk) == told.said
    check_error(msgspec.json.decode(last)["error"], way, url, told)


def check_well(reply: Reply, way: Way, mode: str) -> None:
    assert reply.status == 200
    if way.path != CHAT:
        assert [d["text"] for d in msgspec.json.decode(reply.body)["documents"]] == ["a", "b"]
    elif mode == "whole":
        answer = msgspec.json.decode(reply.body)
        assert answer["choices"][0]["message"]["content"] == "".join(WORDS)
        assert answer["usage"] == USAGE
    else:
        *chunks, last = sse(reply.body)
        assert last == b"[DONE]"
        assert words(chunks) == "".join(WORDS)
        usage = [msgspec.json.decode(chunk).get("usage") for chunk in chunks]
        assert [found for found in usage if found] == ([USAGE] if MODES[mode] else [])


@pytest.mark.parametrize(("behaviour", "way", "mode"), CASES)
async def test_what_is_told(tmp_path: Path, behaviour: str, way: str, mode: str) -> None:
    """Each fault has its documented status, code and words, says where it was, and leaves nothing behind."""
    outcome, road = expected(behaviour, way, mode), WAYS[way]
    slow = isinstance(outcome, Told | InStream) and outcome.code == "deadline_exceeded"
    headers = [("x-weft-timeout-ms", str(DEADLINE_MS))] if slow else []
    async with FaultyServer(behaviour) as server:
        async with weft(tmp_path, *road.spec(server.url)) as running:
            reply = await running.ask(road.path, question(way, mode), *headers)
            if isinstance(outcome, Told):
                check_told(reply, road, server.url, outcome)
            elif isinstance(outcome, InStream):
                check_in_stream(reply, road, server.url, outcome)
            else:
                check_well(reply, road, mode)
            # What is idempotent may be sent again on a fresh connection, once, if a kept one turns out to be closed.
            most = 2 if way == "own-reranker" and behaviour in ("closed", "reset") else 1
            assert (behaviour != REFUSED) <= len(server.asked) <= most
            if slow:
                await server.until_left()
        await server.until_closed()


def test_every_behaviour_is_in_the_table() -> None:
    """A new way to go wrong must be given its answer."""
    apart = {"huge-stream"}  # tested with clients that do not read, below
    assert set(BEHAVIOURS) | {REFUSED} == set(WHOLE) | set(STREAMED) | apart


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("way", ["http", "openai-chat"])
@pytest.mark.parametrize("behaviour", ["huge-body", "huge-length"])
async def test_a_body_of_1_gib_is_not_held(tmp_path: Path, behaviour: str, way: str, mode: str) -> None:
    """What is kept of it stays within the documented bound, and the server is stopped soon after."""
    bound = 64 * 1024 * 1024 if mode == "whole" else 4 * 1024 * 1024
    async with FaultyServer(behaviour) as server, weft(tmp_path, *WAYS[way].spec(server.url)) as running:
        tracemalloc.start()
        try:
            reply = await running.ask(CHAT, question(way, mode))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert reply.status == 502
        assert peak < 2 * bound + 16 * 1024 * 1024
        await server.until_closed()
        assert server.sent_bytes < 2 * bound + 16 * 1024 * 1024


@pytest.mark.parametrize("behaviour", ["status-500", "refused", "cut-in-body"])
async def test_a_used_service_is_the_one_that_is_named(tmp_path: Path, behaviour: str) -> None:
    """A component that fails because a service that it uses does: the error says which service, and which node asked."""
    (tmp_path / "parts.py").write_text(ASKER)
    async with (
        FaultyServer(behaviour) as server,
        weft(tmp_path, CHAT_SERVICES.format(url=server.url), USING_MEGASERVICE) as running,
    ):
        reply = await running.ask(CHAT, chat(model="using"))
        assert reply.status == 502
        error = msgspec.json.decode(reply.body)["error"]
        assert (error["node"], error["service"], error["component"]) == ("answer", "llm", "openai-chat")
        assert error["endpoint"].startswith(server.url)

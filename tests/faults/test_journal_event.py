"""``x-weft-journal: on``: which steps a reply took, behind its end, for whoever asks and for nobody else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import openai
import pytest
from faultkit import CHAT, Weft, chat, weft

from weft.testing.faulty import FaultyServer

SPECS = [
    """
    kind: Services
    services:
      llm: {component: "./scripted.py:Chat"}
      bad: {component: "./scripted.py:Breaks"}
    """,
    """
    kind: Megaservice
    name: talk
    version: "1.0.0"
    contract: chat
    nodes:
      inner:  {component: megaservice/plain, inputs: {messages: request.messages}}
    output: inner
    """,
    """
    kind: Megaservice
    name: plain
    version: "1.0.0"
    contract: chat
    nodes:
      answer: {service: llm, inputs: {messages: request.messages}}
    output: answer
    """,
    """
    kind: Megaservice
    name: breaks
    version: "1.0.0"
    contract: chat
    nodes:
      answer: {service: bad, inputs: {messages: request.messages}}
    output: answer
    """,
]
SCRIPTED = """\
from weft.testing import ScriptedChat


class Chat(ScriptedChat):
    def __init__(self) -> None:
        super().__init__()


class Breaks(ScriptedChat):
    def __init__(self) -> None:
        super().__init__()

    async def stream(self, request):
        async for chunk in super().stream(request):
            yield chunk
            if chunk.choices[0].delta.content:
                raise RuntimeError("the model broke")
"""
ASKED = ("x-weft-journal", "on")


def last_event(body: bytes) -> dict[str, Any] | None:
    """The journal, if it is the last event."""
    event = body.rstrip(b"\n").rpartition(b"\n\n")[2]
    name, _, data = event.partition(b"\n")
    return json.loads(data.removeprefix(b"data: ")) if name == b"event: weft.journal" else None


def steps(journal: dict[str, Any]) -> dict[str, list[str]]:
    """Each step's name and its statuses."""
    found: dict[str, list[str]] = {}
    for _, _, status, name, *_ in journal["events"]:
        found.setdefault(name, []).append(status)
    return found


async def run(folder: Path, ask: Any) -> None:
    (folder / "scripted.py").write_text(SCRIPTED)
    async with weft(folder, *SPECS) as running:
        await ask(running)


async def test_the_last_event_has_the_steps_of_the_run(tmp_path: Path) -> None:
    """Behind ``[DONE]``, with every step of the run, those of a megaservice in it too; times count from its start."""

    async def ask(running: Weft) -> None:
        reply = await running.ask(CHAT, chat(model="talk", stream=True), ASKED)
        journal = last_event(reply.body)
        assert journal is not None
        assert b"data: [DONE]\n\nevent: weft.journal\n" in reply.body
        assert steps(journal) == {
            "talk": ["started", "ok"],
            "plain": ["started", "ok"],
            "inner": ["started", "first", "ok"],
            "answer": ["started", "first", "ok"],
        }
        assert journal["object"] == "weft.journal"
        times = [event[7] for event in journal["events"]]
        assert times[0] == 0
        assert times == sorted(times)

    await run(tmp_path, ask)


async def test_nobody_else_gets_it(tmp_path: Path) -> None:
    """Not without the header, not in a whole reply, and never another's run, whatever request id is sent."""

    async def ask(running: Weft) -> None:
        plain = await running.ask(CHAT, chat(model="talk", stream=True), ("x-request-id", "mine"))
        assert plain.body.endswith(b"data: [DONE]\n\n")
        whole = await running.ask(CHAT, chat(model="talk"), ASKED)
        assert json.loads(whole.body)["choices"]
        other = await running.ask(CHAT, chat(model="plain", stream=True), ASKED, ("x-request-id", "mine"))
        journal = last_event(other.body)
        assert journal is not None
        assert steps(journal) == {"plain": ["started", "ok"], "answer": ["started", "first", "ok"]}

    await run(tmp_path, ask)


async def test_a_stream_that_breaks_off_says_where(tmp_path: Path) -> None:
    """Behind the error: the step that failed, with the code."""

    async def ask(running: Weft) -> None:
        reply = await running.ask(CHAT, chat(model="breaks", stream=True), ASKED)
        assert b"[DONE]" not in reply.body
        journal = last_event(reply.body)
        assert journal is not None
        assert steps(journal) == {"breaks": ["started", "failed"], "answer": ["started", "first", "failed"]}
        assert journal["events"][-1][-1] == "service_failed"

    await run(tmp_path, ask)


async def test_a_relayed_stream_has_it_too(tmp_path: Path) -> None:
    """Where a backend's own bytes are passed on, its ``[DONE]`` included, the event follows them."""
    async with FaultyServer("well") as backend:
        services = f"""
            kind: Services
            services:
              llm: {{component: openai-chat, config: {{url: "{backend.url}/v1", model: m}}}}
            """
        async with weft(tmp_path, services, SPECS[2]) as running:
            reply = await running.ask(CHAT, chat(stream=True), ASKED)
            assert reply.body.count(b"[DONE]") == 1
            journal = last_event(reply.body)
            assert journal is not None
            assert steps(journal) == {"plain": ["started", "ok"], "answer": ["started", "first", "ok"]}


@pytest.mark.slow
async def test_an_openai_client_does_not_see_it(tmp_path: Path) -> None:
    """The SDK, made to send the header, reads the same chunks as without it."""

    async def ask(running: Weft) -> None:
        said = []
        async with openai.AsyncOpenAI(
            base_url=f"http://127.0.0.1:{running.port}/v1", api_key="none"
        ) as client:
            for headers in ({}, dict([ASKED])):
                stream = await client.chat.completions.create(
                    model="talk",
                    messages=[{"role": "user", "content": "Hi"}],
                    stream=True,
                    extra_headers=headers,
                )
                chunks = [chunk async for chunk in stream]
                said.append([chunk.choices[0].delta.content for chunk in chunks])
        assert said[0] == said[1]

    await run(tmp_path, ask)

"""The known faults of OPEA's ChatQnA, one test each, through the gateway over real HTTP: Weft has none of them.

Most run the packaged ChatQnA itself, with its model and its embedder replaced by servers that note what they are asked.
"""

from __future__ import annotations

import ast
import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
import pytest
from faultkit import CHAT, Weft, chat, sse, weft, words

from ragkit import bag
from weft.contracts.embedding import EmbeddingDescription, EmbeddingResponse
from weft.http.client import Reply
from weft.testing.faulty import (
    BEHAVIOURS,
    USAGE,
    WORDS,
    Asked,
    Exchange,
    FaultyServer,
    GoodReply,
    chat_reply,
    good_reply,
)

CHATQNA = Path(str(files("weft"))) / "examples" / "chatqna.yaml"
OPEA = "/v1/chatqna"
PLACEMENT = """
    kind: Placement
    services:
      llm: {{component: openai-chat, config: {{url: "{llm}/v1", model: m}}}}
      embedder: {{at: "{embedder}"}}
    """
ANSWER = "".join(WORDS)


def embed(asked: Asked) -> GoodReply:
    """Vectors of hashed words: texts that share words are near. It says of itself what it must to be used."""
    if asked.path.endswith("/describe"):
        return GoodReply(msgspec.json.encode(EmbeddingDescription("m")))
    return GoodReply(
        msgspec.json.encode(EmbeddingResponse([bag(text) for text in asked.json()["texts"]], "m"))
    )


@asynccontextmanager
async def chatqna(
    folder: Path,
    behaviour: str | Callable[[Exchange], Any] = "well",
    *,
    reply: Callable[[Asked], GoodReply] = good_reply,
) -> AsyncIterator[tuple[Weft, FaultyServer, FaultyServer]]:
    """ChatQnA, its model and its embedder."""
    async with FaultyServer(behaviour, reply=reply) as llm, FaultyServer("well", reply=embed) as embedder:
        placement = PLACEMENT.format(llm=llm.url, embedder=embedder.url)
        async with weft(folder, placement, files=[CHATQNA]) as running:
            yield running, llm, embedder


async def ingest(running: Weft, **documents: str) -> Reply:
    """Upload documents in one form, as OPEA's pages do."""
    parts = [
        f'--x\r\ncontent-disposition: form-data; name="files"; filename="{name}.txt"\r\n\r\n{text}\r\n'
        for name, text in documents.items()
    ]
    body = "".join([*parts, "--x--\r\n"]).encode()
    return await running.endpoint.request(
        "POST", "/v1/dataprep/ingest", body, headers=[("content-type", "multipart/form-data; boundary=x")]
    )


def tokens(body: bytes) -> list[str]:
    """What an OPEA page prints: the bytes literal of each event; the end is checked."""
    *events, last = sse(body)
    assert last == b"[DONE]"
    return [ast.literal_eval(event.decode()).decode() for event in events]


@pytest.mark.parametrize("path", [OPEA, CHAT])
async def test_an_explicit_temperature_of_0_is_kept(tmp_path: Path, path: str) -> None:
    """Zero is a value: the model gets it; one that was not sent is not made up."""
    async with chatqna(tmp_path) as (running, llm, _):
        assert (await running.ask(path, chat(temperature=0, top_p=0.0, seed=0))).status == 200
        asked = llm.asked[-1].json()
        assert (asked["temperature"], asked["top_p"], asked["seed"]) == (0, 0, 0)
        assert (await running.ask(path, chat())).status == 200
        assert not {"temperature", "top_p", "seed"} & set(llm.asked[-1].json())


@pytest.mark.parametrize("path", [OPEA, CHAT])
async def test_usage_is_real(tmp_path: Path, path: str) -> None:
    """The numbers are the model's, added up over all that the question cost: here a rewriting and an answer."""
    history = [
        {"role": "user", "content": "When was the Eiffel Tower built?"},
        {"role": "assistant", "content": "In 1889."},
        {"role": "user", "content": "And who designed it?"},
    ]
    twice = {name: 2 * number for name, number in USAGE.items()}
    async with chatqna(tmp_path) as (running, llm, _):
        whole = msgspec.json.decode((await running.ask(path, chat() | {"messages": history})).body)
        assert len(llm.asked) == 2
        assert whole["usage"] == twice
        options = {"stream_options": {"include_usage": True}}
        asked = chat(stream=True) | {"messages": history} | options
        query = "?format=openai" if path == OPEA else ""
        streamed = sse((await running.ask(path + query, asked)).body)
        assert msgspec.json.decode(streamed[-2])["usage"] == twice


@pytest.mark.parametrize("behaviour", ["byte-by-byte", "carriage-returns"])
async def test_no_token_is_lost_when_the_stream_is_re_chunked(tmp_path: Path, behaviour: str) -> None:
    """However a proxy cuts the model's stream, within letters too, the answer is whole on OPEA's and OpenAI's route."""
    async with chatqna(tmp_path, behaviour) as (running, _, _):
        reply = await running.ask(OPEA, chat(stream=True))
        assert "".join(tokens(reply.body)).endswith(ANSWER)
        reply = await running.ask(CHAT, chat(stream=True))
        assert words(sse(reply.body)).endswith(ANSWER)


async def test_a_reply_that_is_cut_anywhere_is_the_same(tmp_path: Path) -> None:
    """A stream cut in two at each of its bytes in turn: always the same answer."""

    async def cut(x: Exchange) -> None:
        whole = x.reply.whole()
        await x.head()
        for part in (whole[: cuts[-1]], whole[cuts[-1] :]):
            if part:
                await x.chunk(part)
        await x.chunk(b"")

    cuts = [0]
    length = len(chat_reply(WORDS, stream=True).whole())
    async with chatqna(tmp_path, cut) as (running, _, _):
        expected = tokens((await running.ask(OPEA, chat(stream=True))).body)
        for cut_at in range(1, length, 3):
            cuts.append(cut_at)
            assert tokens((await running.ask(OPEA, chat(stream=True))).body) == expected


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("path", [OPEA, CHAT])
@pytest.mark.parametrize("behaviour", ["status-500", "html-504", "closed"])
async def test_a_500_of_the_model_is_no_200(
    tmp_path: Path, behaviour: str, path: str, *, stream: bool
) -> None:
    """It is an error with a status, in the route's form, and no ``[DONE]``."""
    async with chatqna(tmp_path, behaviour) as (running, _, _):
        reply = await running.ask(path, chat("Who are you?", stream=stream))
        assert reply.status == 502
        assert b"[DONE]" not in reply.body
        error = msgspec.json.decode(reply.body)
        assert "backend_status" in reply.body.decode() or "unreachable" in reply.body.decode()
        assert ("error" in error) == (path == CHAT)


@pytest.mark.parametrize("path", [OPEA, CHAT])
@pytest.mark.parametrize("behaviour", ["error-in-stream", "error-then-done", "cut-in-body", "no-end"])
async def test_a_model_that_fails_in_mid_stream_is_said_to_fail(
    tmp_path: Path, behaviour: str, path: str
) -> None:
    """What it said stands; the last event is the error, and no ``[DONE]`` follows."""
    async with chatqna(tmp_path, behaviour) as (running, _, _):
        reply = await running.ask(path, chat(stream=True))
        assert reply.status == 200
        events = sse(reply.body)
        assert b"[DONE]" not in events
        assert "error" in msgspec.json.decode(events[-1])
        assert b"two " in b"".join(events[:-1])


async def test_the_history_is_not_embedded_as_the_query(tmp_path: Path) -> None:
    """What is searched for is the question alone, made complete; nothing else of the conversation is embedded."""
    question = "Who designed the Eiffel Tower?"

    def reply(asked: Asked) -> GoodReply:
        is_rewriting = "Rewrite" in asked.body.decode()
        return chat_reply([question] if is_rewriting else WORDS, stream=asked.streams)

    history = [
        {"role": "user", "content": "When was the Eiffel Tower built?"},
        {"role": "assistant", "content": "In 1889, for the World's Fair of Paris."},
        {"role": "user", "content": "Who designed it?"},
    ]
    async with chatqna(tmp_path, reply=reply) as (running, _, embedder):
        assert (await ingest(running, tower="Gustave Eiffel's company designed the tower.")).status == 200
        embedder.asked.clear()
        assert (await running.ask(OPEA, chat() | {"messages": history})).status == 200
        first, *others = [
            asked.json()["texts"] for asked in embedder.asked if not asked.path.endswith("/describe")
        ]
        assert first == [question]
        embedded = "\n".join(text for texts in [first, *others] for text in texts)
        assert "World's Fair" not in embedded
        assert "When was" not in embedded


async def test_all_of_several_uploaded_files_are_ingested(tmp_path: Path) -> None:
    """Every file of one form is in, is listed and is found, the first like the last."""
    fruit = {f"fruit{n}": f"The colour of fruit number {n} is shade{n}." for n in range(7)}
    async with chatqna(tmp_path) as (running, _, _):
        reply = await ingest(running, **fruit)
        assert (reply.status, msgspec.json.decode(reply.body)["message"]) == (
            200,
            "Data preparation succeeded",
        )
        listed = msgspec.json.decode((await running.ask("/v1/dataprep/get", {})).body)
        assert {entry["name"] for entry in listed} == {f"{name}.txt" for name in fruit}
        for n in range(7):
            found = await running.ask("/v1/retrieval", {"query": f"shade{n}", "k": 1})
            assert msgspec.json.decode(found.body)["documents"][0]["text"] == fruit[f"fruit{n}"]


def echo(asked: Asked) -> GoodReply:
    """Says the secret word of the question that it was asked, in pieces; any other secret in the prompt would show."""
    secrets = re.findall(r"secret-\d+-\w+", asked.body.decode())
    said = "+".join(dict.fromkeys(secrets))
    return chat_reply([said[n : n + 3] for n in range(0, len(said), 3)], stream=asked.streams)


async def test_requests_of_different_users_are_never_mixed(tmp_path: Path) -> None:
    """100 at once, streamed and not, on both routes, with streams cut to bytes: each gets its own words and no other's."""

    async def user(running: Weft, n: int) -> str:
        secret = f"secret-{n}-{'abcdefghij'[n % 10] * 5}"
        path, stream = (OPEA, CHAT)[n % 2], n % 4 < 2
        reply = await running.ask(path, chat(f"Please repeat {secret}", stream=stream))
        assert reply.status == 200
        if not stream:
            said = msgspec.json.decode(reply.body)["choices"][0]["message"]["content"]
        else:
            said = "".join(tokens(reply.body)) if path == OPEA else words(sse(reply.body))
        assert re.findall(r"secret-\d+-\w+", said) == [secret]
        return secret

    async with chatqna(tmp_path, "byte-by-byte", reply=echo) as (running, llm, _):
        told = await asyncio.gather(*(user(running, n) for n in range(100)))
        assert len(set(told)) == 100
        assert len(llm.asked) == 100
        assert llm.opened > 1  # they really ran beside each other


async def test_a_late_model_blocks_nobody(tmp_path: Path) -> None:
    """While one answer is not coming, 50 others are given, and then it comes too."""
    goes_on = asyncio.Event()

    async def late(x: Exchange) -> None:
        if b"late" in x.asked.body:
            await goes_on.wait()
        await BEHAVIOURS["well"](x)

    async with chatqna(tmp_path, late) as (running, llm, _):
        waiting = [
            asyncio.create_task(running.ask(CHAT, chat("late", stream=stream))) for stream in (False, True)
        ]
        await llm.until_asked(2)
        others = await asyncio.gather(
            *(running.ask(CHAT, chat(f"Hello number {n}", stream=bool(n % 2))) for n in range(50))
        )
        assert {reply.status for reply in others} == {200}
        assert not any(task.done() for task in waiting)
        goes_on.set()
        assert [(await task).status for task in waiting] == [200, 200]

"""The scripted models: always the same, and they show what was asked and who is still being answered."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from weft.contracts.chat import ChatRequest
from weft.contracts.embedding import EmbeddingRequest
from weft.errors import ComponentError, ModelError
from weft.testing import ScriptedChat, ScriptedEmbedder, serving_host
from weft.text import cosine
from weft.types import Message, floats


def request(**fields: object) -> ChatRequest:
    made = ChatRequest([Message("user", "Hello there")])
    for name, value in fields.items():
        setattr(made, name, value)
    return made


async def test_a_chat_says_its_text_and_counts_words() -> None:
    """Usage is words: two asked, four said."""
    answer = await ScriptedChat("one two three four").invoke(request())
    assert answer.text() == "one two three four"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (2, 4)


async def test_the_gate_holds_an_answer_after_its_first_word() -> None:
    """A test can stand between two words; who leaves there is not counted any more."""
    chat = ScriptedChat("one two")
    chat.gate.clear()
    stream = chat.stream(request())
    assert (await anext(stream)).choices[0].delta.role == "assistant"
    assert (await anext(stream)).choices[0].delta.content == "one "
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    assert not waiting.done()
    assert chat.running == 1
    chat.gate.set()
    assert (await waiting).choices[0].delta.content == "two"
    await stream.aclose()
    assert chat.running == 0
    assert [asked.messages[0].content for asked in chat.requests] == ["Hello there"]


async def test_words_can_depend_on_the_question() -> None:
    """A subclass says what is said; the rest (bounds, stops, counts) stays."""

    class Echo(ScriptedChat):
        def words(self, request: ChatRequest) -> str:
            return request.messages[-1].text()

    assert (await Echo().invoke(request(max_tokens=1))).text() == "Hello "


async def test_texts_that_share_words_are_near() -> None:
    """The same text has the same vector; texts without a common word are at right angles."""
    embedder = ScriptedEmbedder(dimensions=4096)
    reply = await embedder.invoke(EmbeddingRequest(["red apple", "an apple", "whale", "red apple"]))
    red, apple, whale, again = (floats(vector) for vector in reply.embeddings)
    assert red == again == floats(embedder.vector("red apple"))
    assert cosine(red, apple) > 0.5
    assert cosine(red, whale) == 0
    with pytest.raises(ComponentError):
        ScriptedEmbedder(dimensions=0)


async def test_a_host_for_tests_is_a_real_one_without_a_network(tmp_path: Path) -> None:
    """Storage is the folder that was given; a model that is not there is not fetched."""
    async with serving_host(tmp_path, service="mine") as host:
        assert host.service == "mine"
        assert host.storage.is_relative_to(tmp_path)
        assert await host.lane(threads=1, queue=1).run(lambda: 42) == 42
        with pytest.raises(ModelError):
            await host.models.files("smollm2-135m-instruct", kind="gguf")


def test_pytest_is_not_needed_to_import_it() -> None:
    """``weft conform`` runs where no test tool is installed."""
    code = (
        "import sys; sys.modules['pytest'] = None; sys.modules['_pytest'] = None\n"
        "import weft.testing, weft.testing.conform, weft.cli.conform"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)

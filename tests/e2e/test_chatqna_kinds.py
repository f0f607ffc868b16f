"""What is no question about facts, asked of ChatQnA as it comes: real model, real store, real embeddings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kinds
import openai
import pytest
from chatqna_process import Gateway

from weft.components.rag.condense import CHOICE
from weft.components.rag.reply import NO_DOCUMENTS, NOT_ANSWERED

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

HARBOUR = Path(__file__).parent / "harbour"


@pytest.fixture(scope="module")
def harbour(tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    """ChatQnA with the five documents of the harbour in it."""
    running = Gateway(tmp_path_factory.mktemp("harbour"))
    try:
        running.run("ingest", *(str(HARBOUR / name) for name in kinds.FILES))
        with running.client() as client:
            yield client
    finally:
        running.stop()


def say(client: openai.OpenAI, *said: str, **fields: Any) -> tuple[str, list[str]]:
    """The last reply in a conversation of these messages, and the sources of its citations."""
    messages: list[Any] = []
    for text in said:
        messages.append({"role": "user", "content": text})
        reply = client.chat.completions.create(
            model="chatqna", messages=messages, max_tokens=4, extra_body=fields
        )
        message = reply.choices[0].message
        messages.append({"role": "assistant", "content": message.content})
        assert reply.choices[0].finish_reason in ("stop", "length")
    return message.content or "", [note.to_dict()["source"] for note in message.annotations or []]


@pytest.mark.parametrize(
    ("message", "fitting"),
    [*kinds.WRITTEN_DOWN, *kinds.FIRST, *kinds.SECOND, *kinds.THIRD],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_gets_the_fitting_reply(harbour: openai.OpenAI, message: str, fitting: kinds.Fitting) -> None:
    """A greeting, what is in the documents, a summary, a list, a comparison, or what a larger model is needed for."""
    text, sources = say(harbour, message)
    assert not fitting.misses(text, sources), text


@pytest.mark.parametrize(
    ("said", "fitting"),
    [
        (("What is in my documents?", "summarize the second one"), kinds.summary("contract.txt")),
        (("What is in my documents?", "what about the first one?", "and the last one?"), kinds.summary("recipes.md")),
        (("Summarize the employee handbook", "the second one"), kinds.summary("handbook.md")),
        (("Summarize the employee handbook", "handbook-2019.md"), kinds.summary("handbook-2019.md", least=1)),
        (("Summarize handbook.md", "and contract.txt?"), kinds.summary("contract.txt")),
        (("What is boats.txt about?", "tell me more about this document"), kinds.summary("boats.txt")),
        (("Summarize boats.txt", "Summarize contract.txt", "compare them"), kinds.side_by_side("**boats.txt", "**contract.txt")),
        (("What does a freelancer earn?", "and how long is the notice period for them?"), kinds.Fitting(has=("notice",), least=1)),
        (("How many hours does the working week have?", "and in 2019?"), kinds.Fitting(has=("40 hours",), least=1)),
    ],
    ids=lambda value: value[-1] if isinstance(value, tuple) else "",
)  # fmt: skip
def test_what_was_said_before_counts(
    harbour: openai.OpenAI, said: tuple[str, ...], fitting: kinds.Fitting
) -> None:
    """The second one, and the contract, this document, them: what is meant is in the conversation."""
    text, sources = say(harbour, *said)
    assert not fitting.misses(text, sources), text


def test_a_question_back_ends_in_one(harbour: openai.OpenAI) -> None:
    """Where a document cannot be told the reply asks which, and no model makes one up."""
    text, _ = say(harbour, "Summarize the quarterly report of the fishery")
    assert text.startswith("There is no document called \u201cthe quarterly report of the fishery\u201d")
    assert say(harbour, "Summarize the employee handbook")[0].endswith(CHOICE)


def test_what_the_documents_do_not_say_is_said(harbour: openai.OpenAI) -> None:
    """With the nearest that they have, cited."""
    text, sources = say(harbour, "Who won the football world cup in 1954?")
    assert text.startswith(NOT_ANSWERED)
    assert sources


@pytest.mark.parametrize(
    "message", ["Who wrote the report?", "What is in my documents?", "Summarize the report", "List the steps to bake bread", "Compare a and b"]
)  # fmt: skip
def test_without_documents_it_says_what_to_do(harbour: openai.OpenAI, message: str) -> None:
    """In an empty collection every question about documents is answered by how to add some."""
    assert say(harbour, message, collection="empty") == (NO_DOCUMENTS, [])


def test_a_stream_of_them_is_whole(harbour: openai.OpenAI) -> None:
    """The same words, the role first, a finish reason last, usage where it was asked for."""
    whole, _ = say(harbour, "List the ingredients of the apple cake")
    chunks = list(
        harbour.chat.completions.create(
            model="chatqna",
            messages=[{"role": "user", "content": "List the ingredients of the apple cake"}],
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    choices = [choice for chunk in chunks for choice in chunk.choices]
    assert "".join(choice.delta.content or "" for choice in choices) == whole
    assert choices[0].delta.role == "assistant"
    assert choices[-1].finish_reason == "stop"
    assert chunks[-1].usage is not None

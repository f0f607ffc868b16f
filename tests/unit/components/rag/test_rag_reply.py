"""Quotes and the model's words, together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from openai.types.chat import ChatCompletionMessage

from ragkit import ScriptedModel
from weft.components.rag.reply import (
    NEAREST,
    NO_DOCUMENTS,
    NOT_ANSWERED,
    SAID,
    QuoteAndAnswer,
    ReplyRequest,
)
from weft.contracts.chat import ChatChunk, ChatRequest, ChatResponse, Choice, ChunkChoice, Delta, collect
from weft.errors import ServiceError
from weft.types import Document, Evidence, Message, Quote, Stream, Usage

PASSAGE = Document(
    "The harbour opened in 1887. It was widened.", "d1", 0.9, "Guide", "guide.pdf", 3, 100, 143
)
QUOTES = [
    Quote("The harbour opened in 1887.", PASSAGE, 0.8, 0, 27),
    Quote("It was widened.", PASSAGE, 0.5, 28, 43),
]
FOUND = Evidence("When did the harbour open?", QUOTES)
CITED = "\u201cThe harbour opened in 1887.\u201d [1] (Guide, page 3)\n\u201cIt was widened.\u201d [2] (Guide, page 3)"


def small(words: str = "In 1887.", **fields: Any) -> ScriptedModel:
    return ScriptedModel(words, **fields)


def large(words: str = "In 1887.") -> ScriptedModel:
    return ScriptedModel(words, parameters=8_000_000_000)


def request(model: ScriptedModel, evidence: Evidence = FOUND, **fields: Any) -> ReplyRequest:
    return ReplyRequest(evidence, Stream(model.stream(ChatRequest([]))), **fields)


async def chunks(model: ScriptedModel, evidence: Evidence = FOUND, **fields: Any) -> list[ChatChunk]:
    lead = fields.pop("lead", "auto")
    return [c async for c in QuoteAndAnswer(model, lead=lead).stream(request(model, evidence, **fields))]


async def collected(stream: AsyncIterator[ChatChunk]) -> ChatResponse:
    return collect([chunk async for chunk in stream])


async def both(model: ScriptedModel, evidence: Evidence = FOUND, **fields: Any) -> ChatResponse:
    """The reply, streamed and whole; they must be equal but for the id."""
    lead = fields.get("lead", "auto")
    streamed = collect(await chunks(model, evidence, **fields))
    fields.pop("lead", None)
    whole = await QuoteAndAnswer(model, lead=lead).invoke(
        ReplyRequest(evidence, await model.invoke(ChatRequest([])), **fields)
    )
    first, second = streamed.choices[0], whole.choices[0]
    assert (first.message.text(), first.finish_reason) == (
        second.message.text(),
        second.finish_reason,
    )
    assert [(a.marker, a.quote) for a in first.message.annotations or []] == [
        (a.marker, a.quote) for a in second.message.annotations or []
    ]
    return streamed


async def test_with_a_small_model_the_quote_leads() -> None:
    """The quotes come first, then the model's words, with usage and finish reason."""
    reply = await both(small())
    assert reply.text() == f"{CITED}\n\nIn 1887."
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage == Usage(7, 3, 10)


async def test_the_quote_does_not_wait_for_the_model() -> None:
    """The first chunk is there while the model still thinks."""
    model = small()
    model.may_start.clear()
    stream = QuoteAndAnswer(model).stream(request(model))
    async with asyncio.timeout(10):
        first = await anext(stream)
    assert first.choices[0].delta.content == f"{CITED}\n\n"
    assert first.choices[0].delta.role == "assistant"
    model.may_start.set()
    assert len([chunk async for chunk in stream]) > 1


@pytest.mark.parametrize("model", [large(), ScriptedModel("In 1887.", parameters=None, local=False)])
async def test_with_a_large_or_remote_model_the_answer_leads(model: ScriptedModel) -> None:
    """The model's words come first, then the sources."""
    assert (await both(model)).text() == f"In 1887.\n\nSources:\n{CITED}"


@pytest.mark.parametrize(
    ("model", "lead", "starts"), [(small(), "answer", "In 1887."), (large(), "quote", "\u201cThe")]
)
async def test_the_lead_can_be_set(model: ScriptedModel, lead: str, starts: str) -> None:
    """The config decides over the model's size."""
    assert (await both(model, lead=lead)).text().startswith(starts)


@pytest.mark.parametrize("model", [small(), large(), large("")])
async def test_annotations_name_their_marks_and_places(model: ScriptedModel) -> None:
    """Each annotation's span of the content is its mark; document, page, characters and score are the quote's."""
    for reply in (await both(model), collect(await chunks(model))):
        content, annotations = reply.text(), reply.choices[0].message.annotations
        assert [content[a.start_index : a.end_index] for a in annotations] == ["[1]", "[2]"]
        second = annotations[1]
        assert (second.document_id, second.title, second.source, second.page) == (
            "d1",
            "Guide",
            "guide.pdf",
            3,
        )
        assert (second.start, second.end, second.score, second.quote) == (128, 143, 0.5, "It was widened.")


@pytest.mark.parametrize("model", [small(), large()])
async def test_annotations_are_openais_citations_too(model: ScriptedModel) -> None:
    """Read by OpenAI's own types: the span, a title, and the web page or this server's route to the passage."""
    web = Document("It rained.", id="w", title="Weather", source="https://weather.example/may")
    evidence = Evidence("When?", [*QUOTES, Quote("It rained.", web, 0.4, 0, 10)])
    for reply in (await both(model, evidence), collect(await chunks(model, evidence))):
        message = ChatCompletionMessage.model_validate(msgspec.to_builtins(reply.choices[0].message))
        citations = [note.url_citation for note in message.annotations or []]
        content = message.content or ""
        assert [content[c.start_index : c.end_index] for c in citations] == ["[1]", "[2]", "[3]"]
        assert (citations[1].title, citations[1].url) == (
            "Guide",
            "/v1/dataprep/document?name=guide.pdf&around=d1",
        )
        assert citations[2].url == "https://weather.example/may"


async def test_one_id_and_model_and_the_role_once() -> None:
    """All chunks carry one id, model and time, and the role is in the first alone."""
    for model in (small(), large()):
        got = await chunks(model)
        assert len({(c.id, c.model, c.created) for c in got}) == 1
        roles = [choice.delta.role for c in got for choice in c.choices]
        assert roles[0] == "assistant"
        assert not any(roles[1:])
        assert got[-1].usage == Usage(7, 3, 10)


@pytest.mark.parametrize(
    "fields",
    [{"tools": [{"type": "function"}]}, {"response_format": {"type": "json_object"}}, {"response_format": {"type": "json_schema"}}],
)  # fmt: skip
@pytest.mark.parametrize("model", [small(), large()])
async def test_nothing_is_added_to_tools_and_json(model: ScriptedModel, fields: dict[str, Any]) -> None:
    """Where a program reads the answer it is the model's alone."""
    reply = await both(model, **fields)
    assert reply.text() == "In 1887."
    assert reply.choices[0].message.annotations is None


async def test_a_plain_response_format_is_no_json() -> None:
    """``{"type": "text"}`` and an empty list of tools ask for nothing."""
    assert "[1]" in (await both(small(), tools=[], response_format={"type": "text"})).text()


async def test_a_small_model_does_not_guess() -> None:
    """When the documents do not answer, the reply says so, and the model is stopped."""
    model = small()
    reply = await both(model, Evidence("Who?", QUOTES, answerable=False))
    assert reply.text() == f"{NOT_ANSWERED}\n\n{NEAREST}\n{CITED}"
    assert reply.choices[0].finish_reason == "stop"
    assert [a.quote for a in reply.choices[0].message.annotations] == [q.text for q in QUOTES]


async def test_a_large_model_speaks_after_the_truth() -> None:
    """When the documents do not answer, that is said before a large model's own words."""
    reply = await both(large("I believe 1887."), Evidence("Who?", QUOTES, answerable=False))
    assert reply.text().startswith(f"{NOT_ANSWERED}\n\nI believe")


async def test_without_documents_it_says_how_to_add_some() -> None:
    """With a small model alone, with a large one after its words."""
    nothing = Evidence("Who?", [], answerable=False)
    assert (await both(small(), nothing)).text() == NO_DOCUMENTS
    assert (await both(large("Hm."), nothing)).text() == f"Hm.\n\n{NO_DOCUMENTS}"


@pytest.mark.parametrize(
    ("words", "talk"),
    [
        ("hello!", "greeting"), ("thanks", "thanks"), ("bye", "goodbye"), ("what can you do?", "abilities"),
        ("who are you?", "self"), ("how are you?", "wellbeing"), ("ok", "assent"),
    ],
)  # fmt: skip
async def test_small_talk_gets_fixed_words_from_a_small_model(words: str, talk: str) -> None:
    """A small model would make something up; a large one speaks for itself."""
    said = SAID[talk].replace("{model}", "scripted (135 million parameters)")
    assert (await both(small("Hi."), Evidence(words, [], answerable=False), kind="talk")).text() == said
    assert (await both(large("Hi."), Evidence(words, [], answerable=False), kind="talk")).text() == "Hi."


async def without(evidence: Evidence, kind: str) -> tuple[str, list[Any]]:
    """The reply where the model was not asked, streamed and whole."""
    reply = QuoteAndAnswer(small())
    streamed = await collected(reply.stream(ReplyRequest(evidence, kind=kind)))
    whole = await reply.invoke(ReplyRequest(evidence, kind=kind))
    assert streamed.text() == whole.text()
    assert streamed.choices[0].finish_reason == whole.choices[0].finish_reason == "stop"
    marks = whole.choices[0].message.annotations or []
    assert all(whole.text()[m.start_index : m.end_index] == f"[{n}]" for n, m in enumerate(marks, 1))
    return whole.text(), marks


async def test_a_summary_is_its_sentences() -> None:
    """The note, then a point for each sentence; the place is named where it changes."""
    text, marks = await without(Evidence("x", QUOTES, note="guide.pdf, in its own words:"), "summary")
    assert text == (
        "guide.pdf, in its own words:\n\n- The harbour opened in 1887. [1] (Guide, page 3)\n- It was widened. [2]"
    )
    assert len(marks) == 2


async def test_things_compared_stand_side_by_side() -> None:
    """Each under its name; what nothing was found about is said last."""
    first, second = (
        Quote(q.text, q.document, q.score, q.start, q.end, about)
        for q, about in zip(QUOTES, ("a", "b"), strict=True)
    )
    text, _ = await without(Evidence("x", [first, second], note="Nothing was found about c."), "comparison")
    assert text.startswith(
        "**a**\n\u201cThe harbour opened in 1887.\u201d [1] (Guide, page 3)\n\n**b**\n\u201cIt was"
    )
    assert text.endswith("\n\nNothing was found about c.")


async def test_a_list_of_documents_is_the_note() -> None:
    """Nothing is added to it."""
    listed = Evidence("x", note="There is 1 document.")
    assert await without(listed, "contents") == ("There is 1 document.", [])


async def test_a_question_back_is_the_whole_reply() -> None:
    """With any model: there is nothing to put into words."""
    back = Evidence("x", [], answerable=False, note="Which one do you mean?")
    assert (await without(back, "summary"))[0] == back.note
    assert (await both(large("Hm."), back, kind="summary")).text() == back.note


async def test_what_needs_a_larger_model_is_said() -> None:
    """With the model's name, how to get another one, and what the documents say about it."""
    text, marks = await without(Evidence("x", QUOTES), "task")
    assert text.startswith("That needs a larger language model: scripted (135 million parameters)")
    assert "--llm URL#model" in text
    assert len(marks) == 2
    text, marks = await without(Evidence("x", QUOTES, answerable=False), "task")
    assert not marks


@pytest.mark.parametrize("kind", ["summary", "list", "comparison", "task"])
async def test_a_large_model_puts_it_into_words(kind: str) -> None:
    """Its words lead, and the sources follow."""
    reply = await both(large("In short."), Evidence("x", QUOTES), kind=kind)
    assert reply.text() == f"In short.\n\nSources:\n{CITED}"


async def test_a_quote_loads_nothing() -> None:
    """An image in a document's Markdown, or in its title, is words in the reply; hidden marks are taken out."""
    document = Document("x", "d", title="a ![t](http://evil/t.png)\u202e")
    quote = Quote("See ![i](http://evil/i.png)\n\u200bnow.", document)
    text, marks = await without(Evidence("x", [quote]), "summary")
    assert "![" not in text
    assert text.startswith("- See !\\[i](http://evil/i.png) now. [1] (a !\\[t]")
    assert marks[0].quote == quote.text


async def test_an_unused_answer_is_closed_before_anything_is_said() -> None:
    """The model's slot is free when the first chunk arrives."""
    model = small()
    answer = model.stream(ChatRequest([]))
    await anext(answer)
    stream = QuoteAndAnswer(model).stream(ReplyRequest(Evidence("Who?", QUOTES, False), Stream(answer)))
    await anext(stream)
    assert model.closed.is_set()
    await stream.aclose()


async def test_closing_the_reply_closes_the_answer() -> None:
    """Leaving in the middle stops the model."""
    model = large("a b c d e f")
    stream = QuoteAndAnswer(model).stream(request(model))
    await anext(stream)
    await anext(stream)
    await stream.aclose()
    assert model.closed.is_set()


async def test_an_error_in_the_answer_is_an_error_of_the_reply() -> None:
    """What was said stays said, then the model's error is raised; streamed or not."""
    model = small()
    model.fails = ServiceError("the model died")
    stream = QuoteAndAnswer(model).stream(request(model))
    assert (await anext(stream)).choices[0].delta.content.startswith("\u201cThe harbour")
    with pytest.raises(ServiceError, match="the model died"):
        await collected(stream)
    with pytest.raises(ServiceError, match="the model died"):
        await QuoteAndAnswer(model).invoke(request(model))
    assert model.closed.is_set()


async def test_a_stream_is_collected_for_a_whole_reply() -> None:
    """A producer that streams serves a caller that does not."""
    model = small()
    reply = await QuoteAndAnswer(model).invoke(request(model))
    assert reply.text() == f"{CITED}\n\nIn 1887."
    assert reply.usage == Usage(7, 3, 10)


async def test_a_whole_answer_is_streamed() -> None:
    """A producer that does not stream serves a caller that does."""
    model = small()
    answer = ReplyRequest(FOUND, await model.invoke(ChatRequest([])))
    reply = collect([chunk async for chunk in QuoteAndAnswer(model).stream(answer)])
    assert reply.text() == f"{CITED}\n\nIn 1887."
    assert (reply.usage, reply.choices[0].finish_reason) == (Usage(7, 3, 10), "stop")


async def test_each_of_n_answers_is_whole() -> None:
    """Every choice has its quotes, its own role and its own finish."""

    async def two() -> Any:
        for index, text in ((0, "a"), (1, "b")):
            yield ChatChunk("i", "m", [ChunkChoice(index, Delta("assistant", text))])
        yield ChatChunk(
            "i", "m", [ChunkChoice(1, Delta(content="!"), "length"), ChunkChoice(0, Delta(), "stop")]
        )

    for model, expected in ((small(), [f"{CITED}\n\na", f"{CITED}\n\nb!"]), (large(), [f"{w}\n\nSources:\n{CITED}" for w in ("a", "b!")])):  # fmt: skip
        got = [c async for c in QuoteAndAnswer(model).stream(ReplyRequest(FOUND, Stream(two())))]
        reply = collect(got)
        assert [choice.message.text() for choice in reply.choices] == expected
        assert [choice.finish_reason for choice in reply.choices] == ["stop", "length"]
        for index in (0, 1):
            last = [choice for c in got for choice in c.choices if choice.index == index][-1]
            assert last.finish_reason is not None


async def test_a_filtered_answer_gets_no_sources() -> None:
    """Where the model's provider held the answer back nothing is added."""
    answer = ChatResponse("i", "m", [Choice(0, Message("assistant", ""), "content_filter")])
    reply = await QuoteAndAnswer(large()).invoke(ReplyRequest(FOUND, answer))
    assert reply.text() == ""


async def test_without_a_chat_the_model_is_taken_as_large() -> None:
    """Nobody to ask for the size: the answer leads."""
    answer = await small().invoke(ChatRequest([]))
    reply = await QuoteAndAnswer().invoke(ReplyRequest(FOUND, answer))
    assert reply.text().startswith("In 1887.\n\nSources:")


async def test_a_chat_that_cannot_be_asked_is_no_failure() -> None:
    """The size is then unknown; the answer itself says what is wrong, if anything is."""
    model = small()

    async def away(*_: object) -> None:
        raise ServiceError("away")

    model.describe = away
    assert collect(await chunks(model)).text().startswith("In 1887.")


async def test_a_quote_is_one_line() -> None:
    """Line breaks, list marks and headings of a document do not become the reply's own."""
    document = Document("- # one\n\n# two", "d")
    reply = await QuoteAndAnswer(small()).invoke(
        ReplyRequest(
            Evidence("q", [Quote("- one\n\n# two", document)]), await small().invoke(ChatRequest([]))
        )
    )
    assert reply.text().startswith("\u201cone # two\u201d [1]\n\n")


async def test_a_quote_of_a_table_is_placed_behind_its_repeated_header() -> None:
    """A piece of a table begins with its header row; the quote's place in the document does not count it."""
    piece = Document(
        "Town | Mayor\nRome | Conti", "t1", 0.9, "T", "t.csv", None, 25, 37, metadata={"repeated": 13}
    )
    reply = await both(small(), Evidence("Who?", [Quote("Rome | Conti", piece, 0.8, 13, 25)]))
    (mark,) = reply.choices[0].message.annotations or []
    assert (mark.start, mark.end) == (25, 37)


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        ("It opened in 1887. It cost 40 pounds.", "It opened in 1887."),
        ("The harbour was built by Anna Greer. It was widened.", "It was widened."),
        ("1. It opened in 1887.\n2. It was widened in 1902.\n", "1. It opened in 1887."),
        ("When the harbour opened, it was widened", "When the harbour opened, it was widened"),
        ("It opened in 1888", ""),
        ("The Harbour opened and I like the Guide.", "The Harbour opened and I like the Guide."),
    ],
)
async def test_a_small_model_adds_no_number_and_no_name_of_its_own(words: str, kept: str) -> None:
    """A sentence with one that neither the question nor what is quoted has is left out, streamed or not."""
    reply = (await both(small(words))).text()
    assert reply.removeprefix(CITED).strip() == kept


async def test_a_large_model_says_what_it_likes() -> None:
    """It was given more than the quotes, and is trusted to put things together."""
    assert (await both(large("It cost 40 pounds."))).text().startswith("It cost 40 pounds.")

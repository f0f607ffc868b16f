"""The node that puts quotes and the model's words together."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal
from urllib.parse import urlencode

from msgspec import Struct
from msgspec.structs import replace

from weft.components.rag.grounded import Grounded, Sieve
from weft.components.rag.inert import for_people
from weft.components.rag.kinds import Kind
from weft.components.rag.salient import without_headings
from weft.components.rag.talk import Talk, is_small, small_talk
from weft.contracts.chat import (
    Chat,
    ChatChunk,
    ChatDescription,
    ChatResponse,
    Choice,
    ChunkChoice,
    Delta,
    collect,
)
from weft.errors import RequestError
from weft.types import Annotation, Document, Empty, Evidence, Message, Quote, Stream, UrlCitation

NO_DOCUMENTS: Final = (
    "There are no documents to answer from yet. Add some: drop files on the page, or run: weft ingest FILE"
)
NOT_ANSWERED: Final = "The documents do not answer this question."
NEAREST: Final = "The nearest that they have, in case it helps:"
NEEDS_LARGER: Final = (
    "That needs a larger language model: {model} finds and quotes what your documents say, but cannot be trusted to write, "
    "translate, reckon or judge. To have one, choose \u201cUse a better model\u201d on the page, or start with: "
    "weft up chatqna --llm URL#model (the address of a model server such as Ollama and the model's name; the path of a GGUF "
    "file does as well)."
)
ABOUT_IT: Final = "What the documents say about it:"

SAID: Final[dict[Talk, str]] = {
    "greeting": "Hello! Ask me anything that your documents may answer, or ask \u201cwhat is in my documents?\u201d.",
    "thanks": "You are welcome! Ask on whenever you like.",
    "goodbye": "Goodbye! Your documents stay where they are.",
    "abilities": "I answer questions from your documents and quote where it is said. You can also ask me:\n\n"
    "- \u201cWhat is in my documents?\u201d, or which of them speak of something\n"
    "- to summarize a document, by its name\n"
    "- to list what a document lists: steps, ingredients, requirements\n"
    "- to compare two documents or things\n\n"
    "To add documents, drop files on the page, or run: weft ingest FILE. "
    "Writing, translating and reckoning need a larger model: start with weft up chatqna --llm URL#model.",
    "self": "I am Weft's ChatQnA, a program that answers from your documents and quotes where it is said. The language model "
    "behind it is {model}.",
    "wellbeing": "All is well, thank you. What would you like to know from your documents?",
    "assent": "All right. Ask on whenever you like.",
}
"""What a small model is spared: it would make something up."""

MAX_TITLE: Final = 80
"""Characters of a title that are printed; the annotation has it whole."""

MAX_SHOWN: Final = 300
"""Characters that are printed of a source or of a passage that is only near; the annotation has it whole."""

MAX_NEAR: Final = 2
"""Passages that are offered where the documents do not answer."""

_ITEM = re.compile(r"^(?:[-*\u2022]|#{1,6})\s+")


_POINT = re.compile(r"^(?:[-*\u2022]|#{1,6}|\d{1,3}[.)])\s+")


class ReplyRequest(Struct, omit_defaults=True):
    """What the documents say, what the model says, and what the caller asked for.

    Attributes:
        answer: The model's answer, as it comes or whole; None: it was not asked.
        kind: What kind of thing was asked for (condense-question says it).
        tools: The tools that the model was given: then nothing is added to what it says.
        response_format: The form the answer must have: nothing is added to JSON.
    """

    evidence: Evidence
    answer: Stream[ChatChunk] | ChatResponse | None = None
    kind: Kind = "question"
    tools: list[dict[str, Any]] | None = None
    response_format: dict[str, Any] | None = None


_Style = Literal["quotes", "points"]


@dataclass(frozen=True)
class _Frame:
    """What stands around the model's words, with the annotations of each part (offsets within it).

    Where ``grounded`` is given, sentences of the model's with a number or a name that it does not know are left out.
    """

    before: str = ""
    after: str = ""
    before_marks: Sequence[Annotation] = ()
    after_marks: Sequence[Annotation] = ()
    with_answer: bool = True
    grounded: Grounded | None = None


@dataclass
class _Written:
    """What one of the ``n`` answers has so far."""

    length: int = 0
    began: bool = False
    ended: bool = False
    sieve: Sieve | None = None


class QuoteAndAnswer:
    """Answers with quotes from the documents and the model's words, cited ``[n]`` with annotations.

    With a small model the quote leads: it is sent before the model's first token, and the model's words follow. With a
    large one, or one that is somewhere else, the answer leads and its sources follow. When the documents do not answer
    the question, the reply says so and offers the nearest that they have, and a small model's guess is left out.

    Greetings, lists of documents, summaries, lists and comparisons are complete without a small model; a large one puts
    them into words from the same evidence. What takes a larger model (writing, translating, reckoning) is said to do so.
    Nothing is added where tools or JSON were asked for.

    Closing the stream closes the model's; an error in the model's stream is raised where it happens.

    Args:
        chat: The model, for its size; without one it is taken as large.
        lead: What comes first: ``quote``, ``answer``, or ``auto`` by the model's size.
    """

    asks: ClassVar[dict[str, int]] = {"chat": 0}

    def __init__(
        self, chat: Chat | None = None, *, lead: Literal["auto", "quote", "answer"] = "auto"
    ) -> None:
        self._chat, self._lead = chat, lead

    async def invoke(self, request: ReplyRequest) -> ChatResponse:
        """The whole reply; usage and finish reasons are the model's."""
        description = await self._describe()
        frame = self._frame(request, description)
        answer = request.answer
        if isinstance(answer, ChatResponse):
            said = answer
        elif answer is None or not frame.with_answer:
            if answer is not None:
                await answer.aclose()
            said = ChatResponse(_new_id(), description.model, [], created=int(time.time()))
        else:
            async with aclosing(answer):
                said = collect([chunk async for chunk in answer])
        if not frame.with_answer:
            message = Message("assistant", frame.before, annotations=list(frame.before_marks) or None)
            return replace(said, choices=[Choice(0, message, "stop")])
        return replace(said, choices=[_framed(choice, frame) for choice in said.choices])

    async def stream(self, request: ReplyRequest) -> AsyncIterator[ChatChunk]:
        """The reply in chunks of one id, model and time, the role in the first of each choice."""
        answer = request.answer
        if isinstance(answer, ChatResponse):
            for chunk in _as_chunks(await self.invoke(request)):
                yield chunk
            return
        if answer is None:
            description = await self._describe()
            weaver = _Weaver(self._frame(request, description), description.model)
            for chunk in [*weaver.opening(), *weaver.closing()]:
                yield chunk
            return
        async with aclosing(answer):
            description = await self._describe()
            frame = self._frame(request, description)
            if not frame.with_answer:
                await answer.aclose()  # at once: whoever makes it can stop
            weaver = _Weaver(frame, description.model)
            for chunk in weaver.opening():
                yield chunk
            if frame.with_answer:
                async for chunk in answer:
                    for woven in weaver.weave(chunk):
                        yield woven
            for chunk in weaver.closing():
                yield chunk

    async def _describe(self) -> ChatDescription:
        if self._chat is None:
            return ChatDescription()
        try:
            return await self._chat.describe(Empty())
        except RequestError:
            return ChatDescription()  # if the model is gone, its answer is where that is said

    def _frame(self, request: ReplyRequest, model: ChatDescription) -> _Frame:
        evidence, small = request.evidence, is_small(model)
        format_ = (request.response_format or {}).get("type", "text")
        if request.answer is not None and (request.tools or format_ != "text"):
            return _Frame()
        talk = small_talk(evidence.query) if request.kind in ("talk", "question") else None
        if talk is not None:
            return (
                _alone(SAID[talk].replace("{model}", _called(model)))
                if small or request.answer is None
                else _Frame()
            )
        if small or request.answer is None:
            return self._without_words(request, model)
        if not evidence.quotes and not evidence.note:
            return _Frame(after=NO_DOCUMENTS)
        if not evidence.answerable:
            if evidence.note:
                return _alone(evidence.note)
            return _Frame() if request.kind == "task" else _Frame(before=f"{NOT_ANSWERED}\n\n")
        if not evidence.quotes:
            return _Frame()
        return self._around(evidence, small=False)

    def _without_words(self, request: ReplyRequest, model: ChatDescription) -> _Frame:
        """With a small model: what can be said without it, and for a question that is answered its words as well."""
        evidence, kind = request.evidence, request.kind
        if kind == "task":
            larger = NEEDS_LARGER.replace("{model}", _called(model))
            near = without_headings(evidence.quotes, MAX_NEAR) if evidence.answerable else []
            return _alone(f"{larger}\n\n{ABOUT_IT}\n" if near else larger, near, most=MAX_SHOWN)
        if not evidence.quotes:
            return _alone(evidence.note or NO_DOCUMENTS)
        if not evidence.answerable:
            near = without_headings(evidence.quotes, MAX_NEAR)
            return _alone(f"{evidence.note or NOT_ANSWERED}\n\n{NEAREST}\n", near, most=MAX_SHOWN)
        if kind == "question" and request.answer is not None:
            return self._around(evidence, small=True)
        gap = "\n\n" if evidence.note else ""
        style: _Style = "quotes" if kind in ("question", "contents") else "points"
        if kind == "comparison":  # what nothing was found about is said last
            text, marks = _cited(evidence.quotes, "", style="quotes")
            return _Frame(f"{text}{gap}{evidence.note}", before_marks=marks, with_answer=False)
        return _alone(f"{evidence.note}{gap}", evidence.quotes, style=style)

    def _around(self, evidence: Evidence, *, small: bool) -> _Frame:
        """The quotes before or after the model's words."""
        if self._lead == "quote" or (self._lead == "auto" and small):
            text, marks = _cited(evidence.quotes, "", most=None if small else MAX_SHOWN)
            grounded = _grounded(evidence) if small else None
            return _Frame(before=f"{text}\n\n", before_marks=marks, grounded=grounded)
        text, marks = _cited(evidence.quotes, "Sources:\n", most=MAX_SHOWN)
        return _Frame(after=text, after_marks=marks)


def _grounded(evidence: Evidence) -> Grounded:
    """What a small model may speak of: it was shown nothing else."""
    found = [quote.document for quote in evidence.quotes]
    texts = [
        text for document in found for text in (document.text, document.title or "", document.source or "")
    ]
    return Grounded([evidence.query, *texts])


def _alone(
    text: str, quotes: Sequence[Quote] = (), *, style: _Style = "quotes", most: int | None = None
) -> _Frame:
    """A reply that is complete without the model's words."""
    if not quotes:
        return _Frame(text.rstrip(), with_answer=False)
    said, marks = _cited(quotes, text, style=style, most=most)
    return _Frame(said, before_marks=marks, with_answer=False)


def _called(model: ChatDescription) -> str:
    if not model.model:
        return "the model that runs here"
    size = f" ({model.parameters / 1e6:,.0f} million parameters)" if model.parameters else ""
    return f"{model.model}{size}"


class _Weaver:
    """Puts a frame around a stream of chunks, each of the ``n`` answers in its own."""

    def __init__(self, frame: _Frame, model: str) -> None:
        self._frame = frame
        self._id, self._model, self._created = _new_id(), model, int(time.time())
        self._named = bool(frame.before)
        self._written: dict[int, _Written] = {}

    def opening(self) -> list[ChatChunk]:
        """What can be said before the model has."""
        return [self._begin(0)] if self._frame.before else []

    def weave(self, chunk: ChatChunk) -> list[ChatChunk]:
        """A chunk of the model's, with what belongs before and after it."""
        if not self._named:
            self._named = True
            self._id, self._model = chunk.id or self._id, chunk.model or self._model
            self._created = chunk.created or self._created
        woven: list[ChatChunk] = []
        choices: list[ChunkChoice] = []
        for given in chunk.choices:
            written = self._written.get(given.index)
            if written is None and self._frame.before:
                woven.append(self._begin(given.index))
            written = self._written.setdefault(given.index, _Written())
            if written.ended:
                continue
            written.ended = given.finish_reason is not None
            choice = self._sifted(given, written)
            if written.ended and self._frame.after and choice.finish_reason != "content_filter":
                # The model's last words, what follows them, and only then the end.
                if choice.delta.content:
                    woven.append(self._chunk(self._part(replace(choice, finish_reason=None), written)))
                woven.append(self._end(choice.index, written))
                choices.append(ChunkChoice(choice.index, Delta(), choice.finish_reason))
            else:
                choices.append(self._part(choice, written))
        if choices or chunk.usage is not None:
            rewritten = replace(chunk, id=self._id, model=self._model, created=self._created)
            woven.append(replace(rewritten, choices=choices))
        return woven

    def _sifted(self, choice: ChunkChoice, written: _Written) -> ChunkChoice:
        """A choice without what is made up; a sentence is held back until it is whole."""
        if self._frame.grounded is None or choice.finish_reason == "content_filter":
            return choice
        written.sieve = written.sieve or Sieve(self._frame.grounded)
        said = written.sieve.put(choice.delta.content or "", last=written.ended)
        return replace(choice, delta=replace(choice.delta, content=said or None), logprobs=None)

    def closing(self) -> list[ChatChunk]:
        """The end of what was said without the model."""
        if self._frame.with_answer:
            return []
        return [self._chunk(ChunkChoice(0, Delta(), "stop"))]

    def _begin(self, index: int) -> ChatChunk:
        self._written[index] = _Written(length=len(self._frame.before), began=True)
        marks = list(self._frame.before_marks) or None
        return self._chunk(
            ChunkChoice(index, Delta(role="assistant", content=self._frame.before, annotations=marks))
        )

    def _end(self, index: int, written: _Written) -> ChatChunk:
        gap = "\n\n" if written.length else ""
        marks = [mark.moved(written.length + len(gap)) for mark in self._frame.after_marks] or None
        delta = Delta(content=gap + self._frame.after, annotations=marks)
        if not written.began:
            delta.role = "assistant"
            written.began = True
        return self._chunk(ChunkChoice(index, delta))

    def _part(self, choice: ChunkChoice, written: _Written) -> ChunkChoice:
        """A choice of the model's with the role in its first chunk only."""
        written.length += len(choice.delta.content or "")
        role = None if written.began else "assistant"
        written.began = True
        return (
            choice if choice.delta.role == role else replace(choice, delta=replace(choice.delta, role=role))
        )

    def _chunk(self, choice: ChunkChoice) -> ChatChunk:
        return ChatChunk(self._id, self._model, [choice], created=self._created)


def _framed(choice: Choice, frame: _Frame) -> Choice:
    """A whole answer with what stands around it."""
    message = choice.message
    if not (frame.before or frame.after) or choice.finish_reason == "content_filter":
        return choice
    words = message.text()
    if frame.grounded is not None:
        words = Sieve(frame.grounded).put(words, last=True)
    gap = "\n\n" if words and frame.after else ""
    marks = [
        *frame.before_marks,
        *(mark.moved(len(frame.before) + len(words) + len(gap)) for mark in frame.after_marks),
    ]
    content = f"{frame.before}{words}{gap}{frame.after}"
    annotations = [*(message.annotations or []), *marks] or None
    return replace(choice, message=replace(message, content=content, annotations=annotations))


def _as_chunks(response: ChatResponse) -> list[ChatChunk]:
    """A whole reply as a stream of it."""
    chunks: list[ChatChunk] = []
    for choice in response.choices:
        message = choice.message
        delta = Delta(
            role="assistant",
            content=message.text() or None,
            reasoning_content=message.reasoning_content,
            refusal=message.refusal,
            tool_calls=message.tool_calls,
            annotations=message.annotations,
        )
        for part in (ChunkChoice(choice.index, delta, None, choice.logprobs),
                     ChunkChoice(choice.index, Delta(), choice.finish_reason)):  # fmt: skip
            chunks.append(ChatChunk(response.id, response.model, [part], created=response.created))  # noqa: PERF401
    if response.usage is not None:
        chunks.append(ChatChunk(response.id, response.model, [], response.created, response.usage))
    return chunks


def _cited(
    quotes: Sequence[Quote], head: str, *, style: _Style = "quotes", most: int | None = None
) -> tuple[str, list[Annotation]]:
    """One line for each quote, with its mark and, for people, where it is from; and an annotation for each mark.

    Args:
        quotes: What is quoted.
        head: Stands before it.
        style: ``quotes`` in quotation marks, or ``points`` of a list, where the place is named when it changes.
        most: Characters of a quote that are printed.
    """
    text = head
    marks: list[Annotation] = []
    about = place = ""
    for number, quote in enumerate(quotes, 1):
        document = quote.document
        words = (_POINT if style == "points" else _ITEM).sub("", for_people(quote.text))
        if most is not None and len(words) > most:
            words = words[: most - 1].rstrip() + "\u2026"
        if quote.about and quote.about != about:
            text += ("\n\n" if marks else "") + f"**{for_people(quote.about)}**\n"
            about = quote.about
        elif marks:
            text += "\n"
        text += f"- {words} " if style == "points" else f"\u201c{words}\u201d "
        mark = f"[{number}]"
        begins = document.start is not None
        # A piece of a table begins with its header row, which stands further up in the document.
        place_of_text = (document.start or 0) - int(document.metadata.get("repeated", 0))
        marks.append(
            Annotation(
                url_citation=UrlCitation(
                    len(text),
                    len(text) + len(mark),
                    document.title or document.source or "",
                    _address(document),
                ),
                marker=number,
                start_index=len(text),
                end_index=len(text) + len(mark),
                document_id=document.id,
                title=document.title,
                source=document.source,
                page=document.page,
                start=max(place_of_text + quote.start, document.start or 0) if begins else None,
                end=max(place_of_text + quote.end, document.start or 0) if begins else None,
                score=quote.score,
                quote=quote.text,
            )
        )
        before, place = place, _place(document)
        text += mark + ("" if style == "points" and place == before else place)
    return text, marks


def _place(document: Document) -> str:
    """Where a person finds the passage, as it is printed behind its mark."""
    name = for_people(document.title or document.source or "")
    if not name:
        return ""
    name = name if len(name) <= MAX_TITLE else name[: MAX_TITLE - 1].rstrip() + "\u2026"
    return f" ({name}, page {document.page})" if document.page is not None else f" ({name})"


def _address(document: Document) -> str:
    """Where the passage can be read: the page it was taken from, or this server's own route."""
    source = document.source or ""
    if source.startswith(("http://", "https://")):
        return source
    return f"/v1/dataprep/document?{urlencode({'name': source, 'around': document.id})}"


def _new_id() -> str:
    return f"chatcmpl-{uuid.uuid4().hex}"

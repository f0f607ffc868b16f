"""``llama-cpp``: a language model in this process, by llama.cpp.

An answer has one of the engine's slots; the engine decodes all slots in one batch. The engine's call blocks, so it runs
in a thread, one a slot, and its events are handed to the event loop. Who waits, waits here and not in the engine,
where nobody can leave the line: for a slot, and then for the turn to have the prompt read (the engine reads one prompt
after the other anyway: one fills a step).
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, ClassVar, Final

import msgspec
from msgspec import Struct

from weft.components.chat.engine import Engine
from weft.components.chat.gguf import ModelFacts, read_facts
from weft.components.chat.inbox import Inbox
from weft.components.chat.slots import Slots
from weft.contracts.chat import (
    ChatChunk,
    ChatDescription,
    ChatRequest,
    ChatResponse,
    ChunkChoice,
    Delta,
    collect,
)
from weft.errors import (
    ComponentError,
    ContextWindowError,
    InvalidRequestError,
    RequestError,
    ServiceError,
    UnavailableError,
    UnsupportedParameterError,
)
from weft.host import Host, Lane
from weft.types import Empty, Message, Usage

MAX_ANSWERS: Final = 128
"""The largest ``n``, as OpenAI's API has it."""

_PROMPT_STEP: Final = 32
"""Prompt tokens for which one prompt may be read at a time: on two cores such a step takes about 0.1 s."""

_NOT_SENT: Final = frozenset(
    {"model", "stream", "stream_options", "n", "user", "metadata", "max_tokens", "max_completion_tokens"}
    | {"repetition_penalty"}
)
"""Fields of the request that address others, or that the engine calls differently."""


class _Failure(Struct):
    message: str = ""
    type: str = ""
    code: Any = None


class _Event(Struct):
    """What the engine says: a piece of the answer, or how far the prompt is read, or an error."""

    choices: list[ChunkChoice] = []
    usage: Usage | None = None
    prompt_progress: Any = None
    error: _Failure | None = None


_decode = msgspec.json.Decoder(_Event).decode
_encode = msgspec.json.Encoder().encode


class LlamaCpp:
    """Runs a GGUF language model in process with llama.cpp.

    Args:
        model: A catalogue name, the path of a GGUF file, or ``hf:owner/name/file.gguf``.
        context: Tokens of prompt and answer together, for one request; at most what the model was trained for.
        slots: Requests that are answered at the same time; each keeps a context of its own in memory.
        queue: Requests that may wait for a slot; one more is refused with 429.
        threads: Processor threads; None is all that the service may use.
        max_tokens: Bound on an answer's length where the request sets none.
        temperature: How freely it chooses its words where the request does not say: 0 takes the likeliest. None is the
            engine's own (0.8).
        batch: Prompt tokens read in one step. A caller that goes away frees its slot within two steps, so a fast
            processor or a GPU may have 512, a large model on a small processor 16.
        prompt_cache_mib: Memory for prompts that were read before, beside those in the slots.
    """

    exclusive: ClassVar[bool] = True
    unsupported: ClassVar[frozenset[str]] = frozenset({"reasoning_effort"})
    window: ClassVar[str] = "context"

    def __init__(
        self,
        model: str = "smollm2-135m-instruct",
        *,
        context: int = 4096,
        slots: int = 2,
        queue: int = 32,
        threads: int | None = None,
        max_tokens: int = 512,
        temperature: float | None = None,
        batch: int = 32,
        prompt_cache_mib: int = 128,
    ) -> None:
        self._model, self._window, self._max_tokens = model, context, max_tokens
        if temperature is not None and temperature < 0:
            raise ComponentError(f"llama-cpp: temperature is {temperature}, it must be at least 0")
        self._temperature = temperature
        self._slot_count, self._queue = slots, queue
        self._threads, self._batch, self._prompt_cache_mib = threads, batch, prompt_cache_mib
        self._facts: ModelFacts | None = None
        self._engine: Engine | None = None
        self._is_warm = False
        self._marks = _any_of(())

    async def start(self, host: Host) -> None:
        """Fetch the model if it is not there, and load it."""
        files = await host.models.files(self._model, kind="gguf")
        path = files.files["gguf"]
        self._slots = Slots(self._slot_count, self._queue)
        self._readers = Slots(max(1, self._batch // _PROMPT_STEP), self._slot_count)
        # One more than answers at a time, for unloading.
        self._lane: Lane = host.lane(threads=self._slot_count + 1, queue=0)
        facts = self._facts = await self._lane.run(read_facts, path)
        self._marks = _any_of(facts.marks)
        if facts.trained_window is not None and facts.trained_window < self._window:
            host.log(f"the context is shortened to the {facts.trained_window} tokens of '{self._model}'")
            self._window = facts.trained_window
        self._engine = await self._lane.run(
            lambda: Engine(
                path,
                window=self._window,
                slots=self._slot_count,
                batch=self._batch,
                threads=self._threads or host.cpu_count,
                prompt_cache_mib=self._prompt_cache_mib,
            )
        )

    async def aclose(self) -> None:
        """Stop what runs and unload the model; requests under way or waiting fail."""
        engine, self._engine = self._engine, None
        if engine is not None:
            await self._lane.run(engine.close)

    async def ready(self) -> bool:
        """Whether the model answers: it has once generated a token."""
        if self._engine is None:
            return False
        if not self._is_warm:
            await self.invoke(ChatRequest([Message("user", "Hi")], max_tokens=1))
            self._is_warm = True
        return True

    async def describe(self, request: Empty) -> ChatDescription:
        """Name, size and window of the model."""
        parameters = self._facts.parameters if self._facts is not None else None
        return ChatDescription(self._model, parameters, self._window, local=True)

    async def invoke(self, request: ChatRequest) -> ChatResponse:
        """The whole answer. Cancelling stops the model and frees its slot."""
        async with aclosing(self.stream(request)) as stream:
            return collect([chunk async for chunk in stream])

    async def stream(self, request: ChatRequest) -> AsyncGenerator[ChatChunk, None]:
        """The answer as the model makes it, its usage in a last chunk; ``n`` answers one after the other.

        Closing it stops the model; the slot is free when that returns.

        Raises:
            ContextWindowError: The prompt is longer than the window.
            InvalidRequestError: A value that the model or the engine cannot serve.
            OverloadedError: All slots are taken and the line is full.
            ServiceError: The engine failed.
            UnavailableError: The model is not loaded, or was unloaded meanwhile.
        """
        body = self._body(request)
        identity, created = f"chatcmpl-{secrets.token_hex(12)}", int(time.time())
        usage = Usage()
        for index in range(request.n or 1):
            if index and request.seed is not None:
                body["seed"] = request.seed + index  # the same seed would give the same answer again
            role: str | None = "assistant"
            async with aclosing(self._events(body, request, is_first=index == 0)) as events:
                async for event in events:
                    usage = _add(usage, event.usage)
                    for choice in event.choices:
                        if _is_empty(choice):
                            continue
                        choice.index, choice.delta.role, role = index, role, None
                        yield ChatChunk(identity, self._model, [choice], created)
        yield ChatChunk(identity, self._model, [], created, usage)

    async def _events(
        self, body: dict[str, Any], request: ChatRequest, *, is_first: bool
    ) -> AsyncGenerator[_Event, None]:
        """The events of one answer; ends with the engine's own end, else raises."""
        slot = await self._slots.take(is_admitted=not is_first)
        try:
            turn = await self._readers.take(is_admitted=True)
        except BaseException:
            slot.free()
            raise
        inbox = Inbox(asyncio.get_running_loop())
        # A task of its own, never cancelled: the slot is taken until the engine has let go of it.
        task = asyncio.ensure_future(self._ask(_encode(body), inbox))

        def let_go(_: object) -> None:
            slot.free()
            turn.free()
            inbox.end()

        task.add_done_callback(let_go)
        is_finished = has_begun = False
        try:
            while batch := await inbox.take():
                has_begun = True
                for event in map(_decode, batch):
                    if event.error is not None:
                        raise _refusal(event.error, request)
                    if event.prompt_progress is None:
                        turn.free()
                        is_finished = is_finished or any(choice.finish_reason for choice in event.choices)
                        yield event
            if task.cancelled():  # the loop is being shut down
                raise UnavailableError("the service is stopping", component="llama-cpp")
            if error := task.exception():
                raise _failure(error, request, has_begun=has_begun) from error
            if not is_finished:
                raise UnavailableError("the model was unloaded before it had answered", component="llama-cpp")
        finally:
            inbox.stop()
            await asyncio.wait([task])

    async def _ask(self, body: bytes, inbox: Inbox) -> None:
        """Have a thread ask the engine."""
        if self._engine is None:  # it may have been unloaded while the request waited
            raise UnavailableError("the model is not loaded", component="llama-cpp")
        await self._lane.run(self._engine.answer, body, inbox)

    def _body(self, request: ChatRequest) -> dict[str, Any]:
        """The engine's request: the fields that were set, under the names that it has for them."""
        if self._engine is None:
            raise UnavailableError("the model is not loaded", component="llama-cpp")
        self._check(request)
        body = {
            name: value
            for name in request.__struct_fields__
            if name not in _NOT_SENT and (value := getattr(request, name)) is not None
        }
        bound = request.max_output_tokens()
        body["max_tokens"] = self._max_tokens if bound is None else bound
        if self._temperature is not None:
            body.setdefault("temperature", self._temperature)
        if request.repetition_penalty is not None:
            body["repeat_penalty"] = request.repetition_penalty
        for name in ("messages", "tools"):
            if body.get(name):
                body[name] = self._without_marks(body[name])
        return body | {
            "stream": True,
            "stream_options": {"include_usage": True},
            "return_progress": True,  # so that it can be stopped while it reads the prompt
        }

    def _without_marks(self, value: Any) -> msgspec.Raw:
        """A part of the request in which no text is one of the model's control tokens.

        The engine fills in the template first and looks for control tokens then, in what a user or a document said as
        well: ``<|im_end|>`` in a message would end it. Each gets a space behind its first character.
        """
        text = _encode(value).decode()
        return msgspec.Raw(self._marks.sub(lambda match: f"{match[0][0]} {match[0][1:]}", text).encode())

    def _check(self, request: ChatRequest) -> None:
        """Refuse what the engine would ignore, or take for something else.

        Raises:
            InvalidRequestError: A value cannot be meant.
            UnsupportedParameterError: The model has no use for a field.
        """
        if not request.messages:
            raise InvalidRequestError("there are no messages", param="messages")
        for message in request.messages:
            for part in message.content if isinstance(message.content, list) else ():
                if part.type != "text":
                    raise InvalidRequestError(
                        f"model '{self._model}' reads text only, and a message has a part of type '{part.type}'",
                        param="messages",
                    )
        bound = request.max_output_tokens()
        if bound is not None and bound < 1:
            name = "max_tokens" if request.max_completion_tokens is None else "max_completion_tokens"
            raise InvalidRequestError(f"{name} is {bound}: it must be at least 1", param=name)
        if request.n is not None and not 1 <= request.n <= MAX_ANSWERS:
            raise InvalidRequestError(f"n is {request.n}: it must be 1 to {MAX_ANSWERS}", param="n")
        if request.temperature is not None and request.temperature < 0:
            raise InvalidRequestError(
                f"temperature is {request.temperature}: it must be at least 0", param="temperature"
            )
        for name in self.unsupported:
            if getattr(request, name) is not None:
                raise UnsupportedParameterError(f"component 'llama-cpp' has no use for '{name}'", param=name)
        # Where its template has no place for them the engine drops them silently.
        if request.tools and "tools" not in ((self._facts and self._facts.template) or ""):
            raise UnsupportedParameterError(
                f"model '{self._model}' was not made to call tools: its chat template has no place for them",
                param="tools",
            )


def _any_of(marks: Sequence[str]) -> re.Pattern[str]:
    """What finds any of these texts in JSON; a mark of one or two characters is a word like others."""
    escaped = [_encode(mark).decode()[1:-1] for mark in sorted(marks, key=len, reverse=True) if len(mark) > 2]
    return re.compile("|".join(map(re.escape, escaped)) or r"(?!)")


def _is_empty(choice: ChunkChoice) -> bool:
    """Whether a chunk says nothing: the engine begins with one that has the role alone."""
    return (
        choice.finish_reason is None and choice.logprobs is None and choice.delta == Delta(choice.delta.role)
    )


def _add(total: Usage, more: Usage | None) -> Usage:
    """The usage of several answers to one prompt: it counts once."""
    if more is None:
        return total
    prompt = total.prompt_tokens or more.prompt_tokens
    completion = total.completion_tokens + more.completion_tokens
    return Usage(prompt, completion, prompt + completion)


def _refusal(failure: _Failure, request: ChatRequest) -> RequestError:
    """The engine's error event as ours."""
    if failure.type == "exceed_context_size_error":
        return ContextWindowError(f"the prompt does not fit the model: {failure.message}", param="messages")
    if failure.code == 400:
        return InvalidRequestError(failure.message, param=_param(failure.message, request))
    return ServiceError(f"the model failed: {failure.message}", component="llama-cpp")


def _failure(error: BaseException, request: ChatRequest, *, has_begun: bool) -> RequestError:
    """What the engine raised as ours."""
    if isinstance(error, RequestError):
        return error
    # Before its first event it has done nothing but read the request and fill in the model's template.
    if isinstance(error, ValueError) or (isinstance(error, RuntimeError) and not has_begun):
        return InvalidRequestError(
            f"the model cannot be asked this: {error}", param=_param(str(error), request)
        )
    return ServiceError(f"the model failed: {error}", component="llama-cpp")


def _param(message: str, request: ChatRequest) -> str | None:
    """The field that the engine complains about: the one it names, or the one that has a schema."""
    words = set(re.findall(r"\w+", message))
    named = [
        name for name in request.__struct_fields__ if name in words and getattr(request, name) is not None
    ]
    if named:
        return max(named, key=len)
    if request.response_format is not None and ("schema" in message or "grammar" in message):
        return "response_format"
    return None

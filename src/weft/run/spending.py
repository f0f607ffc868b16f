"""What one request may spend on models: every call that it makes is taken from that beforehand.

The gateway leaves a :class:`Budget` in the request's context where a limit counts tokens. Where a run calls a chat model,
and where a component calls one that it uses, what the call may cost at most is taken from the budget first, and what it
did cost is settled afterwards; one that the rest does not cover is refused. So a reservation is a bound even where what
the plan promised of its components was wrong. Without a budget nothing is looked at.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from weft.context import current
from weft.contracts.chat import ChatRequest
from weft.errors import (
    BackendStatusError,
    InvalidRequestError,
    OverloadedError,
    RequestError,
    ReserveError,
    UnavailableError,
    UnreachableError,
)
from weft.run.streams import close
from weft.transport.base import Call, StreamCall, Transport, WireStream
from weft.types import Usage

BUDGET: Final = "weft.run.budget"
"""The name of the budget among the values of a context."""

TEMPLATE_TOKENS: Final = 64
"""What a chat template puts around a conversation: its beginning, a date, the opening of the answer. Some have 40."""

MESSAGE_TOKENS: Final = 16
"""What a chat template puts around a message: the role, and the marks that separate it. Some have 8."""

MEDIA_TOKENS: Final = 16_384
"""The most that one picture, sound or file costs with the models that are known to take them, whatever its bytes."""

_encode = msgspec.json.Encoder().encode


class Taken:
    """What one call may cost, until it is known what it did.

    Attributes:
        service: Whose call it is.
        prompt, answer, tokens: At most, of each and in all; 0 once the cost is known.
        wire: The stream whose end nobody here sees; it knows its cost when the request has ended.
    """

    __slots__ = ("answer", "prompt", "service", "tokens", "wire")

    def __init__(self, service: str, prompt: int, answer: int, tokens: int) -> None:
        self.service, self.prompt, self.answer, self.tokens = service, prompt, answer, tokens
        self.wire: WireStream | None = None


class Spent(NamedTuple):
    """Tokens of one service: those that are known, and for calls whose cost is not known what it may have been."""

    service: str
    prompt: int
    answer: int
    tokens: int


class Budget:
    """What one request may spend, and what it has.

    Args:
        tokens: In all.
        windows: Tokens that a service's model takes at most, prompt and answer together, by the service's key.

    Attributes:
        left: Tokens that no call has taken.
    """

    __slots__ = ("_known", "_taken", "_tokens", "_windows", "left")

    def __init__(self, tokens: int, windows: Mapping[str, int]) -> None:
        self._tokens = self.left = tokens
        self._windows = windows
        self._taken: list[Taken] = []
        self._known: list[Spent] = []

    def take(self, service: str, request: ChatRequest) -> Taken:
        """Take what a call may cost.

        A call that does not bound its answers gets what is left as their bound.

        Raises:
            ReserveError: That is more than is left.
        """
        prompt, answers = prompt_bound(request), request.n or 1
        length, window = request.max_output_tokens(), self._windows.get(service)
        if window is not None:
            prompt = min(prompt, window)
        if length is None:
            length = max(1, (self.left - prompt) // answers)
            if window is not None:
                length = min(length, window)
            request.max_tokens = length
        tokens = call_bound(prompt, length, answers, window)
        if tokens > self.left:
            raise ReserveError(
                f"this call of service '{service}' may use {tokens:,} tokens, and of the {self._tokens:,} that are "
                f"reserved for the request {max(0, self.left):,} are left",
                hint="a greater 'reserve' of the route, a shorter prompt or fewer max_tokens",
            )
        self.left -= tokens
        if window is not None:
            length = min(length, window)
        taken = Taken(service, prompt, length * answers, tokens)
        self._taken.append(taken)
        return taken

    def settle(self, taken: Taken, usage: Usage | None) -> None:
        """A call has ended, at this cost; None: nobody knows, and what it may have been stays taken."""
        if usage is None or not taken.tokens:
            return
        tokens = tokens_of(usage)
        self.left += taken.tokens - tokens
        taken.prompt = taken.answer = taken.tokens = 0
        if tokens:
            answer = max(usage.completion_tokens, tokens - usage.prompt_tokens)
            self._known.append(Spent(taken.service, usage.prompt_tokens, answer, tokens))

    def failed(self, taken: Taken, error: BaseException) -> None:
        """A call has failed: what the model was never asked for is given back."""
        if not may_have_used(error):
            self.settle(taken, Usage())

    def end(self, error: BaseException | None) -> list[Spent]:
        """The request has ended, with ``error`` before its reply began: what it spent, at most."""
        spent = self._known
        for taken in self._taken:
            wire = taken.wire
            if wire is not None:
                if error is not None and not wire.has_begun:
                    self.failed(taken, error)
                self.settle(taken, wire.usage)
            if taken.tokens:
                spent.append(Spent(taken.service, taken.prompt, taken.answer, taken.tokens))
        return spent


def call_bound(prompt: int, length: int, answers: int, window: int | None) -> int:
    """Tokens of a call at most: each answer and the prompt together fit the model's window."""
    if window is None:
        return prompt + length * answers
    length = min(length, window)
    return min(prompt + length, window) + length * (answers - 1)


def tokens_of(usage: Usage) -> int:
    """All tokens of a usage, of which some servers leave a part out."""
    return max(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens)


def prompt_bound(request: ChatRequest) -> int:
    """The most tokens that a prompt can be: one for each byte of what is in it, as no tokenizer needs more.

    Pictures and sounds are no text: each counts :data:`MEDIA_TOKENS`.
    """
    total, media = TEMPLATE_TOKENS, 0
    for message in request.messages:
        content = message.content
        if isinstance(content, list):
            media += sum(part.type != "text" for part in content)
            content = message.text()
        total += MESSAGE_TOKENS + _bytes(content) + _bytes(message.name) + _bytes(message.reasoning_content)
        if message.tool_calls:
            total += len(_encode(message.tool_calls))
    if request.tools:
        total += len(_encode(request.tools))
    if request.response_format:
        total += len(_encode(request.response_format))
    return total + media * MEDIA_TOKENS


def _bytes(text: str | None) -> int:
    if not text:
        return 0
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def may_have_used(error: BaseException) -> bool:
    """Whether a call that failed so may have had tokens of a model: not where it was refused, or never got there."""
    if isinstance(error, UnreachableError | UnavailableError | OverloadedError | InvalidRequestError):
        return False
    if isinstance(error, BackendStatusError):
        return False
    return not (isinstance(error, RequestError) and error.status < 499)


def is_model(transport: Transport, operation: str) -> bool:
    """Whether calling it is asking a model: a chat service that is no megaservice and uses no other one."""
    contract = transport.contract
    return (
        contract.name == "chat"
        and operation == contract.primary.name
        and not transport.component.startswith("megaservice/")
        and not getattr(transport, "asks_others", False)
    )


def spending(call: Call, service: str) -> Call:
    """A chat model's ``invoke`` that takes from the request's budget."""

    async def ask(request: Any) -> Any:
        budget = _budget()
        if budget is None:
            return await call(request)
        asked = _own(request)
        taken = budget.take(service, asked)
        try:
            response = await call(asked)
        except BaseException as error:
            budget.failed(taken, error)
            raise
        budget.settle(taken, response.usage)
        return response

    return ask


def spending_stream(stream: StreamCall, service: str) -> StreamCall:
    """A chat model's ``stream`` that takes from the request's budget."""

    def ask(request: Any) -> AsyncIterator[Any]:
        budget = _budget()
        if budget is None:
            return stream(request)
        asked = _own(request)
        taken = budget.take(service, asked)
        chunks = stream(asked)
        if isinstance(chunks, WireStream):
            taken.wire = chunks  # nobody here sees its end: it is asked when the request has ended
            return chunks
        return _settled(chunks, lambda usage: budget.settle(taken, usage), lambda e: budget.failed(taken, e))

    return ask


async def _settled(
    chunks: AsyncIterator[Any],
    settle: Callable[[Usage | None], None],
    failed: Callable[[BaseException], None],
) -> AsyncIterator[Any]:
    usage: Usage | None = None
    has_begun = False
    try:
        async for chunk in chunks:
            has_begun = True
            usage = chunk.usage or usage
            yield chunk
    except BaseException as error:
        if not has_begun:
            failed(error)
        raise
    finally:
        settle(usage)
        await close(chunks)


def _budget() -> Budget | None:
    context = current.get(None)
    if context is None or context.values is None:
        return None
    found = context.values.get(BUDGET)
    return found if isinstance(found, Budget) else None


def _own(request: Any) -> Any:
    """A request whose bound may be set: the caller's own is left as it is, for it may be asked again."""
    return msgspec.structs.replace(request) if request.max_output_tokens() is None else request

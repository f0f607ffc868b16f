"""A promise, what it is checked on, and what came of it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, TypeVar

import msgspec
from msgspec import Struct

from weft.context import Context, current
from weft.contracts import Contract, Operation
from weft.errors import BackendStatusError, OverloadedError, RequestError
from weft.transport.base import Transport, can_be_asked

S = TypeVar("S")

SPECIFICATION: Final = 1
"""The version of ``docs/spec/microservice.md`` that is checked."""

WATCHDOG_S: Final = 120.0
"""How long one request may take. A large model on a slow machine is not broken; one that never answers is."""

SHOWN_CHARACTERS: Final = 300
"""Of what was sent and what came: enough to see what is meant, little enough to read."""


class Broken(AssertionError):  # noqa: N818 - says what happened to the promise
    """A promise was not kept.

    Attributes:
        came: What came instead, in words.
    """

    def __init__(self, came: str) -> None:
        super().__init__(came)
        self.came = came


class Unseen(Exception):  # noqa: N818 - no error: nothing can be said
    """Whether the promise is kept cannot be told here; the message says why."""


Level = Literal["must", "should"]
Outcome = Literal["kept", "broken", "unseen"]


@dataclass(frozen=True, slots=True)
class Promise(Generic[S]):
    """One sentence of the specification, and how it is checked.

    Attributes:
        name: For reports and test ids.
        section: Where it stands in ``docs/spec/microservice.md``.
        says: The sentence.
        check: Raises :class:`Broken` or :class:`Unseen`; returns when the promise is kept.
    """

    name: str
    section: str
    says: str
    check: Callable[[S], Awaitable[None]]

    @property
    def level(self) -> Level:
        """What the sentence says of itself (RFC 2119)."""
        return "must" if re.search(r"\bmust\b", self.says) else "should"


class Promises(list[Promise[S]]):
    """The promises of one part of the specification, in its order."""

    def __call__(self, section: str) -> Callable[[Callable[[S], Awaitable[None]]], Promise[S]]:
        """Add a check; the first paragraph of its docstring is the sentence that it checks."""

        def add(check: Callable[[S], Awaitable[None]]) -> Promise[S]:
            paragraph = (check.__doc__ or "").strip().split("\n\n")[0]
            name = check.__name__.replace("_", "-")
            promise = Promise(name, section, " ".join(paragraph.split()), check)
            self.append(promise)
            return promise

        return add


class Finding(Struct, omit_defaults=True):
    """What came of one promise.

    Attributes:
        sent: What was sent last, where it is broken.
        came: What came.
        why: Why it cannot be told, where it is unseen.
    """

    section: str
    name: str
    level: Level
    says: str
    outcome: Outcome
    sent: str = ""
    came: str = ""
    why: str = ""


@dataclass
class Record:
    """The last thing that was sent and what came, in words."""

    sent: str = ""
    came: str = ""


async def judge(promise: Promise[S], subject: S, record: Record) -> Finding:
    """Check one promise in a task of its own. Whatever comes out of it but a verdict is a promise that was not kept."""
    record.sent = record.came = ""
    finding = Finding(promise.section, promise.name, promise.level, promise.says, "kept")
    try:
        await asyncio.create_task(_run(promise, subject), name=promise.name)
    except Broken as error:
        finding.outcome, finding.sent = "broken", record.sent
        finding.came = error.came
        if record.came and record.came not in error.came:
            # The status that a check saw is the first word of the record.
            is_status = re.fullmatch(r"status \d+", error.came) is not None
            finding.came = record.came if is_status else f"{error.came}\n{record.came}"
    except Unseen as error:
        finding.outcome, finding.why = "unseen", str(error)
    except Exception as error:  # noqa: BLE001 - someone else's code, or a reply that no check could go on with
        finding.outcome, finding.sent = "broken", record.sent
        finding.came = f"{type(error).__name__}: {error}\n{record.came}".strip()
    return finding


async def _run(promise: Promise[S], subject: S) -> None:
    current.set(Context("conform"))
    await promise.check(subject)


def expect(condition: object, came: str) -> None:
    """Raise :class:`Broken` unless ``condition`` holds."""
    if not condition:
        raise Broken(came)


@dataclass(frozen=True)
class Family:
    """The promises of one contract.

    Attributes:
        contract: Whose.
        promises: Its own, beside those of every contract.
        samples: Makes different requests of the primary operation, each of which a service can serve; at least four.
        open: Makes what the checks need in a service (a collection, say).
        close: Takes it away again.
    """

    contract: Contract
    promises: Promises[Subject]
    samples: Callable[[], list[Any]]
    open: Callable[[Subject], Awaitable[None]] | None = None
    close: Callable[[Subject], Awaitable[None]] | None = None


class Subject:
    """What is checked: something that fulfils a contract, in this process or behind HTTP.

    Args:
        transport: How it is called.
        family: What it promises.

    Attributes:
        instance: The component itself; None: it is somewhere else.
        record: The last exchange, for reports.
    """

    def __init__(self, transport: Transport, family: Family, *, instance: object | None = None) -> None:
        self.transport, self.family, self.instance = transport, family, instance
        self.record = Record()

    @property
    def contract(self) -> Contract:
        """What it fulfils."""
        return self.family.contract

    def has(self, operation: str) -> bool:
        """Whether it can be asked for an operation; a service elsewhere is taken to have them all."""
        return can_be_asked(self.transport, operation)

    def component(self) -> Any:
        """The component itself.

        Raises:
            Unseen: It is not in this process.
        """
        if self.instance is None:
            raise Unseen("only seen within a process")
        return self.instance

    async def ask(self, request: Any, operation: str | None = None) -> Any:
        """The reply to a request that must be served, checked for its type.

        Raises:
            Broken: It was not served, or the reply is not what the contract says.
        """
        try:
            return await self.call(request, operation)
        except RequestError as error:
            raise Broken(f"{error.status} {error.code}: {error}") from error

    async def call(self, request: Any, operation: str | None = None) -> Any:
        """The reply to any request; a :class:`RequestError` is the caller's to judge.

        Raises:
            RequestError: What the service said.
            Broken: Anything else went wrong.
        """
        asked = self._operation(operation)
        self.record.sent = f"{asked.name} {shown(request)}"
        self.record.came = ""
        try:
            async with asyncio.timeout(WATCHDOG_S):
                reply = await self.transport.call(asked.name, request)
        except TimeoutError as error:
            raise Broken(f"no reply within {WATCHDOG_S:g} s") from error
        except RequestError:
            raise
        except Exception as error:  # someone else's code: whatever it raises is named, with its cause
            raise Broken(f"{type(error).__name__}: {error}") from error
        self.record.came = shown(reply)
        _check_type(reply, asked.response)
        return reply

    async def refuses(self, request: Any, operation: str | None = None) -> None:
        """Ask what must be refused as the caller's fault.

        Raises:
            Broken: It was served, or failed in another way.
        """
        try:
            reply = await self.call(request, operation)
        except RequestError as error:
            if not is_callers_fault(error):
                raise Broken(f"it failed as if the service were at fault: {error.status} {error}") from error
            return
        raise Broken(f"it was served: {shown(reply)}")

    async def serves_or_refuses(self, request: Any, operation: str | None = None) -> Any | None:
        """The reply, or None where it was refused as the caller's fault; nothing else is allowed."""
        try:
            return await self.call(request, operation)
        except RequestError as error:
            if not is_callers_fault(error):
                raise Broken(f"it failed as if the service were at fault: {error.status} {error}") from error
            return None

    def stream(self, request: Any) -> AsyncIterator[Any]:
        """The chunks of the primary operation.

        Raises:
            Unseen: The component gives its answer whole.
        """
        asked = self.contract.primary
        if asked.chunk is None or (self.instance is not None and not hasattr(self.instance, "stream")):
            raise Unseen("it does not stream")
        self.record.sent = f"stream {shown(request)}"
        return self.transport.stream(asked.name, request)

    async def collected(self, request: Any) -> list[Any]:
        """All chunks of a stream that must end well."""
        chunks: list[Any] = []
        stream = self.stream(request)
        try:
            async with asyncio.timeout(WATCHDOG_S):
                async for chunk in stream:
                    chunks.append(chunk)
                    self.record.came = f"{len(chunks)} chunks, the last one {shown(chunk)}"
        except TimeoutError as error:
            raise Broken(f"no end within {WATCHDOG_S:g} s, after {len(chunks)} chunks") from error
        except RequestError as error:
            raise Broken(f"{error.status} {error.code}: {error}, after {len(chunks)} chunks") from error
        except Exception as error:  # someone else's code: whatever it raises is named, with its cause
            raise Broken(f"{type(error).__name__}: {error}, after {len(chunks)} chunks") from error
        for chunk in chunks:
            _check_type(chunk, self.contract.primary.chunk)
        return chunks

    async def at_once(self, requests: Iterable[Any]) -> list[Any | None]:
        """The replies to requests that are sent at the same time; None where a full queue refused one."""

        async def one(request: Any) -> Any | None:
            try:
                return await self.call(request)
            except OverloadedError:
                return None
            except RequestError as error:
                raise Broken(f"{error.status} {error.code}: {error}") from error

        replies = await asyncio.gather(*(one(request) for request in requests), return_exceptions=True)
        for reply in replies:
            if isinstance(reply, BaseException):
                raise reply
        return replies

    def _operation(self, name: str | None) -> Operation:
        operation = self.contract.operations[name] if name is not None else self.contract.primary
        if not self.has(operation.name):
            raise Unseen(f"it has no operation '{operation.name}'")
        return operation


def is_callers_fault(error: RequestError) -> bool:
    """Whether an error says that the request is to blame, and would be again."""
    status = error.backend_status if isinstance(error, BackendStatusError) else error.status
    return 400 <= status < 500 and status != 429


def _check_type(value: Any, type_: Any) -> None:
    """The value is of the contract's type, its fields of theirs, and can go over the wire."""
    if not isinstance(value, type_):
        raise Broken(f"the reply is a {type(value).__name__}, not a {type_.__name__}")
    try:
        msgspec.json.decode(msgspec.json.encode(value), type=type_)
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError) as error:
        raise Broken(f"the reply is no whole {type_.__name__}: {error}") from error


def shown(value: Any) -> str:
    """A value as JSON, cut to what can be read."""
    try:
        text = msgspec.json.encode(value).decode()
    except (TypeError, ValueError, OverflowError):
        text = repr(value)
    return cut(text)


def cut(text: str) -> str:
    """A text on one line, as long as can be read."""
    plain = " ".join(text.split())
    return plain if len(plain) <= SHOWN_CHARACTERS else f"{plain[:SHOWN_CHARACTERS]}..."

"""What a component is handed when it starts: everything it may need from the process it lives in.

These are Protocols. ``serve`` implements them; ``weft.testing`` has an implementation for tests. A component that
takes what it needs from here runs the same on a laptop, in a process of its own and on a cluster.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, ParamSpec, Protocol, Self, TypeVar

from weft.types import Usage

P = ParamSpec("P")
R = TypeVar("R")


class HttpReply(Protocol):
    """A whole reply."""

    @property
    def status(self) -> int:
        """The HTTP status."""
        ...

    @property
    def body(self) -> bytes:
        """The body, decoded from its transfer encoding."""
        ...

    def header(self, name: str) -> str | None:
        """A header's value, by lower-case name."""
        ...

    def raise_for_status(self) -> None:
        """Raise ``OverloadedError`` for 429, ``BackendStatusError`` for all else that is no 2xx; the body is quoted."""
        ...


class HttpStream(Protocol):
    """A reply whose body arrives bit by bit. Leaving the ``async with`` early closes the connection."""

    @property
    def status(self) -> int:
        """The HTTP status."""
        ...

    def header(self, name: str) -> str | None:
        """A header's value, by lower-case name."""
        ...

    def events(self) -> AsyncIterator[bytes]:
        """The ``data`` of each server-sent event, whole however the bytes were cut."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives."""
        ...

    async def raise_for_status(self) -> None:
        """As :meth:`HttpReply.raise_for_status`; of the body no more is read than is quoted."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class EventChunks(Protocol):
    """The chunks of one streamed reply."""

    def __aiter__(self) -> Self: ...

    async def __anext__(self) -> Any: ...

    async def aclose(self) -> None:
        """Give up what has not been read."""
        ...


class EventReader(Protocol):
    """Understands the events of one streamed reply; :meth:`HttpClient.events` shows them to it in order.

    Attributes:
        usage: Token counts, once an event had them.
    """

    usage: Usage | None

    def is_plain(self, block: bytes) -> bool:
        """Whether whole events, as they came, may be relayed without having been read. Must be quick.

        Not those with a usage, an error, ``[DONE]``, a carriage return, or anything that :meth:`relay` would change.
        """
        ...

    def read(self, data: bytes) -> Any:
        """The chunk in an event's data; None: there is nothing in it for the caller.

        Raises:
            RequestError: It says that the server failed, or is no chunk.
        """
        ...

    def relay(self, data: bytes) -> bytes | None:
        """An event's data as it should go out; else as :meth:`read`."""
        ...

    def end(self, *, is_done: bool) -> None:
        """The stream has ended, with ``[DONE]`` or without.

        Raises:
            BackendReplyError: The answer has not.
        """
        ...


class HttpClient(Protocol):
    """A pooled client for one base URL.

    It sends the request's deadline and trace context along, bounds everything, and raises
    ``UnreachableError``, ``BackendStatusError``, ``OverloadedError`` (status 429, with the server's ``Retry-After``),
    ``BackendReplyError`` or ``DeadlineError`` with the endpoint in it.
    Cancelling a call closes its connection, so that the server sees it at once.
    """

    async def post_json(
        self, path: str, value: Any, *, type: Any = Any, headers: Mapping[str, str] | None = None
    ) -> Any:
        """POST ``value`` as JSON (``bytes`` are JSON already) and decode the JSON reply as ``type``.

        A status of 400 or more raises.
        """
        ...

    async def get_json(self, path: str, *, type: Any = Any, headers: Mapping[str, str] | None = None) -> Any:
        """GET and decode a JSON reply as ``type``; a status of 400 or more raises."""
        ...

    async def request(
        self, method: str, path: str, body: bytes = b"", *, headers: Mapping[str, str] | None = None
    ) -> HttpReply:
        """Any request; the status is the caller's to check."""
        ...

    async def stream(
        self, method: str, path: str, body: bytes = b"", *, headers: Mapping[str, str] | None = None
    ) -> HttpStream:
        """Any request, returning when the reply's headers are there; the status is the caller's to check."""
        ...

    def events(
        self,
        method: str,
        path: str,
        body: bytes,
        *,
        reader: EventReader,
        check: Callable[[HttpStream], Awaitable[None]],
        headers: Mapping[str, str] | None = None,
    ) -> EventChunks:
        """A reply of server-sent events, as chunks; nothing is sent before the first is asked for.

        What a component's ``stream`` returns, it may return as it is: where nobody in between reads the chunks, the
        server's bytes are then relayed to the caller's connection untouched. Closing it closes the connection.

        Args:
            method: Upper case.
            path: Percent-encoded, put behind the base URL.
            body: Sent as it is.
            headers: Beyond those of the client.
            reader: Understands the events.
            check: Raises what is wrong with the reply's head.
        """
        ...

    async def probe(self, path: str) -> bool:
        """Whether the server answers a GET: what a component's ``ready`` returns. Asked at most once a second.

        Any answer will do, 404 included, but for 401 and 403 (then no request would be served either) and 5xx.

        Raises:
            RequestError: It does not; the message says why.
        """
        ...


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model on disk.

    Attributes:
        name: How it was asked for.
        files: Path of each file, by its role: ``gguf``, ``onnx``, ``tokenizer``, ``config``.
        digest: SHA-256 of what was fetched, for the build id and the collection's manifest.
        licence: SPDX identifier, where known.
    """

    name: str
    files: Mapping[str, Path]
    digest: str
    licence: str | None = None


class Models(Protocol):
    """Where models come from: the cache, or a source that fills it."""

    async def files(self, reference: str, *, kind: str) -> ModelFiles:
        """The files of a model: a catalogue name, ``hf:owner/name/file``, a URL or a path.

        Args:
            reference: Which model.
            kind: What it must be: ``gguf`` or ``onnx-embedder``.

        Raises:
            ModelError: It is unknown, cannot be fetched, or its bytes are not the pinned ones.
        """
        ...


class Counter(Protocol):
    """A number that only grows."""

    def add(self, amount: float = 1) -> None:
        """Grow by ``amount``."""
        ...


class Gauge(Protocol):
    """A number that goes up and down."""

    def set(self, value: float) -> None:
        """The value now."""
        ...


class Metrics(Protocol):
    """Metrics of this service; they appear on ``/metrics`` with the label ``service``."""

    def counter(self, name: str, description: str) -> Counter:
        """A counter called ``weft_<name>_total``."""
        ...

    def gauge(self, name: str, description: str) -> Gauge:
        """A gauge called ``weft_<name>``."""
        ...


class Lane(Protocol):
    """A bounded thread pool with a bounded queue, for work that would block the event loop."""

    async def run(self, work: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run ``work(*args)`` in a thread.

        Cancelling the caller frees it at once; work that has begun runs to its end unseen.

        Raises:
            OverloadedError: The queue is full.
        """
        ...


class Host(Protocol):
    """What a component is handed at start."""

    @property
    def service(self) -> str:
        """The name under which this component is configured."""
        ...

    @property
    def models(self) -> Models:
        """Model files."""
        ...

    @property
    def metrics(self) -> Metrics:
        """Metrics of this service."""
        ...

    @property
    def storage(self) -> Path:
        """A folder of this installation for data that must last; it exists. Share it by sub-folders."""
        ...

    @property
    def cpu_count(self) -> int:
        """Processors that this service may use."""
        ...

    def http(
        self,
        url: str,
        *,
        timeout_s: float = 30.0,
        headers: Mapping[str, str] | None = None,
        public_only: bool = False,
    ) -> HttpClient:
        """A client for a base URL.

        Args:
            url: ``http://``, ``https://`` or ``unix:``; a path in it is put before each request's.
            timeout_s: Until the reply's headers; a shorter deadline of the request wins.
            headers: Sent with each request.
            public_only: For a link that a user gave: private, loopback and link-local addresses are refused.
                Without it, addresses outside the operator's allowed networks are.
        """
        ...

    def lane(self, *, threads: int, queue: int, background: bool = False) -> Lane:
        """A thread pool of this component's own; it ends with the component.

        Args:
            threads: How many calls run at once.
            queue: How many more may wait.
            background: For native work that nobody waits for: its threads stand back where others have something to do.
                A thread that stands back while it holds Python's lock would hold up everybody.
        """
        ...

    async def isolated(
        self, work: Callable[..., R], /, *args: Any, timeout_s: float, max_memory_bytes: int
    ) -> R:
        """Run ``work`` (importable, with picklable arguments and result) in a process of its own that can be killed.

        It has no network there, and gets the processors when those who answer requests do not need them.

        Raises:
            ServiceError: It crashed, took longer than ``timeout_s``, or more than ``max_memory_bytes``.
            Exception: What ``work`` itself raised.
        """
        ...

    def spawn(self, work: Awaitable[object], *, name: str) -> None:
        """Run ``work`` beside the requests; it is cancelled when the component closes, its errors are logged."""
        ...

    def log(self, message: str, **fields: object) -> None:
        """One log line with the service's name."""
        ...

"""``http``: a JSON service in any language, mapped to a contract by config: paths in, paths out.

The contract that is named decides what a request has and what a response needs; ``request`` and ``response`` say where
it goes in the service's own JSON and where it comes from (see :mod:`weft.components.any.templates`). What the contract's
families promise beside their types is seen to here: :mod:`weft.components.any.promises`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, Final, Literal, NamedTuple, Protocol
from urllib.parse import urlencode, urlsplit, urlunsplit

import msgspec
from msgspec import Struct

from weft.components.any.promises import (
    ASKABLE,
    PROMISES,
    SEEN_TO,
    as_chat,
    as_chunk,
    new_id,
    summed,
)
from weft.components.any.templates import Compiler, Fault, Make, ReplyMismatchError
from weft.contracts import Contract
from weft.contracts.chat import ChatChunk, ChunkChoice, Delta
from weft.errors import BackendReplyError, BackendStatusError, InvalidRequestError, RequestError, ServiceError
from weft.host import Host, HttpClient
from weft.types import Usage

_REFUSED: Final = (400, 413, 422)
_QUOTED_BYTES: Final = 500
_GATEWAYS: Final = (502, 503, 504)
_JSON: Final = {"content-type": "application/json"}
_DONE: Final = b"[DONE]"

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class Events(Struct, forbid_unknown_fields=True):
    """How a chat streams: server-sent events, of which each has some of the text.

    Attributes:
        text: Path to the text in an event's JSON.
        finish_reason: Path to why the answer ended, in the event that says so; ``stop`` where none does.
        usage: Template of the token counts, in the event that has them.
        request: Merged into the request's template: what asks for a stream.
        url: Where it is asked for, if not at the same place.
    """

    text: str
    finish_reason: str | None = None
    usage: dict[str, Any] | None = None
    request: dict[str, Any] = {}
    url: str = ""


class ChatReply(Struct):
    """What a chat's response may be instead: one answer's text, for a foreign service rarely has more than one."""

    text: str
    finish_reason: str | None = None
    id: str = ""
    model: str = ""
    created: int = 0
    usage: Usage | None = None


class ChatEvent(Struct):
    """What one event of a stream may have."""

    text: str = ""
    finish_reason: str | None = None
    usage: Usage | None = None


class StreamMapping(Protocol):
    """What the events, or messages, of a stream have."""

    text: str
    finish_reason: str | None
    usage: dict[str, Any] | None
    request: dict[str, Any]


class CompiledMapping(NamedTuple):
    """A mapping, compiled."""

    request: Make
    response: Make
    streamed_request: Make
    event: Make
    faults: list[Fault]
    reads: set[str]

    def chat_event(self, value: Any, request: Any) -> ChatEvent:
        """What is in one event of a stream.

        Raises:
            ReplyMismatchError, msgspec.ValidationError: It is not as the mapping says.
        """
        return msgspec.convert(self.event(value, request), ChatEvent)


class Http:
    """Maps a JSON service in any language to a contract: paths in, paths out.

    Args:
        contract: What it fulfils: ``reranker``, ``embedding``, ``chat``, ... any contract with one operation.
        url: The address that is asked.
        request: What is sent: an object whose values are paths into the contract's request (``documents.*.text``).
        response: The contract's response, field by field: paths into the service's reply.
        method: ``GET`` sends the request's fields as the query.
        headers: Sent with each request; a value may be a secret.
        api_key: Sent as a bearer token.
        timeout_s: Until the reply; of a stream, until it begins and the longest silence within it.
        health: Path on the same server whose GET says that it is well; None: any answer to a GET of / will do, unless it
            is that of a proxy which does not reach it (502 to 504).
        stream: For ``chat``, if the service streams.
    """

    def __init__(
        self,
        contract: Contract,
        url: str,
        request: dict[str, Any],
        response: dict[str, Any],
        *,
        method: Literal["POST", "PUT", "GET"] = "POST",
        headers: dict[str, str] | None = None,
        api_key: str | None = None,
        timeout_s: float = 30.0,
        health: str | None = None,
        stream: Events | None = None,
    ) -> None:
        mapping = compile_mapping(contract, request, response, stream)
        if mapping.faults:
            raise ValueError("; ".join(fault.message for fault in mapping.faults))
        self._contract, self._mapping, self._events = contract, mapping, stream
        self._operation = contract.primary
        self._method, self._timeout_s = method, timeout_s
        self._url, self._path = _address(url)
        self._stream_url, self._stream_path = _address(stream.url if stream and stream.url else url)
        self._health = health
        self._headers = dict(headers or {})
        if api_key:
            self._headers["authorization"] = f"Bearer {api_key}"
        self._read = msgspec.json.Decoder(self._operation.response).decode
        self._client: HttpClient | None = None
        self._stream_client: HttpClient | None = None
        self._server: HttpClient | None = None

    @classmethod
    def faults(
        cls,
        contract: Contract,
        *,
        request: dict[str, Any],
        response: dict[str, Any],
        method: str = "POST",
        stream: StreamMapping | None = None,
        **_others: Any,
    ) -> Iterator[Fault]:
        """What is wrong with the mapping, as far as the contract's side of it says."""
        extra = [
            o.name for o in contract.operations.values() if o is not contract.primary and o.default is None
        ]
        if extra or "invoke" not in contract.operations:
            names = ", ".join(contract.operations)
            message = f"'{contract.name}' has several operations ({names}); one address can answer one only"
            yield Fault(
                ("contract",), message, "write a component for it, or place a service that speaks its routes"
            )
            return
        if method == "GET" and "$each" in request:
            yield Fault(("request", "$each"), "a query is made of fields, and this is a list", "method: POST")
        yield from compile_mapping(contract, request, response, stream).faults

    @classmethod
    def ignores(
        cls,
        contract: Contract,
        *,
        request: dict[str, Any],
        response: dict[str, Any],
        stream: StreamMapping | None = None,
        **_others: Any,
    ) -> set[str]:
        """The fields of a request that the mapping does not read: a caller who sets one is told."""
        return (
            set(contract.primary.request.__struct_fields__)
            - compile_mapping(contract, request, response, stream).reads
        )

    async def start(self, host: Host) -> None:
        """Make the clients; nothing is contacted."""
        self._client = host.http(self._url, timeout_s=self._timeout_s, headers=self._headers)
        self._stream_client = host.http(self._stream_url, timeout_s=self._timeout_s, headers=self._headers)
        self._server = host.http(_server(self._url), timeout_s=self._timeout_s, headers=self._headers)

    async def ready(self) -> bool:
        """Whether the service answers."""
        try:
            return await _started(self._server).probe(self._health or "/")
        except BackendStatusError as error:
            # Nothing need be at /, not even for a GET: whatever the service says of it, it runs.
            if self._health is not None or error.backend_status in _GATEWAYS:
                raise
            return True

    async def invoke(self, request: Any) -> Any:
        """Ask the service.

        Raises:
            InvalidRequestError: It refused the request (400, 413, 422).
            OverloadedError: It is busy (429), with its ``Retry-After``.
            BackendStatusError: It answered any other status; the start of the body is quoted.
            BackendReplyError: Its reply is not JSON, or not as the mapping says.
        """
        if (check := ASKABLE.get(self._contract.name)) is not None:
            check(request)
        client, body = _started(self._client), self._mapping.request(request, request)
        try:
            if self._method == "POST":
                reply = await client.post_json(self._path, body)
            else:
                reply = await self._other(client, body)
        except BackendStatusError as error:
            raise _refusal(error) from error
        try:
            return as_response(self._contract, self._mapping.response(reply, request), request, self._read)
        except (ReplyMismatchError, msgspec.MsgspecError, ValueError) as error:
            raise BackendReplyError(
                f"the reply does not make a {self._operation.response.__name__}: {error}{_has(reply)}",
                endpoint=self._url,
            ) from error

    async def stream(self, request: Any) -> AsyncIterator[Any]:
        """A chat's answer in chunks; closing it closes the connection. One that does not stream is one chunk.

        Raises: as :meth:`invoke`.
        """
        if self._events is None:
            yield as_chunk(await self.invoke(request))
            return
        body = _encode(self._mapping.streamed_request(request, request))
        reply = await _started(self._stream_client).stream("POST", self._stream_path, body, headers=_JSON)
        usage: Usage | None = None
        name, finish = new_id(), "stop"
        async with reply:
            try:
                await reply.raise_for_status()
            except BackendStatusError as error:
                raise _refusal(error) from error
            kind = reply.header("content-type") or "nothing said"
            if not kind.lower().startswith("text/event-stream"):
                raise BackendReplyError(
                    f"the reply is no event stream, but {kind}", endpoint=self._stream_url
                )
            async for data in reply.events():
                if data == _DONE:
                    break
                if not data:
                    continue
                event = self._event(data, request)
                usage, finish = event.usage or usage, event.finish_reason or finish
                if event.text:
                    yield ChatChunk(name, "", [ChunkChoice(0, Delta(content=event.text))])
        yield ChatChunk(name, "", [ChunkChoice(0, Delta(), finish)], usage=usage)

    def _event(self, data: bytes, request: Any) -> ChatEvent:
        """What is in one event."""
        try:
            value = _decode(data)
            event = self._mapping.chat_event(value, request)
        except (ReplyMismatchError, msgspec.MsgspecError) as error:
            quoted = data[:_QUOTED_BYTES].decode(errors="replace")
            raise BackendReplyError(
                f"an event is not as the mapping says: {error}: {quoted}", endpoint=self._stream_url
            ) from error
        if isinstance(value, dict) and value.get("error"):
            words = _encode(value["error"])[:_QUOTED_BYTES].decode(errors="replace")
            raise ServiceError(f"the service failed in mid-answer: {words}", endpoint=self._stream_url)
        if event.usage is not None:
            summed(event.usage)
        return event

    async def _other(self, client: HttpClient, body: Mapping[str, Any]) -> Any:
        if self._method == "GET":
            query = urlencode({name: _in_query(value) for name, value in body.items()}, doseq=True)
            return await client.get_json(f"{self._path}{'&' if '?' in self._path else '?'}{query}")
        reply = await client.request(self._method, self._path, _encode(body), headers=_JSON)
        reply.raise_for_status()
        try:
            return _decode(reply.body)
        except (ValueError, RecursionError) as error:
            quoted = reply.body[:_QUOTED_BYTES].decode(errors="replace")
            raise BackendReplyError(f"the reply is not JSON: {quoted}", endpoint=self._url) from error


def as_response(contract: Contract, found: Any, request: Any, read: Callable[[bytes], Any]) -> Any:
    """The contract's response of what a template found, checked, with what its family promises beside its types.

    Raises:
        ReplyMismatchError, msgspec.MsgspecError, ValueError: It is none.
    """
    if contract.name == "chat" and "choices" not in found:
        found = as_chat(found)
    # Through JSON: that checks every type, and keeps vectors encoded as they travel.
    response = read(_encode(found))
    keep = PROMISES.get(contract.name)
    return keep(response, request) if keep is not None else response


def compile_mapping(
    contract: Contract, request: Mapping[str, Any], response: Mapping[str, Any], stream: StreamMapping | None
) -> CompiledMapping:
    """Templates as functions, and what is wrong with them."""
    operation = contract.primary
    outgoing = Compiler(operation.request, reads_request=True)
    incoming = Compiler(operation.request, reads_request=False)
    make_request = outgoing.template(request, ("request",))
    is_short = contract.name == "chat" and "choices" not in response
    target = ChatReply if is_short else operation.response
    make_response = incoming.template(response, ("response",), target=target)
    streamed = event = make_request
    if stream is not None:
        streamed = outgoing.template({**request, **stream.request}, ("stream", "request"))
        wanted = {"text": stream.text, "finish_reason": stream.finish_reason, "usage": stream.usage}
        told = {name: template for name, template in wanted.items() if template is not None}
        event = incoming.template(told, ("stream",), target=ChatEvent)
        if operation.chunk is not ChatChunk:
            message = f"'stream' maps a chat's stream, and this is of the contract '{contract.name}'"
            incoming.faults.append(Fault(("stream",), message, "leave it out"))
    seen = dict.fromkeys([*outgoing.faults, *incoming.faults])
    reads = outgoing.reads | incoming.reads | SEEN_TO.get(contract.name, set())
    return CompiledMapping(make_request, make_response, streamed, event, list(seen), reads)


def _refusal(error: BackendStatusError) -> RequestError:
    if error.backend_status not in _REFUSED:
        return error
    return InvalidRequestError(f"the service refused the request: {error.message} (at {error.endpoint})")


def _has(reply: Any) -> str:
    """What there is instead, as the end of an error."""
    if isinstance(reply, dict):
        return f"; the reply has: {', '.join(map(str, list(reply)[:20])) or 'nothing'}"
    return f"; the reply is {'a list' if isinstance(reply, list) else repr(reply)[:100]}"


def _in_query(value: Any) -> Any:
    return ("false", "true")[value] if isinstance(value, bool) else value


def _address(url: str) -> tuple[str, str]:
    """An address without its last slash and query, and these, which each request adds again."""
    if url.startswith("unix:"):
        return url, ""
    parts = urlsplit(url)
    path = "/" if parts.path.endswith("/") or not parts.path else ""
    query = f"?{parts.query}" if parts.query else ""
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", "")), path + query


def _server(url: str) -> str:
    """The address without its path; of a Unix socket without its prefix."""
    if url.startswith("unix:"):
        return "unix:" + url[5:].partition(":")[0]
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc, "", "", ""))


def _started(client: HttpClient | None) -> HttpClient:
    if client is None:
        raise ServiceError("it was not started", component="http")
    return client

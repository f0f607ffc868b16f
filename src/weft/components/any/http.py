"""``http``: a JSON service in any language, mapped to a contract by config: paths in, paths out.

The contract that is named decides what a request has and what a response needs; ``request`` and ``response`` say where
it goes in the service's own JSON and where it comes from (see :mod:`weft.components.any.templates`). What the contract's
families promise beside their types is seen to here: :data:`_PROMISES`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import urlencode, urlsplit, urlunsplit

import msgspec
from msgspec import Struct

from weft.components.any.paths import MISSING
from weft.components.any.templates import Compiler, Fault, Make, ReplyMismatchError
from weft.contracts import Contract
from weft.contracts.chat import ChatChunk, ChatResponse, ChunkChoice, Delta
from weft.contracts.embedding import EmbeddingRequest, EmbeddingResponse
from weft.contracts.reranker import RerankRequest, RerankResponse
from weft.errors import BackendReplyError, BackendStatusError, InvalidRequestError, RequestError, ServiceError
from weft.host import Host, HttpClient
from weft.types import Usage, floats

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
        usage: Template of the token counts, in the event that has them.
        request: Merged into the request's template: what asks for a stream.
        url: Where it is asked for, if not at the same place.
    """

    text: str
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


class _Mapping(NamedTuple):
    request: Make
    response: Make
    streamed_request: Make
    text: Make
    usage: Make
    faults: list[Fault]
    reads: set[str]


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
        mapping = _compile(contract, request, response, stream)
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
        stream: Events | None = None,
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
        yield from _compile(contract, request, response, stream).faults

    @classmethod
    def ignores(
        cls,
        contract: Contract,
        *,
        request: dict[str, Any],
        response: dict[str, Any],
        stream: Events | None = None,
        **_others: Any,
    ) -> set[str]:
        """The fields of a request that the mapping does not read: a caller who sets one is told."""
        return (
            set(contract.primary.request.__struct_fields__)
            - _compile(contract, request, response, stream).reads
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
        client, body = _started(self._client), self._mapping.request(request, request)
        try:
            if self._method == "POST":
                reply = await client.post_json(self._path, body)
            else:
                reply = await self._other(client, body)
        except BackendStatusError as error:
            raise _refusal(error) from error
        try:
            return self._response(reply, request)
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
            yield _whole(await self.invoke(request))
            return
        body = _encode(self._mapping.streamed_request(request, request))
        reply = await _started(self._stream_client).stream("POST", self._stream_path, body, headers=_JSON)
        usage: Usage | None = None
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
                text, counted = self._event(data, request)
                usage = counted or usage
                if text:
                    yield ChatChunk("", "", [ChunkChoice(0, Delta(content=text))])
        yield ChatChunk("", "", [ChunkChoice(0, Delta(), "stop")], usage=usage)

    def _event(self, data: bytes, request: Any) -> tuple[str, Usage | None]:
        """The text and the counts in one event."""
        try:
            value = _decode(data)
            text = self._mapping.text(value, request)
            counted = self._mapping.usage(value, request)
            usage = msgspec.convert(counted, Usage) if counted else None
            found = "" if text is MISSING else msgspec.convert(text, str)
        except (ReplyMismatchError, msgspec.MsgspecError) as error:
            quoted = data[:_QUOTED_BYTES].decode(errors="replace")
            raise BackendReplyError(
                f"an event is not as the mapping says: {error}: {quoted}", endpoint=self._stream_url
            ) from error
        if isinstance(value, dict) and value.get("error"):
            words = _encode(value["error"])[:_QUOTED_BYTES].decode(errors="replace")
            raise ServiceError(f"the service failed in mid-answer: {words}", endpoint=self._stream_url)
        return found, _summed(usage) if usage is not None else None

    async def _other(self, client: HttpClient, body: Mapping[str, Any]) -> Any:
        if self._method == "GET":
            query = urlencode({name: _in_query(value) for name, value in body.items()}, doseq=True)
            return await client.get_json(f"{self._path}{'&' if '?' in self._path else '?'}{query}")
        reply = await client.request(self._method, self._path, _encode(body), headers=_JSON)
        reply.raise_for_status()
        try:
            return _decode(reply.body)
        except msgspec.DecodeError as error:
            quoted = reply.body[:_QUOTED_BYTES].decode(errors="replace")
            raise BackendReplyError(f"the reply is not JSON: {quoted}", endpoint=self._url) from error

    def _response(self, reply: Any, request: Any) -> Any:
        found = self._mapping.response(reply, request)
        if self._contract.name == "chat" and "choices" not in found:
            found = _chat(found)
        # Through JSON: that checks every type, and keeps vectors encoded as they travel.
        response = self._read(_encode(found))
        keep = _PROMISES.get(self._contract.name)
        return keep(response, request) if keep is not None else response


def _compile(
    contract: Contract, request: Mapping[str, Any], response: Mapping[str, Any], stream: Events | None
) -> _Mapping:
    operation = contract.primary
    outgoing = Compiler(operation.request, reads_request=True)
    incoming = Compiler(operation.request, reads_request=False)
    make_request = outgoing.template(request, ("request",))
    is_short = contract.name == "chat" and "choices" not in response
    target = ChatReply if is_short else operation.response
    make_response = incoming.template(response, ("response",), target=target)
    streamed = text = usage = make_request
    if stream is not None:
        streamed = outgoing.template({**request, **stream.request}, ("stream", "request"))
        text = incoming.template(stream.text, ("stream", "text"))
        usage = incoming.template(stream.usage or {}, ("stream", "usage"), target=Usage)
        if operation.chunk is not ChatChunk:
            message = f"'stream' maps a chat's stream, and this is of the contract '{contract.name}'"
            incoming.faults.append(Fault(("stream",), message, "leave it out"))
    seen = dict.fromkeys([*outgoing.faults, *incoming.faults])
    reads = outgoing.reads | incoming.reads | _SEEN_TO.get(contract.name, set())
    return _Mapping(make_request, make_response, streamed, text, usage, list(seen), reads)


def _chat(found: Mapping[str, Any]) -> dict[str, Any]:
    if "text" not in found:
        raise ReplyMismatchError("there is no text where the mapping says")
    rest = dict(found)
    message = {"role": "assistant", "content": rest.pop("text")}
    choice = {"index": 0, "message": message, "finish_reason": rest.pop("finish_reason", "stop")}
    return {"id": "", "model": "", **rest, "choices": [choice]}


def _whole(response: Any) -> ChatChunk:
    """A whole answer as the only chunk of a stream."""
    choices = [
        ChunkChoice(
            choice.index,
            Delta(
                role="assistant",
                content=choice.message.text() or None,
                reasoning_content=choice.message.reasoning_content,
                tool_calls=choice.message.tool_calls,
            ),
            choice.finish_reason,
        )
        for choice in response.choices
    ]
    return ChatChunk(response.id, response.model, choices, response.created, response.usage)


def _usage(counted: Any) -> Usage:
    return _summed(msgspec.convert(counted, Usage))


def _summed(usage: Usage) -> Usage:
    """Counts whose total the service did not say."""
    if not usage.total_tokens:
        usage.total_tokens = usage.prompt_tokens + usage.completion_tokens
    return usage


def _best_first(response: RerankResponse, request: RerankRequest) -> RerankResponse:
    """The contract's order and number, whatever those of the service."""
    if all(document.score is not None for document in response.documents):
        response.documents.sort(key=lambda document: document.score or 0.0, reverse=True)
    if request.top_n is not None:
        del response.documents[request.top_n :]
    return response


def _one_each(response: EmbeddingResponse, request: EmbeddingRequest) -> EmbeddingResponse:
    """A vector for each text, all alike."""
    if len(response.embeddings) != len(request.texts):
        raise ReplyMismatchError(
            f"there are {len(response.embeddings)} vectors for {len(request.texts)} texts"
        )
    lengths = {len(floats(raw)) for raw in response.embeddings}
    if len(lengths) > 1 or 0 in lengths:
        raise ReplyMismatchError(f"its vectors have {', '.join(map(str, sorted(lengths)))} dimensions")
    if response.usage is not None:
        _summed(response.usage)
    return response


def _counted(response: ChatResponse, _request: Any) -> ChatResponse:
    if response.usage is not None:
        _summed(response.usage)
    return response


_PROMISES: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "chat": _counted,
    "embedding": _one_each,
    "reranker": _best_first,
}
"""What the response of a contract must be beside its type."""

_SEEN_TO: Final = {"reranker": {"top_n"}}
"""Fields of requests that these promises honour, whether the service does or not."""


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

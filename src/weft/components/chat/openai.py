"""``openai-chat``: any server that speaks OpenAI's chat completions.

What servers send differs: see :mod:`weft.components.chat.openai_wire`, which reads all of it. What they must be asked
differs in one thing, the name of the bound on the answer's length.
"""

from __future__ import annotations

from copy import copy
from typing import ClassVar, Final, Literal
from urllib.parse import urlsplit

import msgspec

from weft.components.chat.openai_wire import Answer, AnswerReader, read_answer, refusal
from weft.contracts.chat import ChatDescription, ChatRequest, ChatResponse, StreamOptions
from weft.errors import BackendReplyError, BackendStatusError, ServiceError
from weft.host import EventChunks, Host, HttpClient, HttpStream
from weft.types import Empty, Message

_PATH: Final = "/chat/completions"
_FIELDS: Final = ChatRequest.__struct_fields__
_QUOTED_BYTES: Final = 500
_JSON: Final = {"content-type": "application/json"}

_encode = msgspec.json.Encoder().encode

LimitName = Literal["max_tokens", "max_completion_tokens"]


class OpenAIChat:
    """Asks a server that speaks OpenAI's API: vLLM, SGLang, TGI, Ollama, llama-server, OpenAI.

    Args:
        url: Its base address, ``/v1`` included.
        model: The model's name there.
        api_key: Sent as a bearer token.
        timeout_s: Until the reply begins, and the longest silence within it.
        parameters: The model's number of weights, for components that ask; None is unknown, taken for large.
        context_window: The model's window in tokens; None is unknown.
        limit_name: What the server calls the bound on the answer's length; None is ``max_completion_tokens`` for OpenAI
            and Azure, whose reasoning models refuse the older ``max_tokens``, which all others know.
    """

    relays: ClassVar[bool] = True
    unsupported: ClassVar[frozenset[str]] = frozenset({"metadata"})
    window: ClassVar[str] = "context_window"

    def __init__(
        self,
        url: str,
        *,
        model: str,
        api_key: str | None = None,
        timeout_s: float = 60.0,
        parameters: int | None = None,
        context_window: int | None = None,
        limit_name: LimitName | None = None,
    ) -> None:
        self._url, self._model, self._timeout_s = url.rstrip("/"), model, timeout_s
        self._headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self._description = ChatDescription(model, parameters, context_window)
        self._limit_name: LimitName = limit_name or _limit_name(url)
        self._client: HttpClient | None = None

    async def start(self, host: Host) -> None:
        """Make the client; nothing is contacted."""
        self._client = host.http(self._url, timeout_s=self._timeout_s, headers=self._headers)

    async def ready(self) -> bool:
        """Whether the server answers, and takes the key."""
        return await self._http().probe("/models")

    async def describe(self, request: Empty) -> ChatDescription:
        """What the config says of the model."""
        return self._description

    async def invoke(self, request: ChatRequest) -> ChatResponse:
        """The whole answer.

        Raises:
            InvalidRequestError: The server refused the request (400, 413, 422); ``ContextWindowError`` if it is too long.
            OverloadedError: It is busy (429), with its ``Retry-After``.
            BackendStatusError: It answered any other status; the start of the body is quoted.
            BackendReplyError: What it sent is no answer.
        """
        try:
            answer = await self._http().post_json(_PATH, self._body(request, stream=False), type=Answer)
        except BackendStatusError as error:
            raise refusal(error) from error
        return read_answer(answer, self._url + _PATH)

    def stream(self, request: ChatRequest) -> EventChunks:
        """The answer in chunks; closing it closes the connection, so that the server stops.

        Raises: as :meth:`invoke`, and
            BackendReplyError: The stream ended before the answer did.
            ServiceError: The server failed in mid-stream.
        """
        return self._http().events(
            "POST",
            _PATH,
            self._body(request, stream=True),
            reader=AnswerReader(self._url + _PATH, is_single=(request.n or 1) == 1),
            check=self._check,
            headers=_JSON,
        )

    async def _check(self, reply: HttpStream) -> None:
        try:
            await reply.raise_for_status()
        except BackendStatusError as error:
            raise refusal(error) from error
        kind = reply.header("content-type") or "nothing said"
        if not kind.lower().startswith("text/event-stream"):
            text = b""
            async for block in reply.chunks():
                text += block
                if len(text) >= _QUOTED_BYTES:
                    break
            raise BackendReplyError(
                f"the reply is no event stream ({kind}): {text[:_QUOTED_BYTES].decode(errors='replace')}",
                endpoint=self._url + _PATH,
            )

    def _body(self, request: ChatRequest, *, stream: bool) -> bytes:
        """The request as the server reads it: what was set is sent, whatever its value; what was not set is not."""
        # A megaservice's request may have parameters of its own beside the contract's fields.
        is_exact = type(request) is ChatRequest
        body = (
            copy(request) if is_exact else ChatRequest(**{name: getattr(request, name) for name in _FIELDS})
        )
        body.model, body.stream, body.metadata = self._model, stream, None
        body.stream_options = StreamOptions(include_usage=True) if stream else None
        limit = request.max_output_tokens()
        body.max_tokens = limit if self._limit_name == "max_tokens" else None
        body.max_completion_tokens = limit if self._limit_name == "max_completion_tokens" else None
        body.messages = [_plain(message) for message in body.messages]
        return _encode(body)

    def _http(self) -> HttpClient:
        if self._client is None:
            raise ServiceError("it was not started", component="openai-chat")
        return self._client


def _plain(message: Message) -> Message:
    """Without citations, which are ours: OpenAI refuses fields of a message that it does not know."""
    return msgspec.structs.replace(message, annotations=None) if message.annotations else message


def _limit_name(url: str) -> LimitName:
    host = urlsplit(url).hostname or ""
    is_openai = host == "api.openai.com" or host.endswith((".openai.azure.com", ".api.openai.com"))
    return "max_completion_tokens" if is_openai else "max_tokens"

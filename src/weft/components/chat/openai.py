"""``openai-chat``: any server that speaks OpenAI's chat completions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec

from weft.contracts.chat import ChatChunk, ChatDescription, ChatRequest, ChatResponse
from weft.errors import BackendReplyError, BackendStatusError, ServiceError
from weft.host import Host, HttpClient
from weft.types import Empty

_PATH = "/chat/completions"
_QUOTED_BYTES = 500
_decode = msgspec.json.Decoder(ChatChunk).decode


class OpenAIChat:
    """Asks a server that speaks OpenAI's API: vLLM, SGLang, TGI, Ollama, llama-server, OpenAI.

    Args:
        url: Its base address, ``/v1`` included.
        model: The model's name there.
        api_key: Sent as a bearer token.
        timeout_s: Until the reply begins.
        parameters: The model's number of weights, for components that ask; None is unknown, taken for large.
        context_window: The model's window in tokens; None is unknown.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str,
        api_key: str | None = None,
        timeout_s: float = 60.0,
        parameters: int | None = None,
        context_window: int | None = None,
    ) -> None:
        self._url, self._model, self._timeout_s = url, model, timeout_s
        self._headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self._description = ChatDescription(model, parameters, context_window)
        self._client: HttpClient | None = None

    async def start(self, host: Host) -> None:
        """Make the client; nothing is contacted."""
        self._client = host.http(self._url, timeout_s=self._timeout_s, headers=self._headers)

    async def describe(self, request: Empty) -> ChatDescription:
        """What the config says of the model."""
        return self._description

    async def invoke(self, request: ChatRequest) -> ChatResponse:
        """The whole answer; a status of 400 or more is an error with the body's start in it."""
        response: ChatResponse = await self._http().post_json(
            _PATH, self._body(request, stream=False), type=ChatResponse
        )
        return response

    async def stream(self, request: ChatRequest) -> AsyncIterator[ChatChunk]:
        """The answer in chunks; closing it closes the connection, so that the server stops.

        Raises:
            BackendReplyError: The stream ended before the answer did.
            ServiceError: The server failed in mid-stream.
        """
        body = msgspec.json.encode(self._body(request, stream=True))
        is_done = False
        reply = await self._http().stream("POST", _PATH, body, headers={"content-type": "application/json"})
        async with reply:
            if reply.status >= 400:
                text = b"".join([block async for block in reply.chunks()])[:_QUOTED_BYTES]
                raise BackendStatusError(
                    f"the server answered {reply.status}: {text.decode(errors='replace')}",
                    backend_status=reply.status,
                    endpoint=self._url,
                )
            async for data in reply.events():
                if data == b"[DONE]":
                    is_done = True
                    break
                chunk = self._chunk(data)
                is_done = is_done or any(choice.finish_reason for choice in chunk.choices)
                yield chunk
        if not is_done:
            raise BackendReplyError(
                "the answer was cut short: the stream ended without its end", endpoint=self._url
            )

    def _chunk(self, data: bytes) -> ChatChunk:
        if data.startswith(b'{"error"'):
            raise ServiceError(
                f"the server failed in mid-answer: {data[:_QUOTED_BYTES].decode(errors='replace')}"
            )
        try:
            return _decode(data)
        except msgspec.DecodeError as error:
            raise BackendReplyError(
                f"a chunk of the answer is no chat chunk: {error}", endpoint=self._url
            ) from error

    def _body(self, request: ChatRequest, *, stream: bool) -> dict[str, Any]:
        body: dict[str, Any] = msgspec.to_builtins(request)
        body |= {"model": self._model, "stream": stream}
        body.pop("stream_options", None)
        if stream:
            body["stream_options"] = {"include_usage": True}
        return {name: value for name, value in body.items() if value is not None}

    def _http(self) -> HttpClient:
        if self._client is None:
            raise ServiceError("it was not started", component="openai-chat")
        return self._client

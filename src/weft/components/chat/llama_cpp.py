"""``llama-cpp``: a language model in this process, by llama.cpp.

Each request occupies one of the engine's slots; the engine batches the slots' tokens. The engine's call blocks, so it
runs in a thread, one a slot, and its callback hands each token to the event loop. The callback's return value tells the
engine to stop: that is how cancelling frees the slot.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import Any, ClassVar

import msgspec

from weft.contracts.chat import ChatChunk, ChatDescription, ChatRequest, ChatResponse, collect
from weft.errors import ContextWindowError, InvalidRequestError, MissingExtraError, ModelError, ServiceError
from weft.host import Host, Lane
from weft.types import Empty, Message, Usage

_END = object()


class LlamaCpp:
    """Runs a GGUF language model in process with llama.cpp.

    Args:
        model: A catalogue name, the path of a GGUF file, or ``hf:owner/name/file.gguf``.
        context: Tokens of prompt and answer together, for one request.
        slots: Requests that are worked on at the same time; each keeps a context of its own in memory.
        queue: Requests that may wait for a slot; one more is refused with 429.
        threads: Processor threads; None is all that the service may use.
        max_tokens: Bound on an answer's length where the request sets none.
    """

    exclusive: ClassVar[bool] = True
    unsupported: ClassVar[frozenset[str]] = frozenset(
        {"logprobs", "top_logprobs", "reasoning_effort", "parallel_tool_calls"}
    )

    def __init__(
        self,
        model: str = "smollm2-135m-instruct",
        *,
        context: int = 2048,
        slots: int = 2,
        queue: int = 32,
        threads: int | None = None,
        max_tokens: int = 512,
    ) -> None:
        self._model, self._context, self._slots, self._queue = model, context, slots, queue
        self._threads, self._max_tokens = threads, max_tokens
        self._engine: Any = None
        self._lane: Lane | None = None
        self._is_warm = False
        self._parameters: int | None = None

    async def start(self, host: Host) -> None:
        """Fetch the model if it is not there, and load it."""
        try:
            import xllamacpp
        except ImportError as error:
            raise MissingExtraError("llama-cpp", package="xllamacpp", extra="local") from error
        files = await host.models.files(self._model, kind="gguf")
        self._lane = host.lane(threads=self._slots, queue=self._queue)
        params = xllamacpp.CommonParams()
        params.model.path = str(files.files["gguf"])
        params.n_parallel = self._slots
        params.n_ctx = self._context * self._slots
        params.cpuparams.n_threads = self._threads or host.cpu_count
        params.warmup = False
        params.verbosity = -1
        # The engine listens on a loopback port of its own; a key that nobody knows keeps everyone out of it.
        params.api_keys = [secrets.token_hex(32)]
        try:
            self._engine = await self._lane.run(xllamacpp.Server, params)
        except RuntimeError as error:
            raise ModelError(f"model '{self._model}' could not be loaded: {error}") from error
        self._parameters = _parameters(files.name, files.files["gguf"].stat().st_size)

    async def aclose(self) -> None:
        """Unload the model."""
        engine, self._engine = self._engine, None
        if engine is not None and self._lane is not None:
            await self._lane.run(_unload, [engine])

    async def ready(self) -> bool:
        """Whether the model answers: it has once generated a token."""
        if self._engine is None:
            return False
        if not self._is_warm:
            async for _ in self.stream(ChatRequest([Message("user", "Hi")], max_tokens=1)):
                pass
            self._is_warm = True
        return True

    async def describe(self, request: Empty) -> ChatDescription:
        """Name, size and window of the model."""
        return ChatDescription(self._model, self._parameters, self._context, local=True)

    async def invoke(self, request: ChatRequest) -> ChatResponse:
        """The whole answer; ``n`` answers are made one after the other. Cancelling frees the slot."""
        return collect([chunk async for chunk in self.stream(request)])

    async def stream(self, request: ChatRequest) -> AsyncIterator[ChatChunk]:
        """The answer as the model makes it; the last chunk has the usage. Closing it frees the slot."""
        body = _body(request, self._max_tokens)
        total = Usage()
        last: ChatChunk | None = None
        for index in range(request.n or 1):
            if index and request.seed is not None:
                body["seed"] = request.seed + index  # the same seed would give the same answer again
            async for chunk in self._tokens(body, request):
                if chunk.usage is not None:
                    total += chunk.usage
                if not chunk.choices:
                    continue
                for choice in chunk.choices:
                    choice.index = index
                last = ChatChunk(last.id if last else chunk.id, self._model, chunk.choices, chunk.created)
                yield last
        if last is not None:
            yield ChatChunk(last.id, self._model, [], last.created, total)

    async def _tokens(self, body: dict[str, Any], request: ChatRequest) -> AsyncIterator[ChatChunk]:
        """One answer of the engine, chunk by chunk."""
        engine, lane = self._engine, self._lane
        if engine is None or lane is None:
            raise ServiceError("the model is not loaded", component="llama-cpp")
        loop = asyncio.get_running_loop()
        arrived: asyncio.Queue[Any] = asyncio.Queue()
        is_stopped = False

        def on_chunk(chunk: Any) -> bool:
            if not is_stopped:
                loop.call_soon_threadsafe(arrived.put_nowait, chunk)
            return is_stopped

        def generate() -> None:
            if not is_stopped:
                engine.handle_chat_completions(body, on_chunk)

        async def work() -> None:
            try:
                await lane.run(generate)
            except Exception as error:  # noqa: BLE001 - carried to the reader below, which raises it
                arrived.put_nowait(error)
            else:
                arrived.put_nowait(_END)

        task = loop.create_task(work())
        try:
            while (item := await arrived.get()) is not _END:
                if isinstance(item, Exception):
                    raise item
                yield _decode(item, request)
        finally:
            is_stopped = True
            task.cancel()
            await asyncio.wait([task])


def _unload(holder: list[Any]) -> None:
    """Drop the last reference where blocking is allowed: the engine joins its threads."""
    holder.clear()


def _body(request: ChatRequest, max_tokens: int) -> dict[str, Any]:
    body: dict[str, Any] = msgspec.to_builtins(request)
    for name in ("model", "n", "user", "metadata", "max_completion_tokens", "repetition_penalty"):
        body.pop(name, None)
    if not request.messages:
        raise InvalidRequestError("there are no messages", param="messages")
    body |= {"stream": True, "stream_options": {"include_usage": True}}
    bound = request.max_output_tokens()
    body["max_tokens"] = max_tokens if bound is None else bound
    if request.repetition_penalty is not None:
        body["repeat_penalty"] = request.repetition_penalty
    return body


def _decode(chunk: Any, request: ChatRequest) -> ChatChunk:
    """The engine's chunk, or its error, as ours."""
    if "error" in chunk:
        error = chunk["error"]
        message = str(error.get("message", error))
        if error.get("type") == "exceed_context_size_error":
            raise ContextWindowError(f"the prompt is too long for the model: {message}", param="messages")
        if error.get("code") == 400:
            raise InvalidRequestError(message, param="response_format" if request.response_format else None)
        raise ServiceError(f"the model failed: {message}", component="llama-cpp")
    return msgspec.convert(chunk, ChatChunk)


def _parameters(name: str, size_bytes: int) -> int:
    """Weights of the model: from its name where that says it (``135m``, ``4b``), else about a byte's half each."""
    for part in name.lower().replace("_", "-").replace(".", "-").split("-"):
        if part[-1:] in ("m", "b") and part[:-1].isdigit():
            return int(part[:-1]) * (1_000_000 if part.endswith("m") else 1_000_000_000)
    return size_bytes * 8 // 5  # five bits a weight is the middle of the usual quantisations

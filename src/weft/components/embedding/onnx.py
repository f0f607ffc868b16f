"""``onnx-embedder``: sentence embeddings in this process, by onnxruntime.

Requests that arrive while a batch runs wait together and go into the next one. Texts are sorted by length, so that
little of a batch is padding.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar, Final

from msgspec import Raw

from weft.components.embedding.remembered import Remembered
from weft.contracts.embedding import EmbeddingDescription, EmbeddingRequest, EmbeddingResponse
from weft.errors import InvalidRequestError, MissingExtraError, OverloadedError, ServiceError
from weft.host import Host, Lane
from weft.types import Empty, Usage, vector

MAX_TOKENS: Final = 256
"""What all-MiniLM-L6-v2 was trained on; of a longer text the rest is not looked at."""

ENGLISH: Final = frozenset({"all-minilm-l6-v2", "all-minilm-l6-v2-int8"})
"""Models of the catalogue that were trained on English alone."""

MAX_TEXTS: Final = 2048
"""Of one request, as OpenAI's API has it."""


class _Pending:
    """One request that waits for its vectors."""

    __slots__ = ("done", "encodings", "left", "vectors")

    def __init__(self, encodings: list[Any], done: asyncio.Future[None]) -> None:
        self.encodings, self.done = encodings, done
        self.vectors: list[Any] = [None] * len(encodings)
        self.left = len(encodings)


class OnnxEmbedder:
    """Turns texts into vectors with an ONNX model in process, batched across concurrent requests.

    Args:
        model: A catalogue name, or the path of a folder with ``model.onnx`` and ``tokenizer.json``.
        batch: Texts that are embedded at once.
        queue: Texts that may wait; more are refused with 429.
        threads: Processor threads; None is all that the service may use.
        languages: ISO 639-1 codes of those that the model was trained for; documents in others are refused when
            they are taken in. None: what is known of the model by its name, else any.
        remember: Of how many short texts (questions, sentences) the vectors are kept in memory, for each tenant its own.
    """

    exclusive: ClassVar[bool] = True
    unsupported: ClassVar[frozenset[str]] = frozenset({"dimensions"})

    def __init__(
        self,
        model: str = "all-minilm-l6-v2",
        *,
        batch: int = 32,
        queue: int = 8192,
        threads: int | None = None,
        languages: list[str] | None = None,
        remember: int = 4096,
    ) -> None:
        self._remembered = Remembered(remember)
        self._model, self._batch, self._queue, self._threads = model, batch, queue, threads
        self._languages = languages if languages is not None else ["en"] if model in ENGLISH else None
        self._digest: str | None = None
        self._waiting: list[tuple[_Pending, int]] = []
        self._wake: asyncio.Event | None = None
        self._lane: Lane | None = None
        self._session: Any = None
        self._tokenizer: Any = None

    async def start(self, host: Host) -> None:
        """Fetch the model if it is not there, and load it."""
        try:
            import onnxruntime
            import tokenizers
        except ImportError as error:
            raise MissingExtraError(
                "onnx-embedder", package=error.name or "onnxruntime", extra="local"
            ) from error
        files = await host.models.files(self._model, kind="onnx-embedder")
        self._digest = files.digest
        # Each request tokenises there; the queue of texts is what bounds them.
        self._lane = host.lane(threads=1, queue=self._queue)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads or host.cpu_count
        options.log_severity_level = 3
        path = str(files.files["onnx"])
        self._session = await self._lane.run(
            lambda: onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        )
        self._tokenizer = tokenizers.Tokenizer.from_file(str(files.files["tokenizer"]))
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._tokenizer.no_padding()
        self._wake = asyncio.Event()
        host.spawn(self._work(), name="embedder")

    async def ready(self) -> bool:
        """Whether the model is loaded."""
        return self._session is not None

    async def invoke(self, request: EmbeddingRequest) -> EmbeddingResponse:
        """One unit vector of 384 numbers for each text, in order. Cancelling takes the texts out of the queue.

        Raises:
            InvalidRequestError: No text, too many, or other dimensions than the model has.
            OverloadedError: The queue is full.
        """
        if not 1 <= len(request.texts) <= MAX_TEXTS:
            raise InvalidRequestError(f"1 to {MAX_TEXTS} texts can be embedded at once", param="input")
        lane, wake = self._lane, self._wake
        if lane is None or wake is None:
            raise ServiceError("the model is not loaded", component="onnx-embedder")
        if len(self._waiting) + len(request.texts) > self._queue:
            raise OverloadedError(f"{len(self._waiting)} texts are waiting to be embedded", retry_after_s=1)
        known = [self._remembered.get(text) for text in request.texts]
        new = [text for text, found in zip(request.texts, known, strict=True) if found is None]
        made: list[tuple[Raw, int]] = []
        if new:
            encodings = await lane.run(self._tokenizer.encode_batch_fast, new)
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            pending = _Pending(encodings, done)
            self._waiting += [(pending, index) for index in range(len(encodings))]
            wake.set()
            await done
            for text, encoding, numbers in zip(new, encodings, pending.vectors, strict=True):
                made.append((vector(numbers), len(encoding.ids)))
                self._remembered.put(text, *made[-1])
        rest = iter(made)
        both = [found if found is not None else next(rest) for found in known]
        tokens = sum(count for _, count in both)
        return EmbeddingResponse(
            [embedding for embedding, _ in both],
            self._model,
            Usage(prompt_tokens=tokens, total_tokens=tokens),
        )

    async def describe(self, request: Empty) -> EmbeddingDescription:
        """What is known about the model: it makes unit vectors, and looks at 256 tokens."""
        dimensions = None
        if self._session is not None:
            size = self._session.get_outputs()[0].shape[-1]
            dimensions = size if isinstance(size, int) else None
        return EmbeddingDescription(
            self._model,
            digest=self._digest,
            dimensions=dimensions,
            normalised=True,
            max_tokens=MAX_TOKENS,
            languages=self._languages,
        )

    async def _work(self) -> None:
        """Embed what waits, batch after batch."""
        assert self._wake is not None and self._lane is not None  # noqa: PT018 - start has set both
        while True:
            await self._wake.wait()
            self._wake.clear()
            while batch := self._next_batch():
                try:
                    vectors = await self._lane.run(self._embed, [p.encodings[i] for p, i in batch])
                except Exception as error:  # noqa: BLE001 - it is every waiting caller's error
                    for pending, _ in batch:
                        if not pending.done.done():
                            pending.done.set_exception(ServiceError(f"embedding failed: {error}"))
                    continue
                for (pending, index), numbers in zip(batch, vectors, strict=True):
                    pending.vectors[index] = numbers
                    pending.left -= 1
                    if not pending.left and not pending.done.done():
                        pending.done.set_result(None)

    def _next_batch(self) -> list[tuple[_Pending, int]]:
        """Texts of the oldest request, and others of about their length."""
        self._waiting = [entry for entry in self._waiting if not entry[0].done.done()]
        if not self._waiting:
            return []
        oldest = self._waiting[0]
        size = len(oldest[0].encodings[oldest[1]].ids)
        near = sorted(self._waiting[1:], key=lambda e: abs(len(e[0].encodings[e[1]].ids) - size))
        batch = [oldest, *near[: self._batch - 1]]
        taken = {(id(pending), index) for pending, index in batch}
        self._waiting = [entry for entry in self._waiting if (id(entry[0]), entry[1]) not in taken]
        return batch

    def _embed(self, encodings: list[Any]) -> list[list[float]]:
        import numpy as np

        longest = max(len(encoding.ids) for encoding in encodings)
        ids = np.zeros((len(encodings), longest), np.int64)
        mask = np.zeros((len(encodings), longest), np.int64)
        for row, encoding in enumerate(encodings):
            ids[row, : len(encoding.ids)] = encoding.ids
            mask[row, : len(encoding.ids)] = 1
        (vectors,) = self._session.run(None, {"input_ids": ids, "attention_mask": mask})
        # Nine decimals hold a float32 of a unit vector whole, and are half as long as Python would write them.
        rounded: list[list[float]] = np.round(vectors.astype(np.float64), 9).tolist()
        return rounded

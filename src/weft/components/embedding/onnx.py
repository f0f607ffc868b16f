"""``onnx-embedder``: sentence embeddings in this process, by onnxruntime.

Requests that arrive while a batch runs wait together and go into the next one. Texts are sorted by length, so that
little of a batch is padding.

Each batch is computed by one thread, and as many batches at once as there are threads: as fast as one batch by all of
them, without threads that wait for each other in a busy loop, which takes the processor from a model that talks. What
nobody waits for (documents that are taken in) has threads of its own, which stand back: a question is embedded at once
while thousands of passages wait.
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


class _Line:
    """Texts that wait, and the threads that embed them.

    Args:
        lane: The threads.
        width: How many there are.
        batch: Texts of one batch at most.
    """

    def __init__(self, lane: Lane, *, width: int, batch: int) -> None:
        self.lane, self.width, self._batch = lane, width, batch
        self.arrived = asyncio.Event()
        self._waiting: list[tuple[_Pending, int]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, pending: _Pending) -> None:
        """Let a request's texts wait."""
        self._waiting += [(pending, index) for index in range(len(pending.encodings))]
        self.arrived.set()

    def next_batch(self) -> list[tuple[_Pending, int]]:
        """Texts of the oldest request, and others of about their length; no more than leave some for the other threads."""
        self._waiting = [entry for entry in self._waiting if not entry[0].done.done()]
        if not self._waiting:
            return []
        size = min(self._batch, -(-len(self._waiting) // self.width))
        oldest = self._waiting[0]
        length = len(oldest[0].encodings[oldest[1]].ids)
        near = sorted(self._waiting[1:], key=lambda e: abs(len(e[0].encodings[e[1]].ids) - length))
        batch = [oldest, *near[: size - 1]]
        taken = {(id(pending), index) for pending, index in batch}
        self._waiting = [entry for entry in self._waiting if (id(entry[0]), entry[1]) not in taken]
        return batch


class OnnxEmbedder:
    """Turns texts into vectors with an ONNX model in process, batched across concurrent requests.

    Args:
        model: A catalogue name, or the path of a folder with ``model.onnx`` and ``tokenizer.json``.
        batch: Texts of one batch. More than 16 are no faster, and hold up the next one.
        queue: Texts that may wait; more are refused with 429.
        threads: Batches at once, each by one processor thread; None is as many as the service may use.
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
        batch: int = 16,
        queue: int = 8192,
        threads: int | None = None,
        languages: list[str] | None = None,
        remember: int = 4096,
    ) -> None:
        self._remembered = Remembered(remember)
        self._model, self._batch, self._queue, self._threads = model, batch, queue, threads
        self._languages = languages if languages is not None else ["en"] if model in ENGLISH else None
        self._digest: str | None = None
        self._now: _Line | None = None
        self._later: _Line | None = None
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
        width = self._threads or host.cpu_count
        # Each request tokenises there; the queue of texts is what bounds them.
        lane = host.lane(threads=width, queue=self._queue)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        path = str(files.files["onnx"])
        self._session = await lane.run(
            lambda: onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        )
        self._tokenizer = tokenizers.Tokenizer.from_file(str(files.files["tokenizer"]))
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._tokenizer.no_padding()
        self._begin(host, lane, width)

    def _begin(self, host: Host, lane: Lane, width: int) -> None:
        behind = host.lane(threads=width, queue=width, background=True)
        self._now = _Line(lane, width=width, batch=self._batch)
        self._later = _Line(behind, width=width, batch=self._batch)
        for number in range(1, width + 1):
            host.spawn(self._work(self._now, lane), name=f"embedder {number}")
            host.spawn(self._work(self._later, lane), name=f"embedder {number} in the background")

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
        if self._now is None or self._later is None:
            raise ServiceError("the model is not loaded", component="onnx-embedder")
        line = self._later if request.background else self._now
        if len(line) + len(request.texts) > self._queue:
            raise OverloadedError(f"{len(line)} texts are waiting to be embedded", retry_after_s=1)
        known = [self._remembered.get(text) for text in request.texts]
        new = [text for text, found in zip(request.texts, known, strict=True) if found is None]
        made: list[tuple[Raw, int]] = []
        if new:
            encodings = await self._now.lane.run(self._tokenizer.encode_batch_fast, new)
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            pending = _Pending(encodings, done)
            line.add(pending)
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

    async def _work(self, line: _Line, beside: Lane) -> None:
        """Embed what waits, batch after batch; all but the model itself runs ``beside``, where no thread stands back."""
        while True:
            await line.arrived.wait()
            batch = line.next_batch()
            if not batch:
                line.arrived.clear()
                continue
            try:
                fed = await beside.run(_fed, [pending.encodings[index] for pending, index in batch])
                (found,) = await line.lane.run(self._session.run, None, fed)
                vectors = await beside.run(_rounded, found)
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


def _fed(encodings: list[Any]) -> dict[str, Any]:
    """Texts as the model takes them."""
    import numpy as np

    longest = max(len(encoding.ids) for encoding in encodings)
    ids = np.zeros((len(encodings), longest), np.int64)
    mask = np.zeros((len(encodings), longest), np.int64)
    for row, encoding in enumerate(encodings):
        ids[row, : len(encoding.ids)] = encoding.ids
        mask[row, : len(encoding.ids)] = 1
    return {"input_ids": ids, "attention_mask": mask}


def _rounded(vectors: Any) -> list[list[float]]:
    """Nine decimals hold a float32 of a unit vector whole, and are half as long as Python would write them."""
    import numpy as np

    rounded: list[list[float]] = np.round(vectors.astype(np.float64), 9).tolist()
    return rounded

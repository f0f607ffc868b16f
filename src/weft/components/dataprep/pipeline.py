"""One file's way in: read in a process of its own, split, embedded, stored as a whole."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from weft.components.dataprep.archive import Unpacked, unpack
from weft.components.dataprep.blocks import Reading, RefusedError
from weft.components.dataprep.chunks import Chunk
from weft.components.dataprep.parse import Prepared, prepare
from weft.contracts.embedding import Embedder, EmbeddingDescription, EmbeddingRequest
from weft.contracts.store import Store, UpsertRequest
from weft.errors import BackendReplyError, RequestError, ServiceError, UnreachableError
from weft.host import Host
from weft.types import Document, Empty, Upload

T = TypeVar("T")

CHARACTERS_OF_A_PAGE: Final = 3_000
"""Of a document without pages of its own: about what is printed on one."""

PAUSES_S: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 30.0)
"""Before each new try where the embedder or the store has no time or is away: a minute and a half in all, which is how
long a restart of one may take."""

BUSY: Final = frozenset({429, 503})
"""Statuses that say: later."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of reading one file; see the component's own arguments."""

    max_file_bytes: int
    parse_timeout_s: float
    max_memory_bytes: int


class Pipeline:
    """What is done with a file, step by step.

    Args:
        store: Where passages go.
        embedder: What makes their vectors.
        host: For processes that can be killed.
        batch: Passages of one call to the embedder.
        limits: See :class:`Limits`.
        chunker: How documents are cut, in words.
        pauses_s: See :data:`PAUSES_S`.
    """

    def __init__(
        self,
        store: Store,
        embedder: Embedder,
        host: Host,
        *,
        batch: int,
        limits: Limits,
        chunker: str = "",
        pauses_s: tuple[float, ...] = PAUSES_S,
    ) -> None:
        self._store, self._embedder, self._host = store, embedder, host
        self._batch, self._limits, self._pauses_s = batch, limits, pauses_s
        self.chunker = chunker

    async def embedder(self) -> EmbeddingDescription:
        """What the embedder says of itself; nothing where it is away: its vectors are where that is said."""
        try:
            return await self._embedder.describe(Empty())
        except RequestError:
            return EmbeddingDescription()

    def reading(self, known: EmbeddingDescription, size: int, overlap: int) -> Reading:
        """How files are to be read for an embedder."""
        languages = None if known.languages is None else tuple(known.languages)
        seconds = self._limits.parse_timeout_s * 0.75
        return Reading(size, overlap, known.max_tokens, languages, known.model, seconds=seconds)

    async def unpack(self, upload: Upload, folder: Path) -> list[Unpacked]:
        """The files of an archive, written into ``folder``.

        Raises:
            RefusedError: It is no archive that can be read, or beyond a limit.
        """
        return await self._isolated(unpack, upload, str(folder), self._limits.max_file_bytes)

    async def prepare(self, upload: Upload, reading: Reading) -> Prepared:
        """Read and split a file.

        Raises:
            RefusedError: It cannot be read, takes too long or too much memory, or crashes its reader.
        """
        prepared = await self._isolated(prepare, upload, reading)
        if prepared.refused is not None:
            raise RefusedError(prepared.refused)
        return prepared

    async def _isolated(self, work: Callable[..., T], *args: object) -> T:
        limits = self._limits
        try:
            return await self._host.isolated(
                work, *args, timeout_s=limits.parse_timeout_s, max_memory_bytes=limits.max_memory_bytes
            )
        except ServiceError as error:
            raise RefusedError(f"it could not be read: {error.message}") from error

    async def embed(self, documents: list[Document], on_part: Callable[[float], None]) -> None:
        """Give each passage its vector, a few at a time: a question in between waits for few.

        Raises:
            RequestError: The embedder cannot be had.
        """
        for first in range(0, len(documents), self._batch):
            batch = documents[first : first + self._batch]
            on_part(first / len(documents))
            request = EmbeddingRequest([embedded(document) for document in batch], background=True)
            reply = await self._patiently(lambda request=request: self._embedder.invoke(request))  # type: ignore[misc]  # bound now, on purpose
            if len(reply.embeddings) != len(batch):
                raise BackendReplyError(
                    f"the embedder gave {len(reply.embeddings)} vectors for {len(batch)} texts"
                )
            for document, embedding in zip(batch, reply.embeddings, strict=True):
                document.embedding = embedding

    async def store(self, request: UpsertRequest) -> None:
        """Store a file: one write, so that it is in as a whole or not at all.

        Raises:
            RequestError: The store cannot be had, or has documents of another embedder.
        """
        await self._patiently(lambda: self._store.upsert(request))

    async def _patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        """Ask again where whoever is asked is busy or away for a moment."""
        for pause_s in self._pauses_s:
            try:
                return await call()
            except RequestError as error:
                if error.status not in BUSY and not isinstance(error, UnreachableError):
                    raise
            await asyncio.sleep(pause_s)
        return await call()


def documents_of(
    name: str, digest: str, prepared: Prepared, readers: list[str] | None = None
) -> list[Document]:
    """The passages of a file, for some groups or for everybody."""
    return [
        Document(
            chunk.text,
            id=_passage_id(name, digest, chunk),
            title=prepared.title or name,
            source=name,
            page=chunk.page,
            start=chunk.start,
            end=chunk.end,
            metadata=chunk.metadata(),
            readers=readers,
        )
        for chunk in prepared.chunks
    ]


def page_count(prepared: Prepared) -> int:
    """How many pages a document has; one without pages has as many as its text would fill."""
    return prepared.pages or max(1, -(-prepared.chunks[-1].end // CHARACTERS_OF_A_PAGE))


def _passage_id(name: str, digest: str, chunk: Chunk) -> str:
    """The same for the same passage of the same file, and for nothing else."""
    key = f"{name}\0{digest}\0{chunk.start}\0{chunk.end}"
    return hashlib.sha256(key.encode()).hexdigest()[:32]


def embedded(document: Document) -> str:
    """What is embedded of a passage: its headings say what it is about where its own words do not."""
    heading = document.metadata.get("heading")
    return f"{heading}\n{document.text}" if heading else document.text

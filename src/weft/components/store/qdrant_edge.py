"""The embedded store: qdrant-edge for vectors, SQLite for everything else, in one folder, in one process."""

from __future__ import annotations

import asyncio
import threading
from array import array
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import msgspec

from weft.components.store.conditions import Scope, choices
from weft.components.store.passages import Passages
from weft.components.store.schema import SCHEMA, lock, newer_schema
from weft.contracts.store import (
    CollectionsRequest,
    CollectionsResponse,
    DeleteRequest,
    DeleteResponse,
    Hit,
    ListRequest,
    ListResponse,
    ReadRequest,
    ReadResponse,
    SearchRequest,
    SearchResponse,
    StoreDescription,
    UpsertRequest,
    UpsertResponse,
)
from weft.errors import (
    ComponentError,
    ConflictError,
    InvalidRequestError,
    MissingExtraError,
    StateError,
    UnavailableError,
)
from weft.host import Host, Lane
from weft.types import Document, Empty, floats

if TYPE_CHECKING:
    import sqlite3

    from weft.components.store.vectors import Vectors


MAX_K = 10_000
"""Passages that one search may ask for."""

SEARCH_THREADS = 2
"""Searches that run at once; qdrant-edge itself uses every core for one."""


class QdrantEdge:
    """Keeps passages in a folder of this machine: vectors in qdrant-edge, texts and full text in SQLite.

    One process at a time has the folder. Work runs in threads: searches beside each other and beside a write,
    writes one after the other. A write is on disk and found when it returns, and happens whole or not at all;
    cancelling the caller does not undo one that has begun.

    Args:
        path: The folder, below this installation's storage.
    """

    exclusive = True

    def __init__(self, path: str = "documents") -> None:
        if (
            not path
            or PurePosixPath(path).is_absolute()
            or Path(path).is_absolute()
            or ".." in Path(path).parts
        ):
            raise ComponentError(
                f"qdrant-edge: path '{path}' must be a folder below the storage folder, as in 'documents'"
            )
        self._path = path

    async def start(self, host: Host) -> None:
        """Open the folder, or make it; mend the vector index if the last process ended in the middle.

        Raises:
            MissingExtraError: qdrant-edge is not installed.
            StateError: Another process has the folder, a newer version wrote it, or it is damaged.
        """
        try:
            import qdrant_edge  # noqa: F401 - seen here, so that its absence is said well
        except ImportError as error:
            raise MissingExtraError("qdrant-edge", package="qdrant-edge-py", extra="local") from error
        self._engine = _Engine(host.storage / self._path)
        self._searches: Lane = host.lane(threads=SEARCH_THREADS, queue=256)
        self._writes: Lane = host.lane(threads=1, queue=64)
        await self._writes.run(self._engine.open)

    async def aclose(self) -> None:
        """Let go of the folder, after a write that is under way."""
        await asyncio.to_thread(self._engine.close)

    async def search(self, request: SearchRequest) -> SearchResponse:
        """See :class:`weft.contracts.store.Store`. ``hybrid`` fills in both scores of each passage where they exist."""
        return await self._searches.run(self._engine.search, request)

    async def upsert(self, request: UpsertRequest) -> UpsertResponse:
        """See :class:`weft.contracts.store.Store`.

        Raises:
            InvalidRequestError: A passage has no id or no embedding.
            ConflictError: The embeddings have another dimension than those that are in.
        """
        return await self._writes.run(self._engine.upsert, request)

    async def delete(self, request: DeleteRequest) -> DeleteResponse:
        """See :class:`weft.contracts.store.Store`."""
        return await self._writes.run(self._engine.delete, request)

    async def list(self, request: ListRequest) -> ListResponse:
        """See :class:`weft.contracts.store.Store`."""
        return await self._searches.run(self._engine.list, request)

    async def read(self, request: ReadRequest) -> ReadResponse:
        """See :class:`weft.contracts.store.Store`."""
        return await self._searches.run(self._engine.read, request)

    async def collections(self, request: CollectionsRequest) -> CollectionsResponse:
        """See :class:`weft.contracts.store.Store`."""
        return await self._searches.run(self._engine.collections, request)

    async def describe(self, request: Empty) -> StoreDescription:
        """See :class:`weft.contracts.store.Store`."""
        return await self._searches.run(self._engine.describe)


class _Engine:
    """The blocking half: called from the lanes' threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._passages = Passages(folder / "passages.sqlite", readers=SEARCH_THREADS)
        self._vectors: Vectors | None = None
        self._lock: closing[sqlite3.Connection] | None = None
        self._write_lock = threading.Lock()

    def open(self) -> None:
        """Take the folder, migrate it, mend the vector index."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StateError(f"the document store {self._folder} cannot be made: {error.strerror}") from error
        self._lock = lock(self._folder / "lock")
        try:
            self._check_manifest()
            self._passages.open()
            if (dimension := self._passages.dimension()) is not None:
                self._vectors = self._open_vectors(dimension)
                self._mend(self._vectors)
            self._write_manifest()
        except BaseException:
            self._lock.__exit__(None, None, None)
            raise

    def close(self) -> None:
        """Let go of everything."""
        with self._write_lock:
            if self._vectors is not None:
                self._vectors.close()
                self._vectors = None
            self._passages.close()
            if self._lock is not None:
                self._lock.__exit__(None, None, None)
                self._lock = None

    def _open_vectors(self, dimension: int) -> Vectors:
        from weft.components.store.vectors import Vectors

        return Vectors(self._folder / "vectors", dimension)

    def _mend(self, vectors: Vectors) -> None:
        """Bring the vector index in step: passages are never changed, so comparing their numbers tells all."""
        kept, indexed = self._passages.numbers(), set(vectors.numbers())
        if ahead := sorted(indexed - kept):
            vectors.remove(ahead)
        behind = sorted(kept - indexed)
        for first in range(0, len(behind), 1_000):
            vectors.add(self._passages.points(behind[first : first + 1_000]))

    def _check_manifest(self) -> None:
        path = self._folder / "manifest.json"
        try:
            manifest = msgspec.json.decode(path.read_bytes(), type=_Manifest)
        except FileNotFoundError:
            return
        except (OSError, msgspec.DecodeError) as error:
            raise StateError(
                f"the document store's {path} cannot be read: {error}",
                hint="it is no folder of this store, or it is damaged; delete that file to have it made again",
            ) from error
        if manifest.schema > SCHEMA:
            raise newer_schema(self._folder, manifest.schema)
        if manifest.engine != "qdrant-edge":
            raise StateError(f"{self._folder} belongs to another store: '{manifest.engine}'")

    def _write_manifest(self) -> None:
        dimension = self._vectors.dimension if self._vectors is not None else None
        manifest = _Manifest(SCHEMA, "qdrant-edge", dimension)
        path = self._folder / "manifest.json"
        written = path.with_suffix(".new")
        written.write_bytes(msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
        written.replace(path)

    def search(self, request: SearchRequest) -> SearchResponse:
        """Search one consistent state of the passages."""
        if not 1 <= request.k <= MAX_K:
            raise InvalidRequestError(f"k must be from 1 to {MAX_K}", param="k")
        scope = Scope(request.tenant, request.collection, request.readers)
        embedding = _query_vector(request)
        vectors = self._vectors
        if vectors is None:
            return SearchResponse([])
        if embedding is not None and len(embedding) != vectors.dimension:
            raise self._other_dimension(len(embedding), vectors.dimension)
        # Between the commit of a new version and its way into the index (and out of it for the old one) the index
        # is a moment ahead: what is not in the passages is left out, and then more are asked for.
        k = request.k
        while True:
            hits, missing = self._search(request, scope, embedding, vectors, k=k)
            if not missing or k >= 8 * request.k:
                return SearchResponse(hits)
            k *= 2

    def _search(
        self,
        request: SearchRequest,
        scope: Scope,
        embedding: list[float] | None,
        vectors: Vectors,
        *,
        k: int,
    ) -> tuple[list[Hit], bool]:
        filters = choices(request.filter)
        with self._passages.reading() as connection:
            dense: dict[int, float] = {}
            text: dict[int, float] = {}
            if embedding is not None:
                dense = vectors.nearest(embedding, scope, filters, k=k)
            if request.mode != "dense":
                text = self._passages.match(
                    connection, request.query, scope, filters, k=request.k, also=dense.keys()
                )
            if embedding is not None and (unknown := text.keys() - dense.keys()):
                dense |= vectors.nearest(embedding, scope, filters, k=len(unknown), among=unknown)
            found = self._passages.documents(
                connection, [*dense, *text], scope, filters, embeddings=request.with_embeddings
            )
        missing = any(number not in found for number in dense)
        hits = [Hit(document, dense.get(n), text.get(n)) for n, document in found.items()]
        hits.sort(
            key=lambda hit: (-(hit.dense or -2.0) if hit.dense is not None else 2.0, -(hit.text or 0.0))
        )
        if request.mode == "text":
            hits.sort(key=lambda hit: -(hit.text or 0.0))
        limit = len(hits) if request.mode == "hybrid" else request.k
        return hits[:limit], missing

    def upsert(self, request: UpsertRequest) -> UpsertResponse:
        """Keep passages: into the index, commit, the old version out of the index."""
        embeddings = _vectors(request.documents)
        scope = Scope(request.tenant, request.collection)
        with self._write_lock:
            vectors = self._vectors_for(embeddings)
            added: list[int] = []
            try:
                with self._passages.writing() as connection:
                    points, gone = self._passages.insert(
                        connection, request.documents, embeddings, scope, file=request.file
                    )
                    added = [point.number for point in points]
                    if request.replace:
                        gone += self._passages.delete_file(connection, scope, request.file, keep=added)
                    if request.file:
                        self._passages.record_file(connection, scope, request.file, request.digest)
                    count = self._passages.count_file(connection, scope, request.file)
                    if vectors is not None:
                        vectors.add(points)
            except BaseException:
                if vectors is not None:
                    vectors.remove(added)
                raise
            if vectors is not None:
                vectors.remove(sorted(set(gone) - set(added)))
        return UpsertResponse(count)

    def delete(self, request: DeleteRequest) -> DeleteResponse:
        """Delete a file or a collection."""
        scope = Scope(request.tenant, request.collection)
        with self._write_lock:
            self._check_open()
            with self._passages.writing() as connection:
                if request.all_files:
                    gone = self._passages.clear(connection, scope)
                else:
                    gone = self._passages.delete_file(connection, scope, request.file)
                    self._passages.forget_file(connection, scope, request.file)
            if self._vectors is not None and gone:
                self._vectors.remove(gone)
        return DeleteResponse(len(gone))

    def list(self, request: ListRequest) -> ListResponse:
        """The files of a collection."""
        return ListResponse(self._passages.files(Scope(request.tenant, request.collection)))

    def read(self, request: ReadRequest) -> ReadResponse:
        """A page of a file."""
        return self._passages.read(request)

    def collections(self, request: CollectionsRequest) -> CollectionsResponse:
        """The collections of a tenant."""
        return CollectionsResponse(self._passages.collections(request.tenant))

    def describe(self) -> StoreDescription:
        """Engine and size."""
        return StoreDescription("qdrant-edge", self._passages.count())

    def _check_open(self) -> None:
        if self._lock is None:
            raise UnavailableError("the document store is closed")

    def _vectors_for(self, embeddings: Sequence[array[float]]) -> Vectors | None:
        """The index for these embeddings; made with the first, or anew when everything was deleted.

        Raises:
            ConflictError: The passages that are in have another dimension.
        """
        self._check_open()
        if not embeddings:
            return self._vectors
        dimension = len(embeddings[0])
        current = self._vectors
        if current is not None and current.dimension != dimension:
            if self._passages.count():
                raise self._other_dimension(dimension, current.dimension)
            current.close()
            current.discard()
            current = self._vectors = None
        if current is None:
            self._vectors = self._open_vectors(dimension)
            self._write_manifest()
        return self._vectors

    def _other_dimension(self, given: int, kept: int) -> ConflictError:
        return ConflictError(
            f"the documents in '{self._folder.name}' were embedded with vectors of {kept} numbers, "
            f"the embedder now gives {given}",
            hint="go back to the embedder they were made with, or delete all documents and ingest them again, "
            "or name another folder in the store's config: path",
        )


class _Manifest(msgspec.Struct):
    """What the folder says of itself to people and to other versions."""

    schema: int
    engine: str = "qdrant-edge"
    dimension: int | None = None


def _query_vector(request: SearchRequest) -> list[float] | None:
    if request.mode == "text":
        return None
    if request.embedding is None:
        raise InvalidRequestError(f"a search by {request.mode} needs an embedding", param="embedding")
    try:
        return floats(request.embedding)
    except ValueError as error:
        raise InvalidRequestError(str(error), param="embedding") from error


def _vectors(documents: Sequence[Document]) -> list[array[float]]:
    """The embeddings of passages, checked."""
    embeddings: list[array[float]] = []
    for index, document in enumerate(documents):
        where = f"documents[{index}]"
        if not document.id:
            raise InvalidRequestError(f"{where} has no id", param="documents")
        if document.embedding is None:
            raise InvalidRequestError(f"{where} has no embedding", param="documents")
        try:
            embedding = array("f", floats(document.embedding))
        except (ValueError, OverflowError) as error:
            raise InvalidRequestError(f"{where}: {error}", param="documents") from error
        if not embedding or (embeddings and len(embedding) != len(embeddings[0])):
            raise InvalidRequestError(
                f"{where} has an embedding of {len(embedding)} numbers, unlike the others", param="documents"
            )
        embeddings.append(embedding)
    return embeddings

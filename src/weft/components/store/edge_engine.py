"""The blocking half of the embedded store: one folder with a file of passages and the vector index made from it.

``manifest.json`` names the file that counts, so a whole new content takes the old one's place by one rename. The index
has its file's name, for it holds that file's vectors and no others.
"""

from __future__ import annotations

import shutil
import sqlite3
import threading
from array import array
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from weft.components.store.conditions import Scope, choices
from weft.components.store.passages import Passages
from weft.components.store.requests import ordered, other_dimension, query_vector, vectors_of
from weft.components.store.schema import SCHEMA, lock, newer_schema
from weft.contracts.archive import KeptFile
from weft.contracts.manifest import check_collection, of_search
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
from weft.errors import StateError, UnavailableError

if TYPE_CHECKING:
    from weft.components.store.vectors import Vectors

SEARCH_THREADS: Final = 2
"""Searches that run at once; qdrant-edge itself uses every core for one."""

FIRST: Final = "passages.sqlite"
"""The file of passages that a new folder begins with."""


class _Content(NamedTuple):
    """A file of passages and its index (None while there are no passages), which belong together."""

    passages: Passages
    vectors: Vectors | None


class Engine:
    """The blocking half: called from the lanes' threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._content = _Content(Passages(folder / FIRST, readers=SEARCH_THREADS), None)
        self._lock: closing[sqlite3.Connection] | None = None
        self._write_lock = threading.Lock()

    @property
    def folder(self) -> Path:
        """Where it is."""
        return self._folder

    @property
    def passages(self) -> Passages:
        """The file of passages that counts."""
        return self._content.passages

    def attach(self) -> None:
        """Open the passages for reading alone; the folder's lock is left to whoever serves."""
        self._content = _Content(Passages(self._folder / self._read_manifest(), readers=1), None)
        self.passages.open_read_only()

    def open(self) -> None:
        """Take the folder, migrate it, mend the vector index."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StateError(f"the document store {self._folder} cannot be made: {error.strerror}") from error
        self._lock = lock(self._folder / "lock")
        try:
            passages = Passages(self._folder / self._read_manifest(), readers=SEARCH_THREADS)
            passages.open()
            self._content = _Content(passages, None)
            if (dimension := passages.dimension()) is not None:
                vectors = self._open_vectors(passages, dimension)
                self._content = _Content(passages, vectors)
                mend(passages, vectors)
            self._write_manifest(self._content)
            self._delete_left_over()
        except BaseException:
            self._lock.__exit__(None, None, None)
            raise

    def close(self) -> None:
        """Let go of everything."""
        with self._write_lock:
            passages, vectors = self._content
            self._content = _Content(passages, None)
            if vectors is not None:
                vectors.close()
            passages.close()
            if self._lock is not None:
                self._lock.__exit__(None, None, None)
                self._lock = None

    def _open_vectors(self, passages: Passages, dimension: int) -> Vectors:
        from weft.components.store.vectors import Vectors

        return Vectors(index_of(passages.path), dimension)

    def _delete_left_over(self) -> None:
        """Delete contents that were published and then replaced, and what a killed process left of either."""
        kept = self.passages.path
        for path in [*self._folder.glob("passages*"), *self._folder.glob("vectors*")]:
            if not path.name.startswith(kept.name) and path != index_of(kept):
                discard(path)

    def _read_manifest(self) -> str:
        """The name of the file of passages that counts."""
        path = self._folder / "manifest.json"
        try:
            manifest = msgspec.json.decode(path.read_bytes(), type=_Manifest)
        except FileNotFoundError:
            return FIRST
        except (OSError, msgspec.DecodeError) as error:
            raise StateError(
                f"the document store's {path} cannot be read: {error}",
                hint="it is no folder of this store, or it is damaged; restore a backup into another folder",
            ) from error
        if manifest.schema > SCHEMA:
            raise newer_schema(self._folder, manifest.schema)
        if manifest.engine != "qdrant-edge":
            raise StateError(f"{self._folder} belongs to another store: '{manifest.engine}'")
        return Path(manifest.file).name

    def _write_manifest(self, content: _Content) -> None:
        dimension = content.vectors.dimension if content.vectors is not None else None
        manifest = _Manifest(SCHEMA, "qdrant-edge", dimension, content.passages.path.name)
        path = self._folder / "manifest.json"
        written = path.with_suffix(".new")
        written.write_bytes(msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
        written.replace(path)

    def search(self, request: SearchRequest) -> SearchResponse:
        """Search one consistent state of the passages."""
        embedding = query_vector(request)
        content = self._content
        vectors = content.vectors
        if vectors is None:
            return SearchResponse([])
        if request.manifest is not None:
            kept = content.passages.manifest(Scope(request.tenant, request.collection))
            check_collection(kept, of_search(request.manifest), request.collection)
        if embedding is not None and len(embedding) != vectors.dimension:
            raise other_dimension(self._folder.name, len(embedding), vectors.dimension)
        # Between the commit of a new version and its way into the index (and out of it for the old one) the index
        # is a moment ahead: what is not in the passages is left out, and then more are asked for.
        k = request.k
        while True:
            hits, missing = self._search(content.passages, vectors, request, embedding, k=k)
            if not missing or k >= 8 * request.k:
                return SearchResponse(ordered(hits, request))
            k *= 2

    def _search(
        self,
        passages: Passages,
        vectors: Vectors,
        request: SearchRequest,
        embedding: list[float] | None,
        *,
        k: int,
    ) -> tuple[list[Hit], bool]:
        scope = Scope(request.tenant, request.collection, request.readers)
        filters = choices(request.filter)
        with passages.reading() as connection:
            dense: dict[int, float] = {}
            text: dict[int, float] = {}
            if embedding is not None:
                dense = vectors.nearest(embedding, scope, filters, k=k)
            if request.mode != "dense":
                text = passages.match(
                    connection, request.query, scope, filters, k=request.k, also=dense.keys()
                )
            if embedding is not None and (unknown := text.keys() - dense.keys()):
                dense |= vectors.nearest(embedding, scope, filters, k=len(unknown), among=unknown)
            found = passages.documents(
                connection, [*dense, *text], scope, filters, embeddings=request.with_embeddings
            )
        missing = any(number not in found for number in dense)
        return [Hit(document, dense.get(n), text.get(n)) for n, document in found.items()], missing

    def upsert(self, request: UpsertRequest) -> UpsertResponse:
        """Keep passages: into the index, commit, the old version out of the index."""
        embeddings = vectors_of(request.documents)
        scope = Scope(request.tenant, request.collection)
        with self._write_lock:
            check_collection(self.passages.manifest(scope), request.manifest, request.collection)
            passages, vectors = self._content_for(embeddings)
            added: list[int] = []
            try:
                with passages.writing() as connection:
                    if embeddings:
                        passages.keep_manifest(connection, scope, request.manifest, len(embeddings[0]))
                    points, gone = passages.insert(
                        connection, request.documents, embeddings, scope, file=request.file
                    )
                    added = [point.number for point in points]
                    if request.replace:
                        gone += passages.delete_file(connection, scope, request.file, keep=added)
                    passages.record_file(connection, scope, request.file, request.digest)
                    count = passages.count_file(connection, scope, request.file)
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
            passages, vectors = self._content
            with passages.writing() as connection:
                if request.all_files:
                    gone = passages.clear(connection, scope)
                else:
                    gone = passages.delete_file(connection, scope, request.file)
                    passages.forget_file(connection, scope, request.file)
                passages.forget_empty(connection, scope)
            if vectors is not None and gone:
                vectors.remove(gone)
        return DeleteResponse(len(gone))

    def list(self, request: ListRequest) -> ListResponse:
        """The files of a collection."""
        return ListResponse(self.passages.files(Scope(request.tenant, request.collection)))

    def read(self, request: ReadRequest) -> ReadResponse:
        """A page of a file."""
        return self.passages.read(request)

    def collections(self, request: CollectionsRequest) -> CollectionsResponse:
        """The collections of a tenant."""
        return CollectionsResponse(self.passages.collections(request.tenant))

    def describe(self) -> StoreDescription:
        """Engine and size."""
        return StoreDescription("qdrant-edge", self.passages.count(), self.passages.manifests())

    def _check_open(self) -> None:
        if self._lock is None:
            raise UnavailableError("the document store is closed")

    def _content_for(self, embeddings: Sequence[array[float]]) -> _Content:
        """The content for these embeddings; an index is made with the first, or anew when everything was deleted.

        Raises:
            ConflictError: The passages that are in have another dimension.
        """
        self._check_open()
        if not embeddings:
            return self._content
        dimension = len(embeddings[0])
        passages, vectors = self._content
        if vectors is not None and vectors.dimension != dimension:
            if passages.count():
                raise other_dimension(self._folder.name, dimension, vectors.dimension)
            self._content = _Content(passages, None)
            vectors.close()
            vectors.discard()
            vectors = None
        if vectors is None:
            self._content = _Content(passages, self._open_vectors(passages, dimension))
            self._write_manifest(self._content)
        return self._content

    def publish(self, path: Path, unchanged: Sequence[KeptFile] | None) -> bool:
        """Put another file of passages in the place of this one. Its index is made before, so that nobody waits."""
        passages = Passages(path, readers=SEARCH_THREADS)
        passages.open()
        vectors: Vectors | None = None
        if (dimension := passages.dimension()) is not None:
            vectors = self._open_vectors(passages, dimension)
            mend(passages, vectors)
        with self._write_lock:
            self._check_open()
            is_as_expected = unchanged is None or {f.version for f in unchanged} == {
                f.version for f in self.passages.kept_files()
            }
            if is_as_expected:
                before, self._content = self._content, _Content(passages, vectors)
                self._write_manifest(self._content)
            else:
                before = _Content(passages, vectors)
        if before.vectors is not None:
            before.vectors.close()
        before.passages.close()
        if is_as_expected:
            self._delete_left_over()
        return is_as_expected


def mend(passages: Passages, vectors: Vectors) -> None:
    """Bring a vector index in step: passages are never changed, so comparing their numbers tells all."""
    kept, indexed = passages.numbers(), set(vectors.numbers())
    if ahead := sorted(indexed - kept):
        vectors.remove(ahead)
    behind = sorted(kept - indexed)
    for first in range(0, len(behind), 1_000):
        vectors.add(passages.points(behind[first : first + 1_000]))


def index_of(passages: Path) -> Path:
    """The folder of the vector index of a file of passages."""
    return passages.with_name(passages.stem.replace("passages", "vectors", 1))


def discard(path: Path) -> None:
    """Delete a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


class _Manifest(msgspec.Struct):
    """What the folder says of itself to people and to other versions."""

    schema: int
    engine: str = "qdrant-edge"
    dimension: int | None = None
    file: str = FIRST

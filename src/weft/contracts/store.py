"""The store contract: passages with vectors, kept, searched, listed and deleted, tenant by tenant.

Components never see a store itself but a *scoped* one: it writes the caller's tenant into every request and
the caller's groups into every search, so that no component can forget to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, Literal, Protocol

from msgspec import Struct
from msgspec.structs import replace

from weft.contracts.base import Contract, Operation, Route
from weft.contracts.embedding import Embedder
from weft.contracts.manifest import Manifest, check_store, manifest_of
from weft.errors import InvalidRequestError, RequestError
from weft.types import Document, Empty

MAX_READ: Final = 1_000
"""Passages of one page of a file."""


def bounds(request: ReadRequest) -> None:
    """Refuse a page that cannot be.

    Raises:
        InvalidRequestError: ``after`` or ``limit`` is out of bounds.
    """
    if not 1 <= request.limit <= MAX_READ:
        raise InvalidRequestError(f"limit must be from 1 to {MAX_READ:,}", param="limit")
    if not 0 <= request.after < 2**31:
        raise InvalidRequestError("after must be 0 or more", param="after")


def page(request: ReadRequest, place: Callable[[str], int | None], total: int) -> tuple[int, int] | None:
    """How many passages to skip and to take for a read; None: there is nothing to take.

    Args:
        request: What is asked for.
        place: How many passages stand before the one with this id; None: it is not there.
        total: How many there are.

    Raises:
        InvalidRequestError: ``after`` or ``limit`` is out of bounds.
    """
    bounds(request)
    after = request.after
    if request.around:
        middle = place(request.around)
        if middle is None:
            return None
        after = max(0, min(middle - request.limit // 2, total - request.limit))
    return (after, min(request.limit, total - after)) if after < total else None


class SearchRequest(Struct, omit_defaults=True):
    """Search by vector, by words, or by both (each passage then has both scores in its metadata).

    Attributes:
        query: Words, for ``text`` and ``hybrid``.
        embedding: The vector, for ``dense`` and ``hybrid``.
        mode: Which index to ask. ``hybrid`` returns the union of the best ``k`` of each.
        k: How many passages of each index.
        filter: Metadata equality: name to value, or to a list of allowed values.
        with_embeddings: Whether the passages carry their vectors.
        manifest: What the vector was made with; a collection that was made with another embedder refuses (409).
        tenant, readers: Set by the scoped store; what a component writes here is overwritten.
    """

    query: str = ""
    embedding: Any = None
    mode: Literal["dense", "text", "hybrid"] = "dense"
    k: int = 4
    filter: dict[str, Any] | None = None
    collection: str = ""
    with_embeddings: bool = False
    manifest: Manifest | None = None
    tenant: str = ""
    readers: list[str] | None = None


class Hit(Struct, omit_defaults=True):
    """One passage found: cosine similarity (-1 to 1) and BM25 score (≥ 0), None where that index missed it."""

    document: Document
    dense: float | None = None
    text: float | None = None


class SearchResponse(Struct, omit_defaults=True):
    """Passages found, best first (``hybrid``: by dense score, then by text score)."""

    hits: list[Hit]


class UpsertRequest(Struct, omit_defaults=True):
    """Passages to keep, each with its ``id`` and ``embedding``; the same id replaces.

    Attributes:
        file: The name they are listed and deleted under.
        digest: SHA-256 of the file's content, to see that it is unchanged.
        replace: Passages of ``file`` that are not in this request are deleted after these are in.
        manifest: What the passages were made with: kept with the collection's first ones, and compared from then on; a
            collection that was made otherwise refuses (409).
    """

    documents: list[Document]
    file: str = ""
    digest: str = ""
    replace: bool = False
    manifest: Manifest | None = None
    collection: str = ""
    tenant: str = ""


class UpsertResponse(Struct):
    """How many passages are in now under this file."""

    count: int


class DeleteRequest(Struct, omit_defaults=True):
    """Delete all passages of a file; ``all_files`` deletes the whole collection."""

    file: str = ""
    all_files: bool = False
    collection: str = ""
    tenant: str = ""


class DeleteResponse(Struct):
    """How many passages were deleted."""

    count: int


class ListRequest(Struct, omit_defaults=True):
    """Which files are in."""

    collection: str = ""
    tenant: str = ""


class StoredFile(Struct, omit_defaults=True):
    """One ingested file."""

    name: str
    digest: str = ""
    chunks: int = 0
    metadata: dict[str, Any] = {}


class ListResponse(Struct):
    """The files, by name."""

    files: list[StoredFile]


class ReadRequest(Struct, omit_defaults=True):
    """The passages of one file, in the order in which they stand in it.

    Attributes:
        file: Its name, as :class:`ListResponse` has it; it is also the ``source`` of what document-ingest puts in.
        after: How many passages to skip.
        around: The id of a passage of the file: its neighbours are read, it in the middle, instead of from ``after``.
        limit: How many at most, 1 to 1,000.
        with_embeddings: Whether the passages carry their vectors.
        tenant, readers: Set by the scoped store; what a component writes here is overwritten.
    """

    file: str
    after: int = 0
    around: str = ""
    limit: int = 100
    with_embeddings: bool = False
    collection: str = ""
    tenant: str = ""
    readers: list[str] | None = None


class ReadResponse(Struct, omit_defaults=True):
    """Passages of a file; none, and a total of 0, for a file or a passage ``around`` that is not there.

    Attributes:
        after: How many passages stand before the first of these; the next page is ``after + len(documents)``.
        total: How many passages of the file the caller may read.
        digest: The file's; another than on the page before means that a new version came in between.
    """

    documents: list[Document]
    after: int = 0
    total: int = 0
    digest: str = ""


class CollectionsRequest(Struct, omit_defaults=True):
    """Which collections there are."""

    tenant: str = ""


class CollectionsResponse(Struct):
    """Names of collections."""

    collections: list[str]


class StoreDescription(Struct, omit_defaults=True):
    """What a store says of itself.

    Attributes:
        passages: Of all tenants; 0 when a caller is told.
        manifests: The different ones that its collections have; nothing of whose they are.
    """

    engine: str
    passages: int = 0
    manifests: list[Manifest] = []


class Store(Protocol):
    """What ``uses: {store: ...}`` binds."""

    async def search(self, request: SearchRequest) -> SearchResponse:
        """The best passages."""
        ...

    async def upsert(self, request: UpsertRequest) -> UpsertResponse:
        """Keep passages; when this returns they are on disk and found."""
        ...

    async def delete(self, request: DeleteRequest) -> DeleteResponse:
        """Delete a file's passages."""
        ...

    async def list(self, request: ListRequest) -> ListResponse:
        """The files that are in."""
        ...

    async def read(self, request: ReadRequest) -> ReadResponse:
        """The passages of one file, in order."""
        ...

    async def collections(self, request: CollectionsRequest) -> CollectionsResponse:
        """The collections that are in."""
        ...

    async def describe(self, request: Empty) -> StoreDescription:
        """Engine and size."""
        ...


class ScopedStore:
    """A store that acts for one caller: tenant and readers come from the request's context, always.

    Args:
        store: The store behind it.
        scope: Gives the current request's tenant and the groups whose passages its caller may read
            (None: only passages without ``readers``).
    """

    def __init__(self, store: Store, scope: Callable[[], tuple[str, list[str] | None]]) -> None:
        self._store, self._scope = store, scope

    async def search(self, request: SearchRequest) -> SearchResponse:
        """See :class:`Store`."""
        tenant, readers = self._scope()
        return await self._store.search(replace(request, tenant=tenant, readers=readers))

    async def upsert(self, request: UpsertRequest) -> UpsertResponse:
        """See :class:`Store`."""
        return await self._store.upsert(replace(request, tenant=self._scope()[0]))

    async def delete(self, request: DeleteRequest) -> DeleteResponse:
        """See :class:`Store`."""
        return await self._store.delete(replace(request, tenant=self._scope()[0]))

    async def list(self, request: ListRequest) -> ListResponse:
        """See :class:`Store`."""
        return await self._store.list(replace(request, tenant=self._scope()[0]))

    async def read(self, request: ReadRequest) -> ReadResponse:
        """See :class:`Store`."""
        tenant, readers = self._scope()
        return await self._store.read(replace(request, tenant=tenant, readers=readers))

    async def collections(self, request: CollectionsRequest) -> CollectionsResponse:
        """See :class:`Store`."""
        return await self._store.collections(replace(request, tenant=self._scope()[0]))

    async def describe(self, request: Empty) -> StoreDescription:
        """See :class:`Store`; how much all tenants have together is nobody's to know."""
        return replace(await self._store.describe(request), passages=0)


CHECK_S: Final = 2.0
"""How long a component that starts waits for what others say of themselves; who is away then is compared later."""


async def refuse_other(service: str, store: Store, embedder: Embedder, *, chunker: str = "") -> None:
    """Refuse to start with a store whose documents were made with another embedder, or cut otherwise.

    Who does not answer is no reason: each search and each write is compared again.

    Args:
        service: Who starts.
        store: What it was given.
        embedder: What it was given.
        chunker: How it cuts documents, if it does.

    Raises:
        StateError: They do not go together; the command that mends it is said.
    """
    try:
        async with asyncio.timeout(CHECK_S):
            kept = (await store.describe(Empty())).manifests
            given = manifest_of(await embedder.describe(Empty()), chunker=chunker) if kept else None
    except (RequestError, TimeoutError):
        return
    if given is not None:
        check_store(service, kept, given)


CONTRACT = Contract(
    name="store",
    description="Keeps passages with their vectors and finds them.",
    operations={
        name: Operation(name, request, response, idempotent=True, routes=(Route(f"/v1/store/{name}"),))
        for name, request, response in (
            ("search", SearchRequest, SearchResponse),
            ("upsert", UpsertRequest, UpsertResponse),
            ("delete", DeleteRequest, DeleteResponse),
            ("list", ListRequest, ListResponse),
            ("read", ReadRequest, ReadResponse),
            ("collections", CollectionsRequest, CollectionsResponse),
            ("describe", Empty, StoreDescription),
        )
    },
    protocol=Store,
    scope=ScopedStore,
)

"""``qdrant``: passages in a Qdrant server, ours or someone else's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

import msgspec

from weft.components.store.conditions import Scope, choices
from weft.components.store.qdrant_archive import QdrantDraft, QdrantSnapshot
from weft.components.store.qdrant_mapped import CollectionMap, MappedCollection
from weft.components.store.qdrant_points import (
    DENSE,
    WORDS,
    FileRecord,
    any_of,
    asked,
    dense_of,
    document_of,
    file_id,
    files_of,
    fitting,
    is_,
    manifest_id,
    manifest_point,
    new_version,
    of_kind,
    of_scope,
    passage_point,
    readable,
)
from weft.components.store.qdrant_rest import Points
from weft.components.store.qdrant_tables import QdrantTables, places
from weft.components.store.requests import (
    last_of_each_id,
    ordered,
    other_dimension,
    query_vector,
    vectors_of,
)
from weft.contracts.manifest import Manifest, check_collection, known, of_search
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
    StoredFile,
    UpsertRequest,
    UpsertResponse,
    bounds,
    page,
)
from weft.errors import RequestError
from weft.host import Host
from weft.types import Empty

_HIT: Final = ["id", "file", "version", "document", "norm"]
"""What of a passage's payload a search needs."""

_record = msgspec.convert


class _Best(NamedTuple):
    """A passage that was found: its point and its scores."""

    point: dict[str, Any]
    dense: float | None
    text: float | None


class Qdrant:
    """Keeps passages in a Qdrant server, or reads those of a collection that is there already.

    Words are searched as sparse vectors with BM25's weights, whose rarity the server counts over all that it has. A file
    is replaced by one write, after its new version is in; passages of neither are ever seen beside those of the other.
    One process at a time writes.

    Args:
        url: Its base address, as in ``http://localhost:6333``.
        api_key: Sent as ``api-key``.
        prefix: Before the names of the collections that are made in the server.
        timeout_s: Until a reply.
        map: Read a collection of someone else's instead, and which of its fields is what; nothing is ever written then.
    """

    exclusive = True

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        prefix: str = "weft",
        timeout_s: float = 30.0,
        map: CollectionMap | None = None,
    ) -> None:
        self._url, self._timeout_s = url.rstrip("/"), timeout_s
        self._headers = {"api-key": api_key} if api_key else {}
        self._prefix, self._map = prefix, map
        self._write_lock = asyncio.Lock()
        self._opening = asyncio.Lock()
        self._opened = False

    async def start(self, host: Host) -> None:
        """Make the client and, if the server is there, look at what it has.

        Raises:
            StateError: A newer version made the collection.
        """
        self._client = host.http(self._url, timeout_s=self._timeout_s, headers=self._headers)
        self._tables = QdrantTables(self._client, self._prefix)
        self._mapped = MappedCollection(self._client, self._map) if self._map is not None else None
        try:
            await self._open()
        except RequestError as error:
            host.log("Qdrant is not ready; it is tried again with the first request", reason=str(error))

    async def attach(self, host: Host) -> None:
        """See :class:`weft.contracts.archive.Archive`: a server has room for both."""
        await self.start(host)
        await self._open()

    async def ready(self) -> bool:
        """Whether the server answers and has what is expected."""
        await self._open()
        return await self._client.probe("/readyz")

    async def _open(self) -> None:
        if self._opened:
            return
        async with self._opening:
            if self._opened:
                return
            if self._mapped is not None:
                await self._mapped.open()
            else:
                await self._tables.open()
                await self._finish_left_over()
            self._opened = True

    @property
    def _points(self) -> Points:
        return self._tables.points

    async def search(self, request: SearchRequest) -> SearchResponse:
        """See :class:`weft.contracts.store.Store`. ``hybrid`` fills in both scores of each passage where they exist."""
        embedding = query_vector(request)
        await self._open()
        if self._mapped is not None:
            return await self._mapped.search(request, embedding)
        dimension = await self._tables.dimension()
        if dimension is None:
            return SearchResponse([])
        scope = Scope(request.tenant, request.collection, request.readers)
        if request.manifest is not None:
            check_collection(await self._manifest(scope), of_search(request.manifest), request.collection)
        if embedding is not None and len(embedding) != dimension:
            # Perhaps another process has put a new content in its place.
            dimension = await self._tables.dimension(again=True)
            if dimension is not None and len(embedding) != dimension:
                raise other_dimension(self._prefix, len(embedding), dimension)
        # Between a new version and the deletion of the old one both are in: what does not count is left out, and then
        # more are asked for.
        k = request.k
        while True:
            best, missing = await self._search(request, scope, embedding, k=k)
            if not missing or k >= 8 * request.k:
                break
            k *= 2
        hits = [
            Hit(
                document_of(one.point["payload"], dense_of(one.point) if request.with_embeddings else None),
                one.dense,
                one.text,
            )
            for one in best
        ]
        return SearchResponse(ordered(hits, request))

    async def _search(
        self, request: SearchRequest, scope: Scope, embedding: list[float] | None, *, k: int
    ) -> tuple[list[_Best], bool]:
        conditions = [readable(scope), *fitting(choices(request.filter))]
        vectors = [DENSE] if request.with_embeddings else False
        question = asked(request.query) if request.mode != "dense" else None

        def search(query: Any, using: str, limit: int, among: Sequence[Any] | None = None) -> dict[str, Any]:
            narrowed = [*conditions, {"has_id": list(among)}] if among is not None else conditions
            return {
                "query": query,
                "using": using,
                "filter": of_scope(scope, *narrowed),
                "limit": limit,
                "with_payload": _HIT,
                "with_vector": vectors,
            }

        queries = [search(embedding, DENSE, k)] if embedding is not None else []
        queries += [search(question, WORDS, k)] if question is not None else []
        results = await self._points.query(queries)
        dense = results[0] if embedding is not None else []
        text = results[-1] if question is not None else []
        scores: dict[str, dict[Any, float]] = {
            DENSE: {point["id"]: point["score"] for point in dense},
            WORDS: {point["id"]: point["score"] for point in text if point["score"] > 0},
        }
        points = {point["id"]: point for point in [*dense, *(p for p in text if p["score"] > 0)]}
        only_text = [key for key in scores[WORDS] if key not in scores[DENSE]]
        only_dense = [key for key in scores[DENSE] if key not in scores[WORDS]]
        more = []
        if embedding is not None and only_text:
            more.append((DENSE, search(embedding, DENSE, len(only_text), only_text)))
        if question is not None and only_dense:
            more.append((WORDS, search(question, WORDS, len(only_dense), only_dense)))
        for (kind, _), found in zip(more, await self._points.query([q for _, q in more]), strict=True):
            scores[kind] |= {
                point["id"]: point["score"] for point in found if point["score"] or kind == DENSE
            }
        counting = await self._that_count(scope, list(points.values()))
        best = [
            _Best(point, scores[DENSE].get(point["id"]), scores[WORDS].get(point["id"])) for point in counting
        ]
        return best, len(counting) < len(points)

    async def _that_count(self, scope: Scope, points: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Those of versions that their files name; of two with one id the later."""
        names = {point["payload"]["file"] for point in points}
        records = await self._points.get([file_id(scope, name) for name in names])
        versions = {r["payload"]["name"]: set(r["payload"]["versions"]) for r in records}
        latest: dict[str, dict[str, Any]] = {}
        for point in points:
            payload = point["payload"]
            if payload["version"] not in versions.get(payload["file"], ()):
                continue
            other = latest.get(payload["id"])
            if other is None or other["payload"]["version"] < payload["version"]:
                latest[payload["id"]] = point
        return list(latest.values())

    async def upsert(self, request: UpsertRequest) -> UpsertResponse:
        """See :class:`weft.contracts.store.Store`.

        Raises:
            InvalidRequestError: A passage has no id or no embedding.
            ConflictError: The embeddings, or the manifest, are others than those that are in.
            ForbiddenError: The collection is someone else's.
        """
        embeddings = vectors_of(request.documents)
        await self._open()
        if self._mapped is not None:
            raise self._mapped.read_only()
        scope = Scope(request.tenant, request.collection)
        async with self._write_lock:
            has_any = await self._tables.dimension() is not None
            if not has_any and not embeddings:
                return UpsertResponse(0)
            kept = await self._manifest(scope) if has_any else None
            check_collection(kept, request.manifest, request.collection)
            if embeddings:
                await self._tables.fit(len(embeddings[0]))
            record = await self._record(scope, request.file) or FileRecord(
                scope.tenant, scope.collection, request.file
            )
            version = new_version()
            order = last_of_each_id(request.documents)
            points = [
                passage_point(
                    request.documents[i], embeddings[i], scope, file=request.file, version=version, order=i
                )
                for i in order
            ]
            # In, but not seen: the file does not name this version yet.
            await self._points.put(points)
            if embeddings:
                await self._keep_manifest(scope, kept, request.manifest, len(embeddings[0]))
            record.versions = [version] if request.replace else [*record.versions, version]
            record.digest, record.stored_at = request.digest, round(time.time(), 3)
            record.unfinished = True
            await self._points.put([record.point()])
            await self._finish(record)
        return UpsertResponse(record.chunks)

    async def _finish(self, record: FileRecord) -> None:
        """Delete what the newest version of a file has taken the place of. May be done again."""
        scope, newest = record.scope, record.versions[-1]
        of_file = is_("file", record.name)
        await self._points.delete(of_scope(scope, of_file, but=[any_of("version", record.versions)]))
        others: set[str] = set()
        async for points in self._points.scroll(of_scope(scope, is_("version", newest)), payload=["id"]):
            same = any_of("id", [point["payload"]["id"] for point in points])
            replaced = of_scope(scope, same, but=[is_("version", newest)])
            elsewhere = {**replaced, "must_not": [*replaced["must_not"], of_file]}
            others |= {
                point["payload"]["file"] for point in await self._points.all(elsewhere, payload=["file"])
            }
            await self._points.delete(replaced)
        for name in others:
            other = await self._record(scope, name)
            if other is not None:
                await self._recount(other)
        record.unfinished = False
        await self._recount(record)

    async def _recount(self, record: FileRecord) -> None:
        of_file = of_scope(record.scope, is_("file", record.name), any_of("version", record.versions))
        record.chunks = await self._points.count(of_file)
        await self._points.put([record.point()])

    async def _finish_left_over(self) -> None:
        """Finish what a process that was killed had begun."""
        if await self._tables.dimension() is None:
            return
        unfinished = of_kind("file", is_("state", "unfinished"))
        for point in await self._points.all(unfinished):
            await self._finish(_record(point["payload"], FileRecord))

    async def delete(self, request: DeleteRequest) -> DeleteResponse:
        """See :class:`weft.contracts.store.Store`: first not seen any more, then gone."""
        await self._open()
        if self._mapped is not None:
            raise self._mapped.read_only()
        scope = Scope(request.tenant, request.collection)
        async with self._write_lock:
            if await self._tables.dimension() is None:
                return DeleteResponse(0)
            records = files_of(scope) if request.all_files else files_of(scope, is_("name", request.file))
            gone = [_record(point["payload"], FileRecord) for point in await self._points.all(records)]
            await self._points.delete(records)
            passages = of_scope(scope) if request.all_files else of_scope(scope, is_("file", request.file))
            await self._points.delete(passages)
            if not await self._points.count(of_scope(scope)):
                await self._points.delete({"must": [{"has_id": [manifest_id(scope)]}]})
        return DeleteResponse(sum(record.chunks for record in gone))

    async def list(self, request: ListRequest) -> ListResponse:
        """See :class:`weft.contracts.store.Store`."""
        await self._open()
        scope = Scope(request.tenant, request.collection)
        if self._mapped is not None:
            return ListResponse(await self._mapped.list_files(scope))
        if await self._tables.dimension() is None:
            return ListResponse([])
        records = [_record(p["payload"], FileRecord) for p in await self._points.all(files_of(scope))]
        files = [
            StoredFile(r.name, r.digest, r.chunks, {"stored_at": r.stored_at}) for r in records if r.name
        ]
        return ListResponse(sorted(files, key=lambda file: file.name))

    async def read(self, request: ReadRequest) -> ReadResponse:
        """See :class:`weft.contracts.store.Store`."""
        bounds(request)
        await self._open()
        if self._mapped is not None:
            return await self._mapped.read(request)
        scope = Scope(request.tenant, request.collection, request.readers)
        if await self._tables.dimension() is None:
            return ReadResponse([], request.after)
        record = await self._record(scope, request.file)
        if record is None:
            return ReadResponse([], 0 if request.around else request.after)
        found = await places(self._points, record, readable(scope))
        place = {payload["id"]: n for n, (_, payload) in enumerate(found)}
        if (taken := page(request, place.get, len(found))) is None:
            return ReadResponse([], request.after, 0 if request.around else len(found))
        after, count = taken
        ids = [key for key, _ in found[after : after + count]]
        vectors = [DENSE] if request.with_embeddings else False
        points = {p["id"]: p for p in await self._points.get(ids, payload=_HIT, vector=vectors)}
        documents = [
            document_of(points[key]["payload"], dense_of(points[key]) if request.with_embeddings else None)
            for key in ids
            if key in points
        ]
        return ReadResponse(documents, after, len(found), record.digest)

    async def collections(self, request: CollectionsRequest) -> CollectionsResponse:
        """See :class:`weft.contracts.store.Store`."""
        await self._open()
        if self._mapped is not None:
            return CollectionsResponse(await self._mapped.collections(request.tenant))
        if await self._tables.dimension() is None:
            return CollectionsResponse([])
        files = of_kind("file", is_("tenant", request.tenant))
        found = await self._points.all(files, payload=["collection"])
        return CollectionsResponse(sorted({point["payload"]["collection"] for point in found}))

    async def describe(self, request: Empty) -> StoreDescription:
        """See :class:`weft.contracts.store.Store`."""
        await self._open()
        if self._mapped is not None:
            return StoreDescription("qdrant", await self._mapped.count())
        if await self._tables.dimension() is None:
            return StoreDescription("qdrant")
        count = await self._points.count(of_kind("passage"))
        manifests = await self._points.all(of_kind("manifest"))
        texts = sorted({msgspec.json.encode(p["payload"]["manifest"], order="sorted") for p in manifests})
        return StoreDescription("qdrant", count, [msgspec.json.decode(text, type=Manifest) for text in texts])

    async def _record(self, scope: Scope, name: str) -> FileRecord | None:
        found = await self._points.get([file_id(scope, name)])
        return _record(found[0]["payload"], FileRecord) if found else None

    async def _manifest(self, scope: Scope) -> Manifest | None:
        found = await self._points.get([manifest_id(scope)])
        return _record(found[0]["payload"]["manifest"], Manifest) if found else None

    async def _keep_manifest(
        self, scope: Scope, kept: Manifest | None, given: Manifest | None, dimensions: int
    ) -> None:
        whole = known(kept, given, dimensions=dimensions)
        if whole != kept:
            await self._points.put([manifest_point(scope, whole)])

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[QdrantSnapshot]:
        """See :class:`weft.contracts.archive.Archive`; here each file is of one version, all together of no one moment."""
        if self._mapped is not None:
            raise self._mapped.read_only()
        await self._open()
        yield QdrantSnapshot(self._points, is_empty=await self._tables.dimension() is None)

    async def draft(self, purpose: str) -> QdrantDraft:
        """See :class:`weft.contracts.archive.Archive`: a second collection, which an alias puts in the first one's place."""
        if self._mapped is not None:
            raise self._mapped.read_only()
        await self._open()
        draft = QdrantDraft(self._client, self._tables, purpose)
        await draft.open()
        return draft

"""Someone else's Qdrant collection, read by saying which of its payload fields is what."""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct

from weft.components.store.conditions import Scope, choices
from weft.components.store.qdrant_points import any_of, fitting, is_
from weft.components.store.qdrant_rest import Points
from weft.components.store.requests import ordered, other_dimension
from weft.components.store.terms import asked_terms, terms_of
from weft.context import DEFAULT_TENANT
from weft.contracts.store import (
    Hit,
    ReadRequest,
    ReadResponse,
    SearchRequest,
    SearchResponse,
    StoredFile,
    page,
)
from weft.errors import ComponentError, ForbiddenError
from weft.host import HttpClient
from weft.text import bm25, words
from weft.types import Document, vector

CANDIDATES: Final = 1_000
"""Points with a word of the question that are ranked by it: a server's text index finds, but does not rank."""


class CollectionMap(Struct, forbid_unknown_fields=True, frozen=True):
    """Which payload fields of a collection are what.

    Attributes:
        collection: Its name.
        vector: The name of its vector; empty is the one without a name. Its distance must be Cosine.
        text: The passage.
        title, source, page, start: See a document's fields. Files are listed and read by ``source``.
        order: What the passages of a source are ordered by; else ``start``, else the point's id.
        metadata: Metadata by name, each a payload field; None: every field that is nothing else, by its own name.
        tenant: A field with the tenant; else all points are of ``owner``.
        group: A field with the collection that Weft shows it in; else all points are in the default one.
        readers: A field with a list of groups; one that is not there is everyone of the tenant.
        owner: Whose points they are when there is no field for it.
    """

    collection: str
    vector: str = ""
    text: str = "text"
    title: str | None = None
    source: str | None = None
    page: str | None = None
    start: str | None = None
    order: str | None = None
    metadata: dict[str, str] | None = None
    tenant: str | None = None
    group: str | None = None
    readers: str | None = None
    owner: str = DEFAULT_TENANT


class MappedCollection:
    """A collection behind a map.

    Args:
        client: Of the server.
        map: What is what.
    """

    def __init__(self, client: HttpClient, map: CollectionMap) -> None:
        self._map, self._points = map, Points(client, map.collection)
        self._dimension = 0
        self._using = {"using": map.vector} if map.vector else {}
        self._vector: Any = [map.vector] if map.vector else True

    def read_only(self) -> ForbiddenError:
        """The error for a write."""
        return ForbiddenError(
            f"the collection {self._map.collection} is someone else's: it is read, never written",
            hint="leave 'map' out to keep documents in a collection of Weft's own, beside it",
        )

    async def open(self) -> None:
        """See that the collection has the vector.

        Raises:
            ComponentError: It has not, or compares otherwise than by the cosine.
        """
        info = await self._points.info()
        if info is None:
            raise ComponentError(f"qdrant: map: the server has no collection '{self._map.collection}'")
        vectors = info["config"]["params"].get("vectors") or {}
        named = {"": vectors} if "size" in vectors else vectors
        if self._map.vector not in named:
            raise ComponentError(
                f"qdrant: map: the collection '{self._map.collection}' has no vector '{self._map.vector}'",
                hint=f"it has: {', '.join(repr(name) for name in named)}",
            )
        params = named[self._map.vector]
        if params["distance"] != "Cosine":
            raise ComponentError(
                f"qdrant: map: the vectors of '{self._map.collection}' are compared by {params['distance']}, not Cosine"
            )
        self._dimension = params["size"]

    def _filter(self, scope: Scope, *conditions: dict[str, Any]) -> dict[str, Any] | None:
        """What the caller may see; None: nothing."""
        mapped, must = self._map, list(conditions)
        for field, wanted, constant in (
            (mapped.tenant, scope.tenant, mapped.owner),
            (mapped.group, scope.collection, ""),
        ):
            if field is not None:
                must.append(is_(field, wanted))
            elif wanted != constant:
                return None
        if mapped.readers is not None:
            nobody_named = {"is_null": {"key": mapped.readers}}
            missing = {"is_empty": {"key": mapped.readers}}
            # An empty list is empty for the server too, but means nobody: it is left out when hits are read.
            must.append({"should": [nobody_named, missing, any_of(mapped.readers, scope.readers or [])]})
        return {"must": must}

    def _fitting(self, request: SearchRequest) -> list[dict[str, Any]]:
        fields = self._fields()
        known = {fields.get(name, name): allowed for name, allowed in choices(request.filter).items()}
        return fitting(known, below="", booleans=True)

    def _fields(self) -> dict[str, str]:
        mapped = self._map
        named = {"title": mapped.title, "source": mapped.source, "file": mapped.source, "page": mapped.page}
        return {n: field for n, field in named.items() if field is not None} | (mapped.metadata or {})

    async def search(self, request: SearchRequest, embedding: list[float] | None) -> SearchResponse:
        """See :class:`weft.contracts.store.Store`."""
        if embedding is not None and len(embedding) != self._dimension:
            raise other_dimension(self._map.collection, len(embedding), self._dimension)
        scope = Scope(request.tenant, request.collection, request.readers)
        allowed = self._filter(scope, *self._fitting(request))
        if allowed is None:
            return SearchResponse([])
        worded = await self._worded(allowed, request) if request.mode != "dense" else {}
        near: dict[Any, tuple[dict[str, Any], float]] = {}
        if embedding is not None:
            searches = [self._near(embedding, allowed, request.k)]
            if worded:
                among = {"must": [*allowed["must"], {"has_id": list(worded)}]}
                searches.append(self._near(embedding, among, len(worded)))
            for found in await self._points.query(searches):
                near |= {p["id"]: (p, p["score"]) for p in found if self._may(p["payload"], scope)}
        points = {key: point for key, (point, _) in {**worded, **near}.items()}
        if request.with_embeddings and request.mode == "text" and points:
            points |= {p["id"]: p for p in await self._points.get(list(points), vector=self._vector)}
        hits = [
            Hit(
                self._document(point, with_embedding=request.with_embeddings),
                near[key][1] if key in near else None,
                worded[key][1] if key in worded else None,
            )
            for key, point in points.items()
        ]
        return SearchResponse(ordered(hits, request))

    def _near(self, embedding: list[float], allowed: dict[str, Any], limit: int) -> dict[str, Any]:
        return {
            "query": embedding,
            **self._using,
            "filter": allowed,
            "limit": limit,
            "with_payload": True,
            "with_vector": self._vector,
        }

    async def _worded(
        self, allowed: dict[str, Any], request: SearchRequest
    ) -> dict[Any, tuple[dict[str, Any], float]]:
        """The points that have words of the question, by BM25 among themselves, best first."""
        asked = list(dict.fromkeys(words(request.query)))
        if not asked:
            return {}
        any_word = {"should": [{"key": self._map.text, "match": {"text": word}} for word in asked]}
        found: list[dict[str, Any]] = []
        async for points in self._points.scroll({"must": [*allowed["must"], any_word]}):
            scope = Scope(request.tenant, request.collection, request.readers)
            found += [point for point in points if self._may(point["payload"], scope)]
            if len(found) >= CANDIDATES:
                break
        texts = [terms_of(str(point["payload"].get(self._map.text) or "")) for point in found]
        scores = bm25(asked_terms(request.query), texts)
        best = sorted(zip(found, scores, strict=True), key=lambda one: -one[1])[: request.k]
        return {point["id"]: (point, score) for point, score in best if score > 0}

    def _may(self, payload: dict[str, Any], scope: Scope) -> bool:
        """Whether the caller may read a point."""
        readers = payload.get(self._map.readers) if self._map.readers is not None else None
        if readers is None:
            return True
        named = readers if isinstance(readers, list) else [readers]
        return bool(set(named) & set(scope.readers or []))

    def _document(self, point: dict[str, Any], *, with_embedding: bool) -> Document:
        mapped, payload = self._map, point["payload"]
        special = {
            mapped.text,
            mapped.title,
            mapped.source,
            mapped.page,
            mapped.start,
            mapped.tenant,
            mapped.group,
            mapped.readers,
        }
        if mapped.metadata is None:
            metadata = {name: value for name, value in payload.items() if name not in special}
        else:
            metadata = {name: payload[field] for name, field in mapped.metadata.items() if field in payload}
        vectors = point.get("vector")
        embedding = vectors.get(mapped.vector) if isinstance(vectors, dict) else vectors

        def said(field: str | None) -> Any:
            return payload.get(field) if field is not None else None

        title, source, page_number, start = (
            said(mapped.title),
            said(mapped.source),
            said(mapped.page),
            said(mapped.start),
        )
        readers = said(mapped.readers)
        return Document(
            str(payload.get(mapped.text) or ""),
            id=str(point["id"]),
            title=None if title is None else str(title),
            source=None if source is None else str(source),
            page=page_number if isinstance(page_number, int) else None,
            start=start if isinstance(start, int) else None,
            readers=[str(reader) for reader in readers] if isinstance(readers, list) else None,
            metadata=metadata,
            embedding=vector(embedding) if with_embedding and embedding is not None else None,
        )

    async def list_files(self, scope: Scope) -> list[StoredFile]:
        """The sources, by name; none where no field is one."""
        allowed = self._filter(Scope(scope.tenant, scope.collection))
        if self._map.source is None or allowed is None:
            return []
        allowed["must"] = [c for c in allowed["must"] if "should" not in c]  # whoever may read them
        counts: dict[str, int] = {}
        async for points in self._points.scroll(allowed, payload=[self._map.source]):
            for point in points:
                if (name := point["payload"].get(self._map.source)) is not None:
                    counts[str(name)] = counts.get(str(name), 0) + 1
        return [StoredFile(name, chunks=n) for name, n in sorted(counts.items())]

    async def read(self, request: ReadRequest) -> ReadResponse:
        """See :class:`weft.contracts.store.Store`: the passages of a source."""
        scope = Scope(request.tenant, request.collection, request.readers)
        if (
            self._map.source is None
            or (allowed := self._filter(scope, is_(self._map.source, request.file))) is None
        ):
            return ReadResponse([], request.after)
        points = [p for p in await self._points.all(allowed) if self._may(p["payload"], scope)]
        order = self._map.order or self._map.start
        if order is not None:
            points.sort(key=lambda p: (p["payload"].get(order) is not None, p["payload"].get(order)))
        ids = [str(point["id"]) for point in points]
        place = {key: n for n, key in enumerate(ids)}
        if (taken := page(request, place.get, len(points))) is None:
            return ReadResponse([], request.after, 0 if request.around else len(points))
        after, count = taken
        shown = points[after : after + count]
        if request.with_embeddings:
            asked = [point["id"] for point in shown]
            whole = {p["id"]: p for p in await self._points.get(asked, vector=self._vector)}
            shown = [whole[key] for key in asked if key in whole]
        documents = [self._document(p, with_embedding=request.with_embeddings) for p in shown]
        return ReadResponse(documents, after, len(points))

    async def collections(self, tenant: str) -> list[str]:
        """The collections that a tenant has points in."""
        if self._map.tenant is None and tenant != self._map.owner:
            return []
        if self._map.group is None:
            return [""]
        must = [is_(self._map.tenant, tenant)] if self._map.tenant is not None else []
        found = await self._points.all({"must": must}, payload=[self._map.group])
        return sorted({str(point["payload"].get(self._map.group) or "") for point in found})

    async def count(self) -> int:
        """How many points there are."""
        return await self._points.count({"must": []})

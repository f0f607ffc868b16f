"""Each promise of a store can be broken: stores that break one are found out, by name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from weft.components.store.qdrant_edge import QdrantEdge
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
from weft.testing.host import serving_host
from weft.testing.promises import store as promises
from weft.testing.promises.base import Subject, judge
from weft.transport.local import LocalTransport
from weft.types import Empty


class Keeps:
    """A store that keeps its promises by a good one behind it, to be broken one by one."""

    def __init__(self) -> None:
        self.good = QdrantEdge()

    async def search(self, request: SearchRequest) -> SearchResponse:
        return await self.good.search(request)

    async def upsert(self, request: UpsertRequest) -> UpsertResponse:
        return await self.good.upsert(request)

    async def delete(self, request: DeleteRequest) -> DeleteResponse:
        return await self.good.delete(request)

    async def list(self, request: ListRequest) -> ListResponse:
        return await self.good.list(request)

    async def read(self, request: ReadRequest) -> ReadResponse:
        return await self.good.read(request)

    async def collections(self, request: CollectionsRequest) -> CollectionsResponse:
        return await self.good.collections(request)

    async def describe(self, request: Empty) -> StoreDescription:
        return await self.good.describe(request)


class ForgetsTenant(Keeps):
    """One pot for everyone."""

    async def search(self, request: SearchRequest) -> SearchResponse:
        return await super().search(replace(request, tenant=""))


class ListsForAnyone(Keeps):
    async def list(self, request: ListRequest) -> ListResponse:
        return await super().list(replace(request, tenant=""))


class NamesForAnyone(Keeps):
    async def collections(self, request: CollectionsRequest) -> CollectionsResponse:
        return await super().collections(replace(request, tenant=""))


class ReadsForAnyone(Keeps):
    async def read(self, request: ReadRequest) -> ReadResponse:
        return await super().read(replace(request, tenant=""))


class DeletesForAnyone(Keeps):
    async def delete(self, request: DeleteRequest) -> DeleteResponse:
        return await super().delete(replace(request, tenant=""))


class WritesForAnyone(Keeps):
    async def upsert(self, request: UpsertRequest) -> UpsertResponse:
        return await super().upsert(replace(request, tenant=""))


class ForgetsReaders(Keeps):
    """What only some may read is for all."""

    async def search(self, request: SearchRequest) -> SearchResponse:
        return await super().search(replace(request, readers=["staff"]))


class ForgetsReadersInRead(Keeps):
    async def read(self, request: ReadRequest) -> ReadResponse:
        return await super().read(replace(request, readers=["staff"]))


class LocksReadersOut(Keeps):
    async def search(self, request: SearchRequest) -> SearchResponse:
        return await super().search(replace(request, readers=None))


class LosesOnReplace(Keeps):
    """A new version takes the other files with it."""

    async def upsert(self, request: UpsertRequest) -> UpsertResponse:
        if request.replace:
            await self.delete(DeleteRequest(all_files=True, collection=request.collection))
        return await super().upsert(request)


class KeepsTheOld(Keeps):
    async def upsert(self, request: UpsertRequest) -> UpsertResponse:
        return await super().upsert(replace(request, replace=False))


class Doubles(Keeps):
    """The same id again is another passage."""

    async def upsert(self, request: UpsertRequest) -> UpsertResponse:
        for document in request.documents:
            if "Something else" in document.text:
                document.id += "x"
        return await super().upsert(request)


class WorstFirst(Keeps):
    async def search(self, request: SearchRequest) -> SearchResponse:
        reply = await super().search(request)
        return SearchResponse(reply.hits[::-1])


class OtherMeasure(Keeps):
    async def search(self, request: SearchRequest) -> SearchResponse:
        reply = await super().search(request)
        return SearchResponse([Hit(h.document, h.dense and 1 + h.dense, h.text) for h in reply.hits])


class MeaningOnly(Keeps):
    async def search(self, request: SearchRequest) -> SearchResponse:
        return await super().search(replace(request, mode="dense") if request.mode == "hybrid" else request)


class Filterless(Keeps):
    async def search(self, request: SearchRequest) -> SearchResponse:
        return await super().search(replace(request, filter=None))


class Forgetful(Keeps):
    """Of a passage only its text and id come back."""

    async def search(self, request: SearchRequest) -> SearchResponse:
        reply = await super().search(request)
        bare = [replace(h.document, title=None, metadata={}, page=None) for h in reply.hits]
        return SearchResponse([Hit(d, h.dense, h.text) for d, h in zip(bare, reply.hits, strict=True)])


class OnePot(Keeps):
    async def search(self, request: SearchRequest) -> SearchResponse:
        reply = await super().search(request)
        if reply.hits or not request.collection.endswith("-other"):
            return reply
        return await super().search(replace(request, collection=request.collection.removesuffix("-other")))


class Backwards(Keeps):
    async def read(self, request: ReadRequest) -> ReadResponse:
        reply = await super().read(request)
        return replace(reply, documents=reply.documents[::-1])


class NoPages(Keeps):
    async def read(self, request: ReadRequest) -> ReadResponse:
        return await super().read(replace(request, after=0, around=""))


class Undeleted(Keeps):
    async def delete(self, request: DeleteRequest) -> DeleteResponse:
        return await super().delete(request) if request.all_files else DeleteResponse(3)


class TakesAnyEmbedder(Keeps):
    async def upsert(self, request: UpsertRequest) -> UpsertResponse:
        return await super().upsert(replace(request, manifest=None))


class SearchesByAnyEmbedder(Keeps):
    async def search(self, request: SearchRequest) -> SearchResponse:
        return await super().search(replace(request, manifest=None))


class AnyK(Keeps):
    async def search(self, request: SearchRequest) -> SearchResponse:
        return await super().search(replace(request, k=max(request.k, 1)))


@asynccontextmanager
async def subject(folder: Path, component: Keeps) -> AsyncIterator[Subject]:
    async with serving_host(folder) as host:
        await component.good.start(host)
        transport = LocalTransport("tested", "tested", promises.FAMILY.contract, component)
        tested = Subject(transport, promises.FAMILY, instance=component)
        assert promises.FAMILY.open is not None
        await promises.FAMILY.open(tested)
        yield tested
        await component.good.aclose()


async def broken(folder: Path, component: Keeps, only: str = "") -> set[str]:
    async with subject(folder, component) as tested:
        checked = [promise for promise in promises.STORE if only in ("", promise.name)]
        findings = [await judge(promise, tested, tested.record) for promise in checked]
    return {finding.name for finding in findings if finding.outcome == "broken"}


async def test_a_good_store_breaks_nothing(tmp_path: Path) -> None:
    """What the others below are made from is a good one."""
    assert await broken(tmp_path, Keeps()) == set()


@pytest.mark.parametrize(
    ("component", "name"),
    [
        (ForgetsTenant, "tenants-are-apart"),
        (ListsForAnyone, "tenants-are-apart"),
        (NamesForAnyone, "tenants-are-apart"),
        (ReadsForAnyone, "tenants-are-apart"),
        (DeletesForAnyone, "tenants-are-apart"),
        (WritesForAnyone, "tenants-are-apart"),
        (ForgetsReaders, "readers-are-asked-for"),
        (ForgetsReadersInRead, "readers-are-asked-for"),
        (LocksReadersOut, "readers-are-asked-for"),
        (LosesOnReplace, "replace-drops-the-rest"),
        (KeepsTheOld, "replace-drops-the-rest"),
        (Doubles, "the-same-id-replaces"),
        (WorstFirst, "dense-scores-are-cosines"),
        (OtherMeasure, "dense-scores-are-cosines"),
        (MeaningOnly, "hybrid-is-the-union"),
        (Filterless, "filters-hold"),
        (Forgetful, "every-field-is-kept"),
        (OnePot, "collections-are-apart"),
        (Backwards, "a-file-is-read-in-order"),
        (NoPages, "a-file-is-read-in-order"),
        (Undeleted, "files-are-listed-and-deleted"),
        (TakesAnyEmbedder, "what-was-made-otherwise-is-refused"),
        (SearchesByAnyEmbedder, "what-was-made-otherwise-is-refused"),
        (AnyK, "wrong-requests-are-refused"),
    ],
)
async def test_a_store_that_breaks_a_promise_is_found_out(
    component: type[Keeps], name: str, tmp_path: Path
) -> None:
    """Tenants, readers, replacing, order, scores, fields, filters, files, embedders: each fault is named."""
    assert await broken(tmp_path, component(), name) == {name}

"""Two callers who must never meet: through the handle that components are given, in every store, by every operation."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from ragkit import bag, passage
from weft.contracts.store import (
    CollectionsRequest,
    DeleteRequest,
    ListRequest,
    ReadRequest,
    ScopedStore,
    SearchRequest,
    UpsertRequest,
)

SECRET = "The safe opens with 4711."


class Callers:
    """One store, seen by whoever is the caller now."""

    def __init__(self, store: Any) -> None:
        self.tenant, self.readers = "", None
        self.store = ScopedStore(store, lambda: (self.tenant, self.readers))

    def be(self, tenant: str, *readers: str) -> ScopedStore:
        self.tenant, self.readers = tenant, list(readers) or None
        return self.store


@pytest.fixture
async def callers(store: Any) -> Callers:
    """Anna of one firm, whose document only her group may read, and Bert of another, with one of his own."""
    both = Callers(store)
    for tenant, group in (("anna & co", "board"), ("anna", "board")):
        secret = passage(SECRET, "same-id", readers=[group], metadata={"of": tenant}, source="safe.txt")
        await both.be(tenant, group).upsert(UpsertRequest([secret], "safe.txt", "d", collection="c"))
    return both


def asked(mode: str, **fields: Any) -> SearchRequest:
    """The very words of the secret, and its very vector: similarity 1. What is claimed of the caller must not count."""
    claims = {"tenant": "anna & co", "readers": ["board"]}
    return SearchRequest(SECRET, bag(SECRET), mode, 10, collection="c", **(claims | fields))


MODES = ("dense", "text", "hybrid")


async def test_no_search_finds_what_is_another_tenants(callers: Callers) -> None:
    """Each finds their own, and with the same words, vector, group and filter nothing of the other's."""
    ways: list[dict[str, Any]] = [{}, {"filter": {"of": "anna & co"}}, {"with_embeddings": True}]
    for mode, fields in itertools.product(MODES, ways):
        for tenant in ("anna & co", "anna"):
            hits = (await callers.be(tenant, "board").search(asked(mode, **fields))).hits
            is_filtered_out = "filter" in fields and tenant == "anna"
            assert [hit.document.metadata["of"] for hit in hits] == ([] if is_filtered_out else [tenant])
            if mode == "dense" and hits:
                assert hits[0].dense == pytest.approx(1, abs=1e-5)
        assert not (await callers.be("anna & c", "board").search(asked(mode))).hits


async def test_no_search_finds_what_is_for_another_group(callers: Callers) -> None:
    """Of one's own tenant, too, only what one of the caller's groups may read."""
    strangers = [(), ("boar",), ("everyone",), ("group:board",), ("*",), ("board ",)]
    for mode, readers in itertools.product(MODES, strangers):
        store = callers.be("anna", *readers)
        assert not (await store.search(asked(mode))).hits
        read = await store.read(ReadRequest("safe.txt", collection="c", readers=["board"], around="same-id"))
        assert (read.documents, read.total) == ([], 0)


async def test_no_other_operation_reaches_across(callers: Callers) -> None:
    """Reading, listing, naming, replacing and deleting see and touch the caller's own alone."""
    stranger = callers.be("mallory", "board")
    for request in (ReadRequest("safe.txt", collection="c", tenant="anna"),):
        assert (await stranger.read(request)).total == 0
    assert (await stranger.list(ListRequest("c", tenant="anna"))).files == []
    assert (await stranger.collections(CollectionsRequest(tenant="anna"))).collections == []
    mine = passage("Nothing to see.", "same-id")
    await stranger.upsert(UpsertRequest([mine], "safe.txt", "d", replace=True, collection="c", tenant="anna"))
    assert (await stranger.delete(DeleteRequest("safe.txt", collection="c", tenant="anna"))).count == 1
    assert (await stranger.delete(DeleteRequest(all_files=True, collection="c", tenant="anna"))).count == 0
    for tenant in ("anna & co", "anna"):
        store = callers.be(tenant, "board")
        read = await store.read(ReadRequest("safe.txt", collection="c"))
        assert [document.text for document in read.documents] == [SECRET]
        assert [file.name for file in (await store.list(ListRequest("c"))).files] == ["safe.txt"]


async def test_a_new_version_for_fewer_readers_is_for_them_alone(callers: Callers) -> None:
    """After a document is replaced by one that fewer may read, the others find nothing of either version."""
    store = callers.be("anna", "board")
    await store.upsert(UpsertRequest([passage(SECRET, "n")], "open.txt", "1", collection="c"))
    assert "n" in [h.document.id for h in (await callers.be("anna").search(asked("dense"))).hits]
    closed = passage(SECRET, "m", readers=["board"])
    await callers.be("anna", "board").upsert(
        UpsertRequest([closed], "open.txt", "2", replace=True, collection="c")
    )
    assert (await callers.be("anna").search(asked("hybrid"))).hits == []
    assert (await callers.be("anna").read(ReadRequest("open.txt", collection="c"))).total == 0

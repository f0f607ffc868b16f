"""The state of a document store over releases: migrated forward, never touched by a program that is too old."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from ragkit import SmallHost, bag
from weft.components.store import edge_engine, passages, schema
from weft.components.store.qdrant_edge import QdrantEdge
from weft.contracts.store import ListRequest, SearchRequest, UpsertRequest
from weft.errors import StateError
from weft.types import Document

TEXT = "A cat sleeps on the sofa."
NEXT = (*schema.SCHEMA_STEPS, "CREATE TABLE later(name TEXT);")
"""The schema of the release after this one."""


async def started(folder: Path) -> tuple[QdrantEdge, SmallHost]:
    store, host = QdrantEdge(), SmallHost(folder)
    await store.start(host)
    return store, host


def upgrade(patch: pytest.MonkeyPatch) -> None:
    """Be the next release."""
    patch.setattr(passages, "SCHEMA_STEPS", NEXT)
    for module in (passages, edge_engine, schema):
        patch.setattr(module, "SCHEMA", len(NEXT))


def version(folder: Path) -> int:
    connection = sqlite3.connect(folder / "documents" / "passages.sqlite")
    try:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])
    finally:
        connection.close()


async def test_state_is_migrated_forward_and_then_refused_by_the_old_program(tmp_path: Path) -> None:
    """The next release finds everything that this one kept; after it has been there, this one refuses and leaves it."""
    store, host = await started(tmp_path)
    await store.upsert(UpsertRequest([Document(TEXT, "a", embedding=bag(TEXT))], "cats.txt"))
    await store.aclose()
    host.close()
    assert version(tmp_path) == len(schema.SCHEMA_STEPS)

    with pytest.MonkeyPatch.context() as patch:
        upgrade(patch)
        store, host = await started(tmp_path)
        assert [file.name for file in (await store.list(ListRequest())).files] == ["cats.txt"]
        (hit,) = (await store.search(SearchRequest("cat", bag("cat"), "hybrid", 1))).hits
        assert hit.document.text == TEXT
        await store.aclose()
        host.close()
    assert version(tmp_path) == len(NEXT)

    before = (tmp_path / "documents" / "passages.sqlite").read_bytes()
    host = SmallHost(tmp_path)
    with pytest.raises(StateError, match=rf"newer version of Weft \(schema {len(NEXT)}"):
        await QdrantEdge().start(host)
    host.close()
    assert version(tmp_path) == len(NEXT)
    assert (tmp_path / "documents" / "passages.sqlite").read_bytes() == before

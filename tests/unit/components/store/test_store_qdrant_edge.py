"""The embedded store: what is found, by whom, and what a crash leaves."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import msgspec
import pytest

from ragkit import SmallHost, bag, passage
from weft.components.store import passages as passages_module
from weft.components.store import schema as schema_module
from weft.components.store import vectors as vectors_module
from weft.components.store.qdrant_edge import QdrantEdge
from weft.contracts.store import (
    DeleteRequest,
    ListRequest,
    SearchRequest,
    UpsertRequest,
)
from weft.errors import ComponentError, StateError, UnavailableError
from weft.types import Empty, floats

CAT, DOG, TAX = "The cat sleeps on the warm sofa.", "A dog barks at the postman.", "Income tax is due in May."


def ask(query: str, mode: str = "dense", *, tenant: str = "t", **fields: object) -> SearchRequest:
    embedding = None if mode == "text" else bag(query)
    return SearchRequest(query, embedding, mode, tenant=tenant, **fields)


def put(*texts: str, file: str = "f.txt", tenant: str = "t", **fields: object) -> UpsertRequest:
    return UpsertRequest([passage(text) for text in texts], file, "d1", tenant=tenant, **fields)


async def found(edge: QdrantEdge, request: SearchRequest) -> list[str]:
    return [hit.document.text for hit in (await edge.search(request)).hits]


async def test_what_is_written_is_there_after_a_restart(tmp_path: Path) -> None:
    """Passages, files and both indexes last."""
    host = SmallHost(tmp_path)
    for _ in range(2):
        edge = QdrantEdge()
        await edge.start(host)
        await edge.upsert(put(CAT, DOG))
        await edge.aclose()
    edge = QdrantEdge()
    await edge.start(host)
    assert await found(edge, ask("dog", "hybrid", k=1)) == [DOG]
    assert (await edge.describe(Empty())).passages == 2
    await edge.aclose()
    manifest = msgspec.json.decode((tmp_path / "documents" / "manifest.json").read_bytes())
    known = {"schema": schema_module.SCHEMA, "engine": "qdrant-edge", "dimension": 256}
    assert manifest == {**known, "file": "passages.sqlite"}
    host.close()


async def test_a_vector_index_that_is_gone_or_damaged_is_made_again(tmp_path: Path) -> None:
    """Deleting or damaging the vector index loses nothing."""
    host, edge = SmallHost(tmp_path), QdrantEdge()
    await edge.start(host)
    await edge.upsert(put(CAT, DOG, TAX))
    await edge.aclose()
    folder = tmp_path / "documents" / "vectors"
    for harm in (lambda: shutil.rmtree(folder), lambda: (folder / "edge_config.json").write_text("{")):
        harm()
        edge = QdrantEdge()
        await edge.start(host)
        assert (await found(edge, ask("income tax")))[0] == TAX
        await edge.aclose()
    host.close()


async def test_a_vector_index_out_of_step_is_mended(tmp_path: Path) -> None:
    """Points that a killed process left too many or too few are put right at the next start."""
    host, edge = SmallHost(tmp_path), QdrantEdge()
    await edge.start(host)
    await edge.upsert(put(CAT, DOG, TAX))
    await edge.aclose()
    index = vectors_module.Vectors(tmp_path / "documents" / "vectors", 256)
    (first, *_) = sorted(index.numbers())
    index.remove([first])
    orphan = passages_module.Point(999, "t", "", None, {}, passages_module.array("f", floats(bag(DOG))))
    index.add([orphan])
    index.close()
    edge = QdrantEdge()
    await edge.start(host)
    assert sorted(await found(edge, ask("cat", k=9))) == sorted([CAT, DOG, TAX])
    await edge.aclose()
    index = vectors_module.Vectors(tmp_path / "documents" / "vectors", 256)
    assert 999 not in set(index.numbers())
    index.close()
    host.close()


async def test_a_write_that_fails_leaves_nothing(edge: QdrantEdge, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the vector index refuses, the passages are not in either, and the old ones still are."""
    await edge.upsert(put(CAT))

    def refuse(*_: object) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(vectors_module.Vectors, "add", refuse)
        with pytest.raises(OSError, match="no space"):
            await edge.upsert(put(DOG, replace=True))
    for mode in ("dense", "text"):
        assert await found(edge, ask("cat dog", mode, k=9)) == [CAT]
    await edge.upsert(put(DOG, replace=True))
    assert await found(edge, ask("cat dog", k=9)) == [DOG]


async def test_a_second_process_is_refused(edge: QdrantEdge, tmp_path: Path) -> None:
    """While one has the folder another one is told so."""
    host = SmallHost(tmp_path)
    with pytest.raises(StateError, match="in use by another process"):
        await QdrantEdge().start(host)
    host.close()


async def test_a_newer_schema_is_not_touched(tmp_path: Path) -> None:
    """State of a later version is refused, and left as it was."""
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "manifest.json").write_text('{"schema": 99, "engine": "qdrant-edge"}')
    host = SmallHost(tmp_path)
    with pytest.raises(StateError, match="newer version of Weft"):
        await QdrantEdge().start(host)
    (folder / "manifest.json").unlink()
    connection = sqlite3.connect(folder / "passages.sqlite")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StateError, match="newer version of Weft"):
        await QdrantEdge().start(host)
    assert not (folder / "vectors").exists()
    host.close()


async def test_a_damaged_file_is_said(tmp_path: Path) -> None:
    """A file that is no database is a state error with what to do."""
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "passages.sqlite").write_bytes(b"not a database" * 1000)
    host = SmallHost(tmp_path)
    with pytest.raises(StateError, match="cannot be read"):
        await QdrantEdge().start(host)
    host.close()


@pytest.mark.parametrize("path", ["", "../x", "a/../../b", "/data/../etc"])
def test_the_folder_stays_below_the_storage(path: str) -> None:
    """A path that climbs out of the storage folder is refused; a whole path is the operator's own word."""
    with pytest.raises(ComponentError):
        QdrantEdge(path)


async def test_a_closed_store_takes_no_work(tmp_path: Path) -> None:
    """After closing, a write is refused rather than lost, and a read rather than left hanging."""
    host, edge = SmallHost(tmp_path), QdrantEdge()
    await edge.start(host)
    await edge.aclose()
    with pytest.raises(UnavailableError):
        await edge.upsert(put(CAT))
    with pytest.raises(UnavailableError):
        await edge.list(ListRequest(tenant="t"))
    host.close()


async def test_space_of_deleted_points_is_given_back(edge: QdrantEdge) -> None:
    """Deleting many passages vacuums the index, and the rest is still found."""
    await edge.upsert(put(*(f"filler number {n}" for n in range(1200)), file="big"))
    await edge.upsert(put(CAT))
    await edge.delete(DeleteRequest("big", tenant="t"))
    assert await found(edge, ask("cat", k=5)) == [CAT]

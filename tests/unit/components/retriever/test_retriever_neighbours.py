"""A passage that was found comes with what stands around it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ragkit import BagEmbedder, SmallHost, passage
from weft.components.retriever.hybrid import HybridRetriever
from weft.components.store.qdrant_edge import QdrantEdge
from weft.context import scope
from weft.contracts.retriever import RetrieveRequest
from weft.contracts.store import ScopedStore, UpsertRequest
from weft.types import Document

WHOLE = (
    "The ferry is red. It was built in Oslo.\n\nIts engine is old. It burns oil. "
    "The captain is new. She sails at dawn.\n\nThe cook is famous. He cooks fish."
)
PLACES = [(0, 39), (41, 73), (60, 93), (94, 112), (114, 148)]
"""The third repeats a sentence of the second, the fourth follows after a space."""


def passages(**fields: Any) -> list[Document]:
    """The whole text in pieces, as document-ingest makes them."""
    return [
        passage(WHOLE[start:end], f"p{n}", source="ferry.txt", start=start, end=end, **fields)
        for n, (start, end) in enumerate(PLACES)
    ]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[ScopedStore]:
    """A store without passages."""
    inner, host = QdrantEdge(), SmallHost(tmp_path)
    await inner.start(host)
    yield ScopedStore(inner, scope)
    await inner.aclose()
    host.close()


async def find(
    store: ScopedStore, query: str, k: int = 1, neighbours: int | None = None, **config: Any
) -> list[Document]:
    retriever = HybridRetriever(store, BagEmbedder(), **config)
    await retriever.start(SmallHost(Path()))
    return (await retriever.invoke(RetrieveRequest(query, k, neighbours=neighbours))).documents


@pytest.mark.parametrize(
    ("neighbours", "query", "place"),
    [
        (0, "new captain", (60, 93)),
        (1, "new captain", (41, 112)),
        (1, "red ferry built in Oslo", (0, 73)),
        (1, "famous cook", (94, 148)),
        (3, "new captain", (0, 148)),
    ],
)
async def test_the_text_around_is_the_documents_own(
    store: ScopedStore, neighbours: int, query: str, place: tuple[int, int]
) -> None:
    """Nothing is there twice, and offsets stay true, so that a quote can be found in the document."""
    await store.upsert(UpsertRequest(passages(), "ferry.txt"))
    (found,) = await find(store, query, neighbours=neighbours)
    assert (found.start, found.end) == place
    assert found.text == WHOLE[slice(*place)]


async def test_the_passage_that_was_found_keeps_its_own(store: ScopedStore) -> None:
    """Id, score, page, vector and metadata are not the neighbours'."""
    for n, document in enumerate(documents := passages()):
        document.page, document.metadata = n + 1, {"n": n}
    await store.upsert(UpsertRequest(documents, "ferry.txt"))
    (alone,), (joined,) = await find(store, "famous cook"), await find(store, "famous cook", neighbours=2)
    for field in ("id", "score", "page", "metadata", "embedding", "source"):
        assert getattr(joined, field) == getattr(alone, field)


async def test_what_is_joined_to_a_better_one_is_not_given_again(store: ScopedStore) -> None:
    """All five passages are found; two neighbourhoods have them all."""
    await store.upsert(UpsertRequest(passages(), "ferry.txt"))
    found = await find(store, "new captain", k=5, neighbours=1)
    assert found[0].id == "p2"
    assert sum(len(d.text.split()) for d in found) == len(WHOLE.split())
    assert len(found) < 5


async def test_files_do_not_mix(store: ScopedStore) -> None:
    """A neighbour is of the same file and the same collection."""
    await store.upsert(UpsertRequest(passages(), "ferry.txt"))
    await store.upsert(UpsertRequest([passage("The famous cook sings.", "x", source="song.txt")], "song.txt"))
    found = await find(store, "famous cook sings", k=1, neighbours=3)
    assert [d.text for d in found] == ["The famous cook sings."]


async def test_without_places_texts_are_put_one_after_the_other(store: ScopedStore) -> None:
    """Passages that do not say where they stand are joined all the same, and what is joined has no place."""
    documents = [
        passage(text, f"p{n}", source="f")
        for n, text in enumerate(["One fish.", "Two boats.", "Three nets."])
    ]
    await store.upsert(UpsertRequest(documents, "f"))
    (found,) = await find(store, "boats", neighbours=1)
    assert (found.text, found.start, found.end) == ("One fish.\n\nTwo boats.\n\nThree nets.", None, None)


async def test_what_is_far_away_is_no_neighbour(store: ScopedStore) -> None:
    """Where much is missing between two passages (nobody may read it, say) the text ends."""
    first, *_, last = passages()
    last.start, last.end = 1000, 1000 + len(last.text)
    await store.upsert(UpsertRequest([first, last], "ferry.txt"))
    (found,) = await find(store, "red ferry", neighbours=1)
    assert found.text == first.text


async def test_what_has_no_source_stays_alone(store: ScopedStore) -> None:
    """There is no document to read on in."""
    await store.upsert(UpsertRequest([passage("One fish.", "a"), passage("Two boats.", "b")], "f"))
    (found,) = await find(store, "boats", neighbours=1)
    assert found.text == "Two boats."


async def test_the_config_decides_where_a_request_does_not(store: ScopedStore) -> None:
    """A retriever of neighbourhoods, and a request without any."""
    await store.upsert(UpsertRequest(passages(), "ferry.txt"))
    (joined,) = await find(store, "new captain", neighbours=None)
    assert joined.text == WHOLE[60:93]
    retriever = HybridRetriever(store, BagEmbedder(), neighbours=1)
    await retriever.start(SmallHost(Path()))
    (joined,) = (await retriever.invoke(RetrieveRequest("new captain", 1))).documents
    assert joined.text == WHOLE[41:112]
    (alone,) = (await retriever.invoke(RetrieveRequest("new captain", 1, neighbours=0))).documents
    assert alone.text == WHOLE[60:93]


async def test_a_table_that_was_cut_is_joined_with_its_header_once(store: ScopedStore) -> None:
    """The header row that each piece repeats stands once, at the top, and the places stay true."""
    whole = "Town | Mayor\nOslo | Berg\nRome | Conti\nBonn | Weber"
    pieces = [
        passage(whole[:24], "t0", source="t.csv", start=0, end=24),
        passage(f"{whole[:13]}{whole[25:37]}", "t1", source="t.csv", start=25, end=37, metadata={"repeated": 13}),
        passage(f"{whole[:13]}{whole[38:]}", "t2", source="t.csv", start=38, end=50, metadata={"repeated": 13}),
    ]  # fmt: skip
    await store.upsert(UpsertRequest(pieces, "t.csv", "d"))
    (found,) = await find(store, "Conti in Rome", neighbours=1)
    assert (found.text.split(), found.start, found.end) == (whole.split(), 0, 50)
    (found,) = await find(store, "Weber in Bonn", neighbours=1)
    assert (found.start, found.end, found.metadata["repeated"]) == (25, 50, 13)
    assert found.text[13:].split() == whole[25:].split()

"""The extractive reader: which sentences are quoted, and where they stand."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragkit import BagEmbedder, SmallHost, bag, passage
from weft.components.evidence.reader import ExtractiveReader
from weft.contracts.embedding import EmbeddingResponse
from weft.contracts.evidence import EvidenceRequest
from weft.errors import BackendReplyError, ComponentError, InvalidRequestError
from weft.types import Document, Evidence, vector

HARBOUR = (
    "Lisbon lies on the Tagus.  The harbour of Lisbon was opened in 1887 by Dr. Alves. It was widened twice.\n\n"
    "Fish is sold there every morning."
)
QUESTION = "When was the harbour of Lisbon opened?"


async def read(
    passages: list[Document], query: str = QUESTION, max_quotes: int | None = None, **config: object
) -> Evidence:
    reader = ExtractiveReader(BagEmbedder(), **config)
    host = SmallHost(Path())
    await reader.start(host)
    try:
        return (await reader.invoke(EvidenceRequest(query, passages, max_quotes))).evidence
    finally:
        host.close()


async def test_the_sentence_that_answers_is_quoted_as_it_stands() -> None:
    """The quote is the document's own characters, and its offsets say where."""
    (quote,) = (
        await read([passage("Fish is good.", score=0.1), passage(HARBOUR, score=0.9)], max_quotes=1)
    ).quotes
    assert quote.text == "The harbour of Lisbon was opened in 1887 by Dr. Alves."
    assert quote.document.text[quote.start : quote.end] == quote.text
    assert 0.3 < quote.score <= 1


async def test_neighbours_are_one_quote_in_the_order_of_the_text() -> None:
    """Two sentences that stand together are quoted together, with what is between them."""
    text = "The harbour was widened. The harbour opened in 1887. Fish."
    (quote,) = (await read([passage(text)], "When was the harbour opened and widened?")).quotes
    assert quote.text == "The harbour was widened. The harbour opened in 1887."
    assert (quote.start, quote.end) == (0, 52)


async def test_a_sentence_that_does_not_fit_is_not_quoted_to_fill_up() -> None:
    """A second sentence needs half of the first one's score."""
    evidence = await read(
        [passage("The harbour of Lisbon was opened in 1887. Cats sleep. Dogs bark.")], max_quotes=3
    )
    assert [quote.text for quote in evidence.quotes] == ["The harbour of Lisbon was opened in 1887."]


async def test_the_same_sentence_of_two_passages_is_quoted_once() -> None:
    """Passages overlap; a reader does not want to read it twice."""
    same = "The harbour of Lisbon was opened in 1887."
    evidence = await read([passage(f"{same} It is big.", "1"), passage(f"In Portugal. {same}", "2")])
    assert [quote.text for quote in evidence.quotes].count(same) == 1


async def test_only_the_first_passages_are_read() -> None:
    """The config says how many."""
    documents = [passage(f"Filler text number {n}.", str(n)) for n in range(3)] + [passage(HARBOUR)]
    assert all("1887" not in q.text for q in (await read(documents)).quotes)
    assert "1887" in (await read(documents, documents=4)).quotes[0].text


async def test_a_heading_gives_way_to_a_sentence() -> None:
    """A heading repeats the question but does not answer it."""
    text = "Opening of the Lisbon harbour\n\nThe harbour of Lisbon was opened in 1887."
    document = passage(text, metadata={"heading": "Guide > Opening of the Lisbon harbour"})
    (quote, *_) = (await read([document], "opening Lisbon harbour", max_quotes=1)).quotes
    assert quote.text.endswith("1887.")


async def test_a_code_that_is_not_there_speaks_against_an_answer() -> None:
    """What a fault code means is not said where another code is explained; a title or heading may name it."""
    text = "Code E15 means that water is in the base tray."
    known = await read([passage(text)], "What does code E15 mean?")
    other = await read([passage(text)], "What does code E31 mean?")
    assert known.score - other.score > 0.3
    titled = await read([passage(text, title="Faults E31 to E40")], "What does code E31 mean?")
    assert titled.score > other.score + 0.15


async def test_a_heading_is_no_further_quote() -> None:
    """The sentence that goes on says more than the heading above, which is known by how it stands there."""
    for heading in ("# Lisbon harbour", "Harbour of Lisbon"):
        text = f"Fish is sold.\n\n{heading}\n\nThe harbour of Lisbon was opened in 1887. It has big cranes."
        assert all(heading not in quote.text for quote in (await read([passage(text)])).quotes)


async def test_sentences_stand_under_the_heading_in_their_passage() -> None:
    """Short sections share a passage; what is said under one heading is not said of the other."""
    text = "Canteen\n\nOpen from nine to five.\n\nLibrary\n\nOpen from ten to six."
    (quote,) = (await read([passage(text)], "When is the library open?", max_quotes=1)).quotes
    assert quote.text == "Open from ten to six."


async def test_answerable_by_the_sentence_that_fits_best() -> None:
    """Below the threshold the documents do not answer the question; quotes are given all the same."""
    far = await read([passage("Cats sleep all day long.")])
    assert (far.answerable, len(far.quotes), far.score) == (False, 1, 0.0)
    near = await read([passage(HARBOUR)])
    assert near.answerable is True
    assert 0.7 < near.score <= 1
    assert (await read([passage("Cats sleep all day long.")], threshold=-1.0)).answerable is True


@pytest.mark.parametrize("documents", [[], [Document("", embedding=bag("x"))], [Document("--- * ---")]])
async def test_nothing_to_read_is_no_evidence(documents: list[Document]) -> None:
    """Without passages, or without words in them, there is no quote and no answer."""
    assert await read(documents) == Evidence(QUESTION, [], False)


async def test_passages_without_vectors_are_embedded_in_the_same_call() -> None:
    """One call to the embedder, whoever brings a vector."""
    embedder, host = BagEmbedder(), SmallHost(Path())
    reader = ExtractiveReader(embedder)
    await reader.start(host)
    await reader.invoke(EvidenceRequest("q?", [Document("One. Two."), passage("Three.")]))
    assert embedder.calls == [["q?", "One. Two.", "One.", "Two.", "Three."]]
    host.close()


async def test_quotes_carry_no_vectors() -> None:
    """Nobody after the reader needs them."""
    assert (await read([passage(HARBOUR)])).quotes[0].document.embedding is None


async def test_vectors_of_another_model_are_refused() -> None:
    """Passages of another length of vector cannot be compared."""
    with pytest.raises(InvalidRequestError, match="another model"):
        await read([Document(HARBOUR, embedding=vector([1.0]))])


async def test_an_embedder_that_loses_a_text_is_an_error() -> None:
    """Vectors must be as many as texts."""
    reader, host = ExtractiveReader(BagEmbedder()), SmallHost(Path())

    async def lose(_: object) -> EmbeddingResponse:
        return EmbeddingResponse([bag("x")])

    reader._embedder.invoke = lose
    await reader.start(host)
    with pytest.raises(BackendReplyError, match="1 vectors for 3 texts"):
        await reader.invoke(EvidenceRequest("q", [Document("One.")]))
    host.close()


@pytest.mark.parametrize("count", [0, 21])
async def test_max_quotes_is_bounded(count: int) -> None:
    """From one to twenty."""
    with pytest.raises(InvalidRequestError, match="max_quotes"):
        await read([passage(HARBOUR)], max_quotes=count)


@pytest.mark.parametrize(
    "config", [{"documents": 0}, {"max_quotes": 0}, {"dense_weight": 2.0}, {"threshold": 2.0}, {"compare": 0}]
)
def test_config_is_checked(config: dict[str, float]) -> None:
    """Values that cannot be are refused when the component is made."""
    with pytest.raises(ComponentError):
        ExtractiveReader(BagEmbedder(), **config)


@pytest.mark.parametrize(
    ("question", "lacks", "has"),
    [
        ("When did the ferry sink?", "The ferry sank in a storm.", "In May the ferry sank."),
        ("How many sailed on the ferry?", "Passengers sailed on the ferry.", "Twelve sailed on the ferry."),
        ("At what time does the ferry sail?", "The ferry sails on.", "The ferry sails at noon."),
        ("When did the 1887 ferry sink?", "The 1887 ferry sank.", "The 1887 ferry sank in 1901."),
    ],
)
async def test_a_sentence_with_the_kind_of_answer_asked_for_wins(question: str, lacks: str, has: str) -> None:
    """A time for ``when``, a number for ``how many``, and none of those that the question says."""
    quotes = (await read([passage(f"{lacks} Nothing else. {has}")], question)).quotes
    assert quotes[0].text == has


async def test_a_sentence_is_understood_from_the_one_before_it() -> None:
    """What stands before ``it`` counts for the sentence that goes on with it, against one that is about something else."""
    text = "The tower of Oslo is old. It is 40 m high. The sea is far. The fence in Bergen is 2 m high."
    (quote,) = (await read([passage(text)], "How high is the tower of Oslo?", max_quotes=2)).quotes
    assert quote.text == "The tower of Oslo is old. It is 40 m high."


async def test_a_heading_tells_what_its_sentences_are_about() -> None:
    """Of two passages with the same words, the one under the right heading is quoted."""
    passages = [
        passage("Open from nine to five.", str(n), metadata={"heading": heading})
        for n, heading in enumerate(("Canteen", "Library"))
    ]
    (quote,) = (await read(passages, "When is the library open?", max_quotes=1)).quotes
    assert quote.document.id == "1"


async def test_of_many_sentences_those_are_compared_that_share_words() -> None:
    """A listing of a hundred lines costs as much as a page of text, and its right line is found all the same."""
    rows = [f"- Ferry number {n} sails at dawn." for n in range(100)]
    embedder, host = BagEmbedder(), SmallHost(Path())
    reader = ExtractiveReader(embedder, compare=10)
    await reader.start(host)
    reply = await reader.invoke(EvidenceRequest("When does ferry 87 sail?", [passage("\n".join(rows))], 1))
    assert [quote.text for quote in reply.evidence.quotes] == [rows[87]]
    assert [len(call) for call in embedder.calls] == [11]
    host.close()


async def test_a_row_of_a_table_is_read_with_the_names_of_its_columns() -> None:
    """The row is quoted that has the name and stands under the right column; the header itself answers nothing."""
    table = "Port | Opened | Cranes\nLisbon | 1887 | 12\nPorto | 1892 | 7\nFaro | 1901 | 3"
    (quote,) = (await read([passage(table)], "How many cranes are in Porto?", max_quotes=1)).quotes
    assert quote.text == "Porto | 1892 | 7"

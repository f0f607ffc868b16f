"""Which documents there are, a summary of one, a list, two things side by side."""

from __future__ import annotations

from typing import Any

import pytest
from shelf import Shelf

from ragkit import BagEmbedder, ScriptedModel, SmallHost
from weft.components.rag.comparison import CompareRequest, SideBySide
from weft.components.rag.condense import CHOICE
from weft.components.rag.contents import ContentsRequest, DocumentContents
from weft.components.rag.library import Known, is_deictic, meant, mentioned, nearest, plain
from weft.components.rag.listing import ItemsRequest, ListItems
from weft.components.rag.summary import DocumentSummary, SummaryRequest
from weft.errors import ComponentError
from weft.types import Document, Evidence, Message

HANDBOOK = (
    "The handbook is for everyone who works in the harbour.",
    "Leave is thirty days a year. It is carried over until the spring.\n\nThe week has forty hours.",
    "Whoever leaves gives notice of three months. The notice is given in writing.",
)
CONTRACT = (
    "The contract is made with a freelancer.",
    "Either side gives notice of ten days. There is no leave.",
)


@pytest.fixture
def stocked(shelf: Shelf) -> Shelf:
    """A handbook and a contract."""
    shelf.put("handbook.pdf", *HANDBOOK, title="The harbour's handbook")
    shelf.put("contract.txt", *CONTRACT)
    return shelf


def texts(evidence: Evidence) -> list[str]:
    return [quote.text for quote in evidence.quotes]


def names(*pairs: str) -> list[Known]:
    return [Known(name, title, 1) for name, _, title in (pair.partition("|") for pair in pairs)]


@pytest.mark.parametrize(
    ("subject", "found"),
    [
        ("handbook.pdf", ["handbook.pdf"]), ("the handbook", ["handbook.pdf"]), ("HANDBOOK", ["handbook.pdf"]),
        ("the annual report of 2023", ["annual_report-2023.docx"]), ("annual report", ["annual_report-2023.docx", "annual_report-2024.docx"]),
        ("guide to sailing", ["x1.pdf"]), ("the sailng guide", ["x1.pdf"]), ("the document", []), ("it", []), ("the leave policy", []), ("", []),
    ],
)  # fmt: skip
def test_which_document_is_meant(subject: str, found: list[str]) -> None:
    """By name or title, whole or in part, with a slip of the finger; several where several fit; none for a topic."""
    documents = names("handbook.pdf|Rules", "annual_report-2023.docx|", "annual_report-2024.docx|", "x1.pdf|A guide to sailing")  # fmt: skip
    assert [document.name for document in meant(subject, documents)] == found


def test_what_is_near_to_a_name() -> None:
    """A name that is almost right, or shares a word, is offered; others are not."""
    documents = names("boats.txt|", "contract.txt|", "minutes.txt|Minutes of the meeting")
    assert [d.name for d in nearest("the boat guide", documents)] == ["boats.txt"]
    assert nearest("volcanoes", documents) == []


def test_what_was_spoken_of() -> None:
    """The document that was named last comes first, by its name or its title."""
    documents = names("a.pdf|Alpha report", "b.pdf|", "c.pdf|")
    said = [Message("user", "Summarize b.pdf"), Message("assistant", "\u201cx\u201d [1] (Alpha report)")]
    assert [d.name for d in mentioned(said, documents)] == ["a.pdf", "b.pdf"]
    assert all(map(is_deictic, ("it", "this document", "both of them", "")))
    assert not is_deictic("the report")


def test_a_name_is_one_harmless_line() -> None:
    """Bounded, and without what is not seen or loaded."""
    assert plain("a\n![b](c)\u202e") == "a !\\[b](c)"
    assert len(plain("x" * 500)) == 100


@pytest.fixture
def contents(uses: dict[str, Any]) -> DocumentContents:
    return DocumentContents(**uses, shown=2)


async def test_the_documents_are_listed_with_their_counts(contents: DocumentContents, stocked: Shelf) -> None:
    """Numbered, by name, with titles where they say more; of many only the number is said."""
    reply = await contents.invoke(ContentsRequest("what is in?"))
    assert reply.evidence.note == (
        "There are 2 documents with 5 passages in all:\n\n1. contract.txt \u2014 2 passages\n"
        "2. handbook.pdf (The harbour's handbook) \u2014 3 passages"
    )
    stocked.put("z.txt", "More.")
    assert (await contents.invoke(ContentsRequest())).evidence.note.endswith("\n\nand 1 more.")


async def test_what_a_caller_may_not_read_is_not_listed(contents: DocumentContents, stocked: Shelf) -> None:
    """A document without a passage for the caller is not there, and neither is its name."""
    stocked.hidden.add("handbook.pdf")
    note = (await contents.invoke(ContentsRequest())).evidence.note
    assert note == "There is 1 document with 2 passages in all:\n\n1. contract.txt \u2014 2 passages"


async def test_documents_that_speak_of_something(contents: DocumentContents, stocked: Shelf) -> None:
    """A quote of each that does; where none does that is said."""
    found = (await contents.invoke(ContentsRequest("q", ["notice"]))).evidence
    assert {quote.document.source for quote in found.quotes} == {"handbook.pdf", "contract.txt"}
    assert found.note == "2 documents speak of \u201cnotice\u201d:"
    none = (await contents.invoke(ContentsRequest("q", ["volcanoes"]))).evidence
    assert (none.quotes, none.answerable) == ([], False)
    assert none.note == "None of the 2 documents seems to speak of \u201cvolcanoes\u201d."


@pytest.fixture
async def summary(uses: dict[str, Any], embedder: BagEmbedder, host: SmallHost) -> DocumentSummary:
    node = DocumentSummary(**uses, embedder=embedder, sentences=3)
    await node.start(host)
    return node


async def test_a_summary_is_of_one_document_in_its_order(summary: DocumentSummary, stocked: Shelf) -> None:
    """The first sentence, then others from all over, in the order of the document, each with its place."""
    found = (await summary.invoke(SummaryRequest("q", ["the handbook"]))).evidence
    assert texts(found)[0] == HANDBOOK[0]
    assert len(found.quotes) == 3
    places = [(quote.document.start or 0) + quote.start for quote in found.quotes]
    assert places == sorted(places)
    assert {quote.document.source for quote in found.quotes} == {"handbook.pdf"}
    assert all(quote.document.text[quote.start : quote.end] == quote.text for quote in found.quotes)
    assert found.note == "handbook.pdf (The harbour's handbook), in its own words:"


async def test_a_long_document_is_read_in_pieces(
    summary: DocumentSummary, shelf: Shelf, embedder: BagEmbedder
) -> None:
    """Of thousands of passages a bounded number is read, from the beginning to the end, and a bounded number embedded."""
    shelf.put(
        "long.txt", *(f"Chapter {n} is about the harbour number {n} and its boats." for n in range(3000))
    )
    found = (await summary.invoke(SummaryRequest("q", ["long.txt"], count=20))).evidence
    assert len(found.quotes) == 20
    assert sum(min(r.limit, 50) for r in shelf.reads if r.with_embeddings) <= 400
    assert max(r.after for r in shelf.reads) > 2000
    assert sum(map(len, embedder.calls)) <= 120


async def test_which_one_is_asked_back(summary: DocumentSummary, shelf: Shelf) -> None:
    """Several that fit, or nothing that says which: the reply asks."""
    shelf.put("report-2023.txt", "It was a year of storms at sea.")
    shelf.put("report-2024.txt", "It was a year of calms at sea.")
    for subject in ("the report", "this document", ""):
        found = (await summary.invoke(SummaryRequest("q", [subject]))).evidence
        assert (found.quotes, found.answerable) == ([], False)
        assert found.note == (
            f"2 documents could be meant:\n\n1. report-2023.txt\n2. report-2024.txt\n\n{CHOICE}"
        )
    said = [
        Message("user", "What does report-2024 say?"),
        Message("assistant", "x"),
        Message("user", "Sum it up"),
    ]
    assert (await summary.invoke(SummaryRequest("q", ["it"], said))).evidence.note.startswith(
        "report-2024.txt"
    )


async def test_the_only_document_is_meant(summary: DocumentSummary, shelf: Shelf) -> None:
    """Where there is one, ``this document`` and ``everything`` are that one."""
    shelf.put("only.txt", "The harbour was built by the town in old times.")
    for subject in ("this document", "*", ""):
        assert texts((await summary.invoke(SummaryRequest("q", [subject]))).evidence) == [
            "The harbour was built by the town in old times."
        ]


async def test_all_documents_get_a_sentence_each(summary: DocumentSummary, stocked: Shelf) -> None:
    """Under their names."""
    found = (await summary.invoke(SummaryRequest("q", ["*"]))).evidence
    assert [quote.about for quote in found.quotes] == [
        "contract.txt",
        "handbook.pdf (The harbour's handbook)",
    ]
    assert texts(found) == [CONTRACT[0], HANDBOOK[0]]


async def test_a_topic_is_summed_up_from_all_documents(summary: DocumentSummary, stocked: Shelf) -> None:
    """What names no document is looked for; what is not found is said with the nearest names."""
    found = (await summary.invoke(SummaryRequest("q", ["notice"]))).evidence
    assert found.note == "What the documents say about \u201cnotice\u201d:"
    assert {quote.document.source for quote in found.quotes} == {"handbook.pdf", "contract.txt"}
    unknown = (await summary.invoke(SummaryRequest("q", ["the hand book of rowing"]))).evidence
    assert not unknown.answerable
    assert "There is no document called" in unknown.note


async def test_a_large_model_gets_whole_passages(
    uses: dict[str, Any], embedder: BagEmbedder, host: SmallHost, stocked: Shelf
) -> None:
    """It puts them into words itself."""
    node = DocumentSummary(
        **uses, embedder=embedder, chat=ScriptedModel(parameters=8_000_000_000), passages=2
    )
    await node.start(host)
    found = (await node.invoke(SummaryRequest("q", ["handbook.pdf"]))).evidence
    assert len(found.quotes) == 2
    assert set(texts(found)) <= set(HANDBOOK)


RECIPE = "Apple cake\n\nIngredients of the apple cake:\n\n- 3 apples\n- 200 g flour\n  (sifted)\n- 2 eggs\n\nHow to bake the apple cake:\n\n1. Heat the oven.\n2. Bake it."


@pytest.fixture
def items(uses: dict[str, Any]) -> ListItems:
    return ListItems(uses["store"], uses["reader"], sentences=2)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("the ingredients of the apple cake", ["3 apples", "200 g flour\n  (sifted)", "2 eggs"]),
        ("how to bake the apple cake", ["Heat the oven.", "Bake it."]),
    ],
)
async def test_the_list_that_was_asked_for(
    items: ListItems, shelf: Shelf, query: str, found: list[str]
) -> None:
    """Of two lists the one under the words of the question, item by item, as they stand."""
    shelf.put("cake.txt", RECIPE)
    reply = await items.invoke(ItemsRequest(query, shelf.files["cake.txt"]))
    assert texts(reply.evidence) == found
    assert all(q.document.text[q.start : q.end] == q.text for q in reply.evidence.quotes)
    limited = await items.invoke(ItemsRequest(query, shelf.files["cake.txt"], count=1))
    assert texts(limited.evidence) == found[:1]


async def test_a_list_is_followed_into_the_next_passage(items: ListItems, shelf: Shelf) -> None:
    """Where it runs on, repeated items once; what comes after it is not taken."""
    shelf.put("rules.txt", "The rules of the yard:\n\n- Wear boots.\n- Be quiet.", "- Be quiet.\n- Sweep up.", "Tea is at four.\n\n- With milk")  # fmt: skip
    reply = await items.invoke(ItemsRequest("rules of the yard", shelf.files["rules.txt"][:1]))
    assert texts(reply.evidence) == ["Wear boots.", "Be quiet.", "Sweep up."]


async def test_a_table_is_a_list_of_rows(items: ListItems) -> None:
    """Without its head and its rule."""
    table = "Prices of berths:\n\n| berth | euros |\n|---|---|\n| north | 10 |\n| south | 12 |"
    reply = await items.invoke(ItemsRequest("the prices of berths", [Document(table, "t")]))
    assert texts(reply.evidence) == ["north | 10", "south | 12"]


async def test_without_a_list_the_sentences_do(items: ListItems) -> None:
    """And where nothing answers, that is what is said."""
    plain_text = Document("The rules are few. Wear boots. Nothing else matters.", "p")
    found = (await items.invoke(ItemsRequest("the rules", [plain_text]))).evidence
    assert texts(found) == ["The rules are few."]
    other = Document("- one\n- two", "o")
    assert not (await items.invoke(ItemsRequest("volcanoes", [other]))).evidence.answerable
    assert not (await items.invoke(ItemsRequest("the rules", []))).evidence.answerable


@pytest.fixture
async def comparison(uses: dict[str, Any], embedder: BagEmbedder, host: SmallHost) -> SideBySide:
    node = SideBySide(**uses, embedder=embedder)
    await node.start(host)
    return node


async def test_two_documents_in_one_respect(comparison: SideBySide, stocked: Shelf) -> None:
    """Each gives its own evidence, and no other document."""
    request = CompareRequest("q", ["handbook.pdf", "the contract"], "notice")
    found = (await comparison.invoke(request)).evidence
    by_thing = {quote.about: quote.document.source for quote in found.quotes}
    assert by_thing == {
        "handbook.pdf (The harbour's handbook)": "handbook.pdf",
        "contract.txt": "contract.txt",
    }
    assert texts(found)[0] == "Whoever leaves gives notice of three months."
    assert "Either side gives notice of ten days." in texts(found)


async def test_two_documents_in_general(comparison: SideBySide, stocked: Shelf) -> None:
    """Sentences that stand for each; ``both`` and ``them`` are those spoken of, or the two that there are."""
    for request in (
        CompareRequest("q", ["handbook.pdf", "contract.txt"]),
        CompareRequest("q", ["them"]),
        CompareRequest("q", ["both"], "", [Message("user", "handbook.pdf, contract.txt"), Message("user", "Compare both")]),
    ):  # fmt: skip
        found = (await comparison.invoke(request)).evidence
        assert {q.document.source for q in found.quotes} == {"handbook.pdf", "contract.txt"}
        assert HANDBOOK[0] in texts(found)


async def test_two_things_from_all_documents(comparison: SideBySide, shelf: Shelf) -> None:
    """A thing that is no document is looked for; one that nothing is said about is named."""
    shelf.put("boats.txt", "A dinghy is small and light.", "A keelboat is heavy.", "Tea is hot.")
    found = (await comparison.invoke(CompareRequest("q", ["a dinghy", "a keelboat"]))).evidence
    assert (found.quotes[0].about, found.quotes[0].text) == ("a dinghy", "A dinghy is small and light.")
    assert ("a keelboat", "A keelboat is heavy.") in [(q.about, q.text) for q in found.quotes]
    half = (await comparison.invoke(CompareRequest("q", ["dinghy", "zeppelins"]))).evidence
    assert half.answerable
    assert half.note == "Nothing was found in the documents about \u201czeppelins\u201d."


async def test_the_new_one_is_the_one_beside_the_old(comparison: SideBySide, shelf: Shelf) -> None:
    """What only differs by *new* is the document of that name that was not named."""
    shelf.put("handbook-2019.txt", "The old rules of the harbour are kept here.")
    shelf.put("handbook-2024.txt", "The rules of the harbour are written here.")
    found = (await comparison.invoke(CompareRequest("q", ["the new handbook", "handbook-2019.txt"]))).evidence
    assert list(dict.fromkeys(q.about for q in found.quotes)) == ["handbook-2024.txt", "handbook-2019.txt"]


@pytest.mark.parametrize(
    "request_", [CompareRequest("q", ["them"]), CompareRequest("q", ["the report", "boats.txt"])]
)
async def test_what_is_to_be_compared_is_asked_back(
    comparison: SideBySide, shelf: Shelf, request_: CompareRequest
) -> None:
    """Where it cannot be told."""
    for name in ("report-1.txt", "report-2.txt", "boats.txt"):
        shelf.put(name, "Some words on boats and the sea.")
    found = (await comparison.invoke(request_)).evidence
    assert not found.answerable
    assert found.note.endswith(CHOICE)


async def test_without_documents_there_is_no_evidence(
    contents: DocumentContents, summary: DocumentSummary, comparison: SideBySide
) -> None:
    """The reply then says how to add some."""
    for reply in (
        await contents.invoke(ContentsRequest()),
        await summary.invoke(SummaryRequest()),
        await comparison.invoke(CompareRequest()),
    ):
        assert (reply.evidence.quotes, reply.evidence.note, reply.evidence.answerable) == ([], "", False)


def test_config_is_checked(uses: dict[str, Any], embedder: BagEmbedder) -> None:
    """Bounds that cannot be are refused when a component is made."""
    for make in (
        lambda: DocumentContents(**uses, shown=0),
        lambda: DocumentSummary(**uses, embedder=embedder, sentences=0),
        lambda: ListItems(uses["store"], uses["reader"], sentences=21),
        lambda: SideBySide(**uses, embedder=embedder, sentences=0),
    ):
        with pytest.raises(ComponentError):
            make()

"""What a reranker promises: section 8.5 of the specification."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from weft.contracts.reranker import CONTRACT, RerankRequest
from weft.testing.promises.base import Broken, Family, Promises, Subject, expect
from weft.testing.promises.texts import LONG, PASSAGES, QUESTIONS, SCRIPTS, full_document
from weft.types import Document

RERANKER: Final[Promises[Subject]] = Promises()


def _request(query: str, texts: list[str] | None = None, top_n: int | None = None) -> RerankRequest:
    documents = [Document(text, id=f"d{index}") for index, text in enumerate(texts or PASSAGES)]
    return RerankRequest(query, documents, top_n)


async def _ranked(subject: Subject, request: RerankRequest) -> list[Document]:
    found: list[Document] = (await subject.ask(request)).documents
    return found


@RERANKER("8.5.1")
async def documents_are_those_given(subject: Subject) -> None:
    """A reranker must return documents of the request, each at most once, with their texts unchanged."""
    texts = [*PASSAGES, *SCRIPTS]
    request = _request(QUESTIONS[0], texts, top_n=len(texts))
    given = {document.id: document.text for document in request.documents}
    found = await _ranked(subject, request)
    ids = [document.id for document in found]
    expect(len(set(ids)) == len(ids), f"a document came twice: {ids}")
    for document in found:
        expect(document.id in given, f"there was no document '{document.id}'")
        expect(document.text == given[document.id], f"the text became {document.text!r}")


@RERANKER("8.5.2")
async def best_first_with_scores(subject: Subject) -> None:
    """Each document must have a `score`, higher is better, and the best must come first."""
    found = await _ranked(subject, _request(QUESTIONS[0], top_n=len(PASSAGES)))
    scores = [document.score for document in found]
    numbers = [score for score in scores if score is not None]
    expect(len(numbers) == len(scores), f"scores {scores}")
    expect(numbers == sorted(numbers, reverse=True), f"scores {scores}")


@RERANKER("8.5.3")
async def top_n_bounds(subject: Subject) -> None:
    """There must be no more than `top_n` documents; a larger `top_n` than there are documents is no error."""
    for top_n in (1, 2, len(PASSAGES) + 50):
        found = await _ranked(subject, _request(QUESTIONS[0], top_n=top_n))
        expect(1 <= len(found) <= min(top_n, len(PASSAGES)), f"{len(found)} documents for top_n {top_n}")


@RERANKER("8.5.4")
async def no_documents_no_error(subject: Subject) -> None:
    """No documents must give an empty list, not an error."""
    found = await _ranked(subject, RerankRequest(QUESTIONS[0], []))
    expect(found == [], f"{len(found)} documents of none")


@RERANKER("8.5.5")
async def fields_are_kept(subject: Subject) -> None:
    """The fields of a document that a reranker does not use must come back as they were: `id`, `source`, `title`,
    `page`, `start`, `end`, `readers`, `trusted`, `metadata`."""
    given = full_document(PASSAGES[0])
    found = await _ranked(subject, RerankRequest(QUESTIONS[0], [given], 1))
    expect(len(found) == 1, f"{len(found)} documents of one")
    lost = lost_fields(given, found[0])
    expect(not lost, f"lost or changed: {', '.join(lost)}")


@RERANKER("8.5.6")
async def the_same_words_win(subject: Subject) -> None:
    """A passage that repeats the question should come before one that shares nothing with it."""
    question = "Which bridge crosses the river Neckar?"
    found = await _ranked(
        subject, _request(question, ["Zebra stripes vary.", f"{question} The old bridge."], 2)
    )
    expect(found and found[0].id == "d1", f"the first was {found[0].text if found else 'nothing'!r}")


@RERANKER("8.5.7")
async def equals_keep_their_order(subject: Subject) -> None:
    """Documents of equal score should stay in the order in which they came."""
    found = await _ranked(subject, _request(QUESTIONS[0], ["the same passage"] * 5, 5))
    ids = [document.id for document in found]
    expect(ids == sorted(ids), f"the order was {ids}")


@RERANKER("8.5.8")
async def large_requests_do_not_break_it(subject: Subject) -> None:
    """Many documents, long ones and empty ones must be ranked or refused as the caller's fault."""
    for texts in ([f"Passage {n}: {PASSAGES[n % len(PASSAGES)]}" for n in range(200)], [LONG, "", " \n "]):
        try:
            reply = await subject.serves_or_refuses(_request(QUESTIONS[0], texts, 10))
        except Broken as error:
            raise Broken(
                f"{len(texts)} documents, {sum(map(len, texts)):,} characters: {error.came}"
            ) from error
        expect(reply is None or len(reply.documents) <= 10, "more than top_n documents")


@RERANKER("8.5.9")
async def top_n_below_one_is_refused(subject: Subject) -> None:
    """A `top_n` below 1 should be refused."""
    await subject.refuses(_request(QUESTIONS[0], top_n=0))
    await subject.refuses(_request(QUESTIONS[0], top_n=-1))


def lost_fields(given: Document, found: Document) -> list[str]:
    """The fields of ``given`` that ``found`` does not have as they were; scores and vectors do not count."""
    before, after = (msgspec.json.decode(msgspec.json.encode(document)) for document in (given, found))
    own = {"score", "embedding", "metadata"}
    lost = [name for name, value in before.items() if name not in own and after.get(name) != value]
    metadata: dict[str, Any] = after.get("metadata", {})
    return lost + [
        f"metadata.{name}" for name, value in given.metadata.items() if metadata.get(name) != value
    ]


FAMILY: Final = Family(CONTRACT, RERANKER, samples=lambda: [_request(query, top_n=3) for query in QUESTIONS])

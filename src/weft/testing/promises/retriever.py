"""What a retriever promises: section 8.4 of the specification. What it has found in is not known here."""

from __future__ import annotations

from typing import Final

from weft.contracts.retriever import CONTRACT, RetrieveRequest
from weft.testing.promises.base import Family, Promises, Subject, Unseen, expect
from weft.testing.promises.texts import LONG, QUESTIONS, SCRIPTS
from weft.types import Document

RETRIEVER: Final[Promises[Subject]] = Promises()

NOWHERE: Final = "weft-conform-nowhere"
"""A name that no collection and no metadata has."""


async def _found(subject: Subject, request: RetrieveRequest) -> list[Document]:
    documents: list[Document] = (await subject.ask(request)).documents
    return documents


async def _any_found(subject: Subject, request: RetrieveRequest) -> list[Document]:
    documents = await _found(subject, request)
    if not documents:
        raise Unseen("nothing was found: put a few documents in and check again")
    return documents


@RETRIEVER("8.4.1")
async def k_bounds(subject: Subject) -> None:
    """There must be no more than `k` documents, each at most once."""
    for k in (1, 3):
        documents = await _found(subject, RetrieveRequest(QUESTIONS[0], k))
        expect(len(documents) <= k, f"{len(documents)} documents for k {k}")
    documents = await _any_found(subject, RetrieveRequest(QUESTIONS[0], 50))
    ids = [document.id or document.text for document in documents]
    expect(len(set(ids)) == len(ids), f"a document came twice: {ids}")


@RETRIEVER("8.4.2")
async def best_first_with_scores(subject: Subject) -> None:
    """Each document must have a `score`, higher is better, and the best must come first."""
    scores = [document.score for document in await _any_found(subject, RetrieveRequest(QUESTIONS[0], 50))]
    numbers = [score for score in scores if score is not None]
    expect(len(numbers) == len(scores), f"scores {scores}")
    expect(numbers == sorted(numbers, reverse=True), f"scores {scores}")


@RETRIEVER("8.4.3")
async def filters_hold(subject: Subject) -> None:
    """With `filter`, a document whose metadata does not have the value must not be returned."""
    await _any_found(subject, RetrieveRequest(QUESTIONS[0], 5))
    documents = await _found(subject, RetrieveRequest(QUESTIONS[0], 5, filter={NOWHERE: "x"}))
    expect(not documents, f"{len(documents)} documents, none of which has the value")


@RETRIEVER("8.4.4")
async def k_below_one_is_refused(subject: Subject) -> None:
    """A `k` below 1 must be refused."""
    await subject.refuses(RetrieveRequest(QUESTIONS[0], 0))
    await subject.refuses(RetrieveRequest(QUESTIONS[0], -1))


@RETRIEVER("8.4.5")
async def any_text_is_searched_for(subject: Subject) -> None:
    """A question in any script must be searched for; an empty one, and one longer than the model reads, must be
    searched for or refused as the caller's fault."""
    for query in SCRIPTS:
        await subject.ask(RetrieveRequest(query, 2))
    for query in ("", " ", LONG, '"unbalanced AND (OR NOT *'):
        await subject.serves_or_refuses(RetrieveRequest(query, 2))


@RETRIEVER("8.4.6")
async def nothing_is_no_error(subject: Subject) -> None:
    """A collection that is not there should give an empty list, not an error."""
    documents = await _found(subject, RetrieveRequest(QUESTIONS[0], 2, collection=NOWHERE))
    expect(not documents, f"{len(documents)} documents in a collection that is not there")


FAMILY: Final = Family(
    CONTRACT, RETRIEVER, samples=lambda: [RetrieveRequest(question, 3) for question in QUESTIONS]
)

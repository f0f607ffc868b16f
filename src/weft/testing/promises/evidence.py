"""What an evidence reader promises: section 8.6 of the specification."""

from __future__ import annotations

from typing import Final

from weft.contracts.evidence import CONTRACT, EvidenceRequest
from weft.testing.promises.base import Broken, Family, Promises, Subject, expect
from weft.testing.promises.reranker import lost_fields
from weft.testing.promises.texts import LONG, PASSAGES, QUESTIONS, SCRIPTS, full_document
from weft.types import Document, Evidence

EVIDENCE: Final[Promises[Subject]] = Promises()


def _request(query: str, texts: list[str] | None = None, max_quotes: int | None = None) -> EvidenceRequest:
    documents = [Document(text, id=f"d{index}") for index, text in enumerate(texts or PASSAGES)]
    return EvidenceRequest(query, documents, max_quotes)


async def _evidence(subject: Subject, request: EvidenceRequest) -> Evidence:
    evidence: Evidence = (await subject.ask(request)).evidence
    return evidence


@EVIDENCE("8.6.1")
async def quotes_stand_in_the_passage(subject: Subject) -> None:
    """A quote must be the words of its document: `text` is `document.text[start:end]`, counted in characters (Unicode
    code points)."""
    for texts in ([*PASSAGES], [f"{script} {PASSAGES[0]} {script}" for script in SCRIPTS]):
        for quote in (await _evidence(subject, _request(QUESTIONS[0], texts, 4))).quotes:
            expected = quote.document.text[quote.start : quote.end]
            expect(quote.text == expected, f"the quote is {quote.text!r}, the place has {expected!r}")


@EVIDENCE("8.6.2")
async def quotes_are_from_the_documents(subject: Subject) -> None:
    """The document of a quote must be one of the request, with its fields as they were."""
    given = full_document(PASSAGES[0])
    for quote in (await _evidence(subject, EvidenceRequest(QUESTIONS[0], [given]))).quotes:
        lost = lost_fields(given, quote.document)
        expect(not lost, f"lost or changed: {', '.join(lost)}")


@EVIDENCE("8.6.3")
async def quotes_are_few_and_best_first(subject: Subject) -> None:
    """There must be no more than `max_quotes` quotes, best first, with scores from 0 to 1."""
    rules = [
        f"New employees of grade {grade} have {grade + 20} days of leave. They ask early."
        for grade in range(6)
    ]
    for count in (1, 3):
        quotes = (await _evidence(subject, _request(QUESTIONS[1], rules, count))).quotes
        scores = [quote.score for quote in quotes]
        expect(len(quotes) <= count, f"{len(quotes)} quotes for max_quotes {count}")
        expect(scores == sorted(scores, reverse=True), f"scores {scores}")
        expect(all(0 <= score <= 1 for score in scores), f"scores {scores}")


@EVIDENCE("8.6.4")
async def no_documents_no_evidence(subject: Subject) -> None:
    """No documents must give no quotes and `answerable: false`, not an error."""
    evidence = await _evidence(subject, EvidenceRequest(QUESTIONS[0], []))
    expect(not evidence.quotes and not evidence.answerable, f"{evidence}")


@EVIDENCE("8.6.5")
async def odd_requests_do_not_break_it(subject: Subject) -> None:
    """An empty question, empty passages and long ones must be read or refused as the caller's fault."""
    for query, texts in (("", [*PASSAGES]), (QUESTIONS[0], ["", " \n"]), (QUESTIONS[0], [LONG])):
        try:
            await subject.serves_or_refuses(_request(query, texts))
        except Broken as error:
            raise Broken(f"question {query!r}, {len(texts)} passages: {error.came}") from error


@EVIDENCE("8.6.6")
async def the_answer_is_quoted(subject: Subject) -> None:
    """A sentence that answers the question in its own words should be the first quote."""
    quotes = (await _evidence(subject, _request(QUESTIONS[1]))).quotes
    expect(
        quotes and "30 days of leave" in quotes[0].text,
        f"the first quote is {quotes[0].text if quotes else None!r}",
    )


FAMILY: Final = Family(CONTRACT, EVIDENCE, samples=lambda: [_request(query) for query in QUESTIONS])

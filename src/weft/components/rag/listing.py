"""The node that finds the list that was asked for: steps, ingredients, requirements."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from weft.components.rag.library import collection_name
from weft.components.rag.salient import without_headings
from weft.contracts.evidence import EvidenceReader, EvidenceRequest, EvidenceResponse
from weft.contracts.store import ReadRequest, Store
from weft.errors import ComponentError
from weft.text import Span, overlap, rarity, terms
from weft.types import Document, Evidence, Quote

MAX_ITEMS: Final = 40
PASSAGES: Final = 4
"""Passages, best first, in which a list is looked for."""

NEIGHBOURS: Final = 5
"""Passages around the one that a list runs out of, the list's own included."""

FITS: Final = 0.5
"""A list is taken when its heading and introduction have at least this part of the question's telling words, or when it
stands where the best sentence does."""

SURE: Final = 0.75
"""From this part on a list answers also where no sentence is near to the question: items are short."""

_ITEM: Final = re.compile(
    r"^(?P<indent>[ \t]*)(?P<mark>[-*\u2022\u25aa\u25e6\u2013]|\(?(?:\d{1,2}|[a-zA-Z]|[ivx]{1,4})[.)]|step \d{1,2}[:.)]|\[[ xX]?\])[ \t]+(?P<item>\S.*)$",
    re.IGNORECASE,
)
_ROW: Final = re.compile(r"^[ \t]*\|(?P<item>.*\w.*)\|?[ \t]*$")
_RULE: Final = re.compile(r"^[ \t]*\|?[ \t:|+-]+\|?[ \t]*$")


class ItemsRequest(Struct, omit_defaults=True):
    """What is to be listed, and the passages that may have it, best first; ``count`` None: all of it."""

    query: str
    documents: list[Document]
    count: int | None = None
    collection: str = ""


@dataclass
class _List:
    """A list in a passage.

    Attributes:
        introduced: What stands before it: headings and the line above.
        items: Where each item's words are.
        start, end: From its introduction to its last character.
        is_cut: Whether it goes on to the end of the passage, so that the next one may have more.
        rank: How well its passage was ranked; 0 is best.
    """

    document: Document
    introduced: str
    start: int
    rank: int = 0
    items: list[Span] = field(default_factory=list)
    end: int = 0
    is_cut: bool = False


class ListItems:
    """Quotes the list that was asked for, item by item; where there is none, the sentences that answer.

    Lists are taken from the best passages: marked or numbered lines and rows of tables, chosen by what stands above them.
    One that runs on into the next passage is followed there.

    Args:
        store: Where the next passage is.
        reader: Picks sentences, and says whether the passages answer at all.
        sentences: How many sentences are quoted where there is no list.
    """

    idempotent = True

    def __init__(self, store: Store, reader: EvidenceReader, *, sentences: int = 4) -> None:
        if not 1 <= sentences <= 20:
            raise ComponentError("list-items: sentences must be from 1 to 20")
        self._store, self._reader, self._sentences = store, reader, sentences

    async def invoke(self, request: ItemsRequest) -> EvidenceResponse:
        """The items in the order of their list, one quote each."""
        read = await self._reader.invoke(
            EvidenceRequest(request.query, request.documents, max_quotes=self._sentences + 1)
        )
        evidence = read.evidence
        found, share = _best(request, evidence)
        if found is None or not (evidence.answerable or share >= SURE):
            quotes = without_headings(evidence.quotes, self._sentences)
            return EvidenceResponse(replace(evidence, quotes=quotes))
        quotes = _quotes(found)
        if found.is_cut and found.document.source:
            quotes = await self._followed(found, quotes, collection_name(request.collection))
        quotes = quotes[: min(request.count or MAX_ITEMS, MAX_ITEMS)]
        return EvidenceResponse(replace(evidence, quotes=quotes, answerable=True))

    async def _followed(self, found: _List, quotes: list[Quote], collection: str) -> list[Quote]:
        """The items with those that the next passages go on with."""
        document = found.document
        reply = await self._store.read(
            ReadRequest(document.source or "", around=document.id, limit=NEIGHBOURS, collection=collection)
        )
        places = [other.id for other in reply.documents]
        if document.id not in places:
            return quotes
        seen = {" ".join(quote.text.split()) for quote in quotes}
        for following in reply.documents[places.index(document.id) + 1 :]:
            lists = _lists(following, 0)
            first = lists[0] if lists else None
            if first is None or following.text[: first.items[0].start].strip(" \t\n-*\u2022.)(0123456789"):
                break  # something else stands between
            more = [q for q in _quotes(first) if " ".join(q.text.split()) not in seen]
            seen |= {" ".join(quote.text.split()) for quote in more}
            quotes += more
            if not first.is_cut:
                break
        return quotes


def _best(request: ItemsRequest, evidence: Evidence) -> tuple[_List | None, float]:
    """The list that fits best, and how much of the question stands above it."""
    lists = [
        found
        for rank, document in enumerate(request.documents[:PASSAGES])
        for found in _lists(document, rank)
        if len(found.items) >= 2
    ]
    asked = terms(request.query)
    texts = [terms(f"{one.introduced} {one.document.text[one.start : one.end]}") for one in lists]
    weights = rarity([*texts, *(terms(document.text) for document in request.documents)])
    best: tuple[float, float, _List] | None = None
    for one, text in zip(lists, texts, strict=True):
        share = overlap(asked, terms(one.introduced), weights)
        beside = any(
            quote.document.id == one.document.id and quote.start < one.end and quote.end > one.start
            for quote in evidence.quotes[:1]
        )
        if share < FITS and not beside:
            continue
        score = share + 0.5 * overlap(asked, text, weights) + (0.4 if beside else 0.0) - 0.1 * one.rank
        if best is None or score > best[0]:
            best = score, share, one
    return (best[2], best[1]) if best is not None else (None, 0.0)


def _lists(document: Document, rank: int) -> list[_List]:
    """The lists of a passage, in order."""
    heading = str(document.metadata.get("heading") or "")
    title = document.title or ""
    found: list[_List] = []
    current: _List | None = None
    above: list[str] = []
    gap = position = 0
    for line in document.text.splitlines(keepends=True):
        begin, position = position, position + len(line)
        text = line.rstrip("\n")
        match = _ITEM.match(text) or (None if _RULE.match(text) else _ROW.match(text))
        if match is not None:
            if current is None:
                introduced = " ".join([title, heading, *above[-2:]])
                current = _List(document, introduced, max(0, begin - sum(map(len, above[-2:])) - 4), rank)
                found.append(current)
            item = match["item"].strip(" |") if "mark" not in match.groupdict() else match["item"].rstrip()
            start = begin + text.index(item)
            current.items.append(Span(start, start + len(item)))
            current.end, gap = position, 0
        elif _RULE.match(text) and text.strip() and current is not None and "|" in text:
            # What stands over a table's rule are the names of its columns.
            current.introduced += " " + " ".join(document.text[s.start : s.end] for s in current.items)
            current.items.clear()
        elif not text.strip():
            gap += 1
            if current is not None and gap > 1:
                current = None
        elif current is not None and gap == 0 and current.items and (line[0].isspace() or text[0].islower()):
            last = current.items[-1]  # an item that goes on in the next line
            current.items[-1] = Span(last.start, begin + len(text))
            current.end = position
        else:
            current = None
            above.append(text.strip("# "))
            gap = 0
    for one in found:
        one.is_cut = not document.text[one.end :].strip()
    return [one for one in found if one.items]


def _quotes(found: _List) -> list[Quote]:
    document = replace(found.document, embedding=None)
    score = document.score or 0.0
    return [
        Quote(document.text[span.start : span.end], document, round(max(0.0, min(score, 1.0)), 6), span.start, span.end)
        for span in found.items
    ]  # fmt: skip

"""A passage with what stands before and after it in its document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from weft.contracts.store import ReadRequest, Store
from weft.types import Document

MAX_NEIGHBOURS: Final = 10
"""Of each side: more is no neighbourhood but a chapter."""

MAX_GAP: Final = 200
"""Characters that may be missing between two passages (a heading by itself, empty lines); with more, something else is."""


async def with_neighbours(
    store: Store, documents: Sequence[Document], *, collection: str, count: int
) -> list[Document]:
    """Each passage joined with ``count`` of those before and after it, best first.

    One that is joined to a better one is not given again. Id, score, page, metadata and vector stay those of the passage that
    was found; what has no source, or is not in the store any more, stays as it is.
    """
    given: set[str] = set()
    joined = []
    for document in documents:
        if document.id in given:
            continue
        around = [document]
        if document.source:
            reply = await store.read(
                ReadRequest(document.source, around=document.id, limit=2 * count + 1, collection=collection)
            )
            around = _beside(reply.documents, document.id, count) or around
        # What was given with a better passage is not given again with this one.
        place = next(index for index, other in enumerate(around) if other.id == document.id)
        first = max((n + 1 for n in range(place) if around[n].id in given), default=0)
        last = min((n for n in range(place, len(around)) if around[n].id in given), default=len(around))
        around = around[first:last]
        given |= {other.id for other in around}
        joined.append(_joined(document, around))
    return joined


def _beside(documents: Sequence[Document], id: str, count: int) -> list[Document]:
    """Of a page of a file those next to a passage, at the file's ends too; nothing when the passage is not in it."""
    place = next((index for index, document in enumerate(documents) if document.id == id), None)
    return [] if place is None else list(documents[max(0, place - count) : place + count + 1])


def _joined(found: Document, around: Sequence[Document]) -> Document:
    """One text of passages that follow each other; what they repeat of each other is there once."""
    if not all(_is_exact(document) for document in around):
        # Without exact places nothing tells what is repeated, nor where a quote stands in the whole document.
        text = "\n\n".join(document.text for document in around)
        return found if len(around) == 1 else replace(found, text=text, start=None, end=None)
    place = next(index for index, document in enumerate(around) if document.id == found.id)
    first = place
    while first > 0 and _follows(around[first - 1], around[first]):
        first -= 1
    last = place
    while last + 1 < len(around) and _follows(around[last], around[last + 1]):
        last += 1
    text, end = around[first].text, around[first].end or 0
    for document in around[first + 1 : last + 1]:
        start = document.start or 0
        # As long as what is missing, so that offsets stay true.
        text += "\n\n"[: start - end].ljust(start - end) if start - end > 1 else " " * (start - end)
        text += document.text[_repeated(document) + max(0, end - start) :]
        end = max(end, document.end or 0)
    metadata = {key: value for key, value in found.metadata.items() if key != "repeated"}
    if header := _repeated(around[first]):
        metadata["repeated"] = header
    return replace(found, text=text, start=around[first].start, end=end, metadata=metadata)


def _is_exact(document: Document) -> bool:
    return (
        document.start is not None
        and document.end is not None
        and document.end - document.start == len(document.text) - _repeated(document)
    )


def _repeated(document: Document) -> int:
    """How many characters at a passage's beginning are its table's header row, which stands further up."""
    known = document.metadata.get("repeated", 0)
    return known if isinstance(known, int) else 0


def _follows(before: Document, document: Document) -> bool:
    """Whether one passage goes on where the other ends, give or take a repetition or a heading."""
    return (before.start or 0) <= (document.start or 0) <= (before.end or 0) + MAX_GAP

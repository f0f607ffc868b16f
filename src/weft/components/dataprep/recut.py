"""Documents that are in, cut anew: from their passages, which have all of their text, without the files.

What the passages had of the document's form stays: a page and the headings above begin a piece of text of their own, and
rows of a table that repeat its header row are left as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from weft.components.dataprep.blocks import Block
from weft.components.dataprep.chunks import split
from weft.types import Document

GAP = 2
"""Characters between two blocks of a document: an empty line."""


@dataclass
class _Run:
    """Neighbouring passages of one page under the same headings: their text, without what they repeat."""

    first: Document
    start: int
    text: str = ""
    parts: list[Document] = field(default_factory=list)

    @property
    def end(self) -> int:
        return self.start + len(self.text)


def recut(
    documents: Sequence[Document], *, size: int, overlap: int, max_tokens: int | None
) -> list[Document]:
    """The passages of one document, in order, cut as new ones would be; those without a place stay as they are.

    Args:
        documents: All of the document, in order.
        size: See :func:`split`.
        overlap: See :func:`split`.
        max_tokens: See :func:`split`.
    """
    made: list[Document] = []
    run: _Run | None = None

    def close() -> None:
        nonlocal run
        if run is not None:
            made.extend(_cut(run, size=size, overlap=overlap, max_tokens=max_tokens))
        run = None

    for document in documents:
        if document.start is None or document.end is None or document.metadata.get("repeated"):
            close()
            made.append(document)
            continue
        if run is not None and not _goes_on(run, document):
            close()
        if run is None:
            run = _Run(document, document.start)
        elif document.start > run.end:
            run.text += "\n" * (document.start - run.end)
        run.text += document.text[run.end - document.start :]
        run.parts.append(document)
    close()
    return made


def _goes_on(run: _Run, document: Document) -> bool:
    assert document.start is not None  # it has a place
    same = (document.page, document.metadata, document.readers, document.title) == (
        run.first.page,
        run.first.metadata,
        run.first.readers,
        run.first.title,
    )
    return same and run.start <= document.start <= run.end + GAP


def _cut(run: _Run, *, size: int, overlap: int, max_tokens: int | None) -> list[Document]:
    heading = str(run.first.metadata.get("heading", ""))
    chunks = split(
        [Block(run.text, page=run.first.page, label=heading)],
        size=size,
        overlap=overlap,
        max_tokens=max_tokens,
    )
    first = run.first
    return [
        replace(
            first,
            text=chunk.text,
            # The same for the same piece of the same document, and for nothing else.
            id=f"{first.id[:24]}-{run.start + chunk.start}-{run.start + chunk.end}",
            start=run.start + chunk.start,
            end=run.start + chunk.end,
            embedding=None,
        )
        for chunk in chunks
    ]

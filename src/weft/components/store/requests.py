"""What every store does with a request before it looks, and with what it found: checks, vectors, order."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any, Final

from weft.contracts.manifest import MEND
from weft.contracts.store import Hit, SearchRequest
from weft.errors import ConflictError, InvalidRequestError
from weft.types import Document, floats

MAX_K: Final = 10_000
"""Passages that one search may ask for."""


def query_vector(request: SearchRequest) -> list[float] | None:
    """The vector that a search is for; None for one by words alone.

    Raises:
        InvalidRequestError: ``k`` is out of bounds, or there is no vector where one is needed.
    """
    if not 1 <= request.k <= MAX_K:
        raise InvalidRequestError(f"k must be from 1 to {MAX_K}", param="k")
    if request.mode == "text":
        return None
    if request.embedding is None:
        raise InvalidRequestError(f"a search by {request.mode} needs an embedding", param="embedding")
    try:
        return floats(request.embedding)
    except ValueError as error:
        raise InvalidRequestError(str(error), param="embedding") from error


def vectors_of(documents: Sequence[Document]) -> list[array[float]]:
    """The embeddings of passages, checked.

    Raises:
        InvalidRequestError: A passage has no id or no embedding, or one of another size than the others.
    """
    embeddings: list[array[float]] = []
    for index, document in enumerate(documents):
        where = f"documents[{index}]"
        if not document.id:
            raise InvalidRequestError(f"{where} has no id", param="documents")
        if document.embedding is None:
            raise InvalidRequestError(f"{where} has no embedding", param="documents")
        try:
            embedding = array("f", floats(document.embedding))
        except (ValueError, OverflowError) as error:
            raise InvalidRequestError(f"{where}: {error}", param="documents") from error
        if not embedding or (embeddings and len(embedding) != len(embeddings[0])):
            raise InvalidRequestError(
                f"{where} has an embedding of {len(embedding)} numbers, unlike the others", param="documents"
            )
        embeddings.append(embedding)
    return embeddings


def last_of_each_id(documents: Sequence[Document]) -> list[int]:
    """Where the passages stand that a request keeps: of two with one id the last, in the order of the request."""
    last = {document.id: index for index, document in enumerate(documents)}
    return sorted(last.values())


def other_dimension(store: str, given: int, kept: int) -> ConflictError:
    """The error for vectors of another length than those that are in."""
    return ConflictError(
        f"the documents in '{store}' were embedded with vectors of {kept} numbers, the embedder now gives {given}",
        hint=MEND,
    )


def fields_of(document: Document, file: str) -> dict[str, Any]:
    """What a filter can name: the metadata, and where the passage comes from."""
    known = {"file": file, "source": document.source, "title": document.title, "page": document.page}
    return {name: value for name, value in known.items() if value is not None} | document.metadata


def heading_of(document: Document) -> str:
    """The words above a passage, which a search by words looks at as well."""
    heading = document.metadata.get("heading")
    return "\n".join(part for part in (document.title, heading) if isinstance(part, str))


def ordered(hits: list[Hit], request: SearchRequest) -> list[Hit]:
    """Hits as a search gives them: by what was asked for, best first; no more than ``k`` but for the union."""

    def dense(hit: Hit) -> tuple[bool, float]:
        return hit.dense is None, -(hit.dense or 0.0)

    if request.mode == "text":
        hits.sort(key=lambda hit: -(hit.text or 0.0))
    else:
        hits.sort(key=lambda hit: (dense(hit), -(hit.text or 0.0)))
    return hits if request.mode == "hybrid" else hits[: request.k]

"""Passages, files and manifests as points of a Qdrant server, and conditions as its filters. Plain JSON, no I/O.

One collection has three kinds of points. A *passage* carries the version that it was put in with; a *file* names the
versions that are in; a passage counts only while its file names its version. So writing the one point of a file is what
makes a new version take the old one's place. A *manifest* is that of a collection of a tenant.
"""

from __future__ import annotations

import math
import secrets
import time
import uuid
from array import array
from collections.abc import Iterable, Sequence
from typing import Any, Final
from zlib import crc32

import msgspec
from msgspec import Struct

from weft.components.store.conditions import Filters, Scope, field_path
from weft.components.store.requests import fields_of, heading_of
from weft.components.store.terms import asked_terms, terms_of, weights
from weft.contracts.manifest import Manifest
from weft.types import Document, vector

EVERYONE: Final = "everyone"
"""Stands among the readers of a passage for: no readers were named."""

DENSE: Final = "dense"
WORDS: Final = "words"
"""The names of the vectors of a point."""

K1: Final = 1.2
B: Final = 0.75
"""BM25's usual constants."""

USUAL_LENGTH: Final = 150
"""Words of a passage that is neither long nor short. BM25 wants the mean, which a server does not keep."""

_SPACE: Final = uuid.UUID("6d3c1f5e-8a6b-4d0c-9b57-3f2a7f0c5e11")
_encode = msgspec.json.Encoder().encode
_decode_document = msgspec.json.Decoder(Document).decode


class FileRecord(Struct, omit_defaults=True):
    """The point of a file.

    Attributes:
        versions: Of its passages; others do not count.
        unfinished: What a new version takes the place of has not been deleted yet.
    """

    tenant: str
    collection: str
    name: str
    digest: str = ""
    stored_at: float = 0.0
    versions: list[str] = []
    chunks: int = 0
    unfinished: bool = False

    @property
    def scope(self) -> Scope:
        """Whose."""
        return Scope(self.tenant, self.collection)

    def payload(self) -> dict[str, Any]:
        """As it is kept."""
        state = "unfinished" if self.unfinished else "done"
        return {"kind": "file", "state": state, **msgspec.structs.asdict(self)}

    def point(self) -> dict[str, Any]:
        """As a point."""
        return {"id": file_id(self.scope, self.name), "vector": {}, "payload": self.payload()}


def new_version() -> str:
    """A version; later ones are greater."""
    return f"{time.time_ns():020d}-{secrets.token_hex(4)}"


def scope_of(scope: Scope) -> str:
    """Tenant and collection in one value; their lengths keep one apart from the other whatever is in them."""
    return f"{len(scope.tenant)}:{scope.tenant}:{scope.collection}"


def groups(readers: Sequence[str], *, everyone: bool) -> list[str]:
    """Groups as they are indexed; the prefix keeps a group that is called 'everyone' apart from everyone."""
    return [*([EVERYONE] if everyone else []), *(f"group:{reader}" for reader in readers)]


def indexed(value: Any) -> Any:
    """A value as it is indexed: a boolean as a word, so that it is not taken for the number 1 or 0."""
    if isinstance(value, list):
        return [indexed(item) for item in value]
    return f"bool:{value}" if isinstance(value, bool) else value


def file_id(scope: Scope, name: str) -> str:
    """The point of a file."""
    return str(uuid.uuid5(_SPACE, f"file:{scope_of(scope)}:{name}"))


def manifest_id(scope: Scope) -> str:
    """The point of a manifest."""
    return str(uuid.uuid5(_SPACE, f"manifest:{scope_of(scope)}"))


STATE_ID: Final = str(uuid.uuid5(_SPACE, "state"))
"""The point that says of which schema the collection is, and for what a draft was begun."""


def passage_point(
    document: Document, embedding: array[float], scope: Scope, *, file: str, version: str, order: int
) -> dict[str, Any]:
    """A passage as a point."""
    text = terms_of(document.text)
    kept = msgspec.structs.replace(document, embedding=None, score=None)
    return {
        "id": str(uuid.uuid5(_SPACE, f"{scope_of(scope)}:{version}:{document.id}")),
        "vector": {
            DENSE: embedding.tolist(),
            WORDS: sparse(weights(text, terms_of(heading_of(document))), length=len(text)),
        },
        "payload": {
            "kind": "passage",
            "scope": scope_of(scope),
            "readers": groups(document.readers or [], everyone=document.readers is None),
            "file": file,
            "version": version,
            "id": document.id,
            "position": document.start or 0,
            "order": order,
            # Qdrant keeps vectors of length 1.
            "norm": math.sqrt(sum(value * value for value in embedding)),
            "fields": {name: indexed(value) for name, value in fields_of(document, file).items()},
            "document": _encode(kept).decode(),
        },
    }


def manifest_point(scope: Scope, manifest: Manifest) -> dict[str, Any]:
    """A manifest as a point."""
    kept = {"tenant": scope.tenant, "collection": scope.collection, "manifest": msgspec.to_builtins(manifest)}
    return {"id": manifest_id(scope), "vector": {}, "payload": {"kind": "manifest", **kept}}


def dense_of(point: dict[str, Any]) -> list[float] | None:
    """The vector of a point that was asked for with it."""
    vectors = point.get("vector")
    return vectors.get(DENSE) if isinstance(vectors, dict) else None


def document_of(payload: dict[str, Any], embedding: Sequence[float] | None) -> Document:
    """A passage as it was put in."""
    document = _decode_document(payload["document"])
    if embedding is not None:
        document.embedding = vector([value * payload["norm"] for value in embedding])
    return document


def sparse(counts: dict[str, float], *, length: int) -> dict[str, Any]:
    """A passage's terms as a sparse vector: BM25's share of each, to be multiplied with its rarity by the server."""
    share = K1 * (1 - B + B * length / USUAL_LENGTH)
    values: dict[int, float] = {}
    for term, count in counts.items():
        index = crc32(term.encode())
        values[index] = values.get(index, 0.0) + count * (K1 + 1) / (count + share)
    return {"indices": list(values), "values": list(values.values())}


def asked(query: str) -> dict[str, Any] | None:
    """A question's terms as a sparse vector; None when it has no words."""
    indices = list(dict.fromkeys(crc32(term.encode()) for term in asked_terms(query)))
    return {"indices": indices, "values": [1.0] * len(indices)} if indices else None


def is_(key: str, value: Any) -> dict[str, Any]:
    """The condition that a payload field has a value."""
    return {"key": key, "match": {"value": value}}


def any_of(key: str, values: Iterable[Any]) -> dict[str, Any]:
    """The condition that a payload field has one of the values."""
    return {"key": key, "match": {"any": list(values)}}


def of_kind(kind: str, *conditions: dict[str, Any], but: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """A filter for points of a kind."""
    return {"must": [is_("kind", kind), *conditions], **({"must_not": list(but)} if but else {})}


def of_scope(scope: Scope, *conditions: dict[str, Any], but: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """A filter for passages of a tenant and collection."""
    return of_kind("passage", is_("scope", scope_of(scope)), *conditions, but=but)


def files_of(scope: Scope, *conditions: dict[str, Any]) -> dict[str, Any]:
    """A filter for files of a tenant and collection."""
    return of_kind("file", is_("tenant", scope.tenant), is_("collection", scope.collection), *conditions)


def readable(scope: Scope) -> dict[str, Any]:
    """The condition that the caller may read a passage."""
    return any_of("readers", groups(scope.readers or [], everyone=True))


def fitting(filters: Filters, *, below: str = "fields.", booleans: bool = False) -> list[dict[str, Any]]:
    """Conditions for metadata equality.

    Args:
        filters: What is wanted.
        below: Before each name.
        booleans: Whether booleans are in the payload as such.
    """
    return [
        {
            "should": [
                _equal(f"{below}{field_path(name)}", value if booleans else indexed(value))
                for value in allowed
            ]
        }
        for name, allowed in filters.items()
    ]


def _equal(key: str, value: Any) -> dict[str, Any]:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and abs(value) < 2**53:
        return {"key": key, "range": {"gte": value, "lte": value}}
    return is_(key, value)

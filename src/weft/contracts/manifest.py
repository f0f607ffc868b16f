"""What the passages of a collection were made with, so that nothing made otherwise is ever compared with them.

A vector means something only beside vectors of the same model. A store keeps a manifest with each collection, from its
first passages on; whoever writes or searches says what it works with, and is refused when that is something else.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct
from msgspec.structs import replace

from weft.contracts.embedding import EmbeddingDescription
from weft.errors import ConflictError, StateError

MEND = (
    "build the index anew with: weft reindex SPEC   (stop this server first if it holds the store; the old index stays "
    "until the new one is complete), or go back to what it was made with"
)


class Manifest(Struct, omit_defaults=True, frozen=True):
    """What a collection was made with. What is not known (empty, None) is compared with nothing.

    Attributes:
        embedder: The model's name.
        digest: SHA-256 of its files.
        dimensions: Length of each vector.
        normalised: Whether each vector has length 1.
        chunker: How documents were cut, in the words of whoever did.
    """

    embedder: str = ""
    digest: str | None = None
    dimensions: int | None = None
    normalised: bool | None = None
    chunker: str = ""


def manifest_of(embedder: EmbeddingDescription, *, chunker: str = "") -> Manifest:
    """The manifest of passages that are made with these."""
    return Manifest(embedder.model, embedder.digest, embedder.dimensions, embedder.normalised, chunker)


def known(kept: Manifest | None, given: Manifest | None, *, dimensions: int) -> Manifest:
    """The manifest to keep: what is kept already, filled up with what is given now."""
    kept, given = kept or Manifest(), given or Manifest()
    return Manifest(
        kept.embedder or given.embedder,
        kept.digest if kept.digest is not None else given.digest,
        kept.dimensions or dimensions,
        kept.normalised if kept.normalised is not None else given.normalised,
        kept.chunker or given.chunker,
    )


def difference(kept: Manifest, given: Manifest) -> str | None:
    """In words what is not the same; None when nothing is."""
    # Files that are the same bytes are the same model, by whatever name they are called.
    is_same_model = kept.digest == given.digest
    if kept.digest is None or given.digest is None:
        is_same_model = not kept.embedder or not given.embedder or kept.embedder == given.embedder
    if not is_same_model:
        named = kept.embedder != given.embedder
        before = f"'{kept.embedder}'" if named else f"'{kept.embedder}' (files {_short(kept.digest)})"
        now = f"'{given.embedder}'" if named else f"other files of that name ({_short(given.digest)})"
        return f"the embedder {before}, the embedder is now {now}"
    if kept.dimensions and given.dimensions and kept.dimensions != given.dimensions:
        return f"vectors of {kept.dimensions} numbers, the embedder now gives {given.dimensions}"
    if None not in (kept.normalised, given.normalised) and kept.normalised != given.normalised:
        words = {True: "of length 1", False: "of any length"}
        return f"vectors {words[bool(kept.normalised)]}, they are now {words[bool(given.normalised)]}"
    if kept.chunker and given.chunker and kept.chunker != given.chunker:
        return f"the chunker '{kept.chunker}', the chunker is now '{given.chunker}'"
    return None


def check_collection(kept: Manifest | None, given: Manifest | None, collection: str) -> None:
    """Refuse to put together what was made differently.

    Raises:
        ConflictError: A request comes from another embedder or chunker than the collection.
    """
    if kept is not None and given is not None and (told := difference(kept, given)) is not None:
        raise ConflictError(
            f"the collection '{collection or 'default'}' was made with {told}", param="manifest", hint=MEND
        )


def check_store(service: str, kept: Iterable[Manifest], given: Manifest) -> None:
    """Refuse to begin with a store that was made differently: what a component does when it starts.

    Raises:
        StateError: Its collections come from another embedder or chunker.
    """
    for manifest in kept:
        if (told := difference(manifest, given)) is not None:
            raise StateError(f"{service}: the documents in the store were made with {told}", hint=MEND)


def of_search(manifest: Manifest) -> Manifest:
    """What a search is compared by: how documents were cut does not matter to it."""
    return replace(manifest, chunker="")


def _short(digest: str | None) -> str:
    return (digest or "?")[:12]

"""What the operator's commands ask of a store component: everything of everyone, and a whole new content at once.

``weft documents export | backup | restore`` and ``weft reindex`` work with it, in the process that has the component.
It is no contract: it has no routes, and no component is ever handed it, for it knows neither tenant nor readers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from msgspec import Struct

from weft.contracts.manifest import Manifest
from weft.types import Document


class KeptCollection(Struct, omit_defaults=True, frozen=True):
    """A collection of a tenant, and what its passages were made with (None: that was not recorded)."""

    tenant: str
    name: str
    manifest: Manifest | None = None


class KeptFile(Struct, omit_defaults=True, frozen=True):
    """A file in one version.

    Attributes:
        name: Empty for passages that were put in under no file.
        stored_at: When it was put in, in seconds since 1970; with ``digest`` it tells one version from another.
        chunks: How many passages it has.
    """

    tenant: str
    collection: str
    name: str
    digest: str = ""
    stored_at: float = 0.0
    chunks: int = 0

    @property
    def key(self) -> tuple[str, str, str]:
        """Which file it is, in whatever version."""
        return self.tenant, self.collection, self.name

    @property
    def version(self) -> tuple[str, str, str, str, float]:
        """Which version of which file it is."""
        return *self.key, self.digest, self.stored_at


class Snapshot(Protocol):
    """One state of a store, whatever is written meanwhile."""

    async def collections(self) -> list[KeptCollection]:
        """Every collection, in order of tenant and name."""
        ...

    async def files(self) -> list[KeptFile]:
        """Every file, in order of tenant, collection and name."""
        ...

    def passages(self, file: KeptFile) -> AsyncIterator[list[Document]]:
        """The passages of a file with their vectors, in order, a bounded number at a time."""
        ...


class Draft(Protocol):
    """New content for a store, made beside the old one, which nobody sees until it is published.

    It lasts: what a process that was killed had put in is there for the next that asks for the same.
    """

    async def files(self) -> list[KeptFile]:
        """The files that are in as a whole."""
        ...

    async def declare(self, collection: KeptCollection) -> None:
        """Add a collection."""
        ...

    async def add(self, file: KeptFile, documents: Sequence[Document]) -> None:
        """Add passages of a file, which counts as in only after :meth:`finish`."""
        ...

    async def finish(self, file: KeptFile) -> None:
        """All passages of a file are in."""
        ...

    async def drop(self, file: KeptFile) -> None:
        """Take a file out, whatever its version."""
        ...

    async def publish(self, unchanged: Sequence[KeptFile] | None = None) -> bool:
        """Put the draft in the place of all that the store has, at once; the draft is gone then.

        Args:
            unchanged: The files that the store must have, in these versions, neither more nor less; None: it may have
                any. When it has others nothing happens.

        Returns:
            Whether it was published.
        """
        ...

    async def discard(self) -> None:
        """Delete it."""
        ...

    async def aclose(self) -> None:
        """Let go of it; it stays for the next that asks."""
        ...


class Archive(Protocol):
    """A store component whose content can be taken out and put in as a whole."""

    async def attach(self, host: Any) -> None:
        """Open it for snapshots only, beside a process that has started it; instead of ``start``, with the same host."""
        ...

    def snapshot(self) -> AbstractAsyncContextManager[Snapshot]:
        """One state of everything."""
        ...

    async def draft(self, purpose: str) -> Draft:
        """The draft that was begun for this purpose and not finished; else a new one, and any other is deleted."""
        ...


def is_archive(component: object) -> bool:
    """Whether a component is one."""
    return all(callable(getattr(component, name, None)) for name in ("attach", "snapshot", "draft"))

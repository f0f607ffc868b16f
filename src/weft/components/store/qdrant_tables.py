"""The collection that Weft makes in a Qdrant server: under a name of its own, behind an alias that a new one can take."""

from __future__ import annotations

import secrets
from typing import Any, Final

from weft.components.store.qdrant_points import (
    DENSE,
    STATE_ID,
    WORDS,
    FileRecord,
    any_of,
    is_,
    of_kind,
    of_scope,
)
from weft.components.store.qdrant_rest import Points, aliases, change_aliases
from weft.components.store.requests import other_dimension
from weft.errors import ComponentError, StateError
from weft.host import HttpClient

SCHEMA: Final = 1
"""Version of what is kept; a newer one is refused."""

_KEYWORDS: Final = (
    "kind", "tenant", "collection", "name", "state", "readers", "file", "version", "id",
)  # fmt: skip


class QdrantTables:
    """One collection of Weft's own.

    Args:
        client: Of the server.
        prefix: The alias; the collection's name is made from it.

    Attributes:
        points: Those of the collection that the alias stands for.
    """

    def __init__(self, client: HttpClient, prefix: str) -> None:
        self._client, self.prefix = client, prefix
        self.points = Points(client, prefix)
        self._dimension: int | None = None

    async def open(self) -> None:
        """See whether it is there.

        Raises:
            StateError: A newer version made it.
            ComponentError: It is not Weft's.
        """
        if await self.dimension(again=True) is None:
            return
        state = await self.state()
        if state is None:
            raise ComponentError(
                f"qdrant: the server has a collection '{self.prefix}' that Weft has not made",
                hint="name another prefix in the store's config, or read that collection by a map",
            )
        if state["schema"] > SCHEMA:
            raise StateError(
                f"the collection '{self.prefix}' was made by a newer version of Weft (schema {state['schema']}; this "
                f"version knows up to {SCHEMA})",
                hint="update Weft, or name another prefix in the store's config",
            )

    async def state(self) -> dict[str, Any] | None:
        """What the collection says of itself."""
        found = await self.points.get([STATE_ID])
        return found[0]["payload"] if found else None

    async def dimension(self, *, again: bool = False) -> int | None:
        """How many numbers a vector has; None: there is no collection."""
        if self._dimension is None or again:
            info = await self.points.info()
            vectors = info["config"]["params"]["vectors"] if info is not None else {}
            self._dimension = vectors.get(DENSE, {}).get("size")
            if info is not None and self._dimension is None:
                self._dimension = 0  # someone else's: `open` says so
        return self._dimension

    async def fit(self, dimension: int) -> None:
        """Have a collection for vectors of this length.

        Raises:
            ConflictError: There are passages with vectors of another.
        """
        kept = await self.dimension()
        if kept == dimension:
            return
        if kept is not None:
            if await self.points.count(of_kind("passage")):
                raise other_dimension(self.prefix, dimension, kept)
            await self.drop()
        await self.create(dimension)

    async def create(self, dimension: int, *, purpose: str = "") -> None:
        """Make the collection, and let the alias stand for it."""
        made = Points(self._client, f"{self.prefix}-{secrets.token_hex(4)}")
        await made.create(
            {
                "vectors": {DENSE: {"size": dimension, "distance": "Cosine"}},
                "sparse_vectors": {WORDS: {"modifier": "idf"}},
            }
        )
        await made.index("scope", {"type": "keyword", "is_tenant": True})
        for field in _KEYWORDS:
            await made.index(field, "keyword")
        state = {"kind": "state", "schema": SCHEMA, "purpose": purpose}
        await made.put([{"id": STATE_ID, "vector": {}, "payload": state}])
        await change_aliases(self._client, [_create(self.prefix, made.name)])
        self._dimension = dimension

    async def drop(self) -> None:
        """Delete it."""
        name = (await aliases(self._client)).get(self.prefix)
        if name is not None:
            await change_aliases(self._client, [_delete(self.prefix)])
            await Points(self._client, name).delete_collection()
        self._dimension = None

    async def replace_by(self, draft: QdrantTables) -> None:
        """Let the alias stand for the draft's collection, at once, and delete the one that it stood for."""
        known = await aliases(self._client)
        before, after = known.get(self.prefix), known.get(draft.prefix)
        actions = [_delete(self.prefix)] if before is not None else []
        if after is not None:
            state = {"kind": "state", "schema": SCHEMA, "purpose": ""}
            await draft.points.put([{"id": STATE_ID, "vector": {}, "payload": state}])
            actions += [_create(self.prefix, after), _delete(draft.prefix)]
        if actions:
            await change_aliases(self._client, actions)
        if before is not None:
            await Points(self._client, before).delete_collection()
        await self.dimension(again=True)


def _create(alias: str, collection: str) -> dict[str, Any]:
    return {"create_alias": {"alias_name": alias, "collection_name": collection}}


def _delete(alias: str) -> dict[str, Any]:
    return {"delete_alias": {"alias_name": alias}}


async def places(
    points: Points, record: FileRecord, *conditions: dict[str, Any]
) -> list[tuple[str, dict[str, Any]]]:
    """The passages of a file in order: each one's point and where it stands."""
    found = await points.all(
        of_scope(record.scope, is_("file", record.name), any_of("version", record.versions), *conditions),
        payload=["id", "position", "order", "version"],
    )
    found.sort(key=lambda p: (p["payload"]["position"], p["payload"]["version"], p["payload"]["order"]))
    return [(point["id"], point["payload"]) for point in found]

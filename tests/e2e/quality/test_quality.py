"""Retrieval, evidence and refusals with the real embedder, on documents of our own.

The figures on a public question set are measured in ``benchmarks/quality``; this guards them in every run.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sample import ANSWERED, FILES, UNANSWERED

from weft.spec.load import loads

sys.path.append(str(Path(__file__).parents[3] / "benchmarks" / "quality"))

from installation import Installation, installed

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SERVICES = """
apiVersion: weft/v1
kind: Services
services:
  embedder:  {component: onnx-embedder}
  store:     {component: qdrant-edge}
  retriever: {component: hybrid-retriever, uses: {store: store, embedder: embedder}}
  reranker:  {component: hybrid-reranker,  uses: {embedder: embedder}}
  reader:    {component: evidence-reader,  config: {judge: true}, uses: {embedder: embedder}}
  documents: {component: document-ingest,  uses: {store: store, embedder: embedder}}
expose: [retriever, reranker, reader, documents]
"""
"""Those of ChatQnA, without a model."""


@pytest.fixture
async def installation() -> AsyncIterator[Installation]:
    """The sample, ingested."""
    async with installed(loads(SERVICES)) as made:
        await made.ingest(FILES)
        yield made


async def test_answers_are_found_quoted_and_refused_where_there_are_none(installation: Installation) -> None:
    """The right file first, the answer in the quotes, and nothing on what the documents do not say; one miss each is noise."""
    misplaced, unquoted, refused = [], [], []
    for question, file, answer in ANSWERED:
        evidence = await installation.evidence(question)
        first = evidence.quotes[0].document
        if first.source != file:
            misplaced.append((question, first.source, first.text))
        if not any(answer in quote.text.replace("\n", " ") for quote in evidence.quotes):
            unquoted.append((question, [quote.text for quote in evidence.quotes]))
        if not evidence.answerable:
            refused.append((question, evidence.score))
    answered = [
        (question, evidence.score, evidence.quotes[0].text)
        for question in UNANSWERED
        if (evidence := await installation.evidence(question)).answerable
    ]
    assert len(misplaced) <= 1, misplaced
    assert len(unquoted) <= 2, unquoted
    assert len(refused) <= 1, refused
    assert len(answered) <= 1, answered

"""A gateway like ChatQnA's, its two models scripted, its services behind routes of a Gateway file."""

from __future__ import annotations

import re
from pathlib import Path

EXAMPLE = Path(__file__).resolve().parents[2] / "src/weft/examples/chatqna.yaml"

EMBEDDER = '''\
from ragkit import BagEmbedder
from weft.contracts.embedding import EmbeddingDescription, EmbeddingRequest, EmbeddingResponse
from weft.types import Empty


class Embedder:
    """Vectors of hashed words."""

    def __init__(self) -> None:
        self._inner = BagEmbedder()

    async def invoke(self, request: EmbeddingRequest) -> EmbeddingResponse:
        return await self._inner.invoke(request)

    async def describe(self, request: Empty) -> EmbeddingDescription:
        return await self._inner.describe(request)
'''

GATEWAY = """\
---
apiVersion: weft/v1
kind: Gateway
name: front
description: Answers from the handbooks.
routes:
  - path: /v1/answers
    megaservice: chatqna
    request:
      template: {user: "${tenant}"}
      remove: [logit_bias]
      defaults: {temperature: 0.2}
      clamp: {max_tokens: [1, 64]}
    response: {remove: [system_fingerprint, created], set: {served_by: "'front'"}, headers: {set: {x-answered-by: front}}}
    limits: [{per: address, requests: 1000000/min}]
  - {path: /v1/vectors, service: embedder}
  - path: /v1/passages
    service: retriever
    schema: {type: object, required: [query], properties: {query: {type: string, maxLength: 200}}, additionalProperties: false}
    examples: {question: {query: What is the notice period?}}
  - {path: /v1/order, service: reranker}
  - {path: /v1/files, service: documents}
"""


def described_gateway(folder: Path) -> str:
    """The text of the spec; what it names is put into ``folder``."""
    (folder / "embedder.py").write_text(EMBEDDER)
    text = EXAMPLE.read_text(encoding="utf-8")
    text = re.sub(r"  llm: .*", '  llm: {component: "./chat.py:Chat"}', text, count=1)
    text = re.sub(r"  embedder: .*", '  embedder: {component: "./embedder.py:Embedder"}', text, count=1)
    return text + GATEWAY

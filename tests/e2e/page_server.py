"""What the page's tests look at: a gateway with real documents, and a model that says what it was asked."""

from __future__ import annotations

from pathlib import Path

from chatqna_process import Gateway

DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}

SPEC = """\
apiVersion: weft/v1
kind: Services
services:
  llm:       {component: ./echo.py:Echo}
  embedder:  {component: ./echo.py:Embedder}
  store:     {component: qdrant-edge, config: {path: documents}}
  documents: {component: document-ingest, uses: {store: store, embedder: embedder}}
expose: [documents]
---
apiVersion: weft/v1
kind: Megaservice
name: echo
version: "1.0.0"
contract: chat
parameters:
  collection: {type: str, default: ""}
nodes:
  answer: {service: llm, fill_from: request, inputs: {user: request.collection}}
output: answer
"""

COMPONENTS = """\
import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from weft.contracts.chat import ChatChunk, ChatDescription, ChatRequest, ChatResponse, ChunkChoice, Delta, collect
from weft.contracts.embedding import EmbeddingRequest, EmbeddingResponse
from weft.testing import ScriptedEmbedder
from weft.types import Annotation, Empty

HERE = Path(__file__).parent


class Echo:
    \"\"\"Says what it was asked, word by word; a few questions have it do something else.\"\"\"

    def __init__(self) -> None:
        self.asked = 0

    async def describe(self, request: Empty) -> ChatDescription:
        return ChatDescription("echo-1", 1000, 4096, local=True)

    async def invoke(self, request: ChatRequest) -> ChatResponse:
        return collect([chunk async for chunk in self.stream(request)])

    async def stream(self, request: ChatRequest) -> AsyncIterator[ChatChunk]:
        self.asked += 1
        text = request.messages[-1].text()
        if text == "fail":
            yield self._chunk("half an ans")
            raise RuntimeError("the model broke")
        if text == "count":
            text = f"answer {self.asked}"
        if text == "which collection":
            text = f"collection: {request.user or 'the default one'}"
        if text.startswith("cite "):
            _, source, title, quote = text.split("|")
            words = f"\\U0001f600 says:\\n\\u201c{quote}\\u201d "
            note = Annotation(
                marker=1, start_index=len(words), end_index=len(words) + 3, source=source, title=title, quote=quote
            )
            yield self._chunk(f"{words}[1] ({title})\\n\\nIndeed [1], but not [2].", notes=[note])
            text = ""
        for word in text.split(" "):
            yield self._chunk(f"{word} ")
        try:
            while "forever" in text:
                yield self._chunk("and on ")
                await asyncio.sleep(0.01)
        finally:
            (HERE / "closed").touch()
        yield self._chunk(None, "stop")

    def _chunk(self, text, end=None, notes=None):
        return ChatChunk("1", "echo", [ChunkChoice(0, Delta(content=text, annotations=notes), end)])


class Embedder(ScriptedEmbedder):
    \"\"\"Waits while there is a file named hold.\"\"\"

    def __init__(self) -> None:
        super().__init__()

    async def invoke(self, request: EmbeddingRequest) -> EmbeddingResponse:
        while (HERE / "hold").exists():
            await asyncio.sleep(0.01)
        return await super().invoke(request)


class Other(Echo):
    \"\"\"Another model.\"\"\"

    async def stream(self, request: ChatRequest) -> AsyncIterator[ChatChunk]:
        yield self._chunk("The second model speaks.")
        yield self._chunk(None, "stop")
"""


class EchoServer(Gateway):
    """A gateway whose model says what it was asked.

    Args:
        folder: For its files; ``hold`` in it holds documents up, ``closed`` appears when an answer has ended.
        model: The component that answers.
        arguments: Of ``weft up``.
    """

    def __init__(self, folder: Path, model: str = "Echo", *arguments: str) -> None:
        self.files = folder
        (folder / "echo.py").write_text(COMPONENTS)
        (folder / "spec.yaml").write_text(SPEC.replace("Echo}", f"{model}}}"))
        super().__init__(
            folder / "data", *arguments, spec=str(folder / "spec.yaml"), env={"WEFT_ACCESS_TOKEN": ""}
        )

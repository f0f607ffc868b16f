"""ChatQnA's services in this process, from the packaged spec: what the measurements of this folder ask."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from weft.cli.running import host_settings
from weft.cli.settings import from_environment
from weft.cli.specs import examples
from weft.contracts.dataprep import DeleteRequest, IngestRequest
from weft.contracts.evidence import EvidenceRequest
from weft.contracts.reranker import RerankRequest
from weft.contracts.retriever import RetrieveRequest
from weft.gateway.assembly import Assembly
from weft.megaservice import Services
from weft.plan import check, widen
from weft.registry.components import Components
from weft.serve.log import Log
from weft.spec.load import load
from weft.spec.model import Spec
from weft.types import Document, Evidence, Upload

PASSAGES = 4
"""How many passages ChatQnA's graph retrieves."""


class Installation:
    """The services of a spec, asked one by one as the graph does."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def call(self, service: str, request: Any, operation: str = "invoke") -> Any:
        """Any of them."""
        return await self._services.transports[service].call(operation, request)

    async def ask(self, megaservice: str, request: Any) -> Any:
        """A whole graph; ``request`` is one of its contract."""
        runner = self._services.runners[megaservice]
        return await runner.invoke(widen(request, runner.plan.operation.request))

    async def ingest(self, texts: Mapping[str, str]) -> None:
        """Take texts in, each as a plain text file of its name, as an upload does."""
        files = [Upload(name, text.encode()) for name, text in texts.items()]
        reply = await self.call("documents", IngestRequest(files), "ingest")
        if refused := [outcome for outcome in reply.files if outcome.outcome != "ingested"]:
            raise SystemExit(f"not ingested: {refused[:3]}")

    async def clear(self) -> None:
        """Delete every document."""
        await self.call("documents", DeleteRequest("all"), "delete")

    async def retrieve(
        self, question: str, k: int = PASSAGES, search_type: Any = None, fusion: Any = None
    ) -> list[Document]:
        """Passages, best first."""
        reply = await self.call("retriever", RetrieveRequest(question, k, search_type, fusion=fusion))
        return list(reply.documents)

    async def rerank(
        self, question: str, documents: list[Document], top_n: int | None = None
    ) -> list[Document]:
        """The best of them first."""
        return list((await self.call("reranker", RerankRequest(question, documents, top_n))).documents)

    async def read(self, question: str, documents: list[Document], max_quotes: int | None = None) -> Evidence:
        """The sentences that answer."""
        return (await self.call("reader", EvidenceRequest(question, documents, max_quotes))).evidence

    async def evidence(self, question: str, max_quotes: int | None = None) -> Evidence:
        """Retrieve, rerank and read, with the defaults of the graph."""
        documents = await self.retrieve(question)
        if len(documents) > 1:
            documents = await self.rerank(question, documents)
        return await self.read(question, documents, max_quotes)


@asynccontextmanager
async def installed(
    spec: Spec | None = None, *, config: Mapping[str, Mapping[str, Any]] | None = None
) -> AsyncIterator[Installation]:
    """ChatQnA, or another spec, with an empty store; services of ``config`` with other values than the spec's."""
    spec = spec or load(examples()["chatqna"])
    components = Components()
    for name, values in (config or {}).items():
        spec.services[name].config.update(values)
    settings = from_environment()
    with tempfile.TemporaryDirectory() as folder:
        assembly = Assembly(
            spec,
            check(spec, components),
            components,
            settings=host_settings(settings, Path(folder)),
            secret=settings.secret,
            log=Log(name="quality"),
        )
        services = assembly.services()
        try:
            await services.start()
            yield Installation(services)
        finally:
            await services.aclose()
            await assembly.hosts.aclose()


def names(documents: Sequence[Document]) -> list[str]:
    """The files that passages are of, best first, each once."""
    return list(dict.fromkeys(document.source or "" for document in documents))

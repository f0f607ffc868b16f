"""Contract tests for pytest: write a class, give it your component, and every promise of its contract is a test.

::

    class TestMine(RerankerContract):
        def component(self):
            return MyReranker()

A promise of level *must* that is broken fails its test; one of level *should* is an expected failure that the report
lists; one that cannot be seen here is a skip that says why.
"""

from __future__ import annotations

import asyncio
import inspect
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

from weft.host import Host
from weft.serve.lanes import ThreadLane
from weft.testing.host import serving_host
from weft.testing.promises import chat, dataprep, embedding, evidence, reranker, retriever, store
from weft.testing.promises.base import Family, Finding, Promise, Subject, judge
from weft.testing.promises.every import promises_of
from weft.transport.local import LocalTransport


class ContractTests:
    """What the classes below share. Each test has a component, a host and an event loop of its own."""

    family: ClassVar[Family]

    cache_dir: Path | None = None
    """Folder of model files for components that need some; nothing is fetched."""

    def component(self) -> Any:
        """Yours: a new instance, configured, not started."""
        raise NotImplementedError(f"{type(self).__name__} must define 'component'")

    def uses(self) -> Sequence[Any]:
        """Components that yours was given and that must be started before it, and closed after it, if any."""
        return ()

    async def prepare(self, component: Any) -> None:
        """Called when everything is started: put in what the promises need (a retriever's documents, say)."""

    @classmethod
    def promises(cls) -> list[Promise[Subject]]:
        """The promises that are tested: those of its contract, and those of every contract that apply to it."""
        return [*promises_of(cls.family.contract, in_process=True), *cls.family.promises]

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """One test for each promise; pytest calls this."""
        if "promise" in metafunc.fixturenames:
            promises = self.promises()
            metafunc.parametrize("promise", promises, ids=[f"{p.section} {p.name}" for p in promises])

    def test_promise(self, promise: Promise[Subject]) -> None:
        """The component keeps one promise of its contract (docs/spec/microservice.md, the section in the test's id)."""
        __tracebackhide__ = True
        import pytest  # noqa: PLC0415 - only who runs the tests needs it

        finding = asyncio.run(self._judged(promise))
        if finding.outcome == "unseen":
            pytest.skip(finding.why)
        if finding.outcome == "broken":
            text = "\n".join(report(finding))
            if finding.level == "should":
                pytest.xfail(text)
            pytest.fail(text, pytrace=False)

    async def _judged(self, promise: Promise[Subject]) -> Finding:
        async with self._subject() as subject:
            return await judge(promise, subject, subject.record)

    @asynccontextmanager
    async def _subject(self) -> AsyncIterator[Subject]:
        with tempfile.TemporaryDirectory() as folder:
            async with serving_host(Path(folder), cache_dir=self.cache_dir) as host:
                component = self.component()
                started: list[Any] = []
                lane = ThreadLane("tested", threads=4, queue_size=64)
                try:
                    for part in (*self.uses(), component):
                        await _start(part, host)
                        started.append(part)
                    await self.prepare(component)
                    name = type(component).__name__
                    transport = LocalTransport("tested", name, self.family.contract, component, lane=lane)
                    subject = Subject(transport, self.family, instance=component)
                    if self.family.open is not None:
                        await self.family.open(subject)
                    yield subject
                finally:
                    for part in reversed(started):
                        await _aclose(part)
                    lane.close()


async def _start(part: Any, host: Host) -> None:
    start = getattr(part, "start", None)
    if start is not None:
        begun = start(host)
        if inspect.isawaitable(begun):
            await begun


async def _aclose(part: Any) -> None:
    aclose = getattr(part, "aclose", None)
    if aclose is not None:
        ended = aclose()
        if inspect.isawaitable(ended):
            await ended


def report(finding: Finding) -> list[str]:
    """A broken promise in a few lines."""
    lines = [f"section {finding.section}: {finding.says}"]
    if finding.sent:
        lines.append(f"sent: {finding.sent}")
    return [*lines, f"came: {finding.came}"]


class ChatContract(ContractTests):
    """Promises of a chat component."""

    family = chat.FAMILY


class EmbeddingContract(ContractTests):
    """Promises of an embedding component."""

    family = embedding.FAMILY


class RetrieverContract(ContractTests):
    """Promises of a retriever; :meth:`prepare` should put a few documents in."""

    family = retriever.FAMILY


class RerankerContract(ContractTests):
    """Promises of a reranker."""

    family = reranker.FAMILY


class EvidenceContract(ContractTests):
    """Promises of an evidence reader."""

    family = evidence.FAMILY


class StoreContract(ContractTests):
    """Promises of a store."""

    family = store.FAMILY


class DataprepContract(ContractTests):
    """Promises of a dataprep component."""

    family = dataprep.FAMILY

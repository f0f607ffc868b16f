"""Jobs: what was handed in goes in, whatever becomes of who handed it in or of the process."""

from __future__ import annotations

import asyncio
import io
import shutil
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from ingestkit import Kit, started
from weft.components.dataprep import jobs, pipeline
from weft.context import Context, current
from weft.contracts.dataprep import (
    CancelRequest,
    DeleteRequest,
    DocumentRequest,
    GetRequest,
    IndicesRequest,
    IngestRequest,
    Job,
    JobRequest,
    JobsRequest,
)
from weft.contracts.store import CollectionsRequest
from weft.errors import (
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    ServiceError,
    StateError,
    UnreachableError,
)
from weft.types import FileOutcome, Upload

WATCHDOG_S = 10


@pytest.fixture
async def kit(tmp_path: Path) -> AsyncIterator[Kit]:
    """An ingest component over an empty store."""
    async with started(tmp_path / "data") as kit:
        yield kit


async def submit(kit: Kit, *files: tuple[str, bytes], **fields: Any) -> Job:
    uploads = [Upload(name, content) for name, content in files]
    reply = await kit.documents.ingest(IngestRequest(uploads, wait=False, **fields))
    assert (reply.status, reply.files) == (202, [])
    assert reply.job is not None
    return reply.job


async def end(kit: Kit, id: str) -> Job:
    """The job when it has ended."""
    async with asyncio.timeout(WATCHDOG_S):
        job = await kit.documents.job(JobRequest(id))
        while job.state in ("waiting", "running"):
            job = await kit.documents.job(JobRequest(id, since=job.revision, wait_s=5))
    return job


async def names(kit: Kit, collection: str = "") -> list[str]:
    return [file.name for file in (await kit.documents.get(GetRequest(collection))).files]


def outcomes(job: Job) -> dict[str, str]:
    return {outcome.name: outcome.outcome for outcome in job.outcomes}


class Gate:
    """Holds a call up until it is opened; ``inside`` says that one is there."""

    def __init__(self, call: Callable[[Any], Awaitable[Any]], *, after: bool = False, only: str = "") -> None:
        self._call, self._after, self._only = call, after, only
        self.inside, self.open = asyncio.Event(), asyncio.Event()
        self.calls = 0

    async def __call__(self, request: Any) -> Any:
        is_meant = self._only in repr(request)
        reply = await self._call(request) if self._after or not is_meant else None
        if is_meant:
            self.calls += 1
            self.inside.set()
            await self.open.wait()
        return reply if reply is not None else await self._call(request)

    async def reached(self) -> None:
        async with asyncio.timeout(WATCHDOG_S):
            await self.inside.wait()


def gate_embedder(kit: Kit, only: str = "") -> Gate:
    kit.embedder.invoke = gate = Gate(kit.embedder.invoke, only=only)  # type: ignore[method-assign]
    return gate


@contextmanager
def as_tenant(tenant: str) -> Iterator[None]:
    token = current.set(Context(tenant=tenant))
    try:
        yield
    finally:
        current.reset(token)


async def test_who_does_not_wait_is_told_how_far_it_is(kit: Kit) -> None:
    """The job is there at once, says what is worked on, and in the end what became of each file."""
    gate = gate_embedder(kit, only="Bananas")
    job = await submit(kit, ("a.txt", b"Apples."), ("b.txt", b"Bananas."), ("c.bin", b"\0"))
    assert (job.files, job.collection) == (3, "default")
    await gate.reached()
    async with asyncio.timeout(WATCHDOG_S):
        while job.ended < 2:
            job = await kit.documents.job(JobRequest(job.id, since=job.revision, wait_s=5))
    assert (job.state, job.ended, job.pages) == ("running", 2, 1)
    assert [(work.name, work.phase, work.part) for work in job.at_work] == [("b.txt", "embedding", 0.0)]
    assert job.pages_per_minute is not None
    assert job.time_left_s is not None
    assert await names(kit) == ["a.txt"]  # what is in can be asked at once
    gate.open.set()
    job = await end(kit, job.id)
    assert (job.state, job.ended, job.pages, job.at_work, job.time_left_s) == ("done", 3, 2, [], None)
    assert outcomes(job) == {"a.txt": "ingested", "b.txt": "ingested", "c.bin": "refused"}
    assert (job.counts.ingested, job.counts.refused) == (2, 1)
    assert job.ended_at is not None
    later = await kit.documents.job(JobRequest(job.id, after=2, wait_s=5))
    assert len(later.outcomes) == 1  # whoever has seen two asks for the rest


async def test_leaving_does_not_end_a_job(kit: Kit) -> None:
    """Whoever waits may go away in the middle; the files go in all the same."""
    gate = gate_embedder(kit)
    task = asyncio.create_task(kit.take(("a.txt", b"Apples."), ("b.txt", b"Bananas.")))
    await gate.reached()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.open.set()
    (job,) = (await kit.documents.jobs(JobsRequest())).jobs
    assert outcomes(await end(kit, job.id)) == {"a.txt": "ingested", "b.txt": "ingested"}
    assert await names(kit) == ["a.txt", "b.txt"]


async def test_a_cancelled_job_keeps_what_is_in(kit: Kit) -> None:
    """Files that have ended stay, the one in the middle and those that wait do not go in, and nothing is left on disk."""
    gate = gate_embedder(kit, only="Bananas")
    files = [
        ("a.txt", b"Apples."),
        ("b.txt", b"Bananas."),
        *((f"{n}.txt", b"Bananas %d." % n) for n in range(9)),
    ]
    job = await submit(kit, *files)
    await gate.reached()
    async with asyncio.timeout(WATCHDOG_S):
        while "a.txt" not in await names(kit):
            await asyncio.sleep(0)
    job = await kit.documents.cancel(CancelRequest(job.id))
    assert (job.state, job.ended, job.counts.ingested, job.counts.cancelled) == ("cancelled", 11, 1, 10)
    assert await names(kit) == ["a.txt"]
    assert [
        path
        for path in (kit.host.storage / "ingest").rglob("*")
        if path.is_file() and "jobs" not in path.name
    ] == []
    assert (await kit.documents.cancel(CancelRequest(job.id))).counts == job.counts  # once is enough


async def test_what_is_deleted_while_it_waits_does_not_go_in(kit: Kit) -> None:
    """A document that was deleted does not come back by an upload from before."""
    gate = gate_embedder(kit, only="Apples")
    job = await submit(kit, ("a.txt", b"Apples."), ("b.txt", b"More Apples."), ("c.txt", b"Apples too."))
    await gate.reached()
    assert (await kit.documents.delete(DeleteRequest("c.txt"))).status
    with pytest.raises(NotFoundError):
        await kit.documents.delete(DeleteRequest("c.txt"))
    gate.open.set()
    assert outcomes(await end(kit, job.id)) == {
        "a.txt": "ingested",
        "b.txt": "ingested",
        "c.txt": "cancelled",
    }
    gate.open.clear()
    gate.inside.clear()
    job = await submit(kit, ("d.txt", b"Apples."), collection="fruit")
    await gate.reached()
    await kit.documents.delete(DeleteRequest("all", "fruit"))
    assert (await kit.documents.indices(IndicesRequest())).indices == ["default"]
    assert outcomes(await end(kit, job.id)) == {"d.txt": "cancelled"}


async def test_versions_go_in_in_the_order_in_which_they_were_handed_in(kit: Kit) -> None:
    """A later upload of a name waits for the one before, in another job too; the last one stays."""
    gate = gate_embedder(kit, only="One")
    first = await submit(kit, ("a.txt", b"One."))
    await gate.reached()
    second = await submit(kit, ("a.txt", b"Two."), ("b.txt", b"Beside."), replace=True)
    async with asyncio.timeout(WATCHDOG_S):
        while await names(kit) != ["b.txt"]:
            await asyncio.sleep(0)
    gate.open.set()
    assert outcomes(await end(kit, first.id)) == {"a.txt": "ingested"}
    assert outcomes(await end(kit, second.id)) == {"a.txt": "ingested", "b.txt": "ingested"}
    assert [d.text for d in await kit.find("one two", k=9) if d.source == "a.txt"] == ["Two."]


async def test_a_small_job_does_not_wait_for_a_large_one(kit: Kit) -> None:
    """Jobs are worked on in turn."""
    gate = gate_embedder(kit)
    large = await submit(kit, *((f"{n}.txt", b"Number %d." % n) for n in range(20)))
    await gate.reached()
    small = await submit(kit, ("small.txt", b"Small."))
    gate.open.set()
    await end(kit, small.id)
    job = await kit.documents.job(JobRequest(large.id))
    assert job.ended < 20
    await end(kit, large.id)


async def test_again_takes_in_what_is_in(kit: Kit) -> None:
    """The same content with another size of passages, where that is asked for."""
    text = b"Plums are blue. " * 30
    assert outcomes(await end(kit, (await submit(kit, ("a.txt", text))).id)) == {"a.txt": "ingested"}
    before = (await kit.documents.get(GetRequest())).files[0].chunks
    job = await end(kit, (await submit(kit, ("a.txt", text), chunk_size=100, chunk_overlap=0, again=True)).id)
    assert outcomes(job) == {"a.txt": "ingested"}
    assert (await kit.documents.get(GetRequest())).files[0].chunks > before


async def test_an_archive_is_its_files(kit: Kit) -> None:
    """Each has its own outcome, and is unchanged when the archive comes again."""
    packed = io.BytesIO()
    with ZipFile(packed, "w") as archive:
        archive.writestr("a.txt", "Apples.")
        archive.writestr("b/c.txt", "Cherries.")
        archive.writestr("b/empty.txt", "")
    expected = {"x.zip/a.txt": "ingested", "x.zip/b/c.txt": "ingested", "x.zip/b/empty.txt": "refused"}
    job = await end(kit, (await submit(kit, ("x.zip", packed.getvalue()), ("z.txt", b"Zebra."))).id)
    assert outcomes(job) == {**expected, "z.txt": "ingested"}
    assert job.files == 4
    again = await kit.take(("x.zip", packed.getvalue()))
    assert [outcome for _, outcome, _ in again] == ["unchanged", "unchanged", "refused"]
    assert not list((kit.host.storage / "ingest").rglob("*.files"))


# The embedder and the store.


async def test_an_embedder_that_is_away_for_a_moment_is_waited_for(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing fails because a service is restarted meanwhile."""
    pauses: list[float] = []

    async def no_time(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(pipeline.asyncio, "sleep", no_time)
    answers: list[Exception | None] = [UnreachableError("gone"), OverloadedError("busy", retry_after_s=1)]
    real = kit.embedder.invoke

    async def restarting(request: Any) -> Any:
        if answers and (error := answers.pop(0)) is not None:
            raise error
        return await real(request)

    kit.embedder.invoke = restarting  # type: ignore[method-assign]
    assert await kit.take(("a.txt", b"Apples.")) == [("a.txt", "ingested", None)]
    assert pauses == [0.5, 1.0]


async def test_what_the_operator_has_to_mend_is_failed_not_refused(kit: Kit) -> None:
    """The reason is the service's own; handing it in again takes it in."""
    real = kit.embedder.invoke

    async def fail(request: Any) -> Any:
        raise ServiceError("the model is not loaded")

    kit.embedder.invoke = fail  # type: ignore[method-assign]
    job = await end(kit, (await submit(kit, ("a.txt", b"Apples."), ("b.bin", b"\0"))).id)
    assert (job.state, job.counts.failed, job.counts.refused) == ("done", 1, 1)
    assert job.outcomes[-1] == FileOutcome("a.txt", "failed", "the model is not loaded") or job.outcomes[
        0
    ] == FileOutcome("a.txt", "failed", "the model is not loaded")
    kit.embedder.invoke = real  # type: ignore[method-assign]
    assert await kit.take(("a.txt", b"Apples.")) == [("a.txt", "ingested", None)]


# Restarts: the folder as it is at some moment is what a process that is killed then leaves behind.


@pytest.mark.parametrize("moment", ["embedding", "before storing", "after storing"])
async def test_a_new_process_goes_on(tmp_path: Path, moment: str) -> None:
    """Nothing is lost, nothing is in twice, no file is half in; the outcome is what it would have been."""
    files = [("a.txt", b"Apples."), ("b.txt", b"Bananas. " * 400), ("c.txt", b"Cherries."), ("d.bin", b"\0")]
    files += [("e.txt", b"More Bananas."), ("f.txt", b"Figs.")]
    async with started(tmp_path / "one") as kit:
        if moment == "embedding":
            gate = gate_embedder(kit, only="Bananas")
        else:
            kit.store.upsert = gate = Gate(kit.store.upsert, after=moment == "after storing", only="Bananas")  # type: ignore[method-assign]
        job = await submit(kit, *files)
        async with asyncio.timeout(WATCHDOG_S):
            while gate.calls < 2:  # both workers are held up, three files have ended, one has not begun
                await asyncio.sleep(0)
        shutil.copytree(tmp_path / "one", tmp_path / "two")
        gate.open.set()
    async with started(tmp_path / "two") as kit:
        ended = await end(kit, job.id)
        assert outcomes(ended) == {
            "a.txt": "ingested",
            "b.txt": "ingested",
            "c.txt": "ingested",
            "d.bin": "refused",
            "e.txt": "ingested",
            "f.txt": "ingested",
        }
        assert (ended.state, ended.files, ended.counts.ingested) == ("done", 6, 5)
        assert await names(kit) == ["a.txt", "b.txt", "c.txt", "e.txt", "f.txt"]
        document = await kit.documents.document(DocumentRequest("b.txt", limit=200))
        text = ("Bananas. " * 400).strip()
        assert document.total == len(document.passages) > 1
        place = 0
        for passage in document.passages:
            assert passage.start is not None
            assert passage.start <= place
            assert text[passage.start : passage.end] == passage.text
            place = max(place, passage.end or 0)
        assert place == len(text)
        found = [passage.id for passage in await kit.find("bananas", k=99) if passage.source == "b.txt"]
        assert sorted(found) == sorted({passage.id for passage in document.passages})
        assert [p for p in (tmp_path / "two/ingest").rglob("*") if p.is_file() and "jobs" not in p.name] == []


async def test_what_a_killed_process_left_lying_about_is_swept(tmp_path: Path) -> None:
    """Files that no job needs go at the next start; uploads that are still arriving stay."""
    lost, arriving, old = (
        tmp_path / name for name in ("ingest/test/files/x/0", "uploads/a/0", "uploads/b/0")
    )
    for path in (lost, arriving, old):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x")
    import os

    os.utime(old.parent, (1, 1))
    async with started(tmp_path):
        assert [path.exists() for path in (lost, lost.parent, arriving, old)] == [False, False, True, False]


async def test_an_upload_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    """After a power cut a file may be shorter than what was sent: it does not go in by halves."""
    async with started(tmp_path / "one") as kit:
        gate = gate_embedder(kit)
        job = await submit(kit, ("a.txt", b"Apples are red."))
        await gate.reached()
        shutil.copytree(tmp_path / "one", tmp_path / "two")
        gate.open.set()
    (kept,) = [path for path in (tmp_path / "two/ingest/test/files").rglob("*") if path.is_file()]
    kept.write_bytes(b"Apples")
    async with started(tmp_path / "two") as kit:
        (outcome,) = (await end(kit, job.id)).outcomes
        assert outcome == FileOutcome(
            "a.txt", "refused", "its upload is not there any more; hand it in again"
        )


async def test_one_process_has_the_jobs(tmp_path: Path) -> None:
    """A second one would do everything twice: it is told so."""
    async with started(tmp_path / "data") as kit:
        shutil.copytree(tmp_path / "data/documents", tmp_path / "other/documents")
        (tmp_path / "other/ingest").symlink_to(tmp_path / "data/ingest")
        with pytest.raises(StateError, match="another process's"):
            async with started(tmp_path / "other"):
                pass
        assert await kit.take(("a.txt", b"Apples.")) == [("a.txt", "ingested", None)]


async def test_jobs_of_a_newer_version_are_left_alone(tmp_path: Path) -> None:
    """A schema that is not known is refused, with what to do."""
    folder = tmp_path / "ingest/test"
    folder.mkdir(parents=True)
    connection = sqlite3.connect(folder / "jobs.sqlite")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StateError, match="newer version of Weft"):
        async with started(tmp_path):
            pass


# Who sees what.


async def test_tenants_do_not_see_each_others_jobs(kit: Kit) -> None:
    """Not in the list, not by id, and a document goes to the tenant who handed it in."""
    with as_tenant("one"):
        job = await submit(kit, ("a.txt", b"Apples."))
        await end(kit, job.id)
        assert await names(kit) == ["a.txt"]
    with as_tenant("two"):
        assert (await kit.documents.jobs(JobsRequest())).jobs == []
        for call, request in (
            (kit.documents.job, JobRequest(job.id)),
            (kit.documents.cancel, CancelRequest(job.id)),
        ):
            with pytest.raises(NotFoundError, match=f"no job '{job.id}'"):
                await call(request)  # type: ignore[operator]
        assert await names(kit) == []
        with pytest.raises(NotFoundError):
            await kit.documents.document(DocumentRequest("a.txt"))


async def test_a_tenant_neither_waits_for_another_nor_takes_its_files_back(kit: Kit) -> None:
    """A file of the same name goes in while another tenant's is at work, and deleting it there leaves that one alone."""
    gate = gate_embedder(kit, only="Apples")
    with as_tenant("one"):
        held = await submit(kit, ("a.txt", b"Apples."))
        await gate.reached()
    with as_tenant("two"):
        assert outcomes(await end(kit, (await submit(kit, ("a.txt", b"Pears."))).id)) == {"a.txt": "ingested"}
        await kit.documents.delete(DeleteRequest("a.txt"))
        assert await names(kit) == []
    gate.open.set()
    with as_tenant("one"):
        assert outcomes(await end(kit, held.id)) == {"a.txt": "ingested"}


async def test_what_is_known_of_a_document_is_of_its_tenant(kit: Kit) -> None:
    """Two tenants' files of one name have each its size, and forgetting one leaves the other's."""
    for tenant, content in (("one", b"Apples."), ("two", b"Pears and plums.")):
        with as_tenant(tenant):
            await end(kit, (await submit(kit, ("a.txt", content))).id)

    async def size() -> list[int | None]:
        return [file.size for file in (await kit.documents.get(GetRequest())).files]

    for tenant, known in (("one", 7), ("two", 16)):
        with as_tenant(tenant):
            assert await size() == [known]
    with as_tenant("two"):
        await kit.documents.delete(DeleteRequest("a.txt"))
    with as_tenant("one"):
        assert await size() == [7]


async def test_what_a_tenant_takes_in_is_known_to_its_own_jobs_only(kit: Kit) -> None:
    """A file of the same name and content that another tenant hands in meanwhile is not taken for one that is in."""
    gate = gate_embedder(kit, only="Apples")
    workers = kit.documents._workers
    assert workers is not None
    with as_tenant("one"):
        job = await submit(kit, ("a.txt", b"Apples."))
        await gate.reached()
    assert len(workers._known("one", "")) == 1
    assert workers._known("two", "") == []
    gate.open.set()
    with as_tenant("one"):
        await end(kit, job.id)


async def test_jobs_are_listed_newest_first_and_forgotten_in_the_end(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that have not ended are asked for by themselves; so many that have ended are remembered."""
    monkeypatch.setattr(jobs, "KEPT", 3)
    for number in range(5):
        job = await submit(kit, (f"{number}.bin", b"\0"))
        await end(kit, job.id)
    gate = gate_embedder(kit)
    running = await submit(kit, ("a.txt", b"Apples."))
    await gate.reached()
    listed = (await kit.documents.jobs(JobsRequest(limit=1000))).jobs
    assert len(listed) == 3 + 1
    assert [job.id for job in listed[:2]] == [running.id, job.id]
    assert [job.id for job in (await kit.documents.jobs(JobsRequest(active=True))).jobs] == [running.id]
    gate.open.set()


@pytest.mark.parametrize(
    ("operation", "request_"),
    [
        ("jobs", JobsRequest(limit=0)), ("job", JobRequest("x", wait_s=61)), ("job", JobRequest("x", limit=-1)),
        ("document", DocumentRequest("x", limit=0)), ("document", DocumentRequest("x", limit=201)),
        ("document", DocumentRequest("x", collection="a\nb")), ("get", GetRequest("x" * 300)),
    ],
)  # fmt: skip
async def test_bounds(kit: Kit, operation: str, request_: Any) -> None:
    """What is out of bounds is the caller's error."""
    with pytest.raises(InvalidRequestError):
        await getattr(kit.documents, operation)(request_)


async def test_too_much_that_waits_is_refused(tmp_path: Path) -> None:
    """The disk is not filled by uploads that nobody gets to."""
    async with started(tmp_path, max_waiting_bytes=10) as kit:
        gate = gate_embedder(kit)
        await submit(kit, ("a.txt", b"Apples and more."))
        await gate.reached()
        with pytest.raises(OverloadedError, match="1 files"):
            await submit(kit, ("b.txt", b"Bananas."))
        gate.open.set()


# Documents.


async def test_the_list_says_what_is_known_of_each(kit: Kit) -> None:
    """Title, length, digest, when it went in, and why it is in only partly."""
    from pdfs import pdf

    await kit.take(("a.md", b"# Apples\n\nThey are red."), ("b.pdf", pdf("One.", "")))
    apples, partly = (await kit.documents.get(GetRequest())).files
    assert (apples.title, apples.pages, apples.size, apples.outcome) == ("Apples", None, 23, "ingested")
    assert len(apples.digest) == 64
    assert apples.added_at is not None
    assert (partly.pages, partly.outcome) == (2, "partly")
    assert "page 2" in (partly.reason or "")
    await kit.take(("c.txt", b"Cherries."), collection="fruit")
    collections = (await kit.documents.indices(IndicesRequest())).collections
    assert [(c.name, c.files, c.chunks) for c in collections] == [("default", 2, 2), ("fruit", 1, 1)]
    assert (await kit.store.collections(CollectionsRequest())).collections == ["", "fruit"]


async def test_a_citation_is_found_at_its_place(kit: Kit) -> None:
    """The passage that was cited is in the middle of what is read; a name that is not there gets the nearest."""
    text = "\n\n".join(f"Paragraph {n} is about the number {n}. " * 8 for n in range(30))
    await kit.take(("numbers.txt", text.encode()), chunk_size=300, chunk_overlap=0)
    whole = await kit.documents.document(DocumentRequest("numbers.txt", limit=200))
    assert (whole.total, whole.after, whole.collection) == (len(whole.passages), 0, "default")
    cited = whole.passages[10]
    around = await kit.documents.document(DocumentRequest("numbers.txt", around=cited.id, limit=5))
    assert [p.id for p in around.passages] == [p.id for p in whole.passages[8:13]]
    assert around.after == 8
    page = await kit.documents.document(DocumentRequest("numbers.txt", after=4, limit=2))
    assert [p.id for p in page.passages] == [p.id for p in whole.passages[4:6]]
    with pytest.raises(NotFoundError, match="no document is called 'number.txt'") as caught:
        await kit.documents.document(DocumentRequest("number.txt"))
    assert caught.value.hint == "did you mean 'numbers.txt'?"
    with pytest.raises(NotFoundError, match="has no passage 'gone'"):
        await kit.documents.document(DocumentRequest("numbers.txt", around="gone"))

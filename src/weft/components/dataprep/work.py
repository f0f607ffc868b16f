"""Who works on the jobs: a few workers, which take one file after the other, from each job in turn.

What is known only while it happens is here: which files are being worked on, and how fast it goes. All else is in
:mod:`jobs <weft.components.dataprep.jobs>`, so that a new process goes on where this one ends.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, ParamSpec, TypeVar

from weft.components.dataprep.archive import is_archive
from weft.components.dataprep.blocks import Reading, RefusedError
from weft.components.dataprep.jobs import WEIGHT, Ended, Fact, Item, JobRow, Jobs, NewItem
from weft.components.dataprep.keeping import Kept, digest_of
from weft.components.dataprep.names import safe_name, shown_collection
from weft.components.dataprep.pipeline import Pipeline, documents_of, page_count
from weft.context import Context, current
from weft.contracts.dataprep import FileAtWork, Job, JobState
from weft.contracts.manifest import Manifest, manifest_of
from weft.contracts.store import ListRequest, Store, UpsertRequest
from weft.errors import InternalError, RequestError
from weft.host import Host, Lane
from weft.types import FileOutcome, Upload

P = ParamSpec("P")
R = TypeVar("R")

AT_ONCE: Final = 2
"""Files that are worked on together: one is read while the other is embedded."""

TELL_S: Final = 0.5
"""How often who waits for news of a job is told that a file has come a little further."""

RECOVER_S: Final = 5.0
"""Before a worker goes on whose journal could not be written (the disk is full, say)."""


@dataclass(slots=True)
class _AtWork:
    """A file that is being worked on, and what it weighs."""

    shown: FileAtWork
    weight: int
    task: asyncio.Task[Ended | None] | None = None


@dataclass(slots=True)
class _Active:
    """A job that has not ended, as this process works on it.

    Attributes:
        busy_s: How long it was worked on before ``begun``.
        begun: When this process began; None: not yet.
        known: Digests of the documents of its collection, from the time when its first file began.
        failure: The first error that was not a file's own fault, for whoever waits.
    """

    row: JobRow
    busy_s: float
    begun: float | None = None
    revision: int = 0
    told_at: float = 0.0
    known: dict[str, str] | None = None
    reading: Reading | None = None
    manifest: Manifest | None = None
    failure: RequestError | None = None
    at_work: dict[int, _AtWork] = field(default_factory=dict)

    def seconds(self, now: float) -> float:
        """How long it has been worked on."""
        return self.busy_s + (now - self.begun if self.begun is not None else 0.0)


class Workers:
    """Works on jobs until it is closed.

    Args:
        jobs: The journal; it is called in ``lane`` only, which has one thread.
        kept: The files.
        pipeline: What is done with a file.
        store: Asked what is in.
        fetch: Gets the page behind a link.
        max_waiting: Files that may wait; what an archive adds counts.
        host: For its log.
    """

    def __init__(
        self,
        jobs: Jobs,
        kept: Kept,
        pipeline: Pipeline,
        store: Store,
        *,
        fetch: Callable[[str], Awaitable[Upload]],
        max_waiting: int,
        host: Host,
        lane: Lane,
    ) -> None:
        self._jobs, self._kept, self._pipeline, self._store = jobs, kept, pipeline, store
        self._fetch, self._max_waiting = fetch, max_waiting
        self._host, self._lane = host, lane
        self._active: dict[str, _Active] = {}
        self._choosing = asyncio.Lock()
        self._changed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def run(self, work: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the journal, in its thread."""
        return await self._lane.run(work, *args, **kwargs)

    # Jobs come and go.

    async def start(self, unended: Sequence[JobRow]) -> None:
        """Begin, with the jobs that the last process left."""
        for row in unended:
            await self.add(row)
        self._tasks = [asyncio.create_task(self._work(), name=f"documents-{n}") for n in range(AT_ONCE)]

    async def add(self, row: JobRow) -> None:
        """Work on a job that is on disk; one whose files have all ended ends here."""
        self._active[row.id] = job = _Active(row, row.busy_s)
        self._tell(job)
        await self._settle(job)

    async def wait(self, id: str, *, since: int, timeout_s: float) -> None:
        """Return when a job has changed since a revision, or has ended, or after a while."""
        try:
            async with asyncio.timeout(timeout_s):
                while (job := self._active.get(id)) is not None and job.revision <= since:
                    await self._changed.wait()
        except TimeoutError:
            return

    async def ended(self, id: str) -> RequestError | None:
        """Wait for the end of a job; the first error that was not a file's own fault."""
        job = self._active.get(id)
        while id in self._active:
            await self._changed.wait()
        return job.failure if job is not None else None

    async def withdraw(
        self, tenant: str, *, job: str | None = None, collection: str | None = None, name: str | None = None
    ) -> int:
        """Let files not go in that have not ended: of a job, of a collection, of a name there. How many there were.

        One that is being stored ends as it was meant to: when this returns, it is in.
        """
        async with self._choosing:  # nothing is begun in between
            running = {
                number: work for active in self._active.values() for number, work in active.at_work.items()
            }
            numbers = await self.run(
                self._jobs.unended_items, tenant, job=job, collection=collection, name=name
            )
            for path in await self.run(self._jobs.cancel, [n for n in numbers if n not in running]):
                await asyncio.to_thread(self._kept.drop, path)
        tasks = [task for n in numbers if n in running and (task := running[n].task) is not None]
        for number in numbers:
            if (work := running.get(number)) and work.task and work.shown.phase != "storing":
                work.task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for active in list(self._active.values()):
            await self._settle(active)
        return len(numbers)

    def forget(self, tenant: str, collection: str, name: str | None = None) -> None:
        """A document, or all of a collection, is not in any more."""
        for known in self._known(tenant, collection):
            if name is None:
                known.clear()
            else:
                known.pop(name, None)

    def _known(self, tenant: str, collection: str) -> list[dict[str, str]]:
        return [
            job.known
            for job in self._active.values()
            if job.known is not None and (job.row.tenant, job.row.collection) == (tenant, collection)
        ]

    async def aclose(self) -> None:
        """End; what has not ended is for the next process."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def view(self, row: JobRow) -> Job:
        """A job as people see it."""
        tally = await self.run(self._jobs.tally, row.id)
        active = self._active.get(row.id) if row.ended_at is None else None
        at_work = list(active.at_work.values()) if active is not None else []
        busy_s = active.seconds(time.monotonic()) if active is not None else row.busy_s
        begun = sum(int((work.shown.part or 0.0) * work.weight) for work in at_work)
        left_s = None
        if active is not None and (done := tally.done_weight + begun) and busy_s:
            left_s = round(max(0, tally.left_weight - begun) * busy_s / done, 1)
        return Job(
            row.id,
            _state(row, active),
            shown_collection(row.collection),
            tally.files,
            tally.ended,
            tally.pages,
            tally.counts,
            [work.shown for work in at_work],
            row.created_at,
            row.ended_at,
            round(60 * tally.pages / busy_s, 1) if tally.pages and busy_s else None,
            left_s,
            active.revision if active is not None else int((row.ended_at or row.created_at) * 1000) + 1,
        )

    # Workers.

    def _tell(self, job: _Active) -> None:
        """Something of a job has changed."""
        job.revision = max(job.revision + 1, int(time.time() * 1000))
        job.told_at = time.monotonic()
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def _work(self) -> None:
        while True:
            try:
                changed = self._changed
                if (found := await self._next()) is None:
                    await changed.wait()
                else:
                    await self._one(*found)
            except Exception as error:  # noqa: BLE001 - a worker that ended would leave every later job undone
                self._host.log("taking documents in is interrupted", cause=repr(error))
                await asyncio.sleep(RECOVER_S)

    async def _next(self) -> tuple[_Active, Item] | None:
        """The next file, from the job whose turn it is."""
        async with self._choosing:
            for id_, job in list(self._active.items()):
                item = await self.run(self._jobs.next, id_, at_work=list(job.at_work))
                if item is None or id_ not in self._active:
                    continue
                self._active[id_] = self._active.pop(id_)  # its next turn comes after the others'
                if job.begun is None:
                    job.begun = time.monotonic()
                shown = FileAtWork(item.name, "fetching" if item.kind == "link" else "reading")
                work = job.at_work[item.number] = _AtWork(shown, item.size + WEIGHT)
                work.task = asyncio.create_task(self._take(job, item, shown), name=f"document {item.name}")
                return job, item
        return None

    async def _one(self, job: _Active, item: Item) -> None:
        """See one file to its end."""
        task = job.at_work[item.number].task
        assert task is not None
        self._tell(job)
        try:
            try:
                await asyncio.wait({task})
            except asyncio.CancelledError:
                task.cancel()  # this process ends: the next one begins the file again
                await asyncio.wait({task})
                raise
            if (ended := self._ended(job, item, task)) is not None:
                await self.run(self._jobs.end, item.number, ended)
            if item.path is not None:
                await asyncio.to_thread(self._kept.drop, item.path)
        finally:
            del job.at_work[item.number]
        self._tell(job)
        await self._settle(job)

    def _ended(self, job: _Active, item: Item, task: asyncio.Task[Ended | None]) -> Ended | None:
        """What became of a file; None: it was an archive, whose files have taken its place."""
        if task.cancelled():
            return Ended(FileOutcome(item.name, "cancelled"))
        if (error := task.exception()) is None:
            return task.result()
        if not isinstance(error, RequestError):
            self._host.log("a document could not be taken in", document=item.name, cause=repr(error))
            error = InternalError(f"an error of this service: {type(error).__name__}")
        job.failure = job.failure or error
        return Ended(FileOutcome(item.name, "failed", error.message))

    async def _settle(self, job: _Active) -> None:
        """End a job whose files have all ended."""
        id_ = job.row.id
        busy_s = job.seconds(time.monotonic())
        if await self.run(self._jobs.end_if_done, id_, busy_s=busy_s) and id_ in self._active:
            await asyncio.to_thread(self._kept.drop, id_)
            self._active.pop(id_, None)
            self._tell(job)

    # One file.

    async def _take(self, job: _Active, item: Item, shown: FileAtWork) -> Ended | None:
        """Take one file in.

        Raises:
            RequestError: The embedder or the store cannot be had.
        """
        row = job.row
        current.set(Context(row.id, tenant=row.tenant, caller=row.caller, readers=row.readers))
        try:
            await self._prepare(job)
            if item.kind == "link":
                upload = await self._fetch(item.name)
            else:
                upload = self._upload(item)
                if is_archive(item.name, item.content_type):
                    shown.phase = "unpacking"
                    await self._unpack(item, upload)
                    return None
            digest = await asyncio.to_thread(digest_of, upload)
            try:
                return await self._document(job, item, upload, digest, shown)
            except RefusedError as reason:
                return Ended(FileOutcome(item.name, "refused", str(reason)), digest=digest)
        except RefusedError as reason:
            return Ended(FileOutcome(item.name, "refused", str(reason)))

    async def _prepare(self, job: _Active) -> None:
        """Learn once for a job what is in, and what the embedder is like."""
        if job.known is None:
            options = job.row.options
            embedder = await self._pipeline.embedder()
            job.reading = self._pipeline.reading(embedder, options.size, options.overlap)
            job.manifest = manifest_of(embedder, chunker=self._pipeline.chunker)
            files = (await self._store.list(ListRequest(job.row.collection))).files
            job.known = {file.name: file.digest for file in files}

    def _upload(self, item: Item) -> Upload:
        path = self._kept.path(item.path or "")
        if item.path is None or not path.is_file() or path.stat().st_size != item.size:
            raise RefusedError("its upload is not there any more; hand it in again")
        return Upload(item.name, content_type=item.content_type, path=str(path))

    async def _unpack(self, item: Item, archive: Upload) -> None:
        """Put the files of an archive in its place, each a file like any other."""
        assert item.path is not None
        folder = await asyncio.to_thread(self._kept.folder, item.path)
        found = await self._pipeline.unpack(archive, folder)
        waiting, _ = await self.run(self._jobs.waiting)
        if waiting + len(found) > self._max_waiting:
            raise RefusedError(f"it has {len(found):,} files, and {waiting:,} wait already; hand it in later")
        members = []
        for file in found:
            name = safe_name(file.name)
            if file.path is None:
                members.append(NewItem(name, outcome=FileOutcome(name, "refused", file.refused)))
            else:
                size = self._kept.path(path := self._kept.relative(file.path)).stat().st_size
                members.append(NewItem(name, path=path, size=size))
        await self.run(self._jobs.expand, item, members)

    async def _document(
        self, job: _Active, item: Item, upload: Upload, digest: str, shown: FileAtWork
    ) -> Ended:
        """Take in what is no archive.

        Raises:
            RefusedError: It is not to be replaced, or cannot be read.
            RequestError: The embedder or the store cannot be had.
        """
        assert job.known is not None
        assert job.reading is not None
        name, options, known = item.name, job.row.options, job.known.get(item.name)
        # Who may read what is in already is not known here: with readers it is taken in anew, so that they hold.
        again = options.again or options.readers is not None
        if item.result is not None and item.result.digest == digest == known and not again:
            return item.result  # the last process ended between the store's answer and noting it
        if (twin := await self.run(self._jobs.twin, item)) is not None:
            return _of_twin(name, digest, *twin)
        if known == digest and not again:
            return Ended(FileOutcome(name, "unchanged", id=name), digest=digest)
        if known not in (None, digest) and not options.replace:
            raise RefusedError(
                "a document of this name is in already, with other content; send replace=true to replace it"
            )
        shown.phase = "reading"
        upload.name = name
        prepared = await self._pipeline.prepare(upload, job.reading)
        documents = documents_of(name, digest, prepared, options.readers)
        shown.phase = "embedding"
        await self._pipeline.embed(documents, lambda part: self._embedded(job, shown, part))
        outcome = FileOutcome(
            name,
            "partly" if prepared.partly else "ingested",
            prepared.partly or prepared.note,
            chunks=len(documents),
            pages=prepared.pages,
            id=name,
        )
        size = item.size or len(upload.content)
        fact = Fact(digest, prepared.title, prepared.pages, size, outcome.outcome, outcome.reason)
        ended = Ended(outcome, page_count(prepared), digest, fact)
        shown.phase, shown.part = "storing", None
        await self.run(self._jobs.storing, item.number, ended)
        collection = job.row.collection
        request = UpsertRequest(
            documents, name, digest, replace=True, manifest=job.manifest, collection=collection
        )
        await self._pipeline.store(request)
        for known_digests in self._known(job.row.tenant, collection):
            known_digests[name] = digest
        return ended

    def _embedded(self, job: _Active, shown: FileAtWork, part: float) -> None:
        shown.part = part
        if time.monotonic() - job.told_at > TELL_S:
            self._tell(job)


def _state(row: JobRow, active: _Active | None) -> JobState:
    if row.ended_at is not None:
        return "cancelled" if row.cancelled else "done"
    return "running" if active is not None and active.begun is not None else "waiting"


def _of_twin(name: str, digest: str, its_digest: str | None, its_outcome: FileOutcome) -> Ended:
    """What becomes of a file when the same job has had another of its name."""
    if its_digest is not None and its_digest != digest:
        reason = "another file of this upload has the same name and other content"
        return Ended(FileOutcome(name, "refused", reason), digest=digest)
    if its_outcome.outcome == "refused":
        return Ended(FileOutcome(name, "refused", its_outcome.reason), digest=digest)
    return Ended(FileOutcome(name, "unchanged", id=name), digest=digest)

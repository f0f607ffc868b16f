"""The component that takes documents in: read, split, embed, store, and account for every file."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence
from typing import ClassVar, Final

from weft.components.dataprep.jobs import JobRow, Jobs, NewItem, Options
from weft.components.dataprep.keeping import Kept
from weft.components.dataprep.links import fetch
from weft.components.dataprep.names import ALL, collection_name, safe_name, shown_collection
from weft.components.dataprep.pipeline import Limits, Pipeline, embedded
from weft.components.dataprep.recut import recut
from weft.components.dataprep.work import Workers
from weft.context import Context, current
from weft.contracts.dataprep import (
    MAX_PASSAGES,
    MAX_WAIT_S,
    CancelRequest,
    CollectionEntry,
    DeleteRequest,
    DeleteResponse,
    DocumentRequest,
    DocumentResponse,
    FileEntry,
    GetRequest,
    GetResponse,
    IndicesRequest,
    IndicesResponse,
    IngestRequest,
    IngestResponse,
    Job,
    JobRequest,
    JobsRequest,
    JobsResponse,
)
from weft.contracts.embedding import Embedder, EmbeddingDescription
from weft.contracts.store import CollectionsRequest, ListRequest, ReadRequest, Store, refuse_other
from weft.contracts.store import DeleteRequest as StoreDelete
from weft.errors import ComponentError, InvalidRequestError, NotFoundError, OverloadedError, nearest
from weft.host import Host
from weft.types import Document, FileOutcome, Upload

MAX_FILES: Final = 1_000
MAX_GROUPS: Final = 100
MAX_GROUP_CHARACTERS: Final = 200
MAX_WAITING: Final = 100_000
"""Files of all jobs that may wait."""

MAX_JOBS: Final = 1_000
"""Of one list."""

SMALLEST, LARGEST = 100, 20_000
"""Characters that a passage may be set to."""

LINK_TIMEOUT_S: Final = 20.0
LINK_BYTES: Final = 20_000_000


class DocumentIngest:
    """Takes documents in, and keeps them as passages with vectors.

    What is handed in is a job, on disk when it has been accepted, and goes on in the next process where this one ends.
    Each file ends as *ingested*, *partly* (some pages have no text), *unchanged* (name and content are in already),
    *refused* or *failed* (the embedder or the store could not be had), with the reason; one that is refused holds up no
    other. A file is in whole or not at all; a new version takes the old one's place when it is in.

    Files are read in processes of their own that can be killed, within limits of time and memory.

    Args:
        store: Where the passages go.
        embedder: What makes their vectors.
        chunk_size: Characters of a passage, where a request does not say. A passage must fit the embedder's window:
            MiniLM reads 256 tokens, about 1,000 characters.
        chunk_overlap: Characters that a passage may repeat of the one before, in whole sentences.
        batch: Passages that are embedded in one call. Few, so that a question in between waits for few.
        max_file_bytes: Larger files are refused.
        max_waiting_bytes: What may wait on disk, of all jobs together; beyond it uploads are refused with 429.
        parse_timeout_s: After this long a file that is being read is given up.
        max_memory_bytes: What reading one file may take.
    """

    exclusive: ClassVar[bool] = True

    def __init__(
        self,
        store: Store,
        embedder: Embedder,
        *,
        chunk_size: int = 1000,
        chunk_overlap: int = 100,
        batch: int = 16,
        max_file_bytes: int = 100_000_000,
        max_waiting_bytes: int = 20_000_000_000,
        parse_timeout_s: float = 120.0,
        max_memory_bytes: int = 1_000_000_000,
    ) -> None:
        try:
            _check_sizes(chunk_size, chunk_overlap)
        except InvalidRequestError as error:
            raise ComponentError(f"document-ingest: {error.message}") from error
        if batch < 1:
            raise ComponentError(f"document-ingest: batch is {batch}, it must be at least 1")
        self._store, self._embedder = store, embedder
        self._chunk_size, self._chunk_overlap, self._batch = chunk_size, chunk_overlap, batch
        self._limits = Limits(max_file_bytes, parse_timeout_s, max_memory_bytes)
        self._max_waiting_bytes = max_waiting_bytes

    async def start(self, host: Host) -> None:
        """Open the journal of jobs, and go on with those that have not ended.

        Raises:
            StateError: Another process has the journal, a newer version wrote it, or it is damaged; or the documents
                that are in were made with another embedder or cut otherwise.
        """
        self._host = host
        await refuse_other(host.service, self._store, self._embedder, chunker=self.chunker)
        # A nested megaservice's services have a slash in their names.
        folder = host.storage / "ingest" / host.service.replace("/", ".")
        folder.mkdir(parents=True, exist_ok=True)
        self._jobs = Jobs(folder / "jobs.sqlite")
        self._kept = Kept(
            folder / "files", host.storage / "uploads", max_file_bytes=self._limits.max_file_bytes
        )
        pipeline = Pipeline(
            self._store,
            self._embedder,
            host,
            batch=self._batch,
            limits=self._limits,
            chunker=self.chunker,
        )
        self._workers = Workers(
            self._jobs,
            self._kept,
            pipeline,
            self._store,
            fetch=self._fetch,
            max_waiting=MAX_WAITING,
            host=host,
            lane=host.lane(threads=1, queue=4_096),
        )
        await self._workers.run(self._jobs.open)
        needed = await self._workers.run(self._jobs.paths)
        await asyncio.to_thread(self._kept.sweep, needed, now=time.time())
        await self._workers.start(await self._workers.run(self._jobs.unended))

    @property
    def chunker(self) -> str:
        """How documents are cut, in words; requests may ask for other sizes."""
        return f"{self._chunk_size} characters, {self._chunk_overlap} repeated"

    def recut(self, documents: Sequence[Document], embedder: EmbeddingDescription) -> list[Document]:
        """The passages of one document that is in, all and in order, cut as new ones would be: for ``weft reindex``."""
        return recut(
            documents, size=self._chunk_size, overlap=self._chunk_overlap, max_tokens=embedder.max_tokens
        )

    @staticmethod
    def embedded(document: Document) -> str:
        """What of a passage is embedded."""
        return embedded(document)

    async def aclose(self) -> None:
        """Let go of the journal; what has not ended goes on at the next start."""
        await self._workers.aclose()
        # In the journal's own thread, after what that does now: SQLite does not outlive a connection closed under it.
        await self._workers.run(self._jobs.close)

    async def _fetch(self, link: str) -> Upload:
        limit = min(self._limits.max_file_bytes, LINK_BYTES)
        return await fetch(self._host, link, timeout_s=LINK_TIMEOUT_S, max_bytes=limit)

    # Handing in.

    async def ingest(self, request: IngestRequest) -> IngestResponse:
        """Take files and links in; returns when every one has ended, with their outcomes in order, or with the job.

        Cancelling leaves the waiting; the job goes on.

        Raises:
            InvalidRequestError: There is neither a file nor a link, there are too many, or a size is out of bounds.
            OverloadedError: Too much waits already.
            RequestError: The embedder or the store failed; the job says for which files.
        """
        if not request.files and not request.links:
            raise InvalidRequestError(
                "there is nothing to ingest: send 'files' or 'link_list'", param="files"
            )
        if len(request.files) + len(request.links) > MAX_FILES:
            raise InvalidRequestError(f"at most {MAX_FILES:,} files and links go in at once", param="files")
        job = await asyncio.shield(self._accept(request, self._row(request)))
        if not request.wait:
            view = await self._workers.view(await self._workers.run(self._jobs.job, job.id, job.tenant))
            return IngestResponse([], 202, f"job {job.id} has been accepted", view)
        if (failure := await self._workers.ended(job.id)) is not None:
            raise failure
        outcomes = await self._workers.run(self._jobs.outcomes, job.id)
        refused = [outcome for outcome in outcomes if outcome.outcome == "refused"]
        if not refused:
            return IngestResponse(outcomes)
        said = "; ".join(f"'{outcome.name}': {outcome.reason}" for outcome in refused[:10])
        return IngestResponse(outcomes, 400, f"{len(refused)} of {len(outcomes)} refused: {said}")

    def _row(self, request: IngestRequest) -> JobRow:
        size = request.chunk_size if request.chunk_size is not None else self._chunk_size
        overlap = request.chunk_overlap
        if overlap is None:
            overlap = min(self._chunk_overlap, size // 2)
        _check_sizes(size, overlap)
        context = current.get(None) or Context()
        return JobRow(
            secrets.token_hex(8),
            context.tenant,
            context.caller,
            context.readers,
            collection_name(request.collection),
            Options(size, overlap, request.replace, request.again, _readers(request.readers)),
            cancelled=False,
            busy_s=0.0,
            created_at=round(time.time(), 3),
            ended_at=None,
        )

    async def _accept(self, request: IngestRequest, job: JobRow) -> JobRow:
        """Have a job on disk, files first."""
        waiting, size = await self._workers.run(self._jobs.waiting)
        if waiting + len(request.files) + len(request.links) > MAX_WAITING or size > self._max_waiting_bytes:
            raise OverloadedError(
                f"{waiting:,} files ({size / 1e6:,.0f} MB) wait to be taken in already", retry_after_s=60
            )
        items = await asyncio.to_thread(self._kept.take, job.id, request.files)
        items += [_link(link) for link in request.links]
        try:
            await self._workers.run(self._jobs.add, job, items)
        except BaseException:
            await asyncio.to_thread(self._kept.drop, job.id)
            raise
        await self._workers.add(job)
        return job

    # Jobs.

    async def jobs(self, request: JobsRequest) -> JobsResponse:
        """The caller's tenant's jobs, the newest first."""
        if not 1 <= request.limit <= MAX_JOBS:
            raise InvalidRequestError(f"limit must be from 1 to {MAX_JOBS:,}", param="limit")
        rows = await self._workers.run(self._jobs.jobs, _tenant(), active=request.active, limit=request.limit)
        return JobsResponse([await self._workers.view(row) for row in rows])

    async def job(self, request: JobRequest) -> Job:
        """One job, when there is news of it.

        Raises:
            NotFoundError: There is none of that id.
        """
        if not 0 <= request.wait_s <= MAX_WAIT_S:
            raise InvalidRequestError(f"wait_s must be from 0 to {MAX_WAIT_S:g}", param="wait_s")
        if not 0 <= request.limit <= MAX_FILES or request.after < 0:
            raise InvalidRequestError(
                f"limit must be from 0 to {MAX_FILES:,}, after not below 0", param="limit"
            )
        row = await self._workers.run(self._jobs.job, request.id, _tenant())
        if request.wait_s:
            await self._workers.wait(request.id, since=request.since, timeout_s=request.wait_s)
            row = await self._workers.run(self._jobs.job, request.id, _tenant())
        view = await self._workers.view(row)
        view.outcomes = await self._workers.run(
            self._jobs.ended, row.id, after=request.after, limit=request.limit
        )
        return view

    async def cancel(self, request: CancelRequest) -> Job:
        """End a job: files that have not ended do not go in; those that are in stay.

        Raises:
            NotFoundError: There is none of that id.
        """
        await self._workers.run(self._jobs.job, request.id, _tenant())
        await self._workers.run(self._jobs.note_cancelled, request.id)
        await self._workers.withdraw(_tenant(), job=request.id)
        await self._workers.ended(request.id)
        return await self._workers.view(await self._workers.run(self._jobs.job, request.id, _tenant()))

    # Documents.

    async def get(self, request: GetRequest) -> GetResponse:
        """The files that are in, by name, with what is known of each."""
        collection = collection_name(request.index_name)
        files = (await self._store.list(ListRequest(collection))).files
        facts = await self._workers.run(self._jobs.facts, _tenant(), collection)
        entries = []
        for file in files:
            entry = FileEntry(file.name, file.name, chunks=file.chunks, digest=file.digest)
            entry.added_at = file.metadata.get("stored_at")
            fact = facts.get(file.name)
            if fact is not None and fact.digest == file.digest:
                entry.title, entry.pages, entry.size = fact.title, fact.pages, fact.size
                entry.outcome, entry.reason = fact.outcome, fact.reason
            entries.append(entry)
        return GetResponse(entries)

    async def delete(self, request: DeleteRequest) -> DeleteResponse:
        """Delete a file, or ``all`` of a collection; what waits to go in under that name does not go in.

        Raises:
            NotFoundError: No file has that name.
        """
        collection, tenant = collection_name(request.index_name), _tenant()
        name = None if request.file_path == ALL else request.file_path
        withdrawn = await self._workers.withdraw(tenant, collection=collection, name=name)
        if name is None:
            await self._store.delete(StoreDelete(all_files=True, collection=collection))
        else:
            names = [file.name for file in (await self._store.list(ListRequest(collection))).files]
            if name not in names and not withdrawn:
                raise _no_document(name, collection, names, param="file_path")
            await self._store.delete(StoreDelete(name, collection=collection))
        self._workers.forget(tenant, collection, name)
        await self._workers.run(self._jobs.forget, tenant, collection, name)
        return DeleteResponse(status=True)

    async def indices(self, request: IndicesRequest) -> IndicesResponse:
        """The collections that are in; the one without a name is called ``default``."""
        names = (await self._store.collections(CollectionsRequest())).collections
        entries = []
        for name in names:
            files = (await self._store.list(ListRequest(name))).files
            entries.append(
                CollectionEntry(shown_collection(name), len(files), sum(file.chunks for file in files))
            )
        return IndicesResponse([entry.name for entry in entries], entries)

    async def document(self, request: DocumentRequest) -> DocumentResponse:
        """Passages of a document, in order.

        Raises:
            NotFoundError: No document has that name, or it has no passage of that id, that the caller may read.
        """
        if not 1 <= request.limit <= MAX_PASSAGES:
            raise InvalidRequestError(f"limit must be from 1 to {MAX_PASSAGES}", param="limit")
        collection = collection_name(request.collection)
        found = await self._store.read(
            ReadRequest(request.name, request.after, request.around, request.limit, collection=collection)
        )
        if not found.total:
            if (
                request.around
                and (await self._store.read(ReadRequest(request.name, limit=1, collection=collection))).total
            ):
                raise NotFoundError(
                    f"'{request.name}' has no passage '{request.around}'",
                    param="around",
                    hint="it has been replaced since, perhaps; leave 'around' out to read it from its beginning",
                )
            names = [file.name for file in (await self._store.list(ListRequest(collection))).files]
            raise _no_document(request.name, collection, names, param="name")
        title = found.documents[0].title if found.documents else None
        return DocumentResponse(
            request.name, shown_collection(collection), title, found.after, found.total, found.documents
        )


def _readers(readers: list[str] | None) -> list[str] | None:
    """The groups to whom documents are shown.

    Raises:
        InvalidRequestError: There are none, too many, or one has no name: nobody could read it, or everybody.
    """
    if readers is None:
        return None
    named = all(group.strip() == group and 0 < len(group) <= MAX_GROUP_CHARACTERS for group in readers)
    if not named or not 0 < len(readers) <= MAX_GROUPS:
        raise InvalidRequestError(
            f"readers are 1 to {MAX_GROUPS} names of groups; leave it out for everybody", param="readers"
        )
    return readers


def _tenant() -> str:
    return (current.get(None) or Context()).tenant


def _link(link: str) -> NewItem:
    name = safe_name(link, is_link=True)
    if not name or name == ALL:
        return NewItem(name or "?", outcome=FileOutcome(name or "?", "refused", "it is not a web address"))
    return NewItem(name, "link")


def _no_document(name: str, collection: str, names: Sequence[str], *, param: str) -> NotFoundError:
    where = f" in the collection '{collection}'" if collection else ""
    close = nearest(name, names)
    hint = f"did you mean '{close}'?" if close else None
    return NotFoundError(f"no document is called '{name}'{where}", param=param, hint=hint)


def _check_sizes(size: int, overlap: int) -> None:
    if not SMALLEST <= size <= LARGEST:
        raise InvalidRequestError(f"chunk_size must be from {SMALLEST} to {LARGEST:,}", param="chunk_size")
    if not 0 <= overlap <= size // 2:
        raise InvalidRequestError("chunk_overlap must be from 0 to half of chunk_size", param="chunk_overlap")

"""The dataprep contract: documents in, listed, read, out again.

What is handed in is a *job*: it is on disk when it has been accepted, and goes on whatever becomes of who handed it in,
a restart included. ``ingest`` waits for its end unless it is told not to; ``job`` says how far it is.

Source of the OPEA forms: GenAIComps, ``/v1/dataprep/*``. Uploads as multipart are turned into
:class:`IngestRequest` by the application that serves it. Source of ``Prefer: respond-async``: RFC 7240, section 4.1.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final, Literal, Protocol

import msgspec
from msgspec import Struct

from weft.contracts.base import Contract, Operation, Route, invalid
from weft.errors import NotFoundError
from weft.types import Document, FileOutcome, Upload

MAX_WAIT_S: Final = 60.0
"""How long one question for a job may wait for news: shorter than what proxies in between give up after."""

MAX_PASSAGES: Final = 200
"""Of one page of a document."""

JOB_PATH: Final = "/v1/dataprep/jobs/{id}"
"""Where a job is asked for; ``Location`` of a reply that does not wait."""


class IngestRequest(Struct, omit_defaults=True):
    """Files and links to take in.

    Attributes:
        files: At most 1,000.
        links: http(s) addresses of public pages.
        chunk_size, chunk_overlap: In characters; None is the component's own default.
        replace: Whether a file of the same name and other content replaces the old one; else it is refused.
        collection: Which collection; empty is the default one. It is made with its first document.
        again: Take a file in even though it is in with the same content: with another ``chunk_size``, say.
        wait: Reply when every file has ended. False: reply when the job is on disk, with the job.
        readers: Groups of the tenant to whom it is shown; null: everybody. A file that is handed in with readers is taken
            in even though it is in with the same content, so that they hold.
    """

    files: list[Upload] = []
    links: list[str] = []
    chunk_size: int | None = None
    chunk_overlap: int | None = None
    process_table: bool = False
    table_strategy: str = "fast"
    replace: bool = False
    collection: str = ""
    again: bool = False
    wait: bool = True
    readers: list[str] | None = None

    schema: ClassVar[dict[str, Any]] = {
        "chunk_size": {"minimum": 100, "maximum": 20_000},
        "chunk_overlap": {"minimum": 0, "maximum": 10_000},
        "links": {"maxItems": 1_000},
        "files": {"maxItems": 1_000},
        "readers": {"minItems": 1, "maxItems": 100},
    }
    """What JSON Schema can say of the fields beyond their types."""


JobState = Literal["waiting", "running", "done", "cancelled"]


class Counts(Struct):
    """Files of a job by what became of them."""

    ingested: int = 0
    partly: int = 0
    unchanged: int = 0
    refused: int = 0
    failed: int = 0
    cancelled: int = 0


class FileAtWork(Struct):
    """A file that is being worked on.

    Attributes:
        phase: ``fetching`` a link, ``reading`` the file, ``embedding`` its passages, ``storing`` them.
        part: How much of the phase is done, 0 to 1; None where that cannot be said.
    """

    name: str
    phase: str
    part: float | None = None


class Job(Struct):
    """What was handed in at once, and how far it is.

    Attributes:
        id: Names it among the tenant's jobs.
        state: ``waiting`` (others are before it), ``running``, ``done`` (every file has ended, whatever became of it) or
            ``cancelled``.
        collection: Where its files go, as people call it: the one without a name is ``default``.
        files: How many there are; archives add what is in them when they have been opened.
        ended: How many have ended.
        pages: Pages of those that went in. A document without pages has one for each 3,000 characters.
        counts: Files that have ended, by their outcome.
        at_work: Files that are being worked on.
        created_at, ended_at: Seconds since 1970.
        pages_per_minute: While it has been worked on; None before the first page.
        time_left_s: Seconds until its end, as far as can be seen; None when it has not begun or has ended.
        revision: Grows with every change: what to wait for as ``since``.
        outcomes: Files that have ended, in the order in which they did, from ``after`` on. Only where one job is asked for.
    """

    id: str
    state: JobState
    collection: str
    files: int
    ended: int
    pages: int
    counts: Counts
    at_work: list[FileAtWork]
    created_at: float
    ended_at: float | None = None
    pages_per_minute: float | None = None
    time_left_s: float | None = None
    revision: int = 0
    outcomes: list[FileOutcome] = []


class IngestResponse(Struct, omit_defaults=True):
    """What became of each file, in order.

    Attributes:
        job: The job, where the reply does not wait for its end; ``files`` is empty then.
    """

    files: list[FileOutcome]
    status: int = msgspec.field(
        default_factory=lambda: 200
    )  # a factory: OPEA clients read it, always written
    message: str = msgspec.field(default_factory=lambda: "Data preparation succeeded")
    job: Job | None = None


class JobsRequest(Struct, omit_defaults=True):
    """Which jobs there are.

    Attributes:
        active: Only those that have not ended.
        limit: How many at most, 1 to 1,000.
    """

    active: bool = False
    limit: int = 50

    schema: ClassVar[dict[str, Any]] = {"limit": {"minimum": 1, "maximum": 1_000}}


class JobsResponse(Struct):
    """The tenant's jobs, the newest first, without their outcomes."""

    jobs: list[Job]


class JobRequest(Struct, omit_defaults=True):
    """One job.

    Attributes:
        since: The revision that is known: with ``wait_s``, the reply comes when there is a newer one.
        wait_s: How long to wait for that, at most 60 s; a job that has ended is never waited for.
        after: How many outcomes are known: those after them are in the reply.
        limit: How many outcomes at most, 0 to 1,000.
    """

    id: str
    since: int = 0
    wait_s: float = 0.0
    after: int = 0
    limit: int = 1_000

    schema: ClassVar[dict[str, Any]] = {
        "wait_s": {"minimum": 0, "maximum": 60},
        "limit": {"minimum": 0, "maximum": 1_000},
        "after": {"minimum": 0},
    }


class CancelRequest(Struct):
    """End a job: files that have not ended do not go in, those that are in stay."""

    id: str


class DocumentRequest(Struct, omit_defaults=True):
    """The passages of a document, in order, a page at a time.

    Attributes:
        name: The document's name: the ``source`` of a citation.
        around: The id of a passage (``document_id`` of a citation): it is in the middle of the page.
        after: How many passages to skip, where ``around`` is not given.
        limit: How many at most, 1 to 200.
    """

    name: str
    collection: str = ""
    around: str = ""
    after: int = 0
    limit: int = 20

    schema: ClassVar[dict[str, Any]] = {
        "limit": {"minimum": 1, "maximum": MAX_PASSAGES},
        "after": {"minimum": 0},
    }


class DocumentResponse(Struct):
    """Passages as they stand in the document.

    A passage is the document's text from ``start`` to ``end``; the beginning of one may repeat the end of the one before.

    Attributes:
        after: How many passages stand before the first of these.
        total: How many the document has.
    """

    name: str
    collection: str
    title: str | None
    after: int
    total: int
    passages: list[Document]


class GetRequest(Struct, omit_defaults=True):
    """Which files are in a collection."""

    index_name: str = ""


class FileEntry(Struct):
    """One file, with OPEA's fields first.

    Attributes:
        chunks: Its passages.
        digest: SHA-256 of its content, in hex: who hands it in again need not send it.
        added_at: When it went in, in seconds since 1970.
        title: What the document calls itself.
        pages: Where it has pages.
        size: How many bytes it has.
        outcome: ``ingested`` or ``partly``; None, with the fields above, where another installation put it in.
        reason: Why it is in only partly.
    """

    name: str
    id: str
    type: Literal["File"] = "File"
    parent: str = ""
    chunks: int = 0
    digest: str = ""
    added_at: float | None = None
    title: str | None = None
    pages: int | None = None
    size: int | None = None
    outcome: str | None = None
    reason: str | None = None


class GetResponse(Struct):
    """The files that are in."""

    files: list[FileEntry]


class DeleteRequest(Struct, omit_defaults=True):
    """Delete one file by name; ``all`` deletes them all, and with them the collection."""

    file_path: str
    index_name: str = ""


class DeleteResponse(Struct):
    """True: it is gone."""

    status: bool


class IndicesRequest(Struct):
    """Which collections there are."""


class CollectionEntry(Struct):
    """A collection: its name, its files and their passages."""

    name: str
    files: int
    chunks: int


class IndicesResponse(Struct, omit_defaults=True):
    """Names of collections, and what is in each."""

    indices: list[str]
    # A factory: written when it is empty, too.
    collections: list[CollectionEntry] = msgspec.field(default_factory=lambda: [])  # noqa: PIE807


class Dataprep(Protocol):
    """What ``uses: {documents: ...}`` binds."""

    async def ingest(self, request: IngestRequest) -> IngestResponse:
        """Take files in: a job. Returns when every file has ended, or when it is told not to wait.

        Cancelling leaves the waiting, not the job.
        """
        ...

    async def get(self, request: GetRequest) -> GetResponse:
        """The files that are in."""
        ...

    async def delete(self, request: DeleteRequest) -> DeleteResponse:
        """Delete a file, or a whole collection; what waits to go in under that name does not go in.

        Raises:
            NotFoundError: No file has that name.
        """
        ...

    async def indices(self, request: IndicesRequest) -> IndicesResponse:
        """The collections that are in."""
        ...

    async def jobs(self, request: JobsRequest) -> JobsResponse:
        """What was handed in, and how far it is."""
        ...

    async def job(self, request: JobRequest) -> Job:
        """One job, when there is news of it.

        Raises:
            NotFoundError: There is none of that id.
        """
        ...

    async def cancel(self, request: CancelRequest) -> Job:
        """End a job; what is in stays in.

        Raises:
            NotFoundError: There is none of that id.
        """
        ...

    async def document(self, request: DocumentRequest) -> DocumentResponse:
        """Passages of a document, in order.

        Raises:
            NotFoundError: No document has that name, or it has no passage of that id, that the caller may read.
        """
        ...


class BareListForm:
    """OPEA's lists are bare arrays: the reply is the response's one field."""

    name = "opea"
    asks: Any = None

    def __init__(self, request: type[Any], field: str, item: Any) -> None:
        self.answers: Any = list[item]
        self._decode = msgspec.json.Decoder(request).decode
        self._field = field

    def matches(self, fields: frozenset[str]) -> bool:
        """These routes have no other form on the wire."""
        return True

    def decode(self, body: bytes) -> Any:
        """See :class:`weft.contracts.Form`; the body may be empty."""
        try:
            return self._decode(body or b"{}")
        except msgspec.DecodeError as error:
            raise invalid(error) from error

    def encode(self, response: Any, request: Any) -> bytes:
        """See :class:`weft.contracts.Form`."""
        return msgspec.json.encode(getattr(response, self._field))


def _absent(what: str) -> Any:
    """What a component answers that has no such operation: those of OPEA's are all that one needs."""

    def refuse(service: str) -> Any:
        raise NotFoundError(f"service '{service}' keeps no {what}")

    return refuse


CONTRACT = Contract(
    name="dataprep",
    description="Takes documents in: parses, splits, embeds and stores them.",
    operations={
        # The same file twice is the same as once, but reading a large file twice is no cheap retry.
        "ingest": Operation(
            "ingest",
            IngestRequest,
            IngestResponse,
            idempotent=False,
            routes=(Route("/v1/dataprep/ingest", opea=True),),
        ),
        "get": Operation(
            "get",
            GetRequest,
            GetResponse,
            routes=(
                Route("/v1/dataprep/files"),
                Route("/v1/dataprep/files", method="GET"),
                Route("/v1/dataprep/get", opea=True, form=BareListForm(GetRequest, "files", FileEntry)),
            ),
        ),
        "indices": Operation(
            "indices",
            IndicesRequest,
            IndicesResponse,
            routes=(
                Route("/v1/dataprep/collections"),
                Route("/v1/dataprep/collections", method="GET"),
                Route("/v1/dataprep/indices", opea=True, form=BareListForm(IndicesRequest, "indices", str)),
            ),
        ),
        "jobs": Operation(
            "jobs",
            JobsRequest,
            JobsResponse,
            routes=(Route("/v1/dataprep/jobs"), Route("/v1/dataprep/jobs", method="GET")),
            default=lambda _service: JobsResponse([]),
        ),
        "job": Operation(
            "job",
            JobRequest,
            Job,
            routes=(Route("/v1/dataprep/job"), Route(JOB_PATH, method="GET")),
            default=_absent("jobs"),
        ),
        "cancel": Operation(
            "cancel",
            CancelRequest,
            Job,
            routes=(Route("/v1/dataprep/cancel"), Route(JOB_PATH, method="DELETE")),
            default=_absent("jobs"),
        ),
        "document": Operation(
            "document",
            DocumentRequest,
            DocumentResponse,
            routes=(Route("/v1/dataprep/document"), Route("/v1/dataprep/document", method="GET")),
            default=_absent("text of its documents"),
        ),
        "delete": Operation(
            "delete",
            DeleteRequest,
            DeleteResponse,
            idempotent=False,
            routes=(Route("/v1/dataprep/delete", opea=True),),
        ),
    },
    protocol=Dataprep,
)

"""The dataprep contract: documents in, listed, out again.

Source of the OPEA forms: GenAIComps, ``/v1/dataprep/*``. Uploads as multipart are turned into
:class:`IngestRequest` by the application that serves it.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol

import msgspec
from msgspec import Struct

from weft.contracts.base import Contract, Operation, Route, invalid
from weft.types import FileOutcome, Upload


class IngestRequest(Struct, omit_defaults=True):
    """Files and links to take in.

    Attributes:
        files: At most 1,000.
        links: http(s) addresses of public pages.
        chunk_size, chunk_overlap: In characters; None is the component's own default.
        replace: Whether a file of the same name and other content replaces the old one; else it is refused.
        collection: Which collection; empty is the default one.
    """

    files: list[Upload] = []
    links: list[str] = []
    chunk_size: int | None = None
    chunk_overlap: int | None = None
    process_table: bool = False
    table_strategy: str = "fast"
    replace: bool = False
    collection: str = ""


class IngestResponse(Struct, omit_defaults=True):
    """What became of each file, in order."""

    files: list[FileOutcome]
    status: int = msgspec.field(
        default_factory=lambda: 200
    )  # a factory: OPEA clients read it, always written
    message: str = msgspec.field(default_factory=lambda: "Data preparation succeeded")


class GetRequest(Struct, omit_defaults=True):
    """Which files are in a collection."""

    index_name: str = ""


class FileEntry(Struct):
    """One file in OPEA's form."""

    name: str
    id: str
    type: Literal["File"] = "File"
    parent: str = ""
    chunks: int = 0


class GetResponse(Struct):
    """The files that are in."""

    files: list[FileEntry]


class DeleteRequest(Struct, omit_defaults=True):
    """Delete one file by name; ``all`` deletes them all."""

    file_path: str
    index_name: str = ""


class DeleteResponse(Struct):
    """True: it is gone."""

    status: bool


class IndicesRequest(Struct):
    """Which collections there are."""


class IndicesResponse(Struct):
    """Names of collections."""

    indices: list[str]


class Dataprep(Protocol):
    """What ``uses: {documents: ...}`` binds."""

    async def ingest(self, request: IngestRequest) -> IngestResponse:
        """Take files in; returns when every file has ended."""
        ...

    async def get(self, request: GetRequest) -> GetResponse:
        """The files that are in."""
        ...

    async def delete(self, request: DeleteRequest) -> DeleteResponse:
        """Delete a file.

        Raises:
            NotFoundError: No file has that name.
        """
        ...

    async def indices(self, request: IndicesRequest) -> IndicesResponse:
        """The collections that are in."""
        ...


class BareListForm:
    """OPEA's lists are bare arrays: the reply is the response's one field."""

    name = "opea"

    def __init__(self, request: type[Any], field: str) -> None:
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
                Route("/v1/dataprep/get", opea=True, form=BareListForm(GetRequest, "files")),
            ),
        ),
        "delete": Operation(
            "delete",
            DeleteRequest,
            DeleteResponse,
            idempotent=False,
            routes=(Route("/v1/dataprep/delete", opea=True),),
        ),
        "indices": Operation(
            "indices",
            IndicesRequest,
            IndicesResponse,
            routes=(
                Route("/v1/dataprep/collections"),
                Route("/v1/dataprep/indices", opea=True, form=BareListForm(IndicesRequest, "indices")),
            ),
        ),
    },
    protocol=Dataprep,
)

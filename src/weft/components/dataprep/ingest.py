"""The component that takes documents in: read, split, embed, store, and account for every file."""

from __future__ import annotations

import asyncio
import hashlib
import re
import shutil
import unicodedata
import uuid
from pathlib import Path
from typing import Final

from weft.components.dataprep.archive import Unpacked, is_archive, unpack
from weft.components.dataprep.blocks import Reading, RefusedError
from weft.components.dataprep.chunks import Chunk
from weft.components.dataprep.links import fetch
from weft.components.dataprep.parse import Prepared, prepare
from weft.contracts.dataprep import (
    DeleteRequest,
    DeleteResponse,
    FileEntry,
    GetRequest,
    GetResponse,
    IndicesRequest,
    IndicesResponse,
    IngestRequest,
    IngestResponse,
)
from weft.contracts.embedding import Embedder, EmbeddingDescription, EmbeddingRequest
from weft.contracts.store import CollectionsRequest, ListRequest, Store, UpsertRequest
from weft.contracts.store import DeleteRequest as StoreDelete
from weft.errors import (
    BackendReplyError,
    ComponentError,
    InvalidRequestError,
    NotFoundError,
    RequestError,
    ServiceError,
)
from weft.host import Host
from weft.types import Document, Empty, FileOutcome, Upload

MAX_FILES: Final = 1_000
MAX_NAME: Final = 255
SMALLEST, LARGEST = 100, 20_000
"""Characters that a passage may be set to."""

LINK_TIMEOUT_S: Final = 20.0
AT_ONCE: Final = 2
"""Files of one request that are worked on together: one is read while the other is embedded."""

ALL: Final = "all"
"""What OPEA's clients send as a name to delete everything; no file can be called so."""

_DRIVE = re.compile(r"[A-Za-z]:")


class DocumentIngest:
    """Takes plain text, Markdown, HTML and PDF in, and keeps them as passages with vectors.

    Each file ends as *ingested*, *partly* (some pages have no text), *unchanged* (name and content are in already) or
    *refused*, with the reason; one that is refused holds up no other. A file is in whole or not at all; a new version
    takes the old one's place when it is in. Cancelling leaves whole what had ended.

    Files are read in processes of their own that can be killed, within limits of time and memory.

    Args:
        store: Where the passages go.
        embedder: What makes their vectors.
        chunk_size: Characters of a passage, where a request does not say. A passage must fit the embedder's window:
            MiniLM reads 256 tokens, about 1,000 characters.
        chunk_overlap: Characters that a passage may repeat of the one before, in whole sentences.
        batch: Passages that are embedded in one call. Few, so that a question in between waits for few.
        max_file_bytes: Larger files are refused.
        parse_timeout_s: After this long a file that is being read is given up.
        max_memory_bytes: What reading one file may take.
    """

    def __init__(
        self,
        store: Store,
        embedder: Embedder,
        *,
        chunk_size: int = 1000,
        chunk_overlap: int = 100,
        batch: int = 16,
        max_file_bytes: int = 100_000_000,
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
        self._max_file_bytes = max_file_bytes
        self._parse_timeout_s, self._max_memory_bytes = parse_timeout_s, max_memory_bytes

    async def start(self, host: Host) -> None:
        """Keep the host for its processes and its guarded client."""
        self._host = host
        self._spool = (host.storage / "uploads").resolve()

    async def ingest(self, request: IngestRequest) -> IngestResponse:
        """Take files and links in; returns when every one has ended, with their outcomes in order.

        Raises:
            InvalidRequestError: There is neither a file nor a link, there are too many, or a size is out of bounds.
        """
        if not request.files and not request.links:
            raise InvalidRequestError(
                "there is nothing to ingest: send 'files' or 'link_list'", param="files"
            )
        if len(request.files) + len(request.links) > MAX_FILES:
            raise InvalidRequestError(f"at most {MAX_FILES:,} files and links go in at once", param="files")
        size = request.chunk_size if request.chunk_size is not None else self._chunk_size
        overlap = request.chunk_overlap
        if overlap is None:
            overlap = min(self._chunk_overlap, size // 2)
        _check_sizes(size, overlap)
        upload = _Batch(self, request, size, overlap)
        outcomes = await upload.run()
        refused = [outcome for outcome in outcomes if outcome.outcome == "refused"]
        if not refused:
            return IngestResponse(outcomes)
        said = "; ".join(f"'{outcome.name}': {outcome.reason}" for outcome in refused[:10])
        return IngestResponse(outcomes, 400, f"{len(refused)} of {len(outcomes)} refused: {said}")

    async def get(self, request: GetRequest) -> GetResponse:
        """The files that are in, by name."""
        reply = await self._store.list(ListRequest(collection_name(request.index_name)))
        return GetResponse([FileEntry(file.name, file.name, chunks=file.chunks) for file in reply.files])

    async def delete(self, request: DeleteRequest) -> DeleteResponse:
        """Delete a file, or ``all``.

        Raises:
            NotFoundError: No file has that name.
        """
        collection = collection_name(request.index_name)
        if request.file_path == ALL:
            await self._store.delete(StoreDelete(all_files=True, collection=collection))
            return DeleteResponse(status=True)
        reply = await self._store.list(ListRequest(collection))
        if all(file.name != request.file_path for file in reply.files):
            raise NotFoundError(f"no document is called '{request.file_path}'", param="file_path")
        await self._store.delete(StoreDelete(request.file_path, collection=collection))
        return DeleteResponse(status=True)

    async def indices(self, request: IndicesRequest) -> IndicesResponse:
        """The collections that are in; the one without a name is called ``default``."""
        reply = await self._store.collections(CollectionsRequest())
        return IndicesResponse([name or "default" for name in reply.collections])

    async def fetch(self, link: str) -> Upload:
        """The page behind a link.

        Raises:
            RefusedError: It cannot be had.
        """
        return await fetch(
            self._host, link, timeout_s=LINK_TIMEOUT_S, max_bytes=min(self._max_file_bytes, 20_000_000)
        )

    def check(self, upload: Upload) -> None:
        """Refuse what is not read at all.

        Raises:
            RefusedError: It is too large, or its path is none of ours.
        """
        length = len(upload.content)
        if upload.path is not None:
            # A path may come from anyone who can post JSON: only what the server itself has spooled is opened.
            path = Path(upload.path).resolve()
            if not path.is_relative_to(self._spool) or not path.is_file():
                raise RefusedError("its upload is not there any more")
            length = path.stat().st_size
        if length > self._max_file_bytes:
            raise RefusedError(f"it has {length:,} bytes; at most {self._max_file_bytes:,} are taken")

    async def reading(self, size: int, overlap: int) -> Reading:
        """How files are to be read for this embedder."""
        try:
            known = await self._embedder.describe(Empty())
        except RequestError:
            known = EmbeddingDescription()  # if it is gone, its vectors are where that is said
        languages = None if known.languages is None else tuple(known.languages)
        return Reading(
            size, overlap, known.max_tokens, languages, known.model, seconds=self._parse_timeout_s * 0.75
        )

    async def unpack(self, upload: Upload, folder: Path) -> list[Unpacked]:
        """The files of an archive, written into ``folder``, by a process of its own.

        Raises:
            RefusedError: It is no archive that can be read, or beyond a limit.
        """
        await asyncio.to_thread(folder.mkdir, parents=True)
        try:
            return await self._host.isolated(
                unpack,
                upload,
                str(folder),
                self._max_file_bytes,
                timeout_s=self._parse_timeout_s,
                max_memory_bytes=self._max_memory_bytes,
            )
        except ServiceError as error:
            raise RefusedError(f"it could not be read: {error.message}") from error

    def unpacking_folder(self) -> Path:
        """Where the next archive is unpacked."""
        return self._spool / f"unpacked-{uuid.uuid4().hex}"

    async def prepare(self, upload: Upload, reading: Reading) -> Prepared:
        """Read and split a file in a process of its own.

        Raises:
            RefusedError: It cannot be read, takes too long or too much memory, or crashes its reader.
        """
        try:
            prepared = await self._host.isolated(
                prepare,
                upload,
                reading,
                timeout_s=self._parse_timeout_s,
                max_memory_bytes=self._max_memory_bytes,
            )
        except ServiceError as error:
            raise RefusedError(f"it could not be read: {error.message}") from error
        if prepared.refused is not None:
            raise RefusedError(prepared.refused)
        return prepared

    async def keep(self, upload: Upload, digest: str, prepared: Prepared, collection: str) -> int:
        """Embed and store the passages of a file; how many are in."""
        documents = [
            Document(
                chunk.text,
                id=_passage_id(upload.name, digest, chunk),
                title=prepared.title or upload.name,
                source=upload.name,
                page=chunk.page,
                start=chunk.start,
                end=chunk.end,
                metadata=chunk.metadata(),
            )
            for chunk in prepared.chunks
        ]
        for first in range(0, len(documents), self._batch):
            batch = documents[first : first + self._batch]
            reply = await self._embedder.invoke(EmbeddingRequest([_embedded(document) for document in batch]))
            if len(reply.embeddings) != len(batch):
                raise BackendReplyError(
                    f"the embedder gave {len(reply.embeddings)} vectors for {len(batch)} texts"
                )
            for document, embedding in zip(batch, reply.embeddings, strict=True):
                document.embedding = embedding
        # One write for the whole file: it is in as a whole, or not at all.
        stored = await self._store.upsert(
            UpsertRequest(documents, upload.name, digest, replace=True, collection=collection)
        )
        return stored.count


class _Batch:
    """The files of one request: what is in already, and which names the request itself has used."""

    def __init__(self, owner: DocumentIngest, request: IngestRequest, size: int, overlap: int) -> None:
        self._owner, self._request = owner, request
        self._size, self._overlap = size, overlap
        self._collection = collection_name(request.collection)
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._known: dict[str, str] = {}
        self._seen: dict[str, tuple[str, asyncio.Future[FileOutcome]]] = {}

    async def run(self) -> list[FileOutcome]:
        """The outcome of each file, then of each link.

        Raises:
            RequestError: The embedder or the store failed; files that had ended are in.
        """
        reply = await self._owner._store.list(ListRequest(self._collection))  # noqa: SLF001 - two halves of one
        self._known = {file.name: file.digest for file in reply.files}
        self._reading = await self._owner.reading(self._size, self._overlap)
        try:
            async with asyncio.TaskGroup() as tasks:
                jobs = [tasks.create_task(self._file(upload)) for upload in self._request.files]
                jobs += [tasks.create_task(self._link(link)) for link in self._request.links]
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
        return [outcome for job in jobs for outcome in job.result()]

    async def _link(self, link: str) -> list[FileOutcome]:
        async with self._gate:
            try:
                upload = await self._owner.fetch(link.strip())
            except RefusedError as reason:
                return [FileOutcome(safe_name(link, is_link=True) or "?", "refused", str(reason))]
            return [await self._ingest(upload, is_link=True)]

    async def _file(self, upload: Upload) -> list[FileOutcome]:
        if is_archive(upload.name, upload.content_type):
            return await self._archive(upload)
        async with self._gate:
            return [await self._ingest(upload, is_link=False)]

    async def _archive(self, archive: Upload) -> list[FileOutcome]:
        """The outcome of each file of an archive; of the archive itself where it cannot be opened."""
        name = safe_name(archive.name)
        folder = self._owner.unpacking_folder()
        outcomes: list[FileOutcome] = []
        try:
            async with self._gate:
                self._owner.check(archive)
                packed = Upload(name, archive.content, archive.content_type, archive.path)
                found = await self._owner.unpack(packed, folder)
            for file in found:
                if file.path is None:
                    outcomes.append(FileOutcome(safe_name(file.name), "refused", file.refused))
                    continue
                async with self._gate:
                    outcomes.append(await self._ingest(Upload(file.name, path=file.path), is_link=False))
        except RefusedError as reason:
            outcomes.append(FileOutcome(name or "?", "refused", str(reason)))
        finally:
            await asyncio.shield(asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True))
        return outcomes

    async def _ingest(self, upload: Upload, *, is_link: bool) -> FileOutcome:
        name = safe_name(upload.name, is_link=is_link)
        if not name or name == ALL:
            return FileOutcome(name or "?", "refused", f"{upload.name!r} cannot be a document's name")
        upload = Upload(name, upload.content, upload.content_type, upload.path)
        try:
            self._owner.check(upload)
            digest = await asyncio.to_thread(_digest, upload)
        except RefusedError as reason:
            return FileOutcome(name, "refused", str(reason))
        if (twin := self._seen.get(name)) is not None:
            return await _of_twin(name, digest, twin)
        self._seen[name] = digest, (ended := asyncio.get_running_loop().create_future())
        try:
            outcome = await self._take(upload, digest)
        except RefusedError as reason:
            outcome = FileOutcome(name, "refused", str(reason))
        except BaseException:
            ended.cancel()
            raise
        ended.set_result(outcome)
        return outcome

    async def _take(self, upload: Upload, digest: str) -> FileOutcome:
        """Take one file in.

        Raises:
            RefusedError: It is not to be replaced, or cannot be read.
        """
        name = upload.name
        if self._known.get(name) == digest:
            return FileOutcome(name, "unchanged", id=name)
        if name in self._known and not self._request.replace:
            raise RefusedError(
                "a document of this name is in already, with other content; send replace=true to replace it"
            )
        prepared = await self._owner.prepare(upload, self._reading)
        count = await self._owner.keep(upload, digest, prepared, self._collection)
        return FileOutcome(
            name,
            "partly" if prepared.partly else "ingested",
            prepared.partly or prepared.note,
            chunks=count,
            pages=prepared.pages,
            id=name,
        )


async def _of_twin(name: str, digest: str, twin: tuple[str, asyncio.Future[FileOutcome]]) -> FileOutcome:
    """What becomes of a file when the same request has another of its name."""
    if twin[0] != digest:
        reason = "another file of this upload has the same name and other content"
        return FileOutcome(name, "refused", reason)
    outcome = await asyncio.shield(twin[1])
    if outcome.outcome == "refused":
        return FileOutcome(name, "refused", outcome.reason)
    return FileOutcome(name, "unchanged", id=name)


def collection_name(name: str) -> str:
    """The collection as stores call it: the one without a name is shown to people as ``default``."""
    return "" if name == "default" else name


def safe_name(name: str, *, is_link: bool = False) -> str:
    """A name that can be shown, listed and deleted by: no control characters, nothing that leads anywhere.

    A file of a folder keeps the folders it was found in (``guide/index.html``); of an absolute path, or one that
    climbs, only the last part stays.
    """
    plain = "".join(
        c for c in unicodedata.normalize("NFC", name) if unicodedata.category(c)[0] != "C"
    ).strip()
    if is_link:
        return plain[:2_000]
    parts = [part.strip() for part in plain.replace("\\", "/").split("/")]
    leads = plain.startswith(("/", "\\")) or ".." in parts or any(_DRIVE.match(part) for part in parts)
    kept = [part for part in (parts[-1:] if leads else parts) if part not in ("", ".", "..")]
    return "/".join(kept)[-MAX_NAME:]


def _check_sizes(size: int, overlap: int) -> None:
    if not SMALLEST <= size <= LARGEST:
        raise InvalidRequestError(f"chunk_size must be from {SMALLEST} to {LARGEST:,}", param="chunk_size")
    if not 0 <= overlap <= size // 2:
        raise InvalidRequestError("chunk_overlap must be from 0 to half of chunk_size", param="chunk_overlap")


def _digest(upload: Upload) -> str:
    if upload.path is None:
        return hashlib.sha256(upload.content).hexdigest()
    with Path(upload.path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _passage_id(name: str, digest: str, chunk: Chunk) -> str:
    """The same for the same passage of the same file, and for nothing else."""
    key = f"{name}\0{digest}\0{chunk.start}\0{chunk.end}"
    return hashlib.sha256(key.encode()).hexdigest()[:32]


def _embedded(document: Document) -> str:
    """What is embedded of a passage: its headings say what it is about where its own words do not."""
    heading = document.metadata.get("heading")
    return f"{heading}\n{document.text}" if heading else document.text

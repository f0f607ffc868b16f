"""Moves the bytes of a model: downloads that go on where they were cut, and work in a thread that can be stopped."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
import zipfile
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from weft.errors import DigestError, ModelUnavailableError, ServiceError, UnreachableError
from weft.http.client import StreamReply
from weft.models.cache import READ_BYTES, sha256_of
from weft.models.web import Web

if TYPE_CHECKING:
    from hashlib import _Hash

R = TypeVar("R")

STALLED_ATTEMPTS: Final = 3
"""Attempts in a row without a new byte before a download is given up."""


def ignore(count: int) -> None:
    """A report that nobody reads."""


class RefusedError(ModelUnavailableError):
    """The server answered, with a status that trying again does not change."""

    def __init__(self, message: str, *, status: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status


class Stopped(Exception):  # noqa: N818 - a signal from one thread to another, not an error
    """Raised inside a thread whose awaiting task was cancelled."""


async def in_thread(work: Callable[[Callable[[int], None]], R], on_bytes: Callable[[int], None]) -> R:
    """Run ``work(report)`` in a thread; what it reports arrives at ``on_bytes`` in the event loop.

    When cancelled, the next report raises :class:`Stopped` in the thread, and the thread has ended before the
    cancellation goes on: its files can be deleted.
    """
    loop = asyncio.get_running_loop()
    stop = threading.Event()

    def report(count: int) -> None:
        if stop.is_set():
            raise Stopped
        loop.call_soon_threadsafe(on_bytes, count)

    task = asyncio.ensure_future(asyncio.to_thread(work, report))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        stop.set()
        with suppress(Exception):  # the cancellation is the news
            await task
        raise


class _Resume(msgspec.Struct):
    """Beside a partial download: what it is a part of."""

    url: str
    validator: str | None


class Download:
    """One file to fetch into ``target``; partial bytes are kept beside it until it is whole.

    Args:
        web: The way out.
        url: Where it is.
        target: Where it goes.
        digest: What it must be: algorithm and hexadecimal digest.
        max_bytes: More than this is refused.
        headers: Sent along.
        on_total: Told the whole size when the server says it, before the body is read; may raise.
        on_bytes: Told of bytes that have arrived; negative when they had to be thrown away.
        backoff_s: Before the second attempt.
    """

    def __init__(
        self,
        web: Web,
        url: str,
        target: Path,
        *,
        digest: tuple[str, str] | None = None,
        max_bytes: int | None = None,
        headers: Mapping[str, str] | None = None,
        on_total: Callable[[int], None] = ignore,
        on_bytes: Callable[[int], None] = ignore,
        backoff_s: float = 0.5,
    ) -> None:
        self._web, self._url, self._target, self._max_bytes = web, url, target, max_bytes
        self._algorithm = digest[0] if digest else "sha256"
        self._expected = digest[1] if digest else None
        self._headers = dict(headers or {})
        self._on_total, self._on_bytes, self._backoff_s = on_total, on_bytes, backoff_s
        self._partial = target.with_name(target.name + ".part")
        self._note = target.with_name(target.name + ".part.json")
        self._have = 0
        self._hash: _Hash = hashlib.new(self._algorithm)

    async def run(self) -> str:
        """Fetch the file; returns its digest (SHA-256 unless another algorithm was asked for).

        Connections that break are taken up again as long as bytes come.

        Raises:
            ModelUnavailableError: The server refused, or nothing more came.
            DigestError: The bytes are not the pinned ones; they are deleted.
        """
        resumed = await self._recall()
        stalled = 0
        while True:
            before = self._have
            try:
                await self._attempt()
            except (ServiceError, OSError) as error:
                stalled = stalled + 1 if self._have <= before else 0
                is_hopeless = isinstance(error, OSError) or (
                    isinstance(error, UnreachableError) and not self._have
                )
                if stalled >= STALLED_ATTEMPTS or is_hopeless:
                    raise ModelUnavailableError(f"{_shown(self._url)}: {error}") from error
                await asyncio.sleep(self._backoff_s * 2**stalled)
                continue
            digest = self._hash.hexdigest()
            if self._expected in {None, digest}:
                break
            self._discard()
            if not resumed:
                raise DigestError(
                    f"{_shown(self._url)} has the {self._algorithm} {digest}, and {self._expected} was expected; nothing of it was kept"
                )
            resumed = False  # what an earlier process left may have been damaged: once more from the start
        await asyncio.to_thread(_sync, self._partial)
        self._partial.replace(self._target)
        self._note.unlink(missing_ok=True)
        return digest

    async def _recall(self) -> bool:
        """Take up what an earlier process left of the same file; whether there is any."""
        try:
            note = msgspec.json.decode(self._note.read_bytes(), type=_Resume)
            size = self._partial.stat().st_size
        except (OSError, msgspec.DecodeError):
            note, size = None, 0
        # Without a validator, only a digest can tell that the rest belongs to the same file.
        if note is None or note.url != self._url or not size or not (note.validator or self._expected):
            self._discard()
            return False
        self._hash = await in_thread(self._rehash, self._on_bytes)
        self._have = size
        return True

    def _rehash(self, report: Callable[[int], None]) -> _Hash:
        total = hashlib.new(self._algorithm)
        with self._partial.open("rb") as file:
            while chunk := file.read(READ_BYTES):
                total.update(chunk)
                report(len(chunk))
        return total

    async def _attempt(self) -> None:
        headers = dict(self._headers)
        if self._have:
            headers["range"] = f"bytes={self._have}-"
            with suppress(OSError, msgspec.DecodeError):
                note = msgspec.json.decode(self._note.read_bytes(), type=_Resume)
                if note.validator:
                    headers["if-range"] = note.validator
        async with self._web.get(self._url, headers) as (_, reply):
            if reply.status == 416 and self._have:
                # Nothing after what is there: it is whole, unless the server says another size.
                if _whole_size(reply) == self._have:
                    return
                self._discard()
                raise ServiceError(f"answered 416 to a range after {self._have} bytes")
            if reply.status not in {200, 206}:
                _refuse(self._url, reply.status)
            if reply.status == 200 or _range_start(reply) != self._have:
                if reply.status == 206:
                    self._discard()
                    raise ServiceError("answered with another range than the one asked for")
                self._discard()
            await self._receive(reply)

    async def _receive(self, reply: StreamReply) -> None:
        total = _whole_size(reply)
        if total is not None:
            self._on_total(total)
        self._target.parent.mkdir(parents=True, exist_ok=True)
        etag = reply.headers.get("etag") or ""
        validator = etag if etag and not etag.startswith("W/") else reply.headers.get("last-modified")
        self._note.write_bytes(msgspec.json.encode(_Resume(self._url, validator)))
        # Writes go to the page cache, 64 KB at a time: too short to be worth a thread each.
        with self._partial.open("ab") as file:
            async for chunk in reply.body:
                if self._max_bytes is not None and self._have + len(chunk) > self._max_bytes:
                    self._discard()
                    raise DigestError(
                        f"{_shown(self._url)} is larger than the {self._max_bytes} bytes expected"
                    )
                file.write(chunk)
                file.flush()  # a kill then loses nothing that was counted
                self._hash.update(chunk)
                self._have += len(chunk)
                self._on_bytes(len(chunk))
        if total is not None and self._have < total:
            raise ServiceError(f"ended after {self._have} of {total} bytes")

    def _discard(self) -> None:
        if self._have:
            self._on_bytes(-self._have)
        self._have = 0
        self._hash = hashlib.new(self._algorithm)
        self._partial.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)


def _refuse(url: str, status: int) -> None:
    """Raise what a status that is no success means; what may pass is retried by the caller."""
    if status in {408, 429} or status >= 500:
        raise ServiceError(f"answered {status}")
    hint = {401: "it wants a token: set HF_TOKEN", 403: "it wants a token, or its licence to be accepted"}
    raise RefusedError(f"{_shown(url)} answered {status}", status=status, hint=hint.get(status))


def _range_start(reply: StreamReply) -> int | None:
    unit, _, rest = (reply.headers.get("content-range") or "").partition(" ")
    start = rest.partition("-")[0]
    return int(start) if unit == "bytes" and start.isdigit() else None


def _whole_size(reply: StreamReply) -> int | None:
    size = (
        reply.headers.get("content-length")
        if reply.status == 200
        else (reply.headers.get("content-range") or "").rpartition("/")[2]
    )
    return int(size) if size and size.isdigit() else None


def extract(
    carrier: Path,
    member: str,
    target: Path,
    *,
    size: int | None,
    sha256: str | None,
    report: Callable[[int], None],
) -> str:
    """Write one member of a zip file to ``target``; returns its SHA-256. No other member is read.

    Raises:
        ModelUnavailableError: It is not a zip file, or has no such member.
        DigestError: The member is not the pinned one; nothing of it is kept.
    """
    total = hashlib.sha256()
    written = 0
    try:
        with zipfile.ZipFile(carrier) as archive, archive.open(member) as source, target.open("wb") as file:
            while chunk := source.read(READ_BYTES):
                written += len(chunk)
                if size is not None and written > size:
                    break
                file.write(chunk)
                total.update(chunk)
                report(len(chunk))
            file.flush()
            os.fsync(file.fileno())
    except KeyError as error:
        raise ModelUnavailableError(f"{carrier.name} has no file {member}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        target.unlink(missing_ok=True)
        raise DigestError(f"{carrier.name} is not a whole zip file: {error}") from error
    digest = total.hexdigest()
    if (size is not None and written != size) or sha256 not in {None, digest}:
        target.unlink()
        raise DigestError(
            f"{member} in {carrier.name} is not the pinned file: SHA-256 {digest}, expected {sha256}; nothing of it was kept"
        )
    return digest


def check(path: Path, *, size: int | None, sha256: str | None, report: Callable[[int], None]) -> str:
    """A file's SHA-256, which must be ``sha256`` if that is given.

    Raises:
        DigestError: It is another.
    """
    found = sha256_of(path, report)
    if sha256 not in {None, found} or (size is not None and path.stat().st_size != size):
        raise DigestError(f"{path.name} has the SHA-256 {found}, and {sha256} was expected")
    return found


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _shown(url: str) -> str:
    """A URL without what may be secret in it: password and query."""
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path.partition('?')[0]}"

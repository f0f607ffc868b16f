"""``weft ingest``."""

from __future__ import annotations

import asyncio
import mimetypes
import os
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import click
import msgspec

from weft.cli.ingest_progress import IngestProgress
from weft.cli.remote import RemoteError, check, gateway, run, said, url_option
from weft.cli.sources import Found, Source, batches, find, unchanged
from weft.errors import UnavailableError, UnreachableError, UsageError
from weft.http.client import Endpoint, Reply

ACTIVE_JOBS = 2
"""Requests that the server works on together: one more is there when one has ended, and a file is not sent long before."""

GONE_S = 60.0
"""How long a server that does not answer is waited for: the job is on its disk, and goes on after a restart."""

ORDER = ("ingested", "partly", "unchanged", "refused", "failed", "cancelled")


@click.command("ingest")
@click.argument("paths", nargs=-1, required=True)
@click.option("--collection", default="", help="Into which collection.  [default: the default one]")
@click.option("--keep", is_flag=True, help="Refuse a file whose name is already in with other content.")
@click.option(
    "--again", is_flag=True, help="Take in what is unchanged as well; a link is fetched anew anyway."
)
@click.option(
    "--reader",
    "readers",
    multiple=True,
    metavar="GROUP",
    help="A group to whom they are shown; repeatable.  [default: everybody]",
)
@click.option("--chunk-size", type=int, help="Characters of a passage.  [default: the server's]")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome of each file as JSON.")
@url_option
def command(
    paths: tuple[str, ...],
    collection: str,
    *,
    keep: bool,
    again: bool,
    readers: tuple[str, ...],
    chunk_size: int | None,
    as_json: bool,
    url: str | None,
) -> None:
    """Hand documents to a running megaservice: files, folders and web addresses.

    Of a folder all files are handed in that are not hidden and of a kind that is read; each is called by its path from
    there. What is in already with the same content is not sent, so that the command can be run again after it was stopped.
    What the server has been handed goes in even when this command is stopped: see weft documents jobs.

    Ends with 0 when everything is in, with 11 when a file was refused or failed, with 130 after Ctrl-C.
    """
    found = find(paths)
    if not found.sources:
        raise UsageError(
            "there is nothing to ingest", hint=_skipped(found) or "the folder has no visible file"
        )
    fields = {
        "index_name": collection,
        "replace": "false" if keep else "true",
        "again": "true" if again else "",
    }
    if chunk_size is not None:
        fields["chunk_size"] = str(chunk_size)
    if readers:
        fields["readers"] = msgspec.json.encode(readers).decode()
    handing = _Handing(found.sources, fields, quiet=as_json)
    try:
        run(handing.run(url, skips_unchanged=not again and not readers))
    except KeyboardInterrupt:
        click.echo(f"\nStopped: {handing.stopped()}", err=True)
        raise
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(handing.outcomes), indent=2))
    else:
        if skipped := _skipped(found):
            click.echo(skipped)
        click.echo(handing.summary())
    bad = [
        outcome for outcome in handing.outcomes if outcome["outcome"] in ("refused", "failed", "cancelled")
    ]
    if bad:
        raise RemoteError(f"{len(bad)} of {len(handing.outcomes)} files are not in")


def _skipped(found: Found) -> str:
    if not found.skipped:
        return ""
    kinds = ", ".join(f"{count} {suffix}" for suffix, count in found.skipped.most_common(5))
    more = "" if len(found.skipped) <= 5 else ", ..."
    return f"Left out, of no kind that is read: {kinds}{more}"


class _Handing:
    """Sources on their way in: a few requests at a time, each a job of the server's.

    Attributes:
        outcomes: Of files that have ended, in the order in which they did.
    """

    def __init__(self, sources: Sequence[Source], fields: dict[str, str], *, quiet: bool) -> None:
        self._sources, self._fields = sources, fields
        self.outcomes: list[dict[str, Any]] = []
        self._shown = IngestProgress(len(sources), sum(source.size for source in sources), quiet=quiet)
        self._jobs: dict[str, dict[str, Any]] = {}
        self._begun = time.monotonic()

    async def run(self, url: str | None, *, skips_unchanged: bool) -> None:
        """Hand everything in, and see it to its end."""
        with self._shown:
            async with gateway(url, timeout_s=600) as server:
                todo = await self._changed(server) if skips_unchanged else list(self._sources)
                active: set[asyncio.Task[None]] = set()
                try:
                    for batch in batches(todo):
                        if len(active) >= ACTIVE_JOBS:
                            done, active = await asyncio.wait(active, return_when=asyncio.FIRST_COMPLETED)
                            for task in done:
                                task.result()
                        if (job := await self._send(server, batch)) is not None:
                            active.add(asyncio.create_task(self._follow(server, job, batch)))
                    for task in active:
                        await task
                finally:
                    for task in active:
                        task.cancel()

    async def _changed(self, server: Endpoint) -> list[Source]:
        """The sources that are not in with the same content; of the others the outcome is known."""
        body = {"index_name": self._fields["index_name"]}
        reply = await server.request("POST", "/v1/dataprep/files", msgspec.json.encode(body), headers=_JSON)
        digests = {file["name"]: file.get("digest", "") for file in check(reply)["files"]}
        todo = []
        for source in self._sources:
            if unchanged(source, digests):
                self._end([{"name": source.name, "outcome": "unchanged"}], weight=source.size)
            else:
                todo.append(source)
        return todo

    async def _send(self, server: Endpoint, batch: Sequence[Source]) -> dict[str, Any] | None:
        """Hand a few in: the job, or None where the server has waited for its end."""
        links = [source.name for source in batch if source.path is None]
        fields = self._fields | ({"link_list": msgspec.json.encode(links).decode()} if links else {})
        files = [(source.name, source.path.read_bytes()) for source in batch if source.path is not None]
        body, content_type = form(fields, files)
        headers = [("content-type", content_type), ("prefer", "respond-async")]
        reply = await server.request("POST", "/v1/dataprep/ingest", body, headers=headers)
        if reply.status == 202:
            job: dict[str, Any] = check(reply)
            self._jobs[job["id"]] = job
            return job
        if reply.status == 413 and len(batch) == 1:
            outcomes = [
                {"name": batch[0].name, "outcome": "refused", "reason": said(_json(reply)) or "too large"}
            ]
        else:
            outcomes = _outcomes(reply)
        self._end(outcomes, weight=sum(source.size for source in batch))
        return None

    async def _follow(self, server: Endpoint, job: dict[str, Any], batch: Sequence[Source]) -> None:
        """See a job to its end, also across a restart of the server."""
        weight = sum(source.size for source in batch)
        seen, shown, gone_since = 0, 0, None
        path = f"/v1/dataprep/jobs/{job['id']}"
        while True:
            query = f"?wait_s=20&since={job['revision']}&after={seen}"
            try:
                reply = await server.request("GET", path + query)
                if reply.status == 503:
                    raise UnavailableError(said(_json(reply)) or "it is starting")  # noqa: TRY301 - as if it were away
                job = check(reply)
            except (UnreachableError, UnavailableError) as error:
                gone_since = gone_since or time.monotonic()
                if time.monotonic() - gone_since > GONE_S:
                    raise RemoteError(
                        f"the server does not answer any more: {error.message}",
                        hint="what it was handed goes on when it is started again; then run this command again",
                    ) from error
                await asyncio.sleep(1)
                continue
            gone_since = None
            self._jobs[job["id"]] = job
            seen += len(job["outcomes"])
            now_shown = int(weight * job["ended"] / max(1, job["files"]))
            self._shown.pages = sum(known["pages"] for known in self._jobs.values())
            self._end(job["outcomes"], weight=now_shown - shown, at_work=[f["name"] for f in job["at_work"]])
            shown = now_shown
            if job["state"] in ("done", "cancelled") and seen >= job["ended"]:
                return

    def _end(self, outcomes: Iterable[dict[str, Any]], *, weight: int, at_work: Sequence[str] = ()) -> None:
        found = list(outcomes)
        self.outcomes += found
        self._shown.ended(found, weight=weight, at_work=at_work)

    def summary(self) -> str:
        """What became of everything, in a line or two."""
        counts = Counter(outcome["outcome"] for outcome in self.outcomes)
        parts = ", ".join(f"{counts[kind]} {kind}" for kind in ORDER if counts[kind])
        files = f"{len(self.outcomes)} file{'' if len(self.outcomes) == 1 else 's'}"
        pages = self._shown.pages
        took_s = max(time.monotonic() - self._begun, 0.001)
        pace = (
            f"; {pages} page{'' if pages == 1 else 's'}, {60 * pages / took_s:.0f} a minute" if pages else ""
        )
        return f"{files}: {parts}{pace}"

    def stopped(self) -> str:
        """What a person who has stopped this has to know."""
        going = sum(job["files"] - job["ended"] for job in self._jobs.values())
        ended = len(self.outcomes)
        on = (
            f", {going} more are with the server and go in by themselves (weft documents jobs)"
            if going
            else ""
        )
        rest = "Run the same command again for the rest: what is in is not sent again."
        return f"{ended} of {len(self._sources)} files have ended{on}.\n{rest}"


_JSON = [("content-type", "application/json")]


def _json(reply: Reply) -> Any:
    with suppress(msgspec.DecodeError):
        return msgspec.json.decode(reply.body)
    return None


def _outcomes(reply: Reply) -> list[dict[str, Any]]:
    """What became of the files of one request; a refused file is an outcome, not a failed command."""
    body = _json(reply)
    if isinstance(body, dict) and isinstance(body.get("files"), list):
        return list(body["files"])
    if reply.status >= 400:
        raise RemoteError(said(body) or f"the server answered {reply.status}")
    return list(check(reply).get("files", []))


def form(fields: dict[str, str], files: Iterable[tuple[str, bytes]]) -> tuple[bytes, str]:
    """A multipart body with ``fields`` and ``files``, and its content type."""
    boundary = os.urandom(16).hex()
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
        for key, value in fields.items()
        if value
    ]
    for name, content in files:
        guessed = mimetypes.guess_type(name)[0] or "application/octet-stream"
        quoted = name.replace("\\", "\\\\").replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="{quoted}"\r\n'
            f"Content-Type: {guessed}\r\n\r\n"
        )
        parts += [head.encode(), content, b"\r\n"]
    return b"".join([*parts, f"--{boundary}--\r\n".encode()]), f"multipart/form-data; boundary={boundary}"

"""``weft documents``."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote, urlencode

import click
import msgspec

from weft.cli.documents_transfer import COMMANDS
from weft.cli.ingest_progress import duration, line
from weft.cli.remote import check, gateway, run, url_option
from weft.errors import UsageError

PAGE = 200
"""Passages that are asked for at once."""


@click.group("documents")
def command() -> None:
    """The documents that are in: list, show, delete, the jobs that take them in; take them out, put them back."""


for _command in COMMANDS:
    command.add_command(_command)

_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_collection = click.option(
    "--collection", default="", help="Of which collection.  [default: the default one]"
)


@command.command("list")
@_collection
@_json
@url_option
def list_(collection: str, url: str | None, *, as_json: bool) -> None:
    """List the documents that are in."""
    files = run(_ask("/v1/dataprep/files", {"index_name": collection}, url))["files"]
    if as_json:
        _print(files)
        return
    if not files:
        click.echo("No document is in. Hand some in: weft ingest FOLDER")
    for file in files:
        length = _count(file["pages"], "page") if file.get("pages") else _count(file["chunks"], "passage")
        partly = "  partly" if file.get("outcome") == "partly" else ""
        click.echo(f"{_short(file['name'], 52):<52}  {length:>14}{partly}")
        if partly:
            click.echo(f"  {file['reason']}")


@command.command("show")
@click.argument("name")
@click.option(
    "--around", default="", help="Only what stands around this passage (document_id of a citation)."
)
@_collection
@_json
@url_option
def show(name: str, around: str, collection: str, url: str | None, *, as_json: bool) -> None:
    """Print the text of the document NAME, as it was read."""
    passages = run(_passages(name, collection, around, url))
    if as_json:
        _print(passages)
        return
    page, end = None, 0
    for passage in passages:
        if passage.get("page") not in (None, page):
            page = passage["page"]
            click.echo(f"\n--- page {page} ---")
        # The beginning may repeat the end of the passage before, or the header row of its table.
        repeated = int((passage.get("metadata") or {}).get("repeated", 0))
        start = passage.get("start") or 0
        text = passage["text"][repeated:] if start <= end else passage["text"]
        text = text[max(0, end - start) :]
        end = max(end, passage.get("end") or 0)
        if text.strip():
            click.echo(text.strip("\n"))


@command.command("delete")
@click.argument("names", nargs=-1, metavar="NAME...")
@click.option("--all", "all_files", is_flag=True, help="The whole collection; asks first.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_collection
@url_option
def delete(names: tuple[str, ...], collection: str, url: str | None, *, all_files: bool, yes: bool) -> None:
    """Delete documents by name, or a whole collection. What waits to go in under these names does not go in."""
    if bool(names) == all_files:
        raise UsageError("name the documents, or the whole collection with --all", hint="weft documents list")
    if all_files and not yes:
        click.confirm(f"Delete all documents of the collection '{collection or 'default'}'?", abort=True)
    for name in names or ("all",):
        run(_ask("/v1/dataprep/delete", {"file_path": name, "index_name": collection}, url))
        click.echo(
            f"{name} is deleted" if names else f"the collection '{collection or 'default'}' is deleted"
        )


@command.command("collections")
@_json
@url_option
def collections(url: str | None, *, as_json: bool) -> None:
    """List the collections: each is made with its first document."""
    entries = run(_ask("/v1/dataprep/collections", {}, url))["collections"]
    if as_json:
        _print(entries)
        return
    if not entries:
        click.echo("There is no collection yet. Make one: weft ingest FOLDER --collection NAME")
    for entry in entries:
        files, passages = _count(entry["files"], "file"), _count(entry["chunks"], "passage")
        click.echo(f"{_short(entry['name'], 40):<40}  {files:>13}  {passages:>18}")


@command.command("jobs")
@click.argument("id", required=False)
@click.option("--active", is_flag=True, help="Only those that have not ended.")
@_json
@url_option
def jobs(id: str | None, url: str | None, *, active: bool, as_json: bool) -> None:
    """List what was handed in and how far it is; of one job, by its ID, what became of its files."""
    if id is not None:
        job = run(_get(f"/v1/dataprep/jobs/{quote(id, safe='')}", url))
        if as_json:
            _print(job)
            return
        _show_job(job)
        for outcome in job["outcomes"]:
            if outcome["outcome"] not in ("ingested", "unchanged"):
                click.echo(f"  {line(outcome)}")
        return
    found = run(_get(f"/v1/dataprep/jobs?{urlencode({'active': str(active).lower()})}", url))["jobs"]
    if as_json:
        _print(found)
        return
    if not found:
        click.echo("Nothing is being taken in." if active else "Nothing has been handed in yet.")
    for job in found:
        _show_job(job)


@command.command("cancel")
@click.argument("id")
@url_option
def cancel(id: str, url: str | None) -> None:
    """End a job: what is in stays in, the rest does not go in."""
    job = run(_ask("/v1/dataprep/cancel", {"id": id}, url))
    _show_job(job)


def _show_job(job: dict[str, Any]) -> None:
    counts = ", ".join(f"{count} {kind}" for kind, count in job["counts"].items() if count)
    at = time.strftime("%Y-%m-%d %H:%M", time.localtime(job["created_at"]))
    click.echo(
        f"{job['id']}  {at}  {job['state']:<9}  {job['ended']}/{job['files']} files  {job['collection']}"
    )
    parts = [counts] if counts else []
    if job.get("pages_per_minute"):
        parts.append(f"{job['pages_per_minute']:.0f} pages a minute")
    if job.get("time_left_s") is not None:
        parts.append(f"{duration(job['time_left_s'])} left")
    if parts:
        click.echo(f"  {'; '.join(parts)}")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _short(name: str, width: int) -> str:
    """A name that fits: its end is what tells it from others."""
    return name if len(name) <= width else f"...{name[3 - width :]}"


def _print(value: Any) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))


async def _ask(path: str, body: Any, url: str | None) -> Any:
    async with gateway(url) as server:
        headers = [("content-type", "application/json")]
        return check(await server.request("POST", path, msgspec.json.encode(body), headers=headers))


async def _get(path: str, url: str | None) -> Any:
    async with gateway(url) as server:
        return check(await server.request("GET", path))


async def _passages(name: str, collection: str, around: str, url: str | None) -> list[dict[str, Any]]:
    """The passages of a document; only a page of them around one."""
    asked: dict[str, Any] = {"name": name, "collection": collection}
    if around:
        found: list[dict[str, Any]] = (
            await _ask("/v1/dataprep/document", asked | {"around": around, "limit": 5}, url)
        )["passages"]
        return found
    passages: list[dict[str, Any]] = []
    while True:
        reply = await _ask("/v1/dataprep/document", asked | {"after": len(passages), "limit": PAGE}, url)
        passages += reply["passages"]
        if not reply["passages"] or len(passages) >= reply["total"]:
            return passages

"""``weft ingest``."""

from __future__ import annotations

import mimetypes
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
import msgspec

from weft.cli.remote import RemoteError, check, gateway, run, said, url_option
from weft.errors import UsageError

SUFFIXES = frozenset({".txt", ".md", ".markdown", ".html", ".htm", ".pdf", ".text", ".rst"})
"""What a folder is searched for; a file named on the command line is sent whatever it is called."""


@click.command("ingest")
@click.argument("paths", nargs=-1, required=True)
@click.option("--collection", default="", help="Into which collection.  [default: the default one]")
@click.option("--keep", is_flag=True, help="Refuse a file whose name is already in with other content.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome of each file as JSON.")
@url_option
def command(paths: tuple[str, ...], collection: str, *, keep: bool, as_json: bool, url: str | None) -> None:
    """Hand documents to a running megaservice: files, folders and web addresses.

    What is already in with the same content is skipped, so that it can be run again after it was stopped.
    """
    links = [path for path in paths if path.startswith(("http://", "https://"))]
    files = list(_files(path for path in paths if path not in links))
    if not files and not links:
        raise UsageError(
            "there is nothing to ingest", hint=f"a folder is searched for {', '.join(sorted(SUFFIXES))}"
        )
    outcomes = run(_ingest(files, links, collection, url, replace=not keep, quiet=as_json))
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(outcomes), indent=2))
    refused = [outcome for outcome in outcomes if outcome["outcome"] == "refused"]
    if refused:
        raise RemoteError(f"{len(refused)} of {len(outcomes)} files were refused")


def _files(paths: Iterable[str]) -> Iterable[Path]:
    for name in paths:
        path = Path(name)
        if path.is_dir():
            yield from sorted(p for p in path.rglob("*") if p.is_file() and p.suffix.lower() in SUFFIXES)
        elif path.is_file():
            yield path
        else:
            raise UsageError(f"there is no file or folder '{name}'")


async def _ingest(
    files: list[Path], links: list[str], collection: str, url: str | None, *, replace: bool, quiet: bool
) -> list[dict[str, Any]]:
    fields = {"index_name": collection, "replace": "true" if replace else "false"}
    outcomes: list[dict[str, Any]] = []
    async with gateway(url, timeout_s=1800) as server:
        # One request a file: each outcome is printed when it is known, and stopping in between loses nothing.
        jobs: list[tuple[str, bytes, str]] = [(path.name, b"", str(path)) for path in files]
        jobs += [(link, msgspec.json.encode([link]), "") for link in links]
        for number, (name, link_list, path) in enumerate(jobs, 1):
            content = Path(path).read_bytes() if path else None
            body, content_type = form(
                fields | ({"link_list": link_list.decode()} if link_list else {}), name, content
            )
            reply = await server.request(
                "POST", "/v1/dataprep/ingest", body, headers=[("content-type", content_type)]
            )
            said_files = _outcomes(reply)
            outcomes += said_files
            if not quiet:
                for outcome in said_files:
                    reason = f": {outcome['reason']}" if outcome.get("reason") else ""
                    click.echo(f"[{number}/{len(jobs)}] {outcome['name']} {outcome['outcome']}{reason}")
    return outcomes


def _outcomes(reply: Any) -> list[dict[str, Any]]:
    """What became of the files of one request; a refused file is an outcome, not a failed command."""
    try:
        body = msgspec.json.decode(reply.body)
    except msgspec.DecodeError:
        body = None
    if isinstance(body, dict) and isinstance(body.get("files"), list):
        return list(body["files"])
    if reply.status >= 400:
        raise RemoteError(said(body) or f"the server answered {reply.status}")
    return list(check(reply).get("files", []))


def form(fields: dict[str, str], name: str, content: bytes | None) -> tuple[bytes, str]:
    """A multipart body with ``fields`` and, where there is content, one file; and its content type."""
    boundary = os.urandom(16).hex()
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
        for key, value in fields.items()
        if value
    ]
    if content is not None:
        guessed = mimetypes.guess_type(name)[0] or "application/octet-stream"
        quoted = name.replace("\\", "\\\\").replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="{quoted}"\r\n'
            f"Content-Type: {guessed}\r\n\r\n"
        )
        parts += [head.encode(), content, b"\r\n"]
    return b"".join([*parts, f"--{boundary}--\r\n".encode()]), f"multipart/form-data; boundary={boundary}"

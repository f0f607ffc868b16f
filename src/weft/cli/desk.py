"""Where ``weft keys`` and ``weft audit`` work: on the database of an installation, or through a running gateway."""

from __future__ import annotations

import asyncio
import getpass
import shlex
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from weft.spec.gateway import GatewaySpec
    from weft.store import Database


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Where the keys are; without one of them, the running gateway is asked."""
    added = (
        click.option(
            "--spec",
            metavar="SPEC",
            help="Work on the data of this spec with a Gateway document, as 'weft up SPEC' does; a gateway may be running.",
        ),
        click.option(
            "--data", type=click.Path(path_type=Path), help="As for 'weft up'; with --spec, or instead of it."
        ),
        click.option(
            "--url",
            help="The running gateway, asked with WEFT_ACCESS_TOKEN as the key of an administrator.  "
            "[default: $WEFT_URL, else http://127.0.0.1:8080]",
        ),
    )
    for option in reversed(added):
        command = option(command)
    return command


def is_local(spec: str | None, data: Path | None) -> bool:
    """Whether the database itself is meant."""
    return spec is not None or data is not None


def operator() -> str:
    """Who works on the command line, for the audit log."""
    try:
        return f"command line ({getpass.getuser()})"
    except (KeyError, OSError):  # a user without a name
        return "command line"


@asynccontextmanager
async def database(spec: str | None, data: Path | None) -> AsyncIterator[Database]:
    """The database of the installation that ``weft up`` makes of ``spec`` and ``data``.

    Raises:
        UsageError: The spec has no Gateway document, or a secret is not set.
        SpecError: The spec does not load.
    """
    from weft.cli.settings import from_environment
    from weft.cli.specs import find
    from weft.errors import UsageError
    from weft.gateway.access.desk import database_of
    from weft.spec.gateway import StateSpec
    from weft.spec.load import load

    settings = from_environment()
    state, folder = StateSpec(), data
    if spec is not None:
        path = find(spec)
        front = load(str(path)).gateway
        if front is None:
            raise UsageError(
                f"{path} has no Gateway document", hint="API keys are for a gateway with one: kind: Gateway"
            )
        state, folder = front.state, data or settings.data_dir / path.stem
    assert folder is not None  # one of the two was given
    opened = database_of(state, folder, settings.secret)
    try:
        yield opened
    finally:
        await opened.aclose()


async def has_keys(front: GatewaySpec, folder: Path, secret: Callable[[str], str | None]) -> bool | None:
    """Whether a key holds; None: the database cannot be asked now."""
    from weft.errors import UnavailableError
    from weft.gateway.access.audit import AuditLog
    from weft.gateway.access.desk import database_of
    from weft.gateway.access.keys import KeyStore

    opened = database_of(front.state, folder, secret)
    try:
        return any(key.revoked_at is None for key in await KeyStore(opened, AuditLog(opened)).listed())
    except UnavailableError:
        return None
    finally:
        await opened.aclose()


def how_to_begin(
    front: GatewaySpec | None, spec: str, folder: Path, data: Path | None, secret: Callable[[str], str | None]
) -> str:
    """What ``weft up`` says where nobody has a key yet: the command that makes the first; empty: nothing is missing.

    A key that was made and printed by the server itself would stand in its log for good.
    """
    if front is None or front.auth is None or not front.auth.keys_:
        return ""
    if asyncio.run(has_keys(front, folder, secret)) is not False:
        return ""
    where = f"--spec {shlex.quote(spec)}{f' --data {shlex.quote(str(data))}' if data is not None else ''}"
    return f"There is no API key yet. Make the first one, for yourself:\n\n  weft keys create admin --role admin {where}\n"

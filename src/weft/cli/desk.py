"""Where ``weft keys`` and ``weft audit`` work: on the database of an installation, or through a running gateway."""

from __future__ import annotations

import getpass
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
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

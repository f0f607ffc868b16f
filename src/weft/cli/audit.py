"""``weft audit``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from weft.cli import desk
from weft.cli.remote import check, gateway, run
from weft.errors import StateError, UsageError

if TYPE_CHECKING:
    from weft.gateway.access.audit import AuditRecord
    from weft.gateway.access.routes import Verification


@click.group("audit")
def command() -> None:
    """Show the audit log, and find out whether somebody has changed it."""


@command.command("list")
@click.option("--event", default="", help="Only of this kind: key.created, refused, login, ...")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 1000), help="How many.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@desk.options
def list_(
    event: str, limit: int, *, as_json: bool, spec: str | None, data: Path | None, url: str | None
) -> None:
    """List the last records, the newest first."""
    from weft.errors import did_you_mean
    from weft.gateway.access.audit import EVENTS, AuditLog, AuditRecord

    if event and event not in EVENTS:
        raise UsageError(
            f"there is no event '{event}'", hint=did_you_mean(event, list(EVENTS), what="events")
        )

    async def local() -> list[AuditRecord]:
        async with desk.database(spec, data) as database:
            return await AuditLog(database).page(event=event, most=limit)

    async def remote() -> list[AuditRecord]:
        path = f"/v1/audit?limit={limit}{f'&event={event}' if event else ''}"
        async with gateway(url) as server:
            found = check(await server.request("GET", path))["records"]
        return msgspec.convert(found, list[AuditRecord])

    records = run(local() if desk.is_local(spec, data) else remote())
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(records), indent=2))
        return
    for record in records:
        click.echo(_line(record))


def _line(record: AuditRecord) -> str:
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.at))
    details = " ".join(
        f"{name}={_word(value)}" for name, value in record.details.items() if value not in ([], None)
    )
    return f"{record.number:>6} {at} {record.event:<16} {record.actor}  {details}"


def _word(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(value)


@command.command("verify")
@click.option(
    "--noted",
    multiple=True,
    metavar="NUMBER:DIGEST",
    help="A record that was noted elsewhere, such as in the gateway's own log. Repeatable.",
)
@desk.options
def verify(noted: tuple[str, ...], *, spec: str | None, data: Path | None, url: str | None) -> None:
    """Read the whole audit log, and say where it is not as it was written.

    Exit status 8 when it was changed.
    """
    from weft.gateway.access.audit import AuditLog
    from weft.gateway.access.routes import Verification

    known = dict(_noted(text) for text in noted)

    async def local() -> Verification:
        async with desk.database(spec, data) as database:
            return Verification(*await AuditLog(database).verify(noted=known))

    async def remote() -> Verification:
        if known:
            raise UsageError(
                "--noted is for --spec or --data", hint="a gateway that was tampered with would not tell"
            )
        async with gateway(url, timeout_s=600) as server:
            return msgspec.convert(check(await server.request("GET", "/v1/audit/verify")), Verification)

    found = run(local() if desk.is_local(spec, data) else remote())
    if not found.faults:
        click.echo(f"{found.records} records, each as it was written")
        return
    raise StateError(
        f"the audit log is not as it was written ({found.records} records):\n"
        + "\n".join(f"  record {fault.number}: {fault.what}" for fault in found.faults[:50]),
        hint="compare it with a backup, and with the digests in the gateways' logs",
    )


def _noted(text: str) -> tuple[int, str]:
    number, _, digest = text.partition(":")
    if not number.isdecimal() or len(digest) != 64:
        raise UsageError(
            f"'{text}' is no record that was noted", hint="NUMBER:DIGEST, as the gateway's log has them"
        )
    return int(number), digest

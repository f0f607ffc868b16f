"""``weft conform``."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from weft.cli.remote import connected, run
from weft.errors import NonconformantError, UsageError, did_you_mean

if TYPE_CHECKING:
    from weft.contracts import Contract
    from weft.http.client import Endpoint
    from weft.testing.conform import Report
    from weft.testing.promises.base import Finding

WIDTH: Final = 80

CHAPTERS: Final = {
    "1": "Transport",
    "2": "Routes",
    "3": "Compatibility",
    "4": "Errors",
    "5": "Streams",
    "6": "Deadlines and cancellation",
    "7": "Identity and tracing",
    "8.1": "Every contract",
    "8": "The contract",
}
"""The headings of the specification, as far as anything under them is checked."""

MARKS: Final = {
    ("must", "kept"): "pass",
    ("should", "kept"): "pass",
    ("must", "broken"): "FAIL",
    ("should", "broken"): "should",
}


@click.command("conform")
@click.argument("url")
@click.option("--contract", "name", help="The contract that it fulfils.  [default: what /v1/contract says]")
@click.option(
    "--request", metavar="JSON", help="A request that it can serve, for a contract that is not one of Weft's."
)
@click.option("--all", "show_all", is_flag=True, help="Show the promises that are kept as well.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def command(url: str, name: str | None, request: str | None, *, show_all: bool, as_json: bool) -> None:
    """Check the live service at URL against the specification of microservices.

    The service may be written in any language. Every promise of docs/spec/microservice.md that can be seen from
    outside is checked; the report says which are broken: what was sent, what came, what the specification says.
    The status is 12 when a "must" is broken; a "should" does not count.

    Nothing of its data is changed: what a store is asked to keep goes into a collection of its own, which is
    emptied again.

    \b
    weft conform http://127.0.0.1:6000
    weft conform http://127.0.0.1:7000 --contract reranker --json
    """
    sample = _sample(request)
    report = run(_conform(url.rstrip("/"), name, sample))
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(report), indent=2))
    else:
        click.echo("\n".join(rendered(report, show_all=show_all)))
    if not report.conforms:
        broken = report.count("must", "broken")
        raise NonconformantError(
            f"the service at {report.url} breaks {broken} {'promise' if broken == 1 else 'promises'} of the specification"
        )


def _sample(request: str | None) -> dict[str, Any] | None:
    if request is None:
        return None
    try:
        return msgspec.json.decode(request, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise UsageError(f"--request is not a JSON object: {error}") from error


async def _conform(url: str, name: str | None, sample: dict[str, Any] | None) -> Report:
    from weft.testing.conform import conform

    async with connected(url, start="start the service, or mend the address") as (client, headers):
        contract = await _contract(client.endpoint(url, headers=headers), url, name)
        return await conform(client, url, contract, sample=sample, headers=headers)


async def _contract(endpoint: Endpoint, url: str, name: str | None) -> Contract:
    """The contract that is named, or the one that the service states.

    Raises:
        UsageError: Neither says which.
    """
    from weft.registry.components import Components
    from weft.testing.conform import own_contract

    contracts = Components().contracts
    if name is not None:
        if name not in contracts:
            hint = did_you_mean(name, sorted(contracts), what="contracts")
            raise UsageError(f"there is no contract '{name}'", hint=hint)
        return contracts[name]
    reply = await endpoint.request("GET", "/v1/contract")
    stated: Any = None
    if reply.status == 200:
        try:
            stated = msgspec.json.decode(reply.body, type=dict[str, Any])
        except msgspec.DecodeError:
            stated = None
    if stated is None or not isinstance(stated.get("contract"), str):
        raise UsageError(
            f"the service at {url} does not say which contract it fulfils",
            hint=f"name it with --contract; contracts: {', '.join(sorted(contracts))}",
        )
    known = contracts.get(stated["contract"])
    return known or own_contract(stated["contract"], stated.get("required") or {})


def rendered(report: Report, *, show_all: bool) -> list[str]:
    """The report for people, in 80 columns."""
    version = f"specification of microservices, version {report.specification}"
    lines = [f"{report.contract} at {report.url}", version]
    chapter = ""
    for finding in report.findings:
        if finding.outcome == "kept" and not show_all:
            continue
        heading = _chapter(finding.section)
        if heading != chapter:
            chapter = heading
            lines += ["", heading]
        lines += _finding(finding)
    return [*lines, "", *_summary(report)]


def _chapter(section: str) -> str:
    major = section.partition(".")[0]
    name = CHAPTERS["8.1"] if section.startswith("8.1.") else CHAPTERS[major]
    return f"{major} {name}" if major != "8" else name


def _finding(finding: Finding) -> list[str]:
    mark = MARKS.get((finding.level, finding.outcome), "unseen")
    lines = [f"  {mark:6} {finding.section:7}{finding.name}"]
    if finding.outcome == "unseen":
        return lines + _part("why", finding.why)
    if finding.outcome == "broken":
        lines += _part("spec", finding.says)
        lines += _part("sent", finding.sent) if finding.sent else []
        for line in finding.came.split("\n"):
            lines += _part("came", line)
    return lines


def _part(label: str, text: str) -> list[str]:
    indent = " " * 9
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=f"{indent}{label:6}",
        subsequent_indent=f"{indent}{'':6}",
        break_on_hyphens=False,
    )


def _summary(report: Report) -> list[str]:
    lines = []
    for level in ("must", "should"):
        kept, broken = report.count(level, "kept"), report.count(level, "broken")
        unseen = report.count(level, "unseen")
        lines.append(f"{level + ':':8}{kept} kept, {broken} broken, {unseen} could not be seen from outside")
    return [*lines, "It conforms." if report.conforms else "It does not conform."]

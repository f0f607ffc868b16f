"""``weft gateway explain``."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from weft.errors import RequestError, UsageError

if TYPE_CHECKING:
    from weft.gateway.explained import Explained
    from weft.gateway.transform.trace import Change, Trace

WIDTH = 80
LABEL = 11
"""Columns of what stands at the left."""


@click.command("explain")
@click.argument("request", metavar="REQUEST.json")
@click.argument("specs", nargs=-1, required=True, metavar="GATEWAYFILE...")
@click.option(
    "--route", metavar="PATH", help="The route; the one that the request's model leads to if left out."
)
@click.option(
    "-H", "--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="A header of the request."
)
@click.option("--caller", default="", metavar="NAME", help="Who asks.")
@click.option("--tenant", default="default", metavar="NAME", help="Of whom.")
@click.option("--claims", default="{}", metavar="JSON", help="What their token says.")
@click.option("--reply", metavar="REPLY.json", help="What the target answers: shows what becomes of it, too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    request: str,
    specs: tuple[str, ...],
    *,
    route: str | None,
    headers: tuple[str, ...],
    caller: str,
    tenant: str,
    claims: str,
    reply: str | None,
    as_json: bool,
) -> None:
    """Show what a Gateway file would do with a request: a dry run, nothing is started or asked.

    REQUEST.json has the request's body ('-': standard input). GATEWAYFILE and what else the spec is made of are
    checked as 'weft check' does. The status is 11 when the request would be refused.
    """
    from weft.cli.specs import examples, find
    from weft.context import Identity
    from weft.gateway.explained import explain
    from weft.plan import check
    from weft.plan.front import whole_fields
    from weft.registry.components import Components
    from weft.spec.sources import load_whole

    spec = load_whole(*(find(name) for name in specs), examples=examples())
    if spec.gateway is None:
        raise UsageError("these files have no document of kind: Gateway", hint="name the Gateway file")
    components = Components()
    plans = check(spec, components)
    body = _json(request)
    if not isinstance(body, dict):
        raise UsageError(f"{request} is no JSON object")
    said = explain(
        spec.gateway,
        body,
        headers=[_header(text) for text in headers],
        identity=Identity(
            caller=caller, tenant=tenant, claims=_claims(claims), shown="key" if caller else "anonymous"
        ),
        route=route,
        reply=_json(reply) if reply is not None else None,
        whole_of=lambda rule: whole_fields(
            rule, spec.served.get(rule.target, (rule.target,)), plans, plans.placed, components
        ),
    )
    click.echo(
        msgspec.json.format(msgspec.json.encode(_plain(said)), indent=2).decode() if as_json else shown(said)
    )
    if said.error is not None or not said.is_admitted:
        raise click.exceptions.Exit(RequestError.exit_code)


def _json(name: str) -> Any:
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        return msgspec.json.decode(data)
    except OSError as error:
        raise UsageError(f"{name}: {error.strerror or error}") from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise UsageError(f"{name} is no JSON: {error}") from error


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise UsageError(f"'{text}' is no header", hint="-H 'x-team: red'")
    return name.strip(), value.strip()


def _claims(text: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise UsageError(f"--claims is no JSON object: {error}") from error


def shown(said: Explained) -> str:
    """It as text of 80 columns."""
    rule, identity = said.rule, said.identity
    lines = [_row("route", f"{rule.path} -> {rule.target}")]
    who = identity.caller or "nobody"
    roles = f", roles {', '.join(sorted(identity.roles))}" if identity.roles else ""
    lines.append(_row("caller", f"{who} of {identity.tenant}{roles}"))
    lines.append(_row("access", said.access))
    if said.shares:
        listed = ", ".join(f"{name} {share:.3g} %" for name, share in said.shares)
        lines.append(
            _row("version", f"{said.version} ({listed})" if said.version else f"by chance: {listed}")
        )
    if said.misfit is not None:
        lines.append(_row("schema", said.misfit or "the request keeps to it"))
    if said.request is not None:
        lines += _changes("request", said.request)
    if said.headers:
        lines += ["", "headers"]
        lines += [
            _change(kind, name, _text(before), _text(after)) for kind, name, before, after in said.headers
        ]
    if said.request is not None and said.request.body is not None:
        lines += ["", "the target is asked", _body(said.request.body)]
    if said.response is not None:
        lines += _changes("response", said.response)
        if said.response.body is not None:
            lines += ["", "the caller gets", _body(said.response.body)]
    if said.limits:
        lines.append("")
        lines += [_row("limits" if not index else "", text) for index, text in enumerate(said.limits)]
    if said.error is not None:
        lines += ["", _row("refused", said.error)]
    return "\n".join(lines)


def _row(label: str, text: str) -> str:
    indent = " " * LABEL
    return textwrap.fill(text, WIDTH, initial_indent=f"{label:<{LABEL}}", subsequent_indent=indent)


def _changes(what: str, trace: Trace) -> list[str]:
    lines = ["", what]
    for change in trace.changes:
        step = change.step
        name = f"{step.path} -> {step.detail}" if step.kind == "rename" else step.path
        before, after = _values(change.before), _values(change.after)
        if change.error is not None:
            lines.append(_change(step.kind, name, before, "refused"))
        elif not change.before and not change.after:
            lines.append(_same(step.kind, name, "not there"))
        elif not change.is_change:
            lines.append(_same(step.kind, name, f"stays {before}"))
        elif step.kind == "rename":
            lines.append(_same(step.kind, name, before))
        else:
            lines.append(_change(step.kind, name, before, after))
    return lines


def _values(values: tuple[Any, ...]) -> str:
    if not values:
        return "(absent)"
    first = _encoded(values[0])
    return first if len(values) == 1 else f"{first} and {len(values) - 1} more"


def _encoded(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _text(value: str | None) -> str:
    return "(absent)" if value is None else value


def _same(kind: str, name: str, said: str) -> str:
    return _fitted(f"  {kind:<{LABEL - 2}}{name}", f"  {said}")


def _change(kind: str, name: str, before: str, after: str) -> str:
    """One line where it fits; else the values below each other, each cut to its line."""
    head = f"  {kind:<{LABEL - 2}}{name}"
    line = f"{head}  {before} -> {after}"
    if len(line) <= WIDTH:
        return line
    indent = " " * (LABEL + 2)
    return "\n".join([head, _fitted(indent, before), _fitted(f"{indent}-> ", after)])


def _fitted(start: str, text: str) -> str:
    line = start + text
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 3]}..."


def _body(body: Any) -> str:
    text = msgspec.json.format(msgspec.json.encode(body), indent=2).decode()
    return "\n".join(_fitted("  ", line) for line in text.splitlines())


def _plain(said: Explained) -> dict[str, Any]:
    found: dict[str, Any] = {
        "route": said.rule.path,
        "target": said.rule.target,
        "access": {"admitted": said.is_admitted, "reason": said.access, "roles": sorted(said.identity.roles)},
        "versions": {"chosen": said.version or None, "shares": dict(said.shares)} if said.shares else None,
        "schema": said.misfit,
        "request": _steps(said.request),
        "headers": [
            {"kind": kind, "name": name, "before": before, "after": after}
            for kind, name, before, after in said.headers
        ],
        "response": _steps(said.response),
        "limits": said.limits,
        "error": said.error,
    }
    return {key: value for key, value in found.items() if value is not None}


def _steps(trace: Trace | None) -> dict[str, Any] | None:
    if trace is None:
        return None
    return {"steps": [_step(change) for change in trace.changes], "body": trace.body}


def _step(change: Change) -> dict[str, Any]:
    found = {
        "kind": change.step.kind,
        "field": change.step.path,
        "before": change.before,
        "after": change.after,
    }
    return found | ({"to": change.step.detail} if change.step.kind == "rename" else {})

"""``weft check``."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from weft.errors import NotReadyError, SpecError, UsageError

if TYPE_CHECKING:
    from weft.gateway.fit import Found
    from weft.plan import Plans
    from weft.spec.model import Spec


@click.command("check")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option("--explain", is_flag=True, help="Print references, levels, both variants and what streams.")
@click.option("--schema", is_flag=True, help="Print the JSON Schema of spec files, for editors.")
@click.option("--placement", type=click.Path(path_type=Path), help="Check with this placement.")
@click.option("--split", is_flag=True, help="Check as for weft up --split.")
@click.option(
    "--workers", default=1, type=click.IntRange(1, 64), help="Check as for weft up with so many workers."
)
@click.option("--live", is_flag=True, help="Ask the services that are placed elsewhere what they are, too.")
@click.option(
    "--data", type=click.Path(path_type=Path), help="With --live: the folder with the registrations."
)
@click.option("--json", "as_json", is_flag=True, help="Print the problems as JSON.")
def command(
    paths: tuple[Path, ...],
    *,
    explain: bool,
    schema: bool,
    placement: Path | None,
    split: bool,
    workers: int,
    live: bool,
    data: Path | None,
    as_json: bool,
) -> None:
    """Check specs without starting or, unless --live is given, contacting anything.

    PATHS are files, folders (each .yaml file in them is a spec of its own), or the name of a packaged example.
    The status is 3 when a spec does not load, or a live service does not fit; every problem is printed, with its
    place. It is 10 when a live service cannot be reached: the spec is fine, and the service not ready.
    """
    if schema:
        from weft.spec.schema import json_schema

        click.echo(msgspec.json.format(msgspec.json.encode(json_schema()), indent=2))
        return
    if not paths:
        raise UsageError(
            "say what to check", hint="weft check chatqna.yaml   (or --schema for the JSON Schema)"
        )
    failures: list[SpecError] = []
    unready: list[str] = []
    for path in _specs(paths):
        try:
            spec, plans = _check(path, placement, split=split, workers=workers)
            found = _look(path, spec, plans, data) if live else []
        except SpecError as error:
            failures.append(error)
            if not as_json:
                click.echo(str(error), err=True)
            continue
        unready += [entry.key for entry in found if entry.state != "fits"]
        if not as_json:
            _print(path, spec, plans, found, explain=explain)
    if as_json:
        problems = [
            {
                "file": problem.mark.file, "line": problem.mark.line, "column": problem.mark.column,
                "code": problem.code, "message": problem.message, "help": problem.help,
            }
            for error in failures
            for problem in error.problems
        ]  # fmt: skip
        click.echo(msgspec.json.format(msgspec.json.encode(problems), indent=2))
    if failures:
        raise click.exceptions.Exit(SpecError.exit_code)
    if unready:
        raise NotReadyError(f"not ready: {', '.join(unready)}")


def _specs(paths: tuple[Path, ...]) -> list[Path]:
    from weft.cli.specs import find

    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(p for p in path.rglob("*") if p.suffix in (".yaml", ".yml"))
        else:
            found.append(find(str(path)))
    if not found:
        raise UsageError("there are no .yaml files in these folders")
    return found


def _check(path: Path, placement: Path | None, *, split: bool, workers: int) -> tuple[Spec, Plans]:
    from weft.cli.specs import examples
    from weft.plan import check
    from weft.registry.components import Components
    from weft.spec.sources import load_whole

    spec = load_whole(path, *([placement] if placement else []), examples=examples())
    return spec, check(spec, Components(), split=split, workers=workers)


def _print(path: Path, spec: Spec, plans: Plans, found: list[Found], *, explain: bool) -> None:
    for plan in plans.values():
        click.echo(f"{path}: {plan.name} {plan.version} is fine ({len(plan.whole.nodes)} nodes)")
        if explain:
            click.echo(plan.explanation)
    if (front := spec.gateway) is not None:
        count = len(front.routes)
        click.echo(f"{path}: gateway {front.name} is fine ({count} route{'' if count == 1 else 's'})")
    for entry in found:
        words = "fits" if entry.state == "fits" else f"not ready: {entry.reason}"
        click.echo(f"  {entry.key} at {entry.where}: {words}")


def _look(path: Path, spec: Spec, plans: Plans, data: Path | None) -> list[Found]:
    """Ask the services elsewhere.

    Raises:
        SpecError: One does not fit.
    """
    from weft.cli.running import host_settings
    from weft.cli.settings import from_environment
    from weft.gateway.assembly import Assembly
    from weft.registry.components import Components
    from weft.serve.log import Log

    settings = from_environment()
    folder = data or settings.data_dir / path.stem
    components = Components()

    async def ask() -> list[Found]:
        assembly = Assembly(
            spec,
            plans,
            components,
            settings=host_settings(settings, folder),
            secret=settings.secret,
            log=Log(name="check"),
        )
        assembly.name_hosts()
        elsewhere = assembly.elsewhere()
        try:
            found = await elsewhere.look()
        finally:
            await assembly.hosts.aclose()
        elsewhere.refuse(found)
        return found

    return asyncio.run(ask())

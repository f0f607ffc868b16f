"""``weft check``."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from weft.errors import SpecError, UsageError


@click.command("check")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option("--explain", is_flag=True, help="Print references, levels, both variants and what streams.")
@click.option("--schema", is_flag=True, help="Print the JSON Schema of spec files, for editors.")
@click.option("--placement", type=click.Path(path_type=Path), help="Check with this placement.")
@click.option("--json", "as_json", is_flag=True, help="Print the problems as JSON.")
def command(
    paths: tuple[Path, ...], *, explain: bool, schema: bool, placement: Path | None, as_json: bool
) -> None:
    """Check specs without starting or contacting anything.

    PATHS are files, folders (each .yaml file in them is a spec of its own), or the name of a packaged example.
    The status is 3 when a spec does not load; every problem is printed, with its place.
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
    for path in _specs(paths):
        try:
            _check(path, placement, explain=explain, quiet=as_json)
        except SpecError as error:
            failures.append(error)
            if not as_json:
                click.echo(str(error), err=True)
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


def _check(path: Path, placement: Path | None, *, explain: bool, quiet: bool) -> None:
    from weft.plan import check
    from weft.registry.components import Components
    from weft.spec.load import load

    spec = load(path, placement) if placement else load(path)
    plans = check(spec, Components())
    if quiet:
        return
    for plan in plans.values():
        click.echo(f"{path}: {plan.name} {plan.version} is fine ({len(plan.whole.nodes)} nodes)")
        if explain:
            click.echo(plan.explanation)

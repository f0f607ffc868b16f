"""Writes docs/reference from the code: commands, errors, components, contracts, spec keys.

``python docs/generate.py`` writes the pages; ``--check`` writes nothing and fails where a page is stale.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec

from weft import errors
from weft.cli.main import COMMANDS, group
from weft.registry.components import Components

HERE = Path(__file__).resolve().parent
NOTE = "<!-- Made by docs/generate.py: change the code, not this page. -->\n\n"


def commands() -> str:
    """The help of every command and sub-command."""
    parts = ["# Commands\n\n", NOTE]
    context = click.Context(group, info_name="weft")
    for name in COMMANDS:
        command = group.get_command(context, name)
        if command is None:
            raise LookupError(name)
        for path, found, parent in _tree(command, f"weft {name}", context):
            help_text = found.get_help(click.Context(found, info_name=path.rpartition(" ")[2], parent=parent))
            parts.append(f"## {path}\n\n```\n{help_text.rstrip()}\n```\n\n")
    parts.append("## Exit status\n\n| status | meaning |\n|---|---|\n")
    parts += [f"| {code} | {meaning} |\n" for code, meaning in errors.EXIT_CODES.items()]
    return "".join(parts)


def _tree(
    command: click.Command, path: str, parent: click.Context
) -> Iterator[tuple[str, click.Command, click.Context]]:
    yield path, command, parent
    if isinstance(command, click.Group):
        context = click.Context(command, info_name=path.rpartition(" ")[2], parent=parent)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            if found is not None:
                yield from _tree(found, f"{path} {name}", context)


def error_codes() -> str:
    """Every error class with its codes."""
    parts = ["# Errors\n\n", NOTE]
    parts.append(
        'On OpenAI\'s routes an error is `{"error": {message, type, param, code}}`, on all others '
        "`application/problem+json`; `code` is the same in both, and does not change between releases.\n\n"
        "| code | HTTP status | exit status | meaning |\n|---|---|---|---|\n"
    )
    for found in _subclasses(errors.WeftError):
        status = getattr(found, "status", "") if issubclass(found, errors.RequestError) else ""
        line = (inspect.getdoc(found) or "").splitlines()[0]
        parts.append(f"| `{found.code}` | {status} | {found.exit_code} | {line} |\n")
    return "".join(parts)


def _subclasses(root: type[Any]) -> Iterator[type[Any]]:
    for found in root.__subclasses__():
        if found.__module__ == errors.__name__:
            yield found
            yield from _subclasses(found)


def components() -> str:
    """Every built-in component: contract, settings, what it uses."""
    registry = Components()
    parts = ["# Components\n\n", NOTE]
    for entry in registry.scan():
        info = registry.get(entry.name)
        doc = inspect.getdoc(info.type) or ""
        parts.append(f"## {entry.name}\n\n{doc.partition('Args:')[0].strip()}\n\n")
        parts.append(
            f"Contract: `{entry.contract or 'its own'}`.{' One instance only.' if info.exclusive else ''}"
        )
        parts.append(f" Needs `weft[{entry.extra}]`.\n\n" if entry.extra else "\n\n")
        if info.parameters or info.slots:
            parts.append("| setting | type | default | meaning |\n|---|---|---|---|\n")
        for slot in info.slots:
            default = "none" if slot.optional else "required"
            parts.append(f"| `uses.{slot.name}` | `{slot.contract.name}` | {default} | {_cell(slot.doc)} |\n")
        for parameter in info.parameters:
            default = "required" if parameter.required else f"`{parameter.default!r}`"
            kind = _cell(getattr(parameter.annotation, "__name__", None) or str(parameter.annotation))
            parts.append(f"| `{parameter.name}` | `{kind}` | {default} | {_cell(parameter.doc)} |\n")
        parts.append("\n")
    return "".join(parts)


def contracts() -> str:
    """Every contract: operations, routes, fields."""
    parts = ["# Contracts\n\n", NOTE]
    for name, contract in sorted(Components().contracts.items()):
        parts.append(f"## {name}\n\n{contract.description} Digest: `{contract.digest()}`.\n\n")
        for operation in contract.operations.values():
            routes = ", ".join(f"`{route.method} {route.path}`" for route in operation.routes)
            streams = " Streams." if operation.chunk else ""
            again = " Idempotent." if operation.idempotent else ""
            parts.append(f"### {name}.{operation.name}\n\n{routes}.{streams}{again}\n\n")
            for role, type_ in (("request", operation.request), ("response", operation.response)):
                parts.append(f"| {role} | type | required |\n|---|---|---|\n")
                for field in msgspec.structs.fields(type_):
                    kind = _cell(getattr(field.type, "__name__", None) or str(field.type))
                    parts.append(
                        f"| `{field.encode_name}` | `{kind}` | {'yes' if field.required else ''} |\n"
                    )
                parts.append("\n")
    return "".join(parts)


def _cell(text: str) -> str:
    return text.replace("typing.", "").replace("weft.types.", "").replace("|", "\\|").replace("\n", " ")


PAGES = {
    "commands.md": commands,
    "errors.md": error_codes,
    "components.md": components,
    "contracts.md": contracts,
}


def main() -> None:
    """Write the pages, or say which are stale."""
    stale = []
    (HERE / "reference").mkdir(exist_ok=True)
    for name, make in PAGES.items():
        path, text = HERE / "reference" / name, make()
        if "--check" not in sys.argv:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
    if stale:
        sys.exit(f"stale: {', '.join(stale)}; run: python docs/generate.py")


if __name__ == "__main__":
    main()

"""Writes docs/reference from the code: commands, settings, keys of a spec, errors, components, contracts, HTTP routes.

``python docs/generate.py`` writes the pages; ``--check`` writes nothing and fails where a page is stale.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import click
import msgspec

from weft import errors
from weft.cli.main import COMMANDS, group
from weft.cli.settings import Settings
from weft.cli.specs import find
from weft.gateway.build import Assembly, gateway
from weft.http import message
from weft.plan import check
from weft.registry.components import Components
from weft.serve.access import Access
from weft.serve.docs import curls
from weft.serve.hosts import HostSettings
from weft.serve.log import Log
from weft.serve.openapi import openapi
from weft.spec.gateway import KINDS
from weft.spec.keys import Block, Table, keys_of
from weft.spec.load import load
from weft.spec.model import API_VERSION

HERE = Path(__file__).resolve().parent
NOTE = "<!-- Made by docs/generate.py: change the code, not this page. -->\n\n"


def commands() -> str:
    """The help of every command and sub-command."""
    parts = ["# Commands\n\n", NOTE]
    # As the command line makes it: a command keeps the help option of the first context that asks for it. The width is
    # given, or it would be the terminal's.
    settings = group.context_settings | {"terminal_width": 100}
    context = click.Context(group, info_name="weft", **settings)
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
    parts.append("\nWhat the server says of a request that does not come to a route:\n\n")
    parts.append("| code | HTTP status | meaning |\n|---|---|---|\n")
    refusals = (found for found in vars(message).values() if isinstance(found, type))
    for found in refusals:
        if issubclass(found, errors.RequestError) and found.__module__ == message.__name__:
            line = (inspect.getdoc(found) or "").splitlines()[0]
            parts.append(f"| `{found.code}` | {found.status} | {line} |\n")
    parts.append(
        "\n`files_refused` (400, `/v1/dataprep/ingest`) says of each file in `files` what became of it; those that went in "
        "stay in.\n"
    )
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
                    kind = _cell(_type(field.type))
                    parts.append(
                        f"| `{field.encode_name}` | `{kind}` | {'yes' if field.required else ''} |\n"
                    )
                parts.append("\n")
    return "".join(parts)


def http() -> str:
    """Every route of ``weft up chatqna``, from the table that the gateway itself serves, with a curl line."""
    with TemporaryDirectory() as folder:
        spec = load(find("chatqna"))
        settings = HostSettings(cache_dir=folder, data_dir=folder)
        plans = check(spec, Components())
        assembly = Assembly(spec, plans, Components(), settings=settings, secret={}.get, log=Log(name="docs"))
        document = openapi(gateway(assembly, Access()))
    parts = ["# HTTP routes\n\n", NOTE, HTTP]
    groups: dict[str, list[tuple[str, str, dict[str, Any]]]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            groups.setdefault(operation["tags"][0], []).append((path, method, operation))
    for tag, operations in groups.items():
        parts.append(f"## {tag}\n\n")
        for path, method, operation in operations:
            kinds = next(iter(operation["responses"].values())).get("content", {})
            reply = (
                ""
                if list(kinds) == ["application/json"]
                else f" Replies with {' or '.join(kinds) or 'nothing'}."
            )
            parts.append(f"### {method.upper()} {path}\n\n{operation['summary']}{reply}\n\n")
            lines = "\n".join(curls(document, path, method))
            parts.append(f"```sh\n{lines}\n```\n\n")
    return "".join(parts).rstrip() + "\n"


HTTP = """\
The routes of `weft up chatqna`; a megaservice of your own has those of its contract and of the services that it exposes. A running
gateway shows its own at `/docs`, with every field, and as OpenAPI 3.1 at `/openapi.json`. A service alone (`weft serve`) answers
its contract's routes, `/v1/contract`, the health routes and `/metrics`.

- OpenAI's routes pick what answers by `model`: a megaservice (`chatqna`, `chatqna@1.0.0`, or a leading part of the version) or an
  exposed service. All others ignore it.
- `"stream": true` makes a chat reply server-sent events that end with `data: [DONE]`; a stream that breaks off ends with
  `data: {"error": ...}` and without it. `/v1/chatqna` is OPEA's route: it streams unless told otherwise, as `data: b'token'` lines;
  `?format=openai` asks for OpenAI's chunks. Fields that it does not use are named in the header `x-weft-ignored`.
- `/v1/retrieval`, `/v1/reranking`, `/v1/embeddings` and `/v1/dataprep/*` also read the forms of OPEA's and Text Embeddings
  Inference's clients, and answer in the form that they were asked in.
- `x-weft-journal: on` adds one event to a streamed chat, behind `[DONE]` or the error: `event: weft.journal` with which services
  worked on it and how long each took. `data` is `{"object": "weft.journal", "events": [[step, parent, status, name, service, attempt,
  iteration, at_ms, detail], ...]}`: `status` is `started`, `first`, `ok`, `failed`, `skipped` or `cancelled`; `parent` is another
  event's `step`; `at_ms` counts from the first event; `left_off` says how many were too many. Only a caller that asks gets it, and only
  for its own request.
- Errors are in OpenAI's form on OpenAI's routes, `application/problem+json` on all others: [errors](errors.md).
- `x-request-id` is taken from the caller, or made, and is on every reply; `x-weft-timeout-ms` shortens the time that a request may take.
- Bound wider than loopback, every route but `/health/*` and `/v1/health_check` asks for `Authorization: Bearer TOKEN`.

The lines below are run, as they stand, by the tests; `handbook.txt` is any text file.

"""


def _type(annotation: Any) -> str:
    """A type as people write it, without what only constrains it."""
    if get_origin(annotation) in (Union, UnionType):
        return " | ".join(_type(member) for member in get_args(annotation))
    if get_origin(annotation) is Annotated:
        return _type(get_args(annotation)[0])
    if annotation is type(None):
        return "None"
    return str(annotation) if get_args(annotation) else getattr(annotation, "__name__", str(annotation))


def settings() -> str:
    """Every setting of the environment, with its docstring."""
    parts = ["# Settings\n\n", NOTE]
    parts.append(
        "What Weft takes from the environment; components take nothing from it. Everything else is an option of a "
        "command or a key of a spec.\n\n| setting | meaning |\n|---|---|\n"
    )
    body = ast.parse(inspect.getsource(Settings)).body[0]
    assert isinstance(body, ast.ClassDef)
    for field, doc in pairwise(body.body):
        if isinstance(field, ast.AnnAssign) and isinstance(doc, ast.Expr):
            text = inspect.cleandoc(str(ast.literal_eval(doc.value)))
            parts.append(f"| `{ast.unparse(field.target)}` | {_cell(text.replace('``', '`'))} |\n")
    return "".join(parts)


def spec_keys() -> str:
    """Every key of a spec, from the table that loading checks with."""
    parts = ["# Keys of a spec\n\n", NOTE]
    parts.append(
        "What each of them means when it runs: [specification](../spec/megaservice.md). Every document also has "
        f"`apiVersion: {API_VERSION}` and `kind`.\n\n"
    )
    seen: list[type[Any]] = []
    for kind, type_ in KINDS.items():
        parts += _blocks(f"kind: {kind}", type_, seen)
    return "".join(parts)


def _blocks(title: str, type_: type[Any], seen: list[type[Any]]) -> Iterator[str]:
    yield f"## {title}\n\n| key | value | default | meaning |\n|---|---|---|---|\n"
    inner: list[tuple[str, type[Any]]] = []
    for key in keys_of(type_).values():
        shape = key.shape
        block = shape.value if isinstance(shape, Table) else shape
        if isinstance(block, Block) and block.type not in seen:
            inner.append((f"{key.name}.NAME" if isinstance(shape, Table) else key.name, block.type))
            seen.append(block.type)
        shown = key.default and isinstance(key.default, str | int | float)
        default = "required" if key.required else f"`{key.default}`" if shown else ""
        parts = key.doc.replace("|", "\\|")
        yield f"| `{key.name}` | {_value(shape)} | {default} | {parts} |\n"
    yield "\n"
    for name, found in inner:
        yield from _blocks(f"{title.removeprefix('kind: ')}: {name}", found, seen)


def _value(shape: Any) -> str:
    """What may stand under a key, in a few words."""
    words = getattr(shape, "words", None)
    if words:
        return ", ".join(f"`{word}`" for word in words)
    doc = (inspect.getdoc(type(shape)) or "").partition("\n")[0].partition(";")[0].partition(": ")[0]
    text = str(getattr(shape, "what", None) or doc.rstrip("."))
    return (text[:1].lower() + text[1:]).replace("``", "`").replace("|", "\\|")


def _cell(text: str) -> str:
    return text.replace("typing.", "").replace("weft.types.", "").replace("|", "\\|").replace("\n", " ")


PAGES = {
    "commands.md": commands,
    "errors.md": error_codes,
    "components.md": components,
    "contracts.md": contracts,
    "settings.md": settings,
    "spec.md": spec_keys,
    "http.md": http,
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

"""The documentation page: an OpenAPI document as one HTML page without a script, a font or an image from anywhere."""

from __future__ import annotations

import json
import re
from html import escape
from typing import Any, Final
from urllib.parse import urlencode

STYLE: Final = """
:root{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}
body{max-width:60rem;margin:0 auto;padding:1rem}
code,pre{font:14px/1.4 ui-monospace,monospace}
pre{white-space:pre-wrap;overflow-wrap:anywhere;padding:.75rem;border:1px solid #8885;border-radius:.4rem}
details{border:1px solid #8885;border-radius:.4rem;margin:.4rem 0;padding:.3rem .75rem}
summary{cursor:pointer;overflow-wrap:anywhere}
summary b{display:inline-block;min-width:4.5rem}
table{border-collapse:collapse;width:100%}
td,th{text-align:left;vertical-align:top;padding:.2rem .5rem;border-bottom:1px solid #8883;overflow-wrap:anywhere}
.quiet{opacity:.75}
"""

SERVER: Final = "http://localhost:8080"
"""Where ``weft up`` listens unless told otherwise."""

_MAX_EXAMPLE_DEPTH: Final = 6
"""Schemas may contain themselves (JSON values, trees): an example stops here."""


def docs_page(document: dict[str, Any]) -> tuple[str, str]:
    """The page and its one inline style, whose hash goes into the content security policy."""
    info = document["info"]
    groups: dict[str, list[str]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            group = (operation.get("tags") or ["other"])[0]
            groups.setdefault(group, []).append(_operation(document, path, method, operation))
    body = "".join(f"<h2>{escape(group)}</h2>{''.join(found)}" for group, found in groups.items())
    schemas = "".join(
        # A browser opens the details around what a link leads to, so the name is on what is inside.
        f"<details><summary><code>{escape(name)}</code></summary>"
        f'<div id="schema-{escape(name)}">{_fields(schema)}</div></details>'
        for name, schema in sorted(document["components"]["schemas"].items())
    )
    html = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(info['title'])} API</title><style>{STYLE}</style></head><body>"
        f"<h1>{escape(info['title'])} <small class=quiet>{escape(info['version'])}</small></h1>"
        f"<p>{escape(info.get('description', ''))}</p>"
        '<p class=quiet>For programs: <a href="/openapi.json">/openapi.json</a> (OpenAPI 3.1)</p>'
        f"<main>{body}<h2>Types</h2>{schemas}</main></body></html>"
    )
    return html, STYLE


def _operation(document: dict[str, Any], path: str, method: str, operation: dict[str, Any]) -> str:
    parts = [f"<p>{_words(operation['description'])}</p>"] if operation.get("description") else []
    if operation.get("parameters"):
        rows = "".join(
            f"<tr><td><code>{escape(p['name'])}</code><td>{escape(p['in'])}"
            f"<td>{_type(p.get('schema', {}))}<td>{escape(p.get('description', ''))}"
            for p in operation["parameters"]
        )
        parts.append(f"<table><tr><th>Parameter<th>In<th>Type<th>{rows}</table>")
    content = operation.get("requestBody", {}).get("content", {})
    for kind, media in content.items():
        parts.append(
            f"<h4>Request <span class=quiet>{escape(kind)}</span></h4>{_fields(_resolve(document, media['schema']))}"
        )
    reply = next(iter(operation["responses"].values())).get("content", {})
    for kind, media in reply.items():
        each = " (each event)" if media.get("x-weft-each-event") else ""
        shown = _type(media.get("x-weft-each-event") or media.get("schema", {}))
        parts.append(f"<h4>Reply <span class=quiet>{escape(kind)}{each}</span></h4><p>{shown}</p>")
    lines = "\n\n".join(curls(document, path, method))
    parts.append(f"<h4>curl</h4><pre>{escape(lines)}</pre>")
    return (
        f"<details><summary><b>{method.upper()}</b> <code>{escape(path)}</code> "
        f"<span class=quiet>{escape(operation.get('summary', ''))}</span></summary>{''.join(parts)}</details>"
    )


def curls(document: dict[str, Any], path: str, method: str) -> list[str]:
    """Curl lines for one operation of an OpenAPI document: one for each example, else the least that it asks for."""
    operation = document["paths"][path][method]
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", str(parameter.get("example", parameter["name"])))
    asked = {
        parameter["name"]: parameter["example"]
        for parameter in operation.get("parameters", ())
        if parameter["in"] == "query" and "example" in parameter
    }
    # Quoted, for a shell may take the question mark for a pattern of file names.
    line = f"curl '{SERVER}{path}?{urlencode(asked)}'" if asked else f"curl {SERVER}{path}"
    content = operation.get("requestBody", {}).get("content", {})
    if "security" in document and "security" not in operation:
        line += " -H 'Authorization: Bearer TOKEN'"
    if "multipart/form-data" in content:
        return [f"{line} -F files=@handbook.txt"]
    if "application/json" in content:
        media = content["application/json"]
        bodies = [example["value"] for example in media.get("examples", {}).values()]
        lines = []
        for body in bodies or [_example(document, media["schema"], 0) or {}]:
            quoted = json.dumps(body, ensure_ascii=False).replace("'", "'\\''")
            lines.append(f"{line} -H 'Content-Type: application/json' -d '{quoted}'")
        return lines
    return [line if method == "get" else f"{line} -X {method.upper()}"]


def _fields(schema: dict[str, Any]) -> str:
    said = f"<p>{_words(schema['description'])}</p>" if schema.get("description") else ""
    properties = schema.get("properties")
    if not properties:
        return f"{said}<p>{_type(schema)}</p>"
    required = set(schema.get("required", ()))
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code>{'' if name in required else ' <span class=quiet>optional</span>'}"
        f"<td>{_type(field)}<td>{_words(str(field.get('description', '')))}"
        for name, field in properties.items()
    )
    return f"{said}<table><tr><th>Field<th>Type<th>{rows}</table>"


def _words(text: str) -> str:
    """A description's Markdown, of which only code marks are used."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _type(schema: dict[str, Any]) -> str:
    """A schema in a few words, with links to the types that have a name."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f'<a href="#schema-{escape(name)}">{escape(name)}</a>'
    if "anyOf" in schema:
        return " or ".join(_type(choice) for choice in schema["anyOf"])
    if "allOf" in schema:
        return " and ".join(_type(part) for part in schema["allOf"])
    if "const" in schema:
        return f"<code>{escape(json.dumps(schema['const']))}</code>"
    if "enum" in schema:
        return " or ".join(f"<code>{escape(json.dumps(value))}</code>" for value in schema["enum"])
    kind = schema.get("type", "any value")
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if isinstance(kind, list):
        kind = " or ".join(kind)
    default = (
        f" = <code>{escape(json.dumps(schema['default']))}</code>"
        if schema.get("default") is not None
        else ""
    )
    return f"{escape(kind)}{default}"


def _resolve(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def _example(document: dict[str, Any], schema: dict[str, Any], depth: int) -> Any:
    """The smallest value that fits: required fields only."""
    schema = _resolve(document, schema)
    if depth > _MAX_EXAMPLE_DEPTH:
        return None
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    if "anyOf" in schema:
        return _example(document, schema["anyOf"][0], depth + 1)
    kind = schema.get("type")
    if kind == "object":
        properties = schema.get("properties", {})
        return {
            name: "user" if name == "role" else _example(document, properties.get(name, {}), depth + 1)
            for name in schema.get("required", ())
        }
    if kind == "array":
        return [_example(document, schema.get("items", {}), depth + 1)]
    return {"string": "text", "integer": 1, "number": 1.0, "boolean": True}.get(str(kind))

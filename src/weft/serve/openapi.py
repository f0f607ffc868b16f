"""OpenAPI 3.1 of an application, made from what its routes say of themselves."""

from __future__ import annotations

import inspect
import re
from html import escape
from typing import Any

import msgspec

from weft.context import Context
from weft.contracts.base import wire_type
from weft.http.message import Request, Response
from weft.serve.application import Application
from weft.serve.docs import SERVER, docs_page
from weft.serve.pages import page
from weft.serve.routing import Path, Route, RouteDoc

_REFERENCE = "#/components/schemas/{name}"

PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "RFC 9457 problem details.",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What is wrong, and what to do."},
        "code": {"type": "string", "description": "Stable between releases."},
        "param": {"type": "string", "description": "The field that is wrong."},
        "node": {"type": "string"},
        "service": {"type": "string"},
        "component": {"type": "string"},
        "endpoint": {"type": "string"},
        "elapsed_s": {"type": "number"},
        "request_id": {"type": "string"},
    },
}

OPENAI_ERROR_SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "An error in OpenAI's form.",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}


def openapi(app: Application) -> dict[str, Any]:
    """The document; routes without a :class:`RouteDoc` are not in it."""
    shown = [
        (path, route)
        for path in app.router.paths()
        for route in path.methods.values()
        if not route.doc.hidden
    ]
    types = _types(route.doc for _, route in shown)
    schemas, components = msgspec.json.schema_components(types, schema_hook=_any, ref_template=_REFERENCE)
    for schema in components.values():
        _describe_fields(schema)
    by_type = dict(zip(map(_key, types), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for path, route in shown:
        paths.setdefault(path.name, {})[route.method.lower()] = _operation(path, route, by_type, components)
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": app.name, "version": app.version or "0", "description": app.description},
        "paths": paths,
        "components": {
            "schemas": {**components, "Problem": PROBLEM_SCHEMA, "OpenAIError": OPENAI_ERROR_SCHEMA}
        },
    }
    schemes = app.schemes
    if not schemes and app.access.token is not None:
        schemes = {"token": {"type": "http", "scheme": "bearer"}}
    if schemes:
        document["components"]["securitySchemes"] = dict(schemes)
        # Any of them will do; nothing at all will, too, where an empty one is among them.
        document["security"] = [{name: []} for name in schemes] + ([{}] if app.lets_anonymous else [])
    return document


_ATTRIBUTE = re.compile(r"(?:\w+(?:, )?)+:")


def _describe_fields(schema: dict[str, Any]) -> None:
    """Move what a class says of its attributes to the fields themselves, and leave what it says of the whole."""
    whole, _, listed = inspect.cleandoc(schema.get("description", "")).partition("\nAttributes:\n")
    if schema.get("description"):
        schema["description"] = _markdown(whole)
    fields: dict[str, list[str]] = {}
    names: list[str] = []
    for line in inspect.cleandoc(listed).splitlines():
        if (head := _ATTRIBUTE.match(line)) is not None:
            names = [name.strip() for name in head[0][:-1].split(",")]
            fields.update({name: [line[head.end() :]] for name in names})
        elif line.strip():
            for name in names:
                fields[name].append(line)
    for name, field in schema.get("properties", {}).items():
        if name in fields and "$ref" not in field:
            field.setdefault("description", _markdown(" ".join(part.strip() for part in fields[name])))


def _markdown(text: str) -> str:
    """Docstrings' code marks as Markdown's; links to Python names as the names."""
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text)
    return " ".join(text.replace("``", "`").split())


def _operation(
    path: Path, route: Route, schemas: dict[Any, Any], components: dict[str, Any]
) -> dict[str, Any]:
    doc = route.doc
    found: dict[str, Any] = {
        "operationId": re.sub(r"[^A-Za-z0-9]+", "_", f"{route.method.lower()}_{path.name}").strip("_"),
        "summary": doc.summary,
        "tags": list(doc.tags),
    }
    if doc.description:
        found["description"] = doc.description
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        | ({"example": doc.named[name]} if name in doc.named else {})
        for name in re.findall(r"\{(\w+)\}", path.name)
    ]
    if parameters or doc.parameters:
        found["parameters"] = [*parameters, *doc.parameters]
    body: dict[str, Any] = {}
    if doc.request is not None or doc.schema is not None:
        schema = doc.schema if doc.schema is not None else schemas[_key(_on_wire(doc.request))]
        body["application/json"] = {"schema": doc.adapt(schema, components) if doc.adapt else schema}
        if doc.examples:
            body["application/json"]["examples"] = {
                name: {"value": msgspec.to_builtins(value)} for name, value in doc.examples.items()
            }
    if doc.form is not None:
        body["multipart/form-data"] = {"schema": doc.form}
    if body:
        found["requestBody"] = {"content": body}
    found["responses"] = _responses(route, doc, schemas)
    if doc.deprecated:
        found["deprecated"] = True
    if route.is_open:
        found["security"] = []
    return found | doc.extras


def _responses(route: Route, doc: RouteDoc, schemas: dict[Any, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if doc.response is not None:
        content["application/json"] = {"schema": schemas[_key(doc.response)]}
    elif doc.content_type:
        content[doc.content_type] = {}
    if doc.chunk is not None:
        content["text/event-stream"] = {
            "schema": schemas[_key(doc.chunk)],
            "x-weft-each-event": True,
        }
    ok: dict[str, Any] = {"description": "Done."}
    if content:
        ok["content"] = content
    if doc.headers:
        ok["headers"] = doc.headers
    if route.errors == "openai":
        failure = {"application/json": {"schema": {"$ref": "#/components/schemas/OpenAIError"}}}
    else:
        failure = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        str(doc.status): ok,
        **{str(status): said | {"content": failure} for status, said in sorted(doc.failures.items())},
        "default": {"description": "It failed; the status says how.", "content": failure},
    }


def _types(docs: Any) -> list[Any]:
    """Every type that the documents name, each once, in order."""
    found: dict[Any, Any] = {}
    for doc in docs:
        for type_ in (_on_wire(doc.request), doc.response, doc.chunk):
            if type_ is not None:
                found.setdefault(_key(type_), type_)
    return list(found.values())


def _key(type_: Any) -> Any:
    return type_ if isinstance(type_, type) else repr(type_)


def _on_wire(type_: Any) -> Any:
    """A request as it is sent: streams cannot be, and have no schema."""
    is_struct = isinstance(type_, type) and issubclass(type_, msgspec.Struct)
    return wire_type(type_) if is_struct else type_


def _any(type_: type[Any]) -> dict[str, Any]:
    """A type that msgspec does not know has any value."""
    return {"description": type_.__name__}


def documentation_routes(app: Application) -> None:
    """Route ``/openapi.json`` and ``/docs``; both are made when first asked for, when every route is there."""
    made: dict[str, Response] = {}
    pages: list[tuple[str, str]] = []

    async def document(request: Request, context: Context) -> Response:
        if "json" not in made:
            made["json"] = Response(200, (), msgspec.json.encode(openapi(app)))
        return made["json"]

    async def docs(request: Request, context: Context) -> Response:
        if not pages:
            pages.append(docs_page(openapi(app)))
        html, style = pages[0]
        # The lines to copy are for the address under which this page was asked for.
        here = f"{request.scheme}://{escape(request.headers.get('host', ''))}"
        return page(html.replace(SERVER, here), inline_style=style)

    about = RouteDoc(summary="This document.", content_type="application/json", tags=("about",))
    app.route("GET", "/openapi.json", document, doc=about, needs="")
    page_doc = RouteDoc(summary="The same as a page, for people.", content_type="text/html", tags=("about",))
    app.route("GET", "/docs", docs, doc=page_doc, needs="")

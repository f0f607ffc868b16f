"""OpenAPI 3.1 of an application, made from what its routes say of themselves."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from html import escape
from typing import Any, get_args

import msgspec

from weft.context import Context
from weft.contracts.base import wire_type
from weft.http.message import Request, Response
from weft.serve.application import Application
from weft.serve.docs import SERVER, docs_page
from weft.serve.pages import page
from weft.serve.problems import ErrorForm
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


_FAILURES: dict[ErrorForm, tuple[str, dict[str, Any]]] = {
    "openai": ("application/json", {"$ref": "#/components/schemas/OpenAIError"}),
    "problem": ("application/problem+json", {"$ref": "#/components/schemas/Problem"}),
    "anthropic": ("application/json", {"type": "object", "required": ["type", "error"]}),
    "jsonrpc": ("application/json", {"type": "object", "required": ["jsonrpc", "error"]}),
}
"""How errors are written: content type and schema."""


ANYTHING = "*/*"
"""The content type of replies that another server makes."""


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
    for type_ in _reached(types):
        for name in (type_.__name__, f"{type_.__module__}.{type_.__name__}"):
            if name in components:
                _bound(components[name], getattr(type_, "schema", {}))
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


def _reached(types: Iterable[Any]) -> list[type[msgspec.Struct]]:
    """Every Struct that these types have in them, each once."""
    found: dict[type[msgspec.Struct], None] = {}
    waiting = list(types)
    while waiting:
        type_ = waiting.pop()
        if isinstance(type_, type) and issubclass(type_, msgspec.Struct):
            if type_ not in found:
                found[type_] = None
                waiting += [field.type for field in msgspec.structs.fields(type_)]
        else:
            waiting += get_args(type_)
    return list(found)


def _bound(whole: dict[str, Any], words: dict[str, dict[str, Any]]) -> None:
    """Add what a class says of its fields, and under an empty name of itself, in JSON Schema's words."""
    for name, said in words.items():
        field = whole.get("properties", {}).get(name, {}) if name else whole
        # Null is not bounded.
        target = next((one for one in field.get("anyOf", ()) if one.get("type") != "null"), field)
        target.update(said)


def resolved(schema: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    """The schema that a reference leads to; any other as it is."""
    reference: str = schema.get("$ref", "")
    prefix = _REFERENCE.format(name="")
    found: dict[str, Any] = components.get(reference.removeprefix(prefix), {})
    return found if reference.startswith(prefix) else schema


def _needs_body(schema: dict[str, Any], components: dict[str, Any]) -> bool:
    """Whether a request without a body does not keep to the schema: an empty body is an empty object."""
    whole = resolved(schema, components)
    if "anyOf" in whole:
        return all(_needs_body(one, components) for one in whole["anyOf"])
    return bool(whole.get("required")) or "properties" not in whole


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
    is_required = False
    if doc.request is not None or doc.schema is not None:
        asked = [type_ for type_, _ in doc.forms if type_ is not None]
        schema = doc.schema if doc.schema is not None else _any_of([*asked, _on_wire(doc.request)], schemas)
        if doc.adapt is not None:
            schema = doc.adapt(schema, components)
        is_required = doc.form is None and _needs_body(schema, components)
        body["application/json"] = {"schema": schema}
        if doc.examples:
            body["application/json"]["examples"] = {
                name: {"value": msgspec.to_builtins(value)} for name, value in doc.examples.items()
            }
    if doc.form is not None:
        body["multipart/form-data"] = {"schema": doc.form}
    if body:
        found["requestBody"] = {"content": body} | ({"required": True} if is_required else {})
    found["responses"] = _responses(route, doc, schemas, components)
    if doc.deprecated:
        found["deprecated"] = True
    if route.is_open:
        found["security"] = []
    return found | doc.extras


def _responses(
    route: Route, doc: RouteDoc, schemas: dict[Any, Any], components: dict[str, Any]
) -> dict[str, Any]:
    content: dict[str, Any] = {}
    adapt = doc.adapt_reply or _unchanged
    if doc.response is not None:
        answers = [type_ for _, type_ in doc.forms if type_ is not None]
        schema = _any_of([*answers, doc.response], schemas)
        content["application/json"] = {"schema": adapt(schema, components)}
    elif doc.content_type:
        content[doc.content_type] = {}
    if doc.chunk is not None:
        chunk = adapt(schemas[_key(doc.chunk)], components)
        content["text/event-stream"] = {"schema": _event(chunk, opea=doc.opea), "x-weft-each-event": chunk}
    ok: dict[str, Any] = {"description": "Done."}
    if content:
        ok["content"] = content
    if doc.headers:
        ok["headers"] = doc.headers
    kind, shape = _FAILURES[route.errors]
    failure = {kind: {"schema": shape}}
    return {
        str(doc.status): ok,
        **{str(status): said for status, said in sorted(doc.others.items())},
        **{str(status): said | {"content": failure} for status, said in sorted(doc.failures.items())},
        "default": {"description": "It failed; the status says how."}
        | (
            {} if doc.content_type == ANYTHING else {"content": failure}
        ),  # a failure may be the other server's own
    }


def _unchanged(schema: dict[str, Any], _components: dict[str, Any]) -> dict[str, Any]:
    return schema


def _any_of(types: list[Any], schemas: dict[Any, Any]) -> dict[str, Any]:
    """The schema of a value that is of one of these types."""
    found = [schemas[_key(type_)] for type_ in types]
    return found[0] if len(found) == 1 else {"anyOf": found}


def _event(chunk: dict[str, Any], *, opea: bool) -> dict[str, Any]:
    """The schema of one event as a reader sees it: its data is a chunk, or an error, or the end."""
    failure = {"$ref": _REFERENCE.format(name="OpenAIError")}
    data: list[dict[str, Any]] = [{"const": "[DONE]"}]
    if opea:
        data.append({"pattern": "^b['\"]", "description": "A Python literal of bytes: a piece of the text."})
    data.append({"contentMediaType": "application/json", "contentSchema": {"anyOf": [chunk, failure]}})
    return {
        "type": "object",
        "required": ["data"],
        "properties": {"event": {"type": "string"}, "data": {"type": "string", "anyOf": data}},
    }


def _types(docs: Any) -> list[Any]:
    """Every type that the documents name, each once, in order."""
    found: dict[Any, Any] = {}
    for doc in docs:
        for type_ in (
            _on_wire(doc.request),
            doc.response,
            doc.chunk,
            *(type_ for form in doc.forms for type_ in form),
        ):
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
    documents: dict[str, Response] = {}
    pages: dict[str, tuple[str, str]] = {}

    async def document(request: Request, context: Context) -> Response:
        build = app.build_id  # another one when a service was switched: what is read is then another, too
        if build not in documents:
            documents.clear()
            documents[build] = Response(200, (), msgspec.json.encode(openapi(app)))
        return documents[build]

    async def docs(request: Request, context: Context) -> Response:
        build = app.build_id
        if build not in pages:
            pages.clear()
            pages[build] = docs_page(openapi(app))
        html, style = pages[build]
        # The lines to copy are for the address under which this page was asked for.
        here = f"{request.scheme}://{escape(request.headers.get('host', ''))}"
        return page(html.replace(SERVER, here), inline_style=style)

    about = RouteDoc(summary="This document.", content_type="application/json", tags=("about",))
    app.route("GET", "/openapi.json", document, doc=about, needs="")
    page_doc = RouteDoc(summary="The same as a page, for people.", content_type="text/html", tags=("about",))
    app.route("GET", "/docs", docs, doc=page_doc, needs="")

"""Paths to routes: exact ones by one dict lookup, patterns with ``{name}`` segments after them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from weft.context import Context
from weft.errors import UsageError, nearest
from weft.http.message import Request, Response, StreamResponse
from weft.serve.problems import ErrorForm

RouteHandler = Callable[[Request, Context], Awaitable[Response | StreamResponse]]
"""What answers a route. It runs in the request's own task, which is cancelled when the client goes away."""

JSON: tuple[str, ...] = ("application/json",)
"""The content types that a route reads unless it says otherwise; any ``+json`` type goes for JSON."""


Adapt = Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]
"""``(schema, components) -> schema``."""


@dataclass(frozen=True, kw_only=True)
class RouteDoc:
    """What OpenAPI says of a route.

    Attributes:
        summary: One line.
        description: More, in Markdown.
        request: The Struct (or other type) of the body; None: no body.
        response: Of the reply; None: not JSON.
        chunk: Of one event of a streamed reply; None: it does not stream.
        tags: The groups it is listed under.
        parameters: OpenAPI parameter objects (query, header, path) beside the path's own.
        form: OpenAPI schema of a multipart form that is read as well.
        content_type: Of a reply that is no JSON.
        opea: One of OPEA's routes.
        examples: Request bodies by name.
        named: A value for each of the path's ``{name}`` segments, for examples.
        status: Of a reply that is no error.
        hidden: Left out.
        forms: Types of body and reply in other forms that the route reads and answers in.
        schema: JSON Schema of the body, in place of the one of ``request``.
        adapt: Changes the schema of the body: ``(schema, components) -> schema``.
        adapt_reply: The same for a reply, and for one event of a stream.
        deprecated: Whether it should not be used any more.
        others: OpenAPI response objects of other replies that are no errors, by status; what they have as ``content`` is
            theirs.
        headers: OpenAPI header objects of a reply that is no error, by name.
        failures: OpenAPI response objects by status, beside the one for every failure; their content is made.
        extras: OpenAPI extensions, ``x-...``.
    """

    summary: str = ""
    description: str = ""
    request: Any = None
    response: Any = None
    chunk: Any = None
    tags: tuple[str, ...] = ()
    parameters: tuple[dict[str, Any], ...] = ()
    form: dict[str, Any] | None = None
    content_type: str = ""
    opea: bool = False
    examples: dict[str, Any] = field(default_factory=dict)
    named: dict[str, str] = field(default_factory=dict)
    status: int = 200
    hidden: bool = False
    forms: tuple[tuple[Any, Any], ...] = ()
    schema: dict[str, Any] | None = None
    adapt: Adapt | None = None
    adapt_reply: Adapt | None = None
    deprecated: bool = False
    others: dict[int, dict[str, Any]] = field(default_factory=dict)
    headers: dict[str, Any] = field(default_factory=dict)
    failures: dict[int, dict[str, Any]] = field(default_factory=dict)
    extras: dict[str, Any] = field(default_factory=dict)


@dataclass(eq=False, slots=True)
class Route:
    """One method of one path. Equal only to itself: it keys bound metrics.

    Attributes:
        name: The path as it was declared; what metrics call it.
        is_open: Served without the access token, and while the application starts.
        reads: Content types of the body.
        max_body_bytes: A longer body is refused with 413; None leaves it to the server's own limit.
        needs: The role that a caller needs where an authenticator finds out who asks; empty: it is for every caller.
    """

    method: str
    name: str
    handler: RouteHandler
    errors: ErrorForm
    is_open: bool
    reads: tuple[str, ...]
    max_body_bytes: int | None
    doc: RouteDoc
    needs: str = "admin"


@dataclass(slots=True)
class Path:
    """All methods of one path."""

    name: str
    methods: dict[str, Route] = field(default_factory=dict)

    def allow(self) -> str:
        """The value of ``Allow``."""
        names = set(self.methods) | ({"HEAD"} if "GET" in self.methods else set())
        return ", ".join(sorted(names))


class Router:
    """The routes of one application."""

    def __init__(self) -> None:
        self.exact: dict[str, Path] = {}
        self._patterns: list[tuple[tuple[str, ...], Path]] = []

    def add(self, route: Route) -> None:
        """Take in a route.

        Raises:
            UsageError: The path has that method already, or is no path.
        """
        if not route.name.startswith("/"):
            raise UsageError(f"a route's path begins with '/': '{route.name}' does not")
        path = self._path(route.name)
        if route.method in path.methods:
            raise UsageError(f"{route.method} {route.name} is routed twice")
        path.methods[route.method] = route

    def _path(self, name: str) -> Path:
        if "{" not in name:
            return self.exact.setdefault(name, Path(name))
        segments = tuple(name.split("/"))
        for known, path in self._patterns:
            if known == segments:
                return path
        path = Path(name)
        self._patterns.append((segments, path))
        # More literal segments first: /a/{x} before /{y}/{x}; then in the order of declaration (sort is stable).
        self._patterns.sort(key=lambda entry: sum(segment.startswith("{") for segment in entry[0]))
        return path

    def match(self, path: str) -> tuple[Path, dict[str, str]] | None:
        """The pattern that ``path`` fits, and its named segments; None: there is none."""
        segments = path.split("/")
        for pattern, found in self._patterns:
            if len(pattern) == len(segments) and all(
                (p[:1] == "{" and s) or p == s for p, s in zip(pattern, segments, strict=True)
            ):
                named = {p[1:-1]: s for p, s in zip(pattern, segments, strict=True) if p[:1] == "{"}
                return found, named
        return None

    def paths(self) -> list[Path]:
        """All paths, in the order of declaration, exact ones first."""
        return [*self.exact.values(), *(path for _, path in self._patterns)]

    def nearest(self, path: str) -> str | None:
        """The path that was most likely meant."""
        return nearest(path, [known.name for known in self.paths()])

"""The pages: the chat at ``/`` and what it loads, from the package, with no network."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from weft.context import Context
from weft.http.message import Request, Response
from weft.serve.application import Application, RouteDoc, RouteHandler

FILES: Final = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/static/chat.js": ("chat.js", "text/javascript; charset=utf-8"),
    "/static/chat.css": ("chat.css", "text/css; charset=utf-8"),
}
"""Path to file and type. A fixed table: no path of a request ever reaches the file system."""


def add_pages(app: Application) -> None:
    """Serve the chat page."""
    for path, (name, content_type) in FILES.items():
        content = (files("weft") / "web" / name).read_bytes()
        doc = RouteDoc(
            summary="The chat page.", content_type="text/html", tags=("about",), hidden=path != "/"
        )
        app.route("GET", path, _file(content, content_type), doc=doc)


def _file(content: bytes, content_type: str) -> RouteHandler:
    async def page(request: Request, context: Context) -> Response:
        return Response(200, [("cache-control", "no-cache")], content, content_type)

    return page

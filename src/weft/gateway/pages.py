"""The pages: the chat at ``/`` and what it loads, from the package, with no network."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from weft.context import Context
from weft.gateway.login.login import Login
from weft.gateway.login.routes import add_me
from weft.http.message import Request, Response
from weft.serve.application import Application, RouteDoc, RouteHandler

FILES: Final = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/static/chat.js": ("chat.js", "text/javascript; charset=utf-8"),
    "/static/early.js": ("early.js", "text/javascript; charset=utf-8"),
    "/static/chat.css": ("chat.css", "text/css; charset=utf-8"),
}
"""Path to file and type. A fixed table: no path of a request ever reaches the file system."""

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
"""The page's own files and this server's API, and nothing else. No script can make HTML or code out of text: what a
document or a model says stays text even if the page had a fault. An answer's picture is never fetched."""


def add_pages(app: Application, login: Login | None = None) -> None:
    """Serve the chat page, and who looks at it."""
    for path, (name, content_type) in FILES.items():
        content = (files("weft") / "web" / name).read_bytes()
        doc = RouteDoc(
            summary="The chat page.", content_type="text/html", tags=("about",), hidden=path != "/"
        )
        # The colours are for the page to log in too.
        is_open = path == "/static/early.js"
        app.route("GET", path, _file(content, content_type), doc=doc, open=is_open, needs="")
    add_me(app, login)


def _file(content: bytes, content_type: str) -> RouteHandler:
    headers = [("cache-control", "no-cache"), ("x-content-type-options", "nosniff")]
    if content_type.startswith("text/html"):
        headers = [headers[0], ("content-security-policy", CONTENT_SECURITY_POLICY)]

    async def page(request: Request, context: Context) -> Response:
        return Response(200, headers, content, content_type)

    return page

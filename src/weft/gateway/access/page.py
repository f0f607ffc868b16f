"""``/keys``: the page on which an administrator makes and revokes API keys. What it does, ``/v1/keys`` does."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from weft.context import Context
from weft.gateway.pages import CONTENT_SECURITY_POLICY
from weft.http.message import Request, Response
from weft.serve.application import Application, RouteDoc
from weft.serve.routing import RouteHandler

PATH: Final = "/keys"

FILES: Final = {
    PATH: ("keys.html", "text/html; charset=utf-8"),
    "/static/keys.js": ("keys.js", "text/javascript; charset=utf-8"),
    "/static/keys.css": ("keys.css", "text/css; charset=utf-8"),
}
"""Path to file and type."""


def keys_page(app: Application) -> None:
    """Serve the page, to administrators; who is nobody yet is led to the login, where there is one."""
    for path, (name, content_type) in FILES.items():
        content = (files("weft") / "web" / name).read_bytes()
        doc = RouteDoc(
            summary="The page of the API keys.", content_type="text/html", tags=("keys",), hidden=path != PATH
        )
        app.route("GET", path, _file(content, content_type), doc=doc)


def _file(content: bytes, content_type: str) -> RouteHandler:
    headers = [("cache-control", "no-cache"), ("x-content-type-options", "nosniff")]
    if content_type.startswith("text/html"):
        headers.append(("content-security-policy", CONTENT_SECURITY_POLICY))

    async def page(request: Request, context: Context) -> Response:
        return Response(200, headers, content, content_type)

    return page

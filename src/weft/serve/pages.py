"""Pages: the headers that every one carries, and the one that says how to get in."""

from __future__ import annotations

import base64
import hashlib
from typing import Final

from weft.http.message import Response

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
"""Scripts and styles from this server's own files only."""

PAGE_HEADERS: Final[tuple[tuple[str, str], ...]] = (
    ("content-security-policy", CONTENT_SECURITY_POLICY),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
)
"""What a reply with HTML carries, unless its handler has set the header itself."""


def page(html: str, *, status: int = 200, inline_style: str = "") -> Response:
    """An HTML page whose only inline part is one style, admitted by its hash."""
    headers: tuple[tuple[str, str], ...] = ()
    if inline_style:
        digest = base64.b64encode(hashlib.sha256(inline_style.encode()).digest()).decode()
        policy = f"{CONTENT_SECURITY_POLICY}; style-src 'self' 'sha256-{digest}'"
        headers = (("content-security-policy", policy),)
    return Response(status, headers, html.encode(), "text/html; charset=utf-8")


def token_page(refusal: Response) -> Response:
    """The 401 as a person in a browser can read it."""
    html = (
        "<!doctype html><html lang=en><meta charset=utf-8><title>Access token needed</title>"
        "<h1>This server asks for its access token</h1>"
        "<p>Open the link that the server printed when it was started. It ends with <code>/?token=...</code> and "
        "needs to be opened once in this browser. If you have just done so, reload this page.</p></html>"
    )
    return Response(refusal.status, refusal.headers, html.encode(), "text/html; charset=utf-8")

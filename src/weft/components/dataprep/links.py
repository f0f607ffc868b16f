"""Web pages that a user names: fetched from public addresses only, within bounds."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

from weft.components.dataprep.blocks import RefusedError
from weft.errors import WeftError
from weft.host import Host
from weft.types import Upload

MAX_REDIRECTS: Final = 5
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


async def fetch(host: Host, link: str, *, timeout_s: float, max_bytes: int) -> Upload:
    """The page behind a link, as if it had been uploaded under its address.

    Every address on the way, each redirect's too, is checked by the host's guard for links that users give.

    Raises:
        RefusedError: It is no web address, not public, cannot be reached, too large, or the server says no.
    """
    address = link
    for _ in range(MAX_REDIRECTS + 1):
        base, path = _parts(address)
        try:
            client = host.http(base, timeout_s=timeout_s, public_only=True)
            reply = await client.stream(
                "GET", path, headers={"accept": "text/html, text/plain, application/pdf"}
            )
            async with reply:
                if reply.status in REDIRECTS and (target := reply.header("location")):
                    address = _redirected(address, target)
                    continue
                if reply.status != 200:
                    raise RefusedError(f"the server answered {reply.status}")
                content = bytearray()
                async for chunk in reply.chunks():
                    content += chunk
                    if len(content) > max_bytes:
                        raise RefusedError(f"it is larger than {max_bytes:,} bytes")
        except WeftError as error:
            raise RefusedError(f"it cannot be fetched: {error.message}") from error
        return Upload(link, bytes(content), reply.header("content-type") or "text/html")
    raise RefusedError(f"it redirects more than {MAX_REDIRECTS} times")


def _redirected(address: str, target: str) -> str:
    try:
        return urljoin(address, target)
    except ValueError as error:
        raise RefusedError(f"it redirects to what is no web address: {error}") from error


def _parts(address: str) -> tuple[str, str]:
    """Origin and path of a web address."""
    try:
        parts = urlsplit(address)
        port = f":{parts.port}" if parts.port else ""
    except ValueError as error:
        raise RefusedError(f"it is not a web address: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise RefusedError("it is not a web address: links begin with http:// or https://")
    if parts.username or parts.password:
        raise RefusedError("links with a user name or password in them are not followed")
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    query = quote(parts.query, safe="/?%:@!$&'()*+,;=~-._")
    return f"{parts.scheme}://{name}{port}", urlunsplit(("", "", path, query, ""))

"""GET for model sources: redirects, passwords of an index, and errors in words.

The connections are :mod:`weft.http`'s; what may be connected to is decided by the client that is handed in.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

from weft.errors import ModelUnavailableError
from weft.http.client import Client, Endpoint, StreamReply

MAX_REDIRECTS: Final = 5
"""The hub needs two; more than five is a loop."""

MAX_PAGE_BYTES: Final = 32 << 20
"""An index page: the largest project's is about 10 MB."""


class Web:
    """Fetches URLs through one client, keeping its connections.

    Args:
        client: Owns the connections.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._endpoints: dict[str, Endpoint] = {}
        self._passwords: dict[str, str] = {}

    @asynccontextmanager
    async def get(
        self, url: str, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[tuple[str, StreamReply]]:
        """The reply to a GET after redirects, and the URL that it came from. Leaving early closes the connection.

        ``Authorization`` does not follow a redirect to another host.

        Raises:
            ModelUnavailableError: Redirected in circles, or to something that is not HTTP.
            ServiceError: No connection or no reply.
        """
        sent = dict(headers or {})
        for _ in range(MAX_REDIRECTS + 1):
            origin, target = self._split(url)
            with_password = sent | (
                {"authorization": self._passwords[origin]} if origin in self._passwords else {}
            )
            fields = list(with_password.items())
            async with await self._endpoint(origin).stream("GET", target, headers=fields) as reply:
                location = reply.headers.get("location")
                if reply.status not in {301, 302, 303, 307, 308} or location is None:
                    yield url, reply
                    return
            url = urljoin(url, location)
            if not url.startswith(("http://", "https://")) or (
                origin.startswith("https:") and not url.startswith("https:")
            ):
                raise ModelUnavailableError(f"{origin} redirects to {url}, which is not followed")
            if self._split(url)[0] != origin:
                sent.pop("authorization", None)
        raise ModelUnavailableError(f"{url} is still a redirect after {MAX_REDIRECTS} others")

    async def page(self, url: str, accept: str) -> tuple[str, str, bytes]:
        """A whole page: its URL after redirects, content type and body.

        Raises:
            ModelUnavailableError: The status is not 200, or it is larger than an index page can be.
            ServiceError: No connection, or the reply was cut short.
        """
        async with self.get(url, {"accept": accept}) as (final, reply):
            if reply.status != 200:
                raise ModelUnavailableError(f"answered {reply.status}")
            body = bytearray()
            async for chunk in reply.body:
                body += chunk
                if len(body) > MAX_PAGE_BYTES:
                    raise ModelUnavailableError(f"the page is larger than {MAX_PAGE_BYTES} bytes")
            return final, reply.headers.get("content-type", ""), bytes(body)

    def _endpoint(self, origin: str) -> Endpoint:
        if origin not in self._endpoints:
            self._endpoints[origin] = self._client.endpoint(origin)
        return self._endpoints[origin]

    def _split(self, url: str) -> tuple[str, str]:
        """Origin and request target; a user name and password in the URL are kept for that origin."""
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        origin = f"{parts.scheme}://{host}"
        if parts.username is not None:
            credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._passwords[origin] = "Basic " + base64.b64encode(credentials.encode()).decode()
        return origin, urlunsplit(("", "", parts.path or "/", parts.query, ""))

"""Talking to a running gateway: what ``ask``, ``ingest``, ``call``, ``registry`` and ``conform`` share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import click
import msgspec

from weft.cli.settings import Settings, from_environment, tls_context
from weft.errors import NotReadyError, RequestError, UnreachableError
from weft.http.client import Client, Endpoint, Reply

R = TypeVar("R")

COMMAND_S = 3600
"""How long a command may take that is signed once: checking a slow service takes minutes."""

url_option: Callable[[Any], Any] = click.option(
    "--url", help="Where the gateway is.  [default: $WEFT_URL, else http://127.0.0.1:8080]"
)


class RemoteError(RequestError):
    """The server answered with an error; its own words are the message."""

    code = "request_failed"


def run(work: Coroutine[Any, Any, R]) -> R:
    """Run a command's coroutine; Ctrl-C cancels it, so that the server sees it go."""
    return asyncio.run(work)


@asynccontextmanager
async def connected(
    base: str,
    *,
    start: str = "start it with: weft up chatqna   (or say where it is: --url, or WEFT_URL)",
) -> AsyncIterator[tuple[Client, list[tuple[str, str]]]]:
    """A client, and the headers that carry the access token if there is one; ``start`` is said when nothing answers."""
    settings = from_environment()
    client = Client(
        ssl_context=tls_context(settings) if base.startswith("https:") else None, **_proxies(settings)
    )
    headers = _credentials(settings)
    try:
        yield client, headers
    except UnreachableError as error:
        raise NotReadyError(f"nothing answers at {base}", hint=start) from error
    finally:
        await client.aclose()


@asynccontextmanager
async def gateway(url: str | None, *, timeout_s: float = 60.0) -> AsyncIterator[Endpoint]:
    """An endpoint for the gateway, with the access token if there is one."""
    base = url or from_environment().url
    async with connected(base) as (client, headers):
        yield client.endpoint(base, timeout_s=timeout_s, headers=headers)


def _credentials(settings: Settings) -> list[tuple[str, str]]:
    """What shows who asks: the access token or API key, else the signature that services on other machines take."""
    if settings.access_token:
        return [("authorization", f"Bearer {settings.access_token}")]
    from weft.context import Context
    from weft.transport.signing import CONTEXT_HEADER, MIN_SERVICE_KEY, SERVICE_KEY, ContextSigner

    key = settings.secret(SERVICE_KEY)
    if key is None or len(key) < MIN_SERVICE_KEY:
        return []
    return [(CONTEXT_HEADER, ContextSigner(key.encode(), lifetime_s=COMMAND_S).sign(Context()))]


def _proxies(settings: Settings) -> dict[str, Any]:
    return {"proxies": dict(settings.proxies), "no_proxy": settings.no_proxy}


def check(reply: Reply) -> Any:
    """The JSON of a reply, None for an empty one; an error status, or what is not JSON, raises with what was said."""
    readable = True
    try:
        body = msgspec.json.decode(reply.body) if reply.body else None
    except msgspec.DecodeError:
        body, readable = None, False
    if reply.status >= 400:
        hint = _STRANGER if not said(body) else _UNKNOWN if reply.status == 401 else None
        raise RemoteError(said(body) or f"the server answered {reply.status}", hint=hint)
    if not readable:
        raise RemoteError("the server's reply is not JSON", hint=_STRANGER)
    return body


_UNKNOWN = (
    "commands send what the environment has as WEFT_ACCESS_TOKEN: a key of this gateway, or its access token"
)
_STRANGER = "is that Weft's gateway? say where it is: --url, or WEFT_URL"


def said(body: Any) -> str | None:
    """The words of an error body, in OpenAI's form or as problem+json."""
    if not isinstance(body, dict):
        return None
    error = body.get("error")
    if isinstance(error, dict):
        return str(error.get("message"))
    return body.get("detail") or body.get("title")

"""A live service as the checks of the wire see it: requests in bytes, replies in bytes, the last exchange in words."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec

from weft.errors import RequestError, UnreachableError
from weft.http.client import Client, Reply, StreamReply
from weft.http.connect import parse_url
from weft.http.sse import SSEReader
from weft.testing.promises.base import WATCHDOG_S, Broken, Record, Unseen, cut, expect

JSON: Final = [("content-type", "application/json")]

RAW_TIMEOUT_S: Final = 10.0
"""How long an answer to bytes that need no work may take; far beyond what a machine under load needs."""


class Service:
    """A service at an address.

    Args:
        client: Owns the connections; it is not closed here.
        url: Where the service is.
        path: Its contract's own route.
        sample: A request that it can serve, as JSON.
        required: The fields that its contract requires, by name, with a value of a wrong type for each.
        is_openai: Whether its errors are in OpenAI's form.
        streams: Whether its contract streams.
        headers: Sent with each request (an ``authorization``).
        long: A request whose answer takes long, for a contract that streams.
    """

    def __init__(
        self,
        client: Client,
        url: str,
        *,
        path: str,
        sample: bytes,
        required: Mapping[str, Any],
        is_openai: bool = False,
        streams: bool = False,
        headers: Sequence[tuple[str, str]] = (),
        long: bytes = b"",
    ) -> None:
        self.client, self.url, self.path, self.sample = client, url, path, sample
        self.required, self.is_openai, self.streams = dict(required), is_openai, streams
        self.headers, self.long = list(headers), long or sample
        self.record = Record()
        self._endpoint = client.endpoint(url, timeout_s=WATCHDOG_S, headers=self.headers)
        self._anonymous = client.endpoint(url, timeout_s=WATCHDOG_S)

    async def send(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Sequence[tuple[str, str]] = (),
        *,
        anonymous: bool = False,
    ) -> Reply:
        """Any request; its reply, whatever its status.

        Raises:
            Broken: There was no whole reply.
        """
        self._note(method, path, body, headers)
        endpoint = self._anonymous if anonymous else self._endpoint
        try:
            reply = await endpoint.request(method, path, body, headers=[*headers])
        except RequestError as error:
            raise Broken(f"no whole reply: {error}") from error
        self.record.came = self._came(reply.status, reply.headers.get("content-type"), reply.body)
        return reply

    async def ask(self, body: bytes | None = None, headers: Sequence[tuple[str, str]] = ()) -> Reply:
        """A request to the contract's own route; the sample by default."""
        return await self.send("POST", self.path, self.sample if body is None else body, [*JSON, *headers])

    async def serve(self, body: bytes | None = None, headers: Sequence[tuple[str, str]] = ()) -> Any:
        """The JSON of the reply to a request that must be served.

        Raises:
            Broken: Its status is another than 200, or it is not JSON.
        """
        reply = await self.ask(body, headers)
        expect(reply.status == 200, f"status {reply.status}")
        return parsed(reply.body)

    async def open(self, body: bytes, headers: Sequence[tuple[str, str]] = ()) -> StreamReply:
        """A request for a stream; returns when its head is there."""
        self._note("POST", self.path, body, headers)
        try:
            reply = await self._endpoint.stream("POST", self.path, body, headers=[*JSON, *headers])
        except RequestError as error:
            raise Broken(f"no reply: {error}") from error
        self.record.came = self._came(reply.status, reply.headers.get("content-type"), b"(a stream)")
        return reply

    async def events(self, body: bytes, headers: Sequence[tuple[str, str]] = ()) -> list[bytes]:
        """The data of every event of a stream, read to its end.

        Raises:
            Broken: It is no stream, broke off, or ended within an event.
        """
        reader, found = SSEReader(), list[bytes]()
        async with await self.open(body, headers) as reply:
            if reply.status != 200 or _media_type(reply.headers.get("content-type")) != "text/event-stream":
                text = (await reply.read()).decode("utf-8", "replace")
                raise Broken(f"no stream, but status {reply.status}: {cut(text)}")
            try:
                async for block in reply.body:
                    found += [event.data for event in reader.feed(block)]
            except RequestError as error:
                raise Broken(f"the stream broke off after {len(found)} events: {error}") from error
        last = found[-1].decode("utf-8", "replace") if found else "none"
        self.record.came = f"{len(found)} events, the last one {cut(last)}"
        expect(reader.is_between_events, "the stream ended within an event")
        return found

    async def raw(self, data: bytes, *, named: str) -> bytes:
        """Write bytes on a connection of their own; what comes back until an empty line, or the end.

        Args:
            data: What is written.
            named: What it is, for the report.

        Raises:
            Broken: Nothing came.
            Unseen: Bytes cannot be written as they are (TLS).
        """
        origin, _ = parse_url(self.url)
        if origin.scheme == "https" and not origin.unix_path:
            raise Unseen("bytes are not sent as they are over TLS")
        self.record.sent = named
        if origin.unix_path:
            reader, writer = await asyncio.open_unix_connection(origin.unix_path)
        else:
            reader, writer = await asyncio.open_connection(origin.host, origin.port)
        try:
            writer.write(data)
            async with asyncio.timeout(RAW_TIMEOUT_S):
                head = await reader.readuntil(b"\r\n\r\n")
        except (
            TimeoutError,
            asyncio.IncompleteReadError,
            ConnectionError,
            asyncio.LimitOverrunError,
        ) as error:
            raise Broken(f"no reply within {RAW_TIMEOUT_S:g} s ({type(error).__name__})") from error
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
        self.record.came = cut(head.decode("latin-1").partition("\r\n")[0])
        return head

    def head(self, *fields: tuple[str, str]) -> bytes:
        """The head of a request to the contract's own route, up to its empty line."""
        origin, prefix = parse_url(self.url)
        lines = [f"POST {prefix}{self.path} HTTP/1.1", f"host: {origin.authority}"]
        lines += [f"{name}: {value}" for name, value in (*JSON, *self.headers, *fields)]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    async def is_reachable(self) -> None:
        """Find out whether anything answers.

        Raises:
            UnreachableError: Nothing does.
        """
        try:
            await self._endpoint.request("GET", "/health/live")
        except UnreachableError:
            raise
        except RequestError:
            return

    def _note(self, method: str, path: str, body: bytes, headers: Sequence[tuple[str, str]]) -> None:
        own = ", ".join(f"{name}: {value}" for name, value in headers if (name, value) not in JSON)
        parts = [f"{method} {path}", own, cut(body.decode("utf-8", "backslashreplace"))]
        self.record.sent, self.record.came = "  ".join(part for part in parts if part), ""

    def _came(self, status: int, content_type: str | None, body: bytes) -> str:
        return f"{status} {content_type or 'without content-type'}: {cut(body.decode('utf-8', 'backslashreplace'))}"


def parsed(body: bytes) -> Any:
    """JSON in UTF-8.

    Raises:
        Broken: It is not.
    """
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise Broken(f"the body is not JSON: {error}") from error


def is_json(reply: Reply) -> bool:
    """Whether a reply says that it is JSON."""
    kind = _media_type(reply.headers.get("content-type"))
    return kind == "application/json" or kind.endswith("+json")


def _media_type(content_type: str | None) -> str:
    return (content_type or "").partition(";")[0].strip().lower()


def changed(sample: bytes, **fields: Any) -> bytes:
    """A request with some fields set to other values."""
    return msgspec.json.encode(msgspec.json.decode(sample) | fields)


def without(sample: bytes, field: str) -> bytes:
    """A request without a field."""
    fields = msgspec.json.decode(sample)
    fields.pop(field, None)
    return msgspec.json.encode(fields)


def check_error(service: Service, reply: Reply) -> None:
    """An error reply is in the form that errors have.

    Raises:
        Broken: It is not.
    """
    expect(reply.status >= 400, f"status {reply.status}")
    expect(is_json(reply), f"an error as {reply.headers.get('content-type')!r}, not as JSON")
    body = parsed(reply.body)
    expect(isinstance(body, dict), "the error's body is no JSON object")
    if service.is_openai and isinstance(body.get("error"), dict):
        lacking = [name for name in ("message", "type", "param", "code") if name not in body["error"]]
        expect(not lacking, f"the error lacks {', '.join(lacking)}")
        expect(body["error"]["message"], "the error says nothing")
        return
    expect(not service.is_openai, 'the body is not {"error": {message, type, param, code}}')
    lacking = [name for name in ("title", "status", "detail") if not body.get(name)]
    expect(not lacking, f"the problem lacks {', '.join(lacking)}")
    expect(body["status"] == reply.status, f"the body says {body['status']}, the status line {reply.status}")
    kind = _media_type(reply.headers.get("content-type"))
    expect(kind == "application/problem+json", f"content-type {kind!r}")

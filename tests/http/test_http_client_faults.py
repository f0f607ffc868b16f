"""Servers that break the rules: each gives one error that says what was wrong and where; nothing is taken for a reply that is none."""

from __future__ import annotations

import asyncio
import tracemalloc

import pytest
from wirekit import WATCHDOG_S, answering, eventually, json_reply, read_request, until_closed

from weft.errors import BackendReplyError, DeadlineError, UnreachableError
from weft.http.client import Client, ClientLimits

HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"

BROKEN = {
    "garbage": (b"hello world, how are you\r\n\r\n", "does not start with an HTTP/1.1 status line"),
    "html": (b"<html>502</html>\r\n\r\n", "does not start with an HTTP/1.1 status line"),
    "http2": (b"HTTP/2 200\r\n\r\n", "does not start with an HTTP/1.1 status line"),
    "version": (b"HTTP/1.2 200 OK\r\n\r\n", "does not start with an HTTP/1.1 status line"),
    "status_text": (b"HTTP/1.1 abc OK\r\n\r\n", "malformed head"),
    "status_short": (b"HTTP/1.1 20 OK\r\n\r\n", "malformed head"),
    "status_long": (b"HTTP/1.1 2000 OK\r\n\r\n", "malformed head"),
    "status_low": (b"HTTP/1.1 099 OK\r\n\r\n", "no valid status"),
    "status_high": (b"HTTP/1.1 600 OK\r\n\r\n", "no valid status"),
    "switching": (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "answered 101"),
    "length_twice": (HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", "malformed head"),
    "length_signed": (HEAD + b"Content-Length: +1\r\n\r\na", "malformed head"),
    "length_list": (HEAD + b"Content-Length: 1, 1\r\n\r\na", "malformed head"),
    "length_overflow": (HEAD + b"Content-Length: 99999999999999999999\r\n\r\n", "malformed head"),
    "length_zeros": (HEAD + b"Content-Length: " + b"0" * 5000 + b"1\r\n\r\na", "out of range"),
    "length_and_chunked": (CHUNKED[:-2] + b"Content-Length: 1\r\n\r\n1\r\na\r\n0\r\n\r\n", "malformed head"),
    "coding_unknown": (HEAD + b"Transfer-Encoding: gzip\r\n\r\nabc", "not plain chunked"),
    "coding_twice": (
        HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "not plain chunked",
    ),
    "coding_in_http10": (
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "not plain chunked",
    ),
    "folded": (HEAD + b"A: b\r\n c\r\n\r\n", "malformed head"),
    "bare_cr": (HEAD + b"A: b\rc\r\n\r\n", "malformed head"),
    "nul": (HEAD + b"A: b\0\r\n\r\n", "malformed head"),
    "space_before_colon": (HEAD + b"A : b\r\n\r\n", "malformed head"),
    "many_headers": (
        HEAD + b"".join(b"A%d: b\r\n" % i for i in range(201)) + b"\r\n",
        "more than 200 header",
    ),
    "huge_header": (HEAD + b"A: " + b"b" * 70_000 + b"\r\n\r\n", "larger than 65536 bytes"),
    "endless_header": (HEAD + b"A: " + b"b" * 70_000, "larger than 65536 bytes"),
    "informational_flood": (b"HTTP/1.1 103 Early\r\n\r\n" * 9, "answered 103"),
    "ends_in_head": (HEAD + b"A: b\r\n", "ended in its head"),
    "ends_after_informational": (b"HTTP/1.1 100 Continue\r\n\r\n", "ended in its head"),
    "ends_in_body": (HEAD + b"Content-Length: 10\r\n\r\nabc", "cut short"),
    "ends_in_chunk": (CHUNKED + b"5\r\nabc", "cut short"),
    "ends_between_chunks": (CHUNKED + b"3\r\nabc\r\n", "cut short"),
    "ends_before_trailers_do": (CHUNKED + b"3\r\nabc\r\n0\r\n", "cut short"),
    "chunk_size": (CHUNKED + b"xyz\r\nabc\r\n0\r\n\r\n", "malformed chunk size"),
    "chunk_size_signed": (CHUNKED + b"-1\r\nabc\r\n0\r\n\r\n", "malformed chunk size"),
    "chunk_size_huge": (CHUNKED + b"f" * 17 + b"\r\nabc\r\n0\r\n\r\n", "malformed chunk size"),
    "chunk_too_long": (CHUNKED + b"3\r\nabcd\r\n0\r\n\r\n", "longer than its size"),
    "trailer": (CHUNKED + b"3\r\nabc\r\n0\r\nbad\r\n\r\n", "malformed trailer"),
}
IN_BODY = ("ends_in_body", "ends_in_chunk", "ends_between_chunks", "ends_before_trailers_do", "trailer")


@pytest.mark.parametrize("name", BROKEN)
async def test_broken_reply_is_one_error(backend, client, name) -> None:
    """A reply that breaks a rule is BackendReplyError with what and where; its connection is never used again."""
    data, said = BROKEN[name]
    server = await backend(answering(data))
    with pytest.raises(BackendReplyError, match=said) as caught:
        await client.endpoint(server.url).request("GET", "/a")
    assert f"{server.url}/a" in str(caught.value)
    await eventually(lambda: client.open_connections == 0)


@pytest.mark.parametrize("name", IN_BODY)
async def test_broken_stream_is_one_error(backend, client, name) -> None:
    """A stream that breaks a rule hands over what came before, then raises."""
    data, said = BROKEN[name]
    server = await backend(answering(data))
    reply = await client.endpoint(server.url).stream("GET", "/a")
    got = b""
    with pytest.raises(BackendReplyError, match=said) as caught:
        async for block in reply.body:
            got += block
    assert got in (b"abc", b"")
    assert f"{server.url}/a" in str(caught.value)
    await eventually(lambda: client.open_connections == 0)


@pytest.mark.parametrize(
    "name", ["length_twice", "ends_in_body", "chunk_too_long", "informational_flood", "huge_header"]
)
async def test_broken_reply_in_pieces(backend, client, name) -> None:
    """It makes no difference how the reply is cut."""
    data, said = BROKEN[name]

    async def conversation(reader, writer) -> None:
        await read_request(reader)
        for i in range(0, len(data), max(len(data) // 100, 1)):
            writer.write(data[i : i + max(len(data) // 100, 1)])
            for _ in range(4):
                await asyncio.sleep(0)

    server = await backend(conversation)
    with pytest.raises(BackendReplyError, match=said):
        await client.endpoint(server.url).request("GET", "/a")


async def test_nothing_is_unreachable(backend, client) -> None:
    """A server that closes without a word is UnreachableError, on a fresh connection without a second try."""
    server = await backend(answering(b""))
    with pytest.raises(UnreachableError, match="ended before the reply"):
        await client.endpoint(server.url).request("GET", "/")
    assert server.connections == 1


async def test_informational_replies_are_passed_over(backend, client) -> None:
    """A few 1xx before the reply are dropped, whatever they say of a length, on every request of a connection."""
    data = (
        b"HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\n"
        b"HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\nLink: x\r\n\r\n" + json_reply(b"1")
    )
    server = await backend(answering(data, close=False))
    endpoint = client.endpoint(server.url)
    for _ in range(20):
        reply = await endpoint.request("GET", "/")
        assert (reply.status, reply.body) == (200, b"1")
    assert server.connections == 1


@pytest.mark.parametrize("extra", [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstolen", b"x"])
@pytest.mark.parametrize("reply", ["length", "chunked", "head", "no_content"])
async def test_smuggled_reply_is_never_read(backend, client, reply, extra) -> None:
    """Bytes after a reply end its connection: they could be taken for the answer to the next request."""
    data = {
        "length": json_reply(b"1"),
        "chunked": CHUNKED + b"1\r\n1\r\n0\r\n\r\n",
        "head": json_reply(b"1"),
        "no_content": b"HTTP/1.1 204 No Content\r\nContent-Length: 1\r\n\r\n1",
    }[reply]
    server = await backend(answering(data + extra, close=False))
    endpoint = client.endpoint(server.url)
    for _ in range(3):
        got = await endpoint.request("HEAD" if reply == "head" else "GET", "/")
        assert got.body == (b"1" if reply in ("length", "chunked") else b"")
    assert server.connections == 3


async def test_late_bytes_end_an_idle_connection(backend, client) -> None:
    """The same for bytes that come later, while the connection is idle."""

    async def conversation(reader, writer) -> None:
        await read_request(reader)
        writer.write(json_reply(b"1"))
        for _ in range(10):
            await asyncio.sleep(0)
        writer.write(json_reply(b'"stolen"'))
        await until_closed(reader)

    server = await backend(conversation)
    endpoint = client.endpoint(server.url)
    assert await endpoint.get_json("/") == 1
    await eventually(lambda: client.open_connections == 0)
    assert await endpoint.get_json("/") == 1


async def test_early_reply_to_an_unsent_request_ends_the_connection(backend, client) -> None:
    """A reply that comes before the request is sent whole leaves a connection that cannot be told what is next."""

    async def conversation(reader, writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(json_reply(b"1"))
        await writer.drain()
        await asyncio.Event().wait()

    server = await backend(conversation)
    reply = await client.endpoint(server.url).request("POST", "/", bytes(16_000_000))
    assert reply.body == b"1"
    await eventually(lambda: client.open_connections == 0)


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 100000000\r\n\r\n", b"\r\n", b"Transfer-Encoding: chunked\r\n\r\n"]
)
async def test_endless_body_is_bounded(backend, client, framing) -> None:
    """A body beyond the bound is an error as soon as it is known, whatever its framing; the server sees the end."""

    async def conversation(reader, writer) -> None:
        await read_request(reader)
        writer.write(HEAD + framing)
        block = b"4000\r\n" + bytes(0x4000) + b"\r\n"
        while True:
            writer.write(block)
            await writer.drain()

    server = await backend(conversation)
    tracemalloc.start()
    try:
        with pytest.raises(BackendReplyError, match="larger than 1000000 bytes"):
            await client.endpoint(server.url).request("GET", "/", max_bytes=1_000_000)
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()
    async with asyncio.timeout(WATCHDOG_S):
        await server.gone.wait()


async def test_unread_stream_holds_the_server_back(backend, client) -> None:
    """Of an endless stream that nobody reads, only the buffers are taken."""
    sent = 0

    async def conversation(reader, writer) -> None:
        nonlocal sent
        await read_request(reader)
        writer.write(HEAD + b"\r\n")
        while True:
            writer.write(bytes(65536))
            await writer.drain()
            sent += 65536

    server = await backend(conversation)
    async with await client.endpoint(server.url).stream("GET", "/") as reply:
        await reply.body.take()
        seen = -1
        while seen != sent:
            seen = sent
            await asyncio.sleep(0.05)
        assert reply.body.received_bytes < 1_000_000
    async with asyncio.timeout(WATCHDOG_S):
        await server.gone.wait()


@pytest.mark.parametrize("part", ["nothing", "head", "body", "informational"])
async def test_one_byte_at_a_time_meets_the_deadline(backend, client, part) -> None:
    """A reply that drips does not outlive its deadline, however steadily it drips."""

    async def conversation(reader, writer) -> None:
        await read_request(reader)
        writer.write(
            {"nothing": b"", "head": HEAD + b"A: ", "body": HEAD + b"Content-Length: 9999\r\n\r\n"}.get(
                part, b""
            )
        )
        while part != "nothing":
            writer.write(b"HTTP/1.1 100 C\r\n\r\n" if part == "informational" else b"x")
            await writer.drain()
            await asyncio.sleep(0.02 if part != "informational" else 0.1)
        await until_closed(reader)
        raise ConnectionError

    server = await backend(conversation)
    with pytest.raises(DeadlineError, match="did not come in time") as caught:
        await client.endpoint(server.url).request("GET", "/a", timeout_s=0.15)
    assert f"{server.url}/a" in str(caught.value)
    async with asyncio.timeout(WATCHDOG_S):
        await server.gone.wait()


async def test_silent_stream_is_noticed(backend, client) -> None:
    """A stream that falls silent raises after what came before it."""

    async def conversation(reader, writer) -> None:
        await read_request(reader)
        writer.write(CHUNKED + b"3\r\nabc\r\n")
        await until_closed(reader)
        raise ConnectionError

    server = await backend(conversation)
    reply = await client.endpoint(server.url).stream("GET", "/", idle_timeout_s=0.1)
    assert await reply.body.take() == b"abc"
    with pytest.raises(DeadlineError, match="silent"):
        await reply.body.take()
    async with asyncio.timeout(WATCHDOG_S):
        await server.gone.wait()


async def test_limits_are_the_clients_to_set(backend) -> None:
    """Bounds of heads are those of the client's limits."""
    server = await backend(answering(json_reply(b"1")))
    small = Client(limits=ClientLimits(max_header_bytes=20))
    with pytest.raises(BackendReplyError, match="larger than 20 bytes"):
        await small.endpoint(server.url).request("GET", "/")
    await small.aclose()

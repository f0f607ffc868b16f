"""Attacks on a gateway that asks who calls: bombs of headers and JSON, and clients that send slowly, with and without a key."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from accesskit import ROUTE, made
from frontkit import FrontRig
from loginkit import Issuer, forged
from weft.http.server import Server, ServerLimits

LIMITS = ServerLimits(header_timeout_s=0.1, body_timeout_s=0.1, min_body_rate=100_000, linger_s=0.05)
MARK = "leak-me-not"
"""In everything that is sent: it is in no log."""

DEEP = b'{"model": "talk", "messages": ' + b"[" * 200_000 + b'"leak-me-not"'


class Rig:
    """A gateway that takes keys and tokens, on a server with short patience."""

    def __init__(self, front: FrontRig) -> None:
        self.front, self.port, self.key = front, 0, ""

    async def start(self, stack: AsyncExitStack) -> None:
        issuer = Issuer()
        await issuer.start(stack)
        auth = f'auth: {{keys: true, accounts: true, oidc: {{issuer: "{issuer.url}", audience: weft}}}}\n'
        self.key = await made(self.front, "site")
        await self.front.gateway(ROUTE + auth)
        assert self.front.app is not None
        server = Server(self.front.app, on_error=self.front.app.on_error, limits=LIMITS)
        self.port = await server.listen("127.0.0.1", 0)
        stack.push_async_callback(server.aclose)

    async def send(self, *pieces: bytes) -> int:
        """Send pieces and wait for a reply meanwhile: its status. 0: the connection was closed without one."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            async with asyncio.timeout(10):
                line = await reader.readline()
        except ConnectionError:
            line = b""
        finally:
            writer.close()
        assert MARK not in self.front.log.getvalue()
        assert self.key not in self.front.log.getvalue()
        return int(line.split()[1]) if line else 0

    def head(self, *lines: str, length: int | None = None, key: bool = False) -> bytes:
        """The head of a question."""
        fields = [
            "POST /v1/chat/completions HTTP/1.1",
            "host: 127.0.0.1",
            "content-type: application/json",
            *lines,
        ]
        if key:
            fields.append(f"authorization: Bearer {self.key}")
        if length is not None:
            fields.append(f"content-length: {length}")
        return "".join(f"{field}\r\n" for field in fields).encode() + b"\r\n"


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with AsyncExitStack() as stack:
        made_rig = Rig(FrontRig(tmp_path, stack))
        await made_rig.start(stack)
        yield made_rig


@pytest.mark.parametrize("key", [False, True], ids=["stranger", "key"])
async def test_header_bombs_are_431(rig: Rig, *, key: bool) -> None:
    """Many fields, one long field, a long cookie, a long token: refused before anybody asks who calls."""
    many = [f"x-{number}: {MARK}" for number in range(200)]
    for lines in (many, [f"x-long: {MARK * 5000}"], [f"cookie: {MARK * 5000}"]):
        assert await rig.send(rig.head(*lines, length=2, key=key), b"{}") == 431
    assert (
        await rig.send(rig.head(f"authorization: Bearer ey{'A' * 40_000}.a.{MARK}", length=2), b"{}") == 431
    )


@pytest.mark.parametrize(
    "shown",
    [
        f"Bearer ey{'A' * 20_000}.{MARK}.b",
        f"Bearer ey{'.' * 20_000}{MARK}",
        f"Bearer {MARK * 1000}",
        f"Bearer weft_{MARK * 1000}",
        "Bearer " + forged({"alg": "none"}, {"sub": MARK}),
        "Bearer " + forged({"alg": "ES256", "kid": MARK * 100}, {"sub": MARK}),
        f"Basic {MARK * 1000}",
        f"{MARK}",
        "Bearer",
        "Bearer \xff\xfe",
    ],
    ids=lambda shown: shown[:20],
)
async def test_what_is_shown_and_is_nothing_is_401(rig: Rig, shown: str) -> None:
    """Whatever its length and form."""
    head = rig.head(f"authorization: {shown}", length=2)
    assert await rig.send(head, b"{}") == 401


async def test_cookies_of_any_form_are_nobodys(rig: Rig) -> None:
    """A program with made-up cookies is a stranger."""
    pairs = "; ".join(f"weft_session_{number}={MARK}" for number in range(500))
    for cookie in (pairs, "=" * 5000, ";" * 5000, f"weft_session_{'a' * 8}={'%00' * 1000}{MARK}"):
        assert await rig.send(rig.head(f"cookie: {cookie}", length=2), b"{}") == 401


@pytest.mark.parametrize(
    "body",
    [
        DEEP,
        b'{"model": "talk", "messages": [], "leak-me-not": ' + b'{"a":' * 100_000,
        b'{"model": "talk", "max_tokens": 1' + b"0" * 100_000 + b', "user": "leak-me-not"}',
        b'{"model": "talk", "temperature": 1e999999999, "user": "leak-me-not"}',
        b'"leak-me-not' + b"\\u0000" * 50_000,
        b"\xff\xfeleak-me-not",
        b'{"model": "talk", "\xffleak-me-not": 1}',
        b'{"model": "talk\xff", "user": "leak-me-not"}',
        b'{"model": "talk", "messages": [{"role": "user", "content": "leak-me-not\xff"}]}',
    ],
    ids=[
        *("nested lists", "nested objects", "a long number", "a large number", "an open string", "no text"),
        *("a field that is no text", "a model that is no text", "a content that is no text"),
    ],
)
async def test_json_bombs_are_400_with_a_key_and_401_without(rig: Rig, body: bytes) -> None:
    """A stranger's is not even read; a caller's is refused in bounded time and space."""
    assert await rig.send(rig.head(length=len(body)), body) == 401
    assert await rig.send(rig.head(length=len(body), key=True), body) == 400


async def test_forms_are_bounded(rig: Rig) -> None:
    """The page to log in takes 16 KiB, and says so before it has read more."""
    head = (
        b"POST /login HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/x-www-form-urlencoded\r\n"
        b"content-length: 90000000\r\n\r\n"
    )
    assert await rig.send(head, b"name=leak-me-not") == 413


async def test_a_slow_head_is_408(rig: Rig) -> None:
    """Also in the middle of what it shows."""
    start = rig.head(key=True)
    assert await rig.send(start[:40]) == 408
    assert await rig.send(start[:-10]) == 408


async def test_a_slow_body_is_408_with_a_key_and_401_without(rig: Rig) -> None:
    """A stranger holds nothing: the reply does not wait for the body."""
    assert await rig.send(rig.head(length=100_000, key=True), b'{"model": "leak-me-not') == 408
    assert await rig.send(rig.head(length=100_000), b'{"model": "leak-me-not') == 401


async def test_a_slow_form_is_408(rig: Rig) -> None:
    """Nobody waits for a password."""
    head = (
        b"POST /login HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/x-www-form-urlencoded\r\n"
        b"content-length: 1000\r\n\r\n"
    )
    assert await rig.send(head, b"name=leak-me-not&password=") == 408

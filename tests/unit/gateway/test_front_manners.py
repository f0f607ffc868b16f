"""What a Gateway file says of all its replies: compression, headers, other origins, bodies' lengths, the log of requests."""

from __future__ import annotations

import asyncio
import gzip
import io
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from frontkit import GATEWAY, TALK, FrontRig, ask
from papers import Papers
from weft.context import Context, Identity
from weft.errors import PayloadTooLargeError
from weft.http.message import Headers, Request, Response
from weft.serve.access import Access
from weft.serve.accesslog import MAX_HELD, MAX_WAITING, AccessLog
from weft.serve.compression import accepts_gzip, compressed
from weft.serve.log import Log
from weft.types import Usage


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[FrontRig]:
    async with AsyncExitStack() as stack:
        yield FrontRig(tmp_path, stack)


def spec(*keys: str, route: str = "") -> str:
    head = GATEWAY.replace("routes:\n", "".join(f"{key}\n" for key in keys) + "routes:\n")
    return TALK + head + f"  - {{path: /v1/greet, megaservice: talk{route}}}\n"


async def test_long_replies_are_compressed_for_who_takes_it(rig: FrontRig) -> None:
    """A client that takes gzip gets it, another the reply as it is, and both are told that there are two."""
    gateway = await rig.gateway(spec("compress_from: 100"))
    _, plain, headers = await ask(gateway, stream=False)
    assert "content-encoding" not in headers
    assert headers["vary"] == "accept-encoding"
    _, raw, headers = await ask(gateway, headers={"accept-encoding": "br, gzip"}, stream=False)
    assert headers["content-encoding"] == "gzip"
    assert int(headers["content-length"]) == len(raw)
    said = msgspec.json.decode(gzip.decompress(raw))["choices"]
    assert said == plain["choices"]


async def test_nothing_is_compressed_unless_the_file_says_so(rig: FrontRig) -> None:
    """Without the key, no reply is."""
    gateway = await rig.gateway(spec())
    _, _, headers = await ask(gateway, headers={"accept-encoding": "gzip"}, stream=False)
    assert "content-encoding" not in headers


@pytest.mark.parametrize(
    ("accepted", "is_taken"),
    [
        ("gzip", True), ("x-gzip;q=0.5", True), ("*", True), ("br;q=1.0, *;q=0.1", True), ("GZIP", True), ("", False),
        ("br", False), ("gzip;q=0", False), ("gzip; q=0.00, *", False), ("*;q=0", False), ("identity", False),
    ],
)  # fmt: skip
def test_what_a_client_takes(accepted: str, is_taken: bool) -> None:
    """Weights are read: what has none is taken, and what is zero is not."""
    assert accepts_gzip(accepted) is is_taken


@pytest.mark.parametrize(
    "response",
    [
        Response(200, (), b"x" * 50, "application/json"),
        Response(200, (), b"x" * 500, "image/png"),
        Response(200, [("content-encoding", "br")], b"x" * 500, "application/json"),
    ],
    ids=["short", "picture", "compressed"],
)
def test_what_gains_nothing_is_left_alone(response: Response) -> None:
    """Short replies, and what is compressed already, go out as they are."""
    assert compressed(response, "gzip", from_bytes=100) is response


async def test_every_reply_says_that_its_type_is_meant(rig: FrontRig) -> None:
    """Errors included; and no word of HTTPS where there is none."""
    gateway = await rig.gateway(spec())
    for path in ("/v1/chat/completions", "/nowhere"):
        _, _, headers = await ask(gateway, path, stream=False)
        assert headers["x-content-type-options"] == "nosniff"
        assert "strict-transport-security" not in headers


async def test_other_origins_are_told_what_the_file_says(rig: FrontRig) -> None:
    """A named origin may send the named headers and read ours; any other is refused, and gets no CORS header."""
    access = Access(origins=["https://chat.example"], headers=["X-Team"], max_age_s=30)
    gateway = await rig.gateway(spec(), access)
    sent = [("origin", "https://chat.example"), ("access-control-request-method", "POST")]
    reply = await gateway.request("OPTIONS", "/v1/greet", headers=sent)
    assert reply.status == 204
    assert "x-team" in (reply.headers.get("access-control-allow-headers") or "").split(", ")
    assert reply.headers.get("access-control-max-age") == "30"
    assert "access-control-allow-credentials" not in reply.headers
    status, _, headers = await ask(gateway, headers={"origin": "https://chat.example"}, stream=False)
    assert (status, headers["access-control-allow-origin"]) == (200, "https://chat.example")
    assert "x-request-id" in headers["access-control-expose-headers"]
    status, _, headers = await ask(gateway, headers={"origin": "https://evil.example"}, stream=False)
    assert status == 403
    assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize("path", ["/v1/greet", "/v1/chat/completions"])
async def test_a_body_that_is_too_long_is_refused(rig: FrontRig, path: str) -> None:
    """On each path to the target."""
    gateway = await rig.gateway(spec(route=", max_body_bytes: 200"))
    assert (await ask(gateway, path, stream=False))[0] == 200
    status, body, _ = await ask(gateway, path, user="x" * 200)
    assert status == 413
    assert "larger than 200 bytes" in str(body)


async def test_each_request_is_a_line(rig: FrontRig) -> None:
    """Route, status, time, tokens and id; nothing of what was said."""
    gateway = await rig.gateway(spec())
    await ask(gateway, headers={"x-request-id": "one"}, stream=False)
    await ask(gateway, "/nowhere/secret", headers={"x-request-id": "two"})
    assert rig.app is not None
    assert rig.app.access_log is not None
    assert rig.app.access_log.drain(10)
    lines = [msgspec.json.decode(line) for line in rig.log.getvalue().splitlines()]
    (first, second) = [line for line in lines if line["message"] == "request"]
    assert (first["route"], first["method"], first["status"]) == ("/v1/chat/completions", "POST", 200)
    assert first["request_id"] == "one"
    assert first["tokens"] > 0
    assert first["ms"] > 0
    assert (second["route"], second["status"], second["request_id"]) == ("unrouted", 404, "two")
    assert "Hello?" not in rig.log.getvalue()
    assert "secret" not in rig.log.getvalue()


async def test_without_the_log_there_are_no_lines(rig: FrontRig) -> None:
    """``access_log: false`` is quiet."""
    gateway = await rig.gateway(spec("access_log: false"))
    await ask(gateway, stream=False)
    assert "request_id" not in rig.log.getvalue()


async def test_lines_for_people_and_in_batches() -> None:
    """On a terminal a short line; what is noted together is written together, and never held without bound."""
    written: list[str] = []

    class Stream(io.StringIO):
        def write(self, text: str) -> int:
            written.append(text)
            return len(text)

    log = AccessLog(Log(Stream(), name="front", pretty=True), name="front")
    context = Context("r-1")
    context.identify(Identity(caller="ann"))
    context.count(Usage(3, 4, 7))
    log.note(None, 499, 0.0123, context)
    log.note(None, 200, 1.5, Context("r-2"))
    assert not written
    async with asyncio.timeout(10):
        while not written:
            await asyncio.sleep(0.01)
    (batch,) = written
    first, second = (line.partition("front: ")[2] for line in batch.splitlines())
    assert first == " unrouted 499 12 ms 7 tokens ann r-1"
    assert second == " unrouted 200 1500 ms r-2"
    written.clear()
    for _ in range(MAX_HELD + 1):
        log.note(None, 200, 0.0, context)
    assert log.drain(10)
    assert len(written) == 2


async def test_a_log_that_nobody_reads_holds_up_nobody() -> None:
    """Batches wait up to a bound; what is dropped beyond it is counted, and told when somebody reads again."""
    reading, written = threading.Event(), []

    class Pipe(io.StringIO):
        def write(self, text: str) -> int:
            assert reading.wait(10)
            written.append(text)
            return len(text)

    log = AccessLog(Log(Pipe(), name="front", pretty=False), name="front")
    for _ in range(MAX_WAITING + 2):
        log.note(None, 200, 0.0, Context("r"))
        log.flush()
    assert not log.drain(0.01)
    reading.set()
    assert log.drain(10)
    async with asyncio.timeout(10):
        while not any("2 requests have no line in this log" in text for text in written):
            await asyncio.sleep(0.005)
    assert sum('"message":"request"' in text for text in written) == MAX_WAITING


async def test_an_upload_is_refused_while_it_comes_in(rig: FrontRig) -> None:
    """A form is counted as it is read, whatever length was declared."""

    class Source:
        length = None
        blocks = [b"x" * 60, b"x" * 60, b""]

        async def take(self) -> bytes:
            return self.blocks.pop(0)

    request = Request("POST", "/", "/", "", Headers([]), None, source=Source())
    request.bound(100)

    async def read() -> Any:
        return [block async for block in request.chunks()]

    with pytest.raises(PayloadTooLargeError, match="larger than 100 bytes"):
        await read()


async def test_an_encoded_slash_is_none(rig: FrontRig) -> None:
    """What a proxy in front holds back by its path is not had by another way to write that path."""
    gateway = await rig.gateway(spec())
    for path in ("/v1%2fgreet", "/v1%2Fgreet", "%2fv1/greet"):
        assert (await ask(gateway, path.replace("%2fv1", "/%2fv1")))[0] == 404


async def test_only_a_reply_over_tls_speaks_of_it(
    rig: FrontRig, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Strict-Transport-Security is for who came by TLS, from a gateway that is not on loopback alone."""
    papers = Papers(tmp_path_factory.mktemp("papers"))
    tls = f"{{cert: {papers.server[0]}, key: {papers.server[1]}}}"
    await rig.gateway(spec(f'listen: [{{https: ":1", tls: {tls}}}, {{http: "127.0.0.1:1"}}]'))
    assert rig.app is not None
    seen = {}
    for scheme in ("http", "https"):
        reply = await rig.app(Request("GET", "/nowhere", "/nowhere", "", Headers([]), scheme=scheme))
        seen[scheme] = dict(reply.headers).get("strict-transport-security")
    assert seen == {"http": None, "https": "max-age=31536000"}

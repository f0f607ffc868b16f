"""Header and form values that nobody sends by accident: each is refused or ignored, never a failure of ours."""

from __future__ import annotations

import io
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from weft.context import Context
from weft.errors import InvalidRequestError, OverloadedError
from weft.http.client import Endpoint, status_error
from weft.http.message import Request, Response
from weft.serve.access import Access
from weft.serve.application import Application
from weft.serve.log import Log
from weft.serve.problems import error_response
from weft.serve.uploads import ingest_request
from weft.transport.wire_errors import read_error
from weft.types import Upload

Serve = Callable[[Application], Awaitable[Endpoint]]


async def hello(request: Request, context: Context) -> Response:
    return Response(200, (), msgspec.json.encode(context.deadline is not None))


@pytest.mark.parametrize(
    ("sent", "is_read"), [("1000", True), ("\xb2", False), ("1\xb9", False), ("-1", False), ("", False)]
)
async def test_a_timeout_is_decimal_digits(app: Application, serve: Serve, sent: str, is_read: bool) -> None:
    """Superscripts are digits to some and numbers to nobody: any other value is ignored."""
    app.route("GET", "/hello", hello)
    reply = await (await serve(app)).request("GET", "/hello", headers=[("x-weft-timeout-ms", sent)])
    assert (reply.status, reply.body) == (200, b"true" if is_read else b"false")


@pytest.mark.parametrize("origin", ["http://[", "http://[x]", "https://]", "null", ""])
async def test_an_origin_that_is_none_is_refused(
    app: Application, serve: Serve, logged: io.StringIO, origin: str
) -> None:
    """As any stranger's, without a traceback in the log."""
    app.route("GET", "/hello", hello)
    reply = await (await serve(app)).request("GET", "/hello", headers=[("origin", origin)])
    assert reply.status == 403
    assert logged.getvalue() == ""


@pytest.mark.parametrize("path", ["/\\evil.example/", "//evil.example/", "/\\/evil.example", "/hello"])
async def test_the_printed_link_stays_here(serve: Serve, path: str) -> None:
    """To a browser a backslash is a slash: neither two slashes nor one of each begins where it leads to."""
    server = await serve(Application(name="t", version="1", access=Access("secret")))
    reply = await server.request("GET", f"{path}?token=secret")
    assert reply.status == 303
    target = reply.headers.get("location", "")
    assert target[:1] == "/"
    assert target[1:2] not in ("/", "\\")


@pytest.mark.parametrize("digits", ["9" * 19, "1" * 5000])
def test_a_number_in_a_form_is_bounded(digits: str) -> None:
    """Python itself refuses to read thousands of digits, with an error that is no answer; the message is short."""
    with pytest.raises(InvalidRequestError, match="chunk_size") as caught:
        ingest_request([Upload("a", b"x", None)], [], {"chunk_size": digits})
    assert caught.value.param == "chunk_size"
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("value", ["inf", "1e999", "nan", "-5", "soon"])
def test_a_backends_retry_after_is_a_number_of_seconds(value: str) -> None:
    """Whatever else it says, the caller is told to come back, and when."""
    for error in (
        status_error("POST", "/", 429, b"busy", retry_after=value),
        read_error(429, b'{"error": {"message": "busy"}}', retry_after=value),
    ):
        assert isinstance(error, OverloadedError)
        reply = error_response(error, form="openai", request_id="r1")
        assert 1 <= int(dict(reply.headers)["retry-after"]) <= 1


@pytest.mark.parametrize("pretty", [True, False])
def test_a_log_line_is_one_line_and_writes_nothing_else(pretty: bool) -> None:
    """What a client put into a path can neither begin a line of its own nor steer the terminal."""
    stream = io.StringIO()
    log = Log(stream, name="t", pretty=pretty)
    try:
        raise ValueError("a\x1b[2Jb\r\nc")
    except ValueError as error:
        log.failure("it failed\x1b[31m", cause=error, path="/a\nweft: all is well\x1b]0;x\x07\x9b")
    written = stream.getvalue()
    if pretty:
        assert all(character.isprintable() or character == "\n" for character in written)
    assert "\x1b" not in written
    assert not [line for line in written.splitlines() if line.startswith("weft: all is well")]


@pytest.mark.parametrize(
    ("coding", "status"), [("gzip", 415), ("br, gzip", 415), ("identity", 200), ("Identity", 200)]
)
async def test_an_encoded_body_is_refused_as_such(
    app: Application, serve: Serve, coding: str, status: int
) -> None:
    """And not as JSON that is malformed: the sender would look for the fault in the wrong place."""
    app.route("POST", "/hello", hello)
    headers = [("content-type", "application/json"), ("content-encoding", coding)]
    reply = await (await serve(app)).request("POST", "/hello", b"{}", headers=headers)
    assert reply.status == status, reply.body
    assert (b"without Content-Encoding" in reply.body) is (status == 415)

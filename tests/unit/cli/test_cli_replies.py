"""What the commands make of ports, and of replies that are not what they asked for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from click.testing import CliRunner

from weft.cli.main import group

WORD = 'data: {"choices": [{"delta": {"content": "hello"}}]}\n\n'
REPLIES = {
    "/whole": ("text/event-stream", WORD + "data: [DONE]\n\n"),
    "/broken": ("text/event-stream", WORD + 'data: {"error": {"message": "the model has gone"}}\n\n'),
    "/page": ("text/html", "<html>a page of somebody else</html>"),
}


class _Stranger(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        content_type, text = REPLIES[self.path]
        self.send_response(200)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on the terminal of the tests."""


@pytest.fixture
def url() -> Iterator[str]:
    """A server that answers 200, whatever it says."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Stranger) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(10)


@pytest.mark.parametrize(
    "line",
    [("up", "--port", "99999"), ("up", "--port", "0"), ("doctor", "--port", "99999"),
     ("serve", "onnx-embedder", "--port", "65536")],
)  # fmt: skip
def test_a_port_that_cannot_be_is_refused(line: tuple[str, ...]) -> None:
    """It is no other port in disguise, as it would be to uvloop."""
    result = CliRunner().invoke(group, line)
    assert result.exit_code == 2
    assert "is not in the range 1<=x<=65535" in result.output


def test_a_stream_that_was_called_for_is_printed(url: str) -> None:
    """Its events as they came, not ``null``."""
    result = CliRunner().invoke(group, ["call", "/whole", "{}", "--url", url])
    assert result.exception is None
    assert result.output.strip() == REPLIES["/whole"][1].strip()


def test_a_stream_that_breaks_off_is_an_error(url: str) -> None:
    """What came is printed, and the error in the stream is the command's."""
    result = CliRunner().invoke(group, ["call", "/broken", "{}", "--url", url])
    assert WORD.strip() in result.output
    assert str(result.exception).startswith("the model has gone")


def test_a_reply_that_is_not_json_is_an_error(url: str) -> None:
    """200 from somebody else's server is no success."""
    result = CliRunner().invoke(group, ["call", "/page", "{}", "--url", url])
    assert str(result.exception).startswith("the server's reply is not JSON")
    assert "is that Weft's gateway?" in (getattr(result.exception, "hint", None) or "")

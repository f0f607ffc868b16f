"""With a model that runs elsewhere, the model does it all, from the evidence that it is shown."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import kinds
import pytest
from chatqna_process import Gateway

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SAID = "The model says so."


class Server:
    """Speaks OpenAI's API, says one thing, and notes what it was shown."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.reply(
                    b'{"object": "list", "data": [{"id": "big", "object": "model"}]}', "application/json"
                )

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                server.asked.append(body)
                base = {"id": "c", "model": "big", "created": 1}
                usage = {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9}
                if body.get("stream"):
                    deltas = [({"role": "assistant", "content": SAID}, None), ({}, "stop")]
                    chunks = [base | {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": d, "finish_reason": f}]} for d, f in deltas]  # fmt: skip
                    chunks.append(base | {"object": "chat.completion.chunk", "choices": [], "usage": usage})
                    text = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
                    self.reply(text.encode(), "text/event-stream")
                else:
                    choice = {
                        "index": 0,
                        "message": {"role": "assistant", "content": SAID},
                        "finish_reason": "stop",
                    }
                    self.reply(json.dumps(base | {"object": "chat.completion", "choices": [choice], "usage": usage}).encode(), "application/json")  # fmt: skip

            def reply(self, body: bytes, kind: str) -> None:
                self.send_response(200)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, server: Server) -> Iterator[Gateway]:
    """ChatQnA that asks it, with the harbour's documents."""
    running = Gateway(tmp_path_factory.mktemp("large"), "--llm", f"{server.url}#big")
    try:
        folder = Path(__file__).parent / "harbour"
        running.run("ingest", *(str(folder / name) for name in kinds.FILES))
        yield running
    finally:
        running.stop()


@pytest.mark.parametrize(
    ("message", "told", "shown"),
    [
        ("How many hours has the working week?", "from the quotes only", ["38 hours"]),
        ("What is in my documents?", "Tell the user about the documents", list(kinds.FILES)),
        ("Summarize contract.txt in 3 sentences", "in about 3 sentences", ["95 euros an hour", "paid leave"]),
        ("List the ingredients of the apple cake", "Give the list", list(kinds.INGREDIENTS)),
        ("Compare the notice period in contract.txt and handbook.md", "Compare what the quotes say", ["ten days", "three months"]),
        ("Write a letter to Ben Larsen about his notice period", "Do what the user asks", ["notice of ten days"]),
        ("Hello, what can you do?", "It can answer questions from the documents", []),
    ],
)  # fmt: skip
@pytest.mark.parametrize("stream", [False, True])
def test_the_model_is_shown_what_was_found(
    gateway: Gateway, server: Server, message: str, told: str, shown: list[str], *, stream: bool
) -> None:
    """Each kind with its own instructions and evidence; the answer leads, and its sources follow."""
    server.asked.clear()
    with gateway.client() as client:
        messages: Any = [{"role": "user", "content": message}]
        if stream:
            chunks = client.chat.completions.create(model="chatqna", messages=messages, stream=True)
            text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
        else:
            reply = client.chat.completions.create(model="chatqna", messages=messages)
            text = reply.choices[0].message.content or ""
    (asked,) = server.asked
    system, user = asked["messages"]
    assert told in system["content"]
    assert all(words in user["content"] for words in shown), user["content"]
    assert user["content"].endswith(message)
    assert text.startswith(SAID)
    assert ("Sources:" in text) is (bool(shown) and "documents?" not in message)


def test_a_question_back_asks_no_model(gateway: Gateway, server: Server) -> None:
    """There is nothing to put into words."""
    server.asked.clear()
    with gateway.client() as client:
        reply = client.chat.completions.create(
            model="chatqna", messages=[{"role": "user", "content": "Summarize the employee handbook"}]
        )
    assert (reply.choices[0].message.content or "").endswith("Which one do you mean?")
    assert server.asked == []

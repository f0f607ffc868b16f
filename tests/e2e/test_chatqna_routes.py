"""Every route of ChatQnA, as the reference documents it: each curl line is run as it stands."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from chatqna_process import HANDBOOK, QUESTION, Gateway, free_port

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.system("curl")]

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "http.md"
LINES = [line for line in REFERENCE.read_text().splitlines() if line.startswith("curl ")]
SECTION = re.compile(r"^### (GET|POST|DELETE) (\S+)$", re.MULTILINE)

ROUTES_OF_THE_ISSUE = [
    "/v1/chat/completions",
    "/v1/models",
    "/v1/embeddings",
    "/v1/retrieval",
    "/v1/reranking",
    "/v1/chatqna",
    "/v1/dataprep/ingest",
    "/v1/dataprep/get",
    "/v1/dataprep/delete",
    "/v1/dataprep/indices",
    "/health/live",
    "/health/ready",
    "/v1/health_check",
    "/metrics",
    "/openapi.json",
    "/docs",
    "/",
]


class Curl:
    """Runs curl in a folder with a document in it; ``localhost:8080`` is the gateway."""

    def __init__(self, gateway: Gateway, folder: Path, embedder: str, ollama: str) -> None:
        self.gateway, self.folder, self.embedder, self.ollama = gateway, folder, embedder, ollama

    def __call__(self, line: str) -> tuple[int, str, str]:
        """Status, content type and body of the reply."""
        line = line.replace("http://localhost:8080", self.gateway.url)
        line = line.replace("http://127.0.0.1:6000", self.embedder)
        line = line.replace("http://127.0.0.1:11434", self.ollama)
        if "JOB" in line:
            line = line.replace(
                "JOB", json.loads(self("curl http://localhost:8080/v1/dataprep/jobs")[2])["jobs"][0]["id"]
            )
        if "RESPONSE" in line:
            asked = """-H 'Content-Type: application/json' -d '{"model": "chatqna", "input": "Hi", "max_output_tokens": 4}'"""
            made = self(f"curl http://localhost:8080/v1/responses {asked}")[2]
            line = line.replace("RESPONSE", json.loads(made)["id"])
        done = subprocess.run(
            [*shlex.split(line), "-sS", "--noproxy", "*", "-w", "\n%{http_code} %{content_type}"],
            cwd=self.folder, capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        body, _, last = done.stdout.rpartition("\n")
        status, _, kind = last.partition(" ")
        return int(status), kind, body


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A microservice of its own, to be registered."""
    port = free_port()
    command = [sys.executable, "-c", "from weft.cli.main import main; main()", "serve", "onnx-embedder"]
    process = subprocess.Popen(
        [*command, "--port", str(port), "--data", str(tmp_path_factory.mktemp("embedder"))],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert any("is ready" in line for line in process.stdout)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()


class Ollama(BaseHTTPRequestHandler):
    """A server with one model, in OpenAI's form."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            self._answer(200, {"object": "list", "data": [{"id": "qwen3:8b", "object": "model"}]})
        else:
            self._answer(404, {"error": {"message": "not found"}})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        message = {"role": "assistant", "content": "Hello"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        reply = {"id": "1", "object": "chat.completion", "created": 1, "model": "qwen3:8b"}
        self._answer(200, reply | {"choices": [choice], "usage": usage})

    def _answer(self, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def ollama() -> Iterator[str]:
    """A model server on this machine, to be switched to."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Ollama) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join(10)


@pytest.fixture
def curl(gateway: Gateway, tmp_path: Path, embedder: str, ollama: str) -> Curl:
    (tmp_path / "handbook.txt").write_text(HANDBOOK)
    return Curl(gateway, tmp_path, embedder, ollama)


ENDS = ("data: [DONE]", 'data: {"type":"message_stop"}', 'data: {"type":"response.')
"""The last line of a stream that ended: OpenAI's, Anthropic's, and of the Responses API."""


def test_the_reference_has_every_route(curl: Curl) -> None:
    """The page has each route of the running gateway, with a curl line, and the gateway has each of the page."""
    document = json.loads(curl("curl http://localhost:8080/openapi.json")[2])
    served = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    documented = set(SECTION.findall(REFERENCE.read_text()))
    assert documented == served
    assert set(ROUTES_OF_THE_ISSUE) <= {path for _, path in documented}
    assert len(LINES) >= len(documented)


def test_every_curl_line_works(curl: Curl) -> None:
    """In the order of the page, so that a document is there before it is deleted and a service before it is removed."""
    try:
        for line in LINES:
            status, kind, body = curl(line)
            assert 200 <= status < 300, (line, status, body)
            assert "problem" not in kind, line
            if kind == "application/json":
                answer = json.loads(body)
                assert not (isinstance(answer, dict) and answer.get("error")), (line, body)
            elif kind == "text/event-stream":
                assert body.rstrip().splitlines()[-1].startswith(ENDS), (line, body)
                assert '"error"' not in body.replace('"error":null', ""), (line, body)
    finally:  # the page deletes the handbook, which other tests ask
        curl("curl http://localhost:8080/v1/dataprep/ingest -F files=@handbook.txt")


def test_openapi_is_valid(curl: Curl) -> None:
    """It is OpenAPI 3.1: each schema is valid JSON Schema, each operation has a name of its own, a reply and parameters."""
    document = json.loads(curl("curl http://localhost:8080/openapi.json")[2])
    assert document["openapi"].startswith("3.1.")
    assert document["info"]["description"] == "Answers questions from your documents, with citations."
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    names: list[str] = []
    for path, methods in document["paths"].items():
        for operation in methods.values():
            names.append(operation["operationId"])
            assert all(reply["description"] for reply in operation["responses"].values())
            declared = {
                p["name"] for p in operation.get("parameters", []) if p["in"] == "path" and p["required"]
            }
            assert declared == set(re.findall(r"\{(\w+)\}", path))
            assert not re.search(r"Attributes:|:class:|``", json.dumps(operation))
    assert len(names) == len(set(names))
    assert "Attributes:" not in json.dumps(document)


def test_the_examples_fit_their_schemas(curl: Curl) -> None:
    """Each example of a request is what its schema describes."""
    document = json.loads(curl("curl http://localhost:8080/openapi.json")[2])
    seen = 0
    for path, methods in document["paths"].items():
        for operation in methods.values():
            media = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            for example in media.get("examples", {}).values():
                if path in FOREIGN:
                    continue
                schema = media["schema"] | {"components": document["components"]}
                jsonschema.Draft202012Validator(schema).validate(example["value"])
                seen += 1
    assert seen > 5


FOREIGN = {"/v1/embeddings", "/embed", "/v1/chatqna", "/rerank"}
"""Routes whose examples are in a form that is not the contract's own."""


def test_the_docs_page_needs_no_network(curl: Curl) -> None:
    """It loads nothing: no script, no font, no image, no address of anybody else; the policy forbids them too."""
    status, kind, body = curl("curl http://localhost:8080/docs")
    assert (status, kind) == (200, "text/html; charset=utf-8")
    assert not re.search(r"<(script|link|img|iframe)\b|@import|url\(", body)
    assert set(re.findall(r'(?:src|href)="(?!#)([^"]*)"', body)) == {"/openapi.json"}
    assert "/v1/dataprep/ingest" in body


def test_opea_routes_are_as_their_clients_expect(curl: Curl) -> None:
    """Bytes-literal events by default, OpenAI's chunks when negotiated, a completion when not streamed."""
    asked = f"-H 'Content-Type: application/json' -d '{json.dumps({'messages': QUESTION, 'max_tokens': 4})}'"
    status, kind, body = curl(f"curl http://localhost:8080/v1/chatqna {asked}")
    events = [line for line in body.splitlines() if line]
    assert (status, kind) == (200, "text/event-stream")
    assert all(re.fullmatch(r"data: b(['\"]).*\1", event) for event in events[:-1])
    assert events[-1] == "data: [DONE]"
    for negotiated in (
        f"'http://localhost:8080/v1/chatqna?format=openai' {asked}",
        f"http://localhost:8080/v1/chatqna {asked} -H 'Accept: text/event-stream; format=openai'",
    ):
        chunks = [line for line in curl(f"curl {negotiated}")[2].splitlines() if line]
        assert all(json.loads(line[6:])["object"] == "chat.completion.chunk" for line in chunks[:-1])
    whole = f"-H 'Content-Type: application/json' -d '{json.dumps({'messages': QUESTION, 'stream': False, 'max_tokens': 4})}'"
    _, kind, body = curl(f"curl http://localhost:8080/v1/chatqna {whole}")
    assert kind == "application/json"
    assert json.loads(body)["object"] == "chat.completion"


@pytest.mark.parametrize(
    ("asked", "status", "code"),
    [
        ('/v1/dataprep/delete -d \'{"file_path": "no-such-file"}\'', 404, "not_found"),
        ("/v1/retrieval -d '{\"k\": 3}'", 400, "invalid_request"),
        ("/v1/chatqna -d '{\"messages\": 3}'", 400, "invalid_request"),
        ("/v1/chatqna -d 'no json'", 400, "invalid_request"),
        ("/v1/reranking -X PUT", 405, "method_not_allowed"),
        ("/v1/nothing", 404, "not_found"),
    ],
)
def test_errors_off_openai_routes_are_problems(curl: Curl, asked: str, status: int, code: str) -> None:
    """RFC 9457, with the stable code and words that say what is wrong."""
    found, kind, body = curl(f"curl -H 'Content-Type: application/json' http://localhost:8080{asked}")
    problem: dict[str, Any] = json.loads(body)
    assert (found, kind) == (status, "application/problem+json")
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["detail"]
    assert problem["request_id"]


def test_readiness_names_every_service(curl: Curl) -> None:
    """``/health/ready`` has each service; alive is alive; OPEA's check has the title."""
    status, _, body = curl("curl http://localhost:8080/health/ready")
    assert status == 200
    assert {"llm", "embedder", "store", "retriever"} <= set(json.loads(body)["services"])
    assert json.loads(curl("curl http://localhost:8080/v1/health_check")[2])["Service Title"] == "chatqna"

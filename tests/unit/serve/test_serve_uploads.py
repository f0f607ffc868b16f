"""Uploads of documents as OPEA's clients send them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from weft.contracts import dataprep
from weft.contracts.dataprep import (
    CancelRequest,
    Counts,
    DocumentRequest,
    DocumentResponse,
    IngestRequest,
    IngestResponse,
    Job,
    JobRequest,
    JobsRequest,
    JobsResponse,
)
from weft.errors import PayloadTooLargeError
from weft.http.client import Endpoint
from weft.serve.application import Application
from weft.serve.operations import operation_routes
from weft.serve.uploads import MAX_INLINE_BYTES, inlined
from weft.types import FileOutcome, Upload

Serve = Callable[[Application], Awaitable[Endpoint]]
Asked = list[IngestRequest]
FORM = [("content-type", "multipart/form-data; boundary=B")]


@pytest.fixture
def asked(app: Application) -> Asked:
    """What the component is asked."""
    found: Asked = []

    async def call(name: str, request: Any) -> IngestResponse:
        found.append(request)
        return IngestResponse([FileOutcome(file.name, "ingested") for file in request.files])

    operation_routes(app, dataprep.CONTRACT, call)
    return found


def form(*parts: tuple[str, str | None, bytes]) -> bytes:
    body = b""
    for name, filename, content in parts:
        file = f'; filename="{filename}"\r\nContent-Type: text/plain' if filename is not None else ""
        body += (
            f'--B\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + content + b"\r\n"
        )
    return body + b"--B--\r\n"


async def test_many_files_and_fields(app: Application, serve: Serve, asked: Asked) -> None:
    """All of the files, not the last; each field as its type."""
    body = form(
        ("files", "a.txt", b"one"),
        ("files", "b.txt", b"two"),
        ("link_list", None, b'["https://x.example/"]'),
        ("chunk_size", None, b"500"),
        ("chunk_overlap", None, b""),
        ("process_table", None, b"True"),
        ("replace", None, b"true"),
        ("index_name", None, b"docs"),
        ("unknown", None, b"ignored"),
    )
    reply = await (await serve(app)).request("POST", "/v1/dataprep/ingest", body, headers=FORM)
    assert reply.status == 200
    assert [file["name"] for file in msgspec.json.decode(reply.body)["files"]] == ["a.txt", "b.txt"]
    (request,) = asked
    assert [(file.name, file.content, file.content_type) for file in request.files] == [
        ("a.txt", b"one", "text/plain"), ("b.txt", b"two", "text/plain")
    ]  # fmt: skip
    assert (request.links, request.collection) == (["https://x.example/"], "docs")
    assert (request.chunk_size, request.chunk_overlap) == (500, None)
    assert (request.process_table, request.replace, request.table_strategy) == (True, True, "fast")


async def test_a_large_file_arrives_whole(app: Application, serve: Serve, asked: Asked) -> None:
    """Also one that is spooled on the way."""
    content = bytes(range(256)) * 20_000
    body = form(("files", "big.bin", content))
    reply = await (await serve(app)).request("POST", "/v1/dataprep/ingest", body, headers=FORM)
    assert reply.status == 200
    assert asked[0].files[0].content == content


@pytest.mark.parametrize(
    ("parts", "param"),
    [
        ([("chunk_size", None, b"many"), ("files", "a", b"x")], "chunk_size"),
        ([("replace", None, b"maybe"), ("files", "a", b"x")], "replace"),
        ([("link_list", None, b"http://x")], "link_list"),
        ([("link_list", None, b"")], "files"),
        ([("files", "", b"")], "files"),
    ],
)
async def test_what_is_wrong_is_named(
    app: Application, serve: Serve, asked: Asked, parts: list[Any], param: str
) -> None:
    """400 with the field; the component is not asked."""
    reply = await (await serve(app)).request("POST", "/v1/dataprep/ingest", form(*parts), headers=FORM)
    assert (reply.status, msgspec.json.decode(reply.body)["param"]) == (400, param)
    assert asked == []


async def test_json_does_as_well(app: Application, serve: Serve, asked: Asked) -> None:
    """With the content in base64."""
    server = await serve(app)
    await server.post_json("/v1/dataprep/ingest", {"files": [{"name": "a", "content": "b25l"}]})
    assert asked[0].files[0].content == b"one"


def _job(**fields: Any) -> Job:
    fields = {"state": "running", "files": 1, "ended": 0} | fields
    return Job(
        "j1", collection="default", pages=0, counts=Counts(), at_work=[], created_at=1.0, revision=7, **fields
    )


async def test_files_are_on_disk_while_they_are_taken_in(
    app: Application, serve: Serve, tmp_path: Path
) -> None:
    """A thousand files take neither memory nor descriptors; what nobody has taken away is deleted."""
    app.spool = tmp_path / "uploads"
    seen: dict[str, Any] = {}

    async def call(name: str, request: Any) -> IngestResponse:
        paths = [Path(file.path or "") for file in request.files]
        seen["contents"] = [path.read_bytes() for path in paths]
        seen["inline"] = [file.content for file in request.files if file.content]
        seen["folders"] = {path.parent for path in paths}
        seen["open"] = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0
        paths[0].rename(tmp_path / "taken")
        return IngestResponse([])

    operation_routes(app, dataprep.CONTRACT, call)
    body = form(*(("files", f"{n}.txt", b"%d" % n) for n in range(1000)))
    reply = await (await serve(app)).request("POST", "/v1/dataprep/ingest", body, headers=FORM)
    assert reply.status == 200
    assert seen["contents"] == [b"%d" % n for n in range(1000)]
    assert seen["inline"] == []
    assert seen["open"] < 500
    (folder,) = seen["folders"]
    assert len(folder.name) == 32
    assert list(app.spool.iterdir()) == []
    assert (tmp_path / "taken").read_bytes() == b"0"


async def test_a_file_keeps_the_folders_it_was_sent_with(
    app: Application, serve: Serve, asked: Asked
) -> None:
    """Two pages called index.html are two documents."""
    body = form(("files", "a/index.html", b"one"), ("files", "b/index.html", b"two"))
    await (await serve(app)).request("POST", "/v1/dataprep/ingest", body, headers=FORM)
    assert [file.name for file in asked[0].files] == ["a/index.html", "b/index.html"]


@pytest.mark.parametrize("preference", ["respond-async", "wait=5, Respond-Async; x=1"])
@pytest.mark.parametrize("is_form", [True, False])
async def test_who_would_rather_not_wait_gets_the_job(
    app: Application, serve: Serve, preference: str, is_form: bool
) -> None:
    """202, where to ask for it, and the job itself; the component is told not to wait."""

    async def call(name: str, request: Any) -> IngestResponse:
        assert request.wait is False
        return IngestResponse([], 202, "accepted", _job())

    operation_routes(app, dataprep.CONTRACT, call)
    body = form(("files", "a", b"x")) if is_form else b'{"files":[{"name":"a","content":"eA=="}]}'
    headers = [FORM[0] if is_form else ("content-type", "application/json"), ("prefer", preference)]
    reply = await (await serve(app)).request("POST", "/v1/dataprep/ingest", body, headers=headers)
    assert reply.status == 202
    assert reply.headers.get("location") == "/v1/dataprep/jobs/j1"
    assert reply.headers.get("preference-applied") == "respond-async"
    assert msgspec.json.decode(reply.body)["id"] == "j1"


async def test_a_component_without_jobs_is_waited_for(app: Application, serve: Serve, asked: Asked) -> None:
    """A preference is no command: the reply is then as it ever is, and does not claim otherwise."""
    headers = [*FORM, ("prefer", "respond-async")]
    body = form(("files", "a", b"x"))
    reply = await (await serve(app)).request("POST", "/v1/dataprep/ingest", body, headers=headers)
    assert (reply.status, reply.headers.get("preference-applied")) == (200, None)


@pytest.mark.parametrize(
    ("method", "address", "operation", "request_"),
    [
        ("GET", "/v1/dataprep/jobs?active=true&limit=5", "jobs", JobsRequest(active=True, limit=5)),
        ("GET", "/v1/dataprep/jobs/j1?wait_s=1.5&since=7", "job", JobRequest("j1", since=7, wait_s=1.5)),
        ("GET", "/v1/dataprep/jobs/j1?id=j2", "job", JobRequest("j1")),
        ("DELETE", "/v1/dataprep/jobs/j1", "cancel", CancelRequest("j1")),
        ("GET", "/v1/dataprep/document?name=a%2Fb%20c.md&around=p1", "document", DocumentRequest("a/b c.md", around="p1")),
    ],
)  # fmt: skip
async def test_a_request_without_a_body_is_in_its_address(
    app: Application, serve: Serve, method: str, address: str, operation: str, request_: Any
) -> None:
    """Path and query are the request's fields, as their types; the path wins."""
    asked: list[Any] = []

    async def call(name: str, request: Any) -> Any:
        asked.append((name, request))
        return {"jobs": JobsResponse([]), "document": DocumentResponse("a", "", None, 0, 0, [])}.get(
            name, _job()
        )

    operation_routes(app, dataprep.CONTRACT, call)
    reply = await (await serve(app)).request(method, address)
    assert reply.status == 200
    assert asked == [(operation, request_)]


@pytest.mark.parametrize(
    ("address", "param"),
    [("/v1/dataprep/jobs?limit=many", "limit"), ("/v1/dataprep/document", None), ("/v1/dataprep/jobs?" + "a=1&" * 200, None)],
)  # fmt: skip
async def test_what_is_wrong_in_an_address_is_named(
    app: Application, serve: Serve, asked: Asked, address: str, param: str | None
) -> None:
    """400 with the field."""
    reply = await (await serve(app)).request("GET", address)
    problem = msgspec.json.decode(reply.body)
    assert (reply.status, problem.get("param")) == (400, param)


async def test_files_for_a_service_elsewhere_are_sent_along(tmp_path: Path) -> None:
    """A path means nothing on another machine; what would not fit into memory is refused."""
    (tmp_path / "1").write_bytes(b"one")
    with (tmp_path / "2").open("wb") as sparse:
        sparse.truncate(MAX_INLINE_BYTES)
    small, large = (Upload(name, path=str(tmp_path / name)) for name in ("1", "2"))
    request = await inlined(IngestRequest([small, Upload("b", b"two")], collection="c"))
    assert request == IngestRequest([Upload("1", b"one"), Upload("b", b"two")], collection="c")
    with pytest.raises(PayloadTooLargeError, match="64 MiB"):
        await inlined(IngestRequest([small, large]))

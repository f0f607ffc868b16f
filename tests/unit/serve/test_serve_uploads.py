"""Uploads of documents as OPEA's clients send them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from weft.contracts import dataprep
from weft.contracts.dataprep import IngestRequest, IngestResponse
from weft.http.client import Endpoint
from weft.serve.application import Application
from weft.serve.operations import operation_routes
from weft.types import FileOutcome

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

"""OpenAPI and the documentation page."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Awaitable, Callable
from importlib import metadata
from typing import Any

import pytest
from msgspec import Struct

from weft.contracts import Contract
from weft.http.client import Endpoint
from weft.http.message import Headers, Request, Response
from weft.serve.application import Access, Application, RouteDoc
from weft.serve.docs import docs_page
from weft.serve.health import health_routes
from weft.serve.openapi import documentation_routes, openapi
from weft.serve.operations import operation_routes
from weft.types import Stream

Serve = Callable[[Application], Awaitable[Endpoint]]


async def call(name: str, request: Any) -> Any:
    raise AssertionError("not called")


def everything(app: Application) -> None:
    for entry in metadata.entry_points(group="weft.contracts"):
        contract: Contract = entry.load()
        operation_routes(app, contract, call, call if contract.streams else None)  # type: ignore[arg-type]
    health_routes(app)
    documentation_routes(app)
    app.route("GET", "/v1/models/{model}", call, doc=RouteDoc(summary="<b>One</b>"))  # type: ignore[arg-type]


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        found = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return found.union(*map(references, value.values()))
    return set().union(*map(references, value)) if isinstance(value, list) else set()


def test_every_route_is_described(app: Application) -> None:
    """With request, reply, stream and errors; every reference leads somewhere."""
    everything(app)
    document = openapi(app)
    assert document["openapi"] == "3.1.0"
    chat = document["paths"]["/v1/chat/completions"]["post"]
    assert set(chat["responses"]["200"]["content"]) == {"application/json", "text/event-stream"}
    assert "OpenAIError" in str(chat["responses"]["default"])
    ingest = document["paths"]["/v1/dataprep/ingest"]["post"]
    assert "files" in ingest["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    assert document["paths"]["/v1/models/{model}"]["get"]["parameters"][0]["in"] == "path"
    assert "/static/chat.js" not in document["paths"]
    schemas = document["components"]["schemas"]
    for reference in references(document):
        assert reference.removeprefix("#/components/schemas/") in schemas


def test_operation_ids_are_unique(app: Application) -> None:
    """Generators of clients make method names of them."""
    everything(app)
    ids = [
        operation["operationId"]
        for methods in openapi(app)["paths"].values()
        for operation in methods.values()
    ]
    assert len(ids) == len(set(ids))


def test_the_token_is_part_of_the_document() -> None:
    """Open routes say that they need none."""
    app = Application(name="t", version="1", access=Access("x"))
    everything(app)
    document = openapi(app)
    assert document["security"] == [{"token": []}]
    assert document["paths"]["/health/live"]["get"]["security"] == []


def test_the_document_is_valid(app: Application) -> None:
    """Every schema in it is a JSON Schema."""
    jsonschema = pytest.importorskip("jsonschema")
    everything(app)
    for schema in openapi(app)["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


async def test_the_page_needs_no_network_and_no_script(app: Application, serve: Serve) -> None:
    """Its one style is admitted by its hash."""
    everything(app)
    server = await serve(app)
    reply = await server.request("GET", "/docs")
    html = reply.body.decode()
    assert reply.status == 200
    assert "<script" not in html
    assert not re.search(r"(?:src|href)=.?https?:", html)
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"'sha256-{digest}'" in reply.headers.get("content-security-policy", "")
    assert "&lt;b&gt;One&lt;/b&gt;" in html
    assert f"curl {server.url}/v1/embeddings" in html
    assert (await server.get_json("/openapi.json"))["info"]["title"] == "test"


async def test_a_hostile_host_is_text_on_the_page(app: Application) -> None:
    """Any name under .localhost is served: what it is made of is not mark-up."""
    everything(app)
    await app.start()
    headers = Headers([(b"host", b"<script>x</script>.localhost")])
    reply = await app(Request("GET", "/docs", "/docs", "", headers))
    assert isinstance(reply, Response)
    assert b"curl http://&lt;script&gt;" in reply.body
    assert b"<script" not in reply.body
    await app.stop()


def test_the_page_shows_a_line_to_copy(app: Application) -> None:
    """With every required field in it, and the token where one is needed."""
    app = Application(name="t", version="1", access=Access("x"))
    everything(app)
    html, _ = docs_page(openapi(app))
    assert "/v1/reranking -H &#x27;Authorization: Bearer TOKEN&#x27;" in html
    assert "&quot;query&quot;: &quot;text&quot;" in html


class Text(Struct):
    text: str


class Reads(Struct):
    answer: Stream[Text] | Text
    watched: Stream[Text] | None = None


def test_a_request_that_takes_a_stream_is_described_as_it_is_sent(app: Application) -> None:
    """Over the wire the field takes the whole response; the stream has no schema and breaks none."""
    app.route("POST", "/v1/invoke", call, doc=RouteDoc(summary="Reads.", request=Reads))  # type: ignore[arg-type]
    schema = openapi(app)["components"]["schemas"]["Reads"]
    assert schema["required"] == ["answer"]
    assert schema["properties"]["answer"] == {"$ref": "#/components/schemas/Text"}


def test_what_a_type_does_not_say_is_described_too(app: Application) -> None:
    """Bounds of fields, in bodies and in addresses; other forms; bodies that are needed; each event of a stream."""
    everything(app)
    document = openapi(app)
    schemas, paths = document["components"]["schemas"], document["paths"]
    assert (
        schemas["JobsRequest"]["properties"]["limit"] | {"minimum": 1, "maximum": 1000}
        == (schemas["JobsRequest"]["properties"]["limit"])
    )
    in_address = {p["name"]: p["schema"] for p in paths["/v1/dataprep/jobs/{id}"]["get"]["parameters"]}
    assert (in_address["wait_s"]["minimum"], in_address["wait_s"]["maximum"]) == (0, 60)
    vectors = paths["/v1/embeddings"]["post"]
    asked = vectors["requestBody"]["content"]["application/json"]["schema"]["anyOf"]
    assert [one["$ref"].rpartition("/")[2] for one in asked] == [
        "OpenAIEmbeddingRequest", "TeiEmbeddingRequest", "EmbeddingRequest",
    ]  # fmt: skip
    assert vectors["requestBody"]["required"] is True
    assert "required" not in paths["/v1/dataprep/files"]["post"]["requestBody"]
    bare = paths["/v1/dataprep/get"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert bare["type"] == "array"
    event = paths["/v1/chat/completions"]["post"]["responses"]["200"]["content"]["text/event-stream"]
    assert event["schema"]["properties"]["data"]["anyOf"][0] == {"const": "[DONE]"}
    assert event["x-weft-each-event"] == {"$ref": "#/components/schemas/ChatChunk"}


def test_the_page_shows_what_a_route_adds_to_a_schema() -> None:
    """Constants, references with more beside them, and the words of the route."""
    app = Application(name="t", version="1", access=Access())

    def adapt(schema: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
        fields = {
            "kind": {"const": "2.0"},
            "options": {"allOf": [{"$ref": "#/components/schemas/Asked"}], "default": {}},
        }
        return {"type": "object", "properties": fields, "required": ["kind"]}

    class Asked(Struct):
        text: str

    doc = RouteDoc(summary="Asks.", description="Limits: 60 requests a minute.", request=Asked, adapt=adapt)
    app.route("POST", "/v1/ask", call, doc=doc)  # type: ignore[arg-type]
    page, _ = docs_page(openapi(app))
    assert "<code>kind</code><td><code>&quot;2.0&quot;</code>" in page
    assert '<a href="#schema-Asked">Asked</a>' in page
    assert "Limits: 60 requests a minute." in page
    assert "{&quot;kind&quot;: &quot;2.0&quot;}" in page

"""Replies as a route changes them: whole, streamed, relayed, in OPEA's form; and what stays as it is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from frontkit import GATEWAY, TALK, FrontRig, ask
from switchkit import served
from weft.context import Context
from weft.http.client import Endpoint
from weft.http.message import Request, Response
from weft.serve.access import Access
from weft.serve.application import Application
from weft.serve.streams import stream_reply


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[FrontRig]:
    async with AsyncExitStack() as stack:
        yield FrontRig(tmp_path, stack)


def route(target: str = "megaservice: talk", **keys: str) -> str:
    """The spec with one route that has these keys."""
    lines = "".join(f"    {key}: {value}\n" for key, value in keys.items())
    return TALK + GATEWAY + f"  - path: /v1/greet\n    {target}\n" + lines


async def events(gateway: Endpoint, path: str = "/v1/chat/completions", **fields: Any) -> list[bytes]:
    """The data of the events that a streamed question is answered with."""
    status, body, _ = await ask(gateway, path, stream=True, **fields)
    assert status == 200, body
    return [line[6:] for line in body.split(b"\n") if line.startswith(b"data: ")]


async def test_a_whole_reply_is_changed(rig: FrontRig) -> None:
    """Fields of objects and of every element of a list; headers as well."""
    gateway = await rig.gateway(
        route(
            response="{set: {model: \"'house'\"}, remove: [created, choices.finish_reason], rename: {id: reply_id}, "
            'headers: {set: {x-Served-By: "${model}"}, remove: [x-weft-none]}}'.replace(
                ", remove: [x-weft-none]", ""
            )
        )
    )
    status, body, headers = await ask(gateway)
    assert (status, body["model"], headers["x-served-by"]) == (200, "house", "talk")
    assert "created" not in body
    assert "id" not in body
    assert body["reply_id"]
    assert [sorted(choice) for choice in body["choices"]] == [["index", "logprobs", "message"]]


async def test_each_event_of_a_stream_is_changed(rig: FrontRig) -> None:
    """The usage's too; the end stays."""
    gateway = await rig.gateway(route(response='{remove: [created], template: {model: "m-${caller}"}}'))
    found = await events(gateway, stream_options={"include_usage": True})
    assert found[-1] == b"[DONE]"
    chunks = [msgspec.json.decode(data) for data in found[:-1]]
    assert {chunk["model"] for chunk in chunks} == {"m-"}
    assert not any("created" in chunk for chunk in chunks)
    assert (
        "".join(c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"])
        == "Good morning to you."
    )
    assert chunks[-1]["usage"]["total_tokens"] > 0


async def test_opeas_byte_literals_have_their_text_changed(rig: FrontRig) -> None:
    """What becomes of the content of a chunk becomes of the text; fields that such an event does not have are not in it."""
    gateway = await rig.gateway(
        route(
            response="{remove: [created], set: {choices.delta.content: \"'Good' in ['Good'] ? 'Hush' : ''\"}}"
        )
    )
    assert set(await events(gateway, "/v1/greet")) == {b"b'Hush'", b"[DONE]"}
    gateway = await rig.gateway(route(response="{remove: [choices.delta.content]}"))
    assert await events(gateway, "/v1/greet") == [b"[DONE]"]
    gateway = await rig.gateway(route(response="{remove: [created]}"))
    assert b"".join(await events(gateway, "/v1/greet")).startswith(b"b'Good")


async def test_errors_are_not_replies(rig: FrontRig) -> None:
    """What refuses a request is told as it is, and its headers are the gateway's."""
    gateway = await rig.gateway(
        route(response="{remove: [error, detail], set: {a: '1'}, headers: {set: {x-a: b}}}")
    )
    status, body, headers = await ask(gateway, temperature=9)
    assert (status, body["error"]["code"]) == (400, "invalid_request")
    assert "x-a" not in headers


async def test_an_expression_that_a_reply_does_not_fit_is_no_fault_of_the_callers(rig: FrontRig) -> None:
    """500 while nothing has gone out, whole or streamed; the message says which field."""
    gateway = await rig.gateway(route(response="{set: {model: body.nothing}}"))
    for stream in (False, True):
        status, body, _ = await ask(gateway, stream=stream)
        assert status == 500, body
        assert "this route sets 'model' of the response, and cannot" in str(body)


class Backend:
    """A foreign server whose replies the test decides."""

    def __init__(self, reply: Response | list[bytes]) -> None:
        self.reply = reply
        self.seen: list[Request] = []
        self.app = Application(name="backend", version="1", access=Access())
        self.app.route("POST", "/v1/ask", self._answer, reads=("*/*",))

    async def _answer(self, request: Request, context: Context) -> Any:
        self.seen.append(request)
        if isinstance(self.reply, Response):
            return self.reply
        return stream_reply(_each(self.reply), log=self.app.log, context=context)


async def _each(blocks: list[bytes]) -> AsyncIterator[bytes]:
    for block in blocks:
        yield block


async def upstream(rig: FrontRig, reply: Response | list[bytes], **keys: str) -> tuple[Endpoint, Backend]:
    """A gateway in front of a foreign server."""
    backend = Backend(reply)
    url = await served(backend.app, rig.stack)
    return await rig.gateway(route(f"upstream: {{urls: ['{url}'], path: /v1/ask}}", **keys)), backend


async def test_an_upstreams_reply_is_changed_where_it_is_json_and_well(rig: FrontRig) -> None:
    """JSON that tells of success; another kind, and an error, stay, but for their headers."""
    changes = "{remove: [secret], headers: {remove: [x-inner]}}"
    inner = [("x-inner", "1")]
    gateway, backend = await upstream(rig, Response(200, inner, b'{"a":1,"secret":2}'), response=changes)
    status, body, headers = await ask(gateway, "/v1/greet")
    assert (status, body, "x-inner" in headers) == (200, {"a": 1}, False)
    backend.reply = Response(200, inner, b'[{"secret":2},{"b":1}]')
    assert (await ask(gateway, "/v1/greet"))[1] == [{}, {"b": 1}]
    backend.reply = Response(418, inner, b'{"secret":2}')
    status, body, headers = await ask(gateway, "/v1/greet")
    assert (status, body, "x-inner" in headers) == (418, {"secret": 2}, False)
    backend.reply = Response(200, (), b'{"secret":2}', "text/plain")
    assert (await ask(gateway, "/v1/greet"))[1] == {"secret": 2}
    backend.reply = Response(200, (), b'{"secret":', "application/json")
    assert (await ask(gateway, "/v1/greet"))[0] == 502


async def test_an_upstreams_events_are_changed_however_they_are_cut(rig: FrontRig) -> None:
    """Events in pieces, of other kinds, with comments; an error, and what is no JSON, goes out as it came."""
    blocks = [
        b'data: {"a":1,"secret":2}\n\nda',
        b'ta: {"a":"x\\u006e","sec',
        b'ret":3}\r\n\r\n: still here\n\nevent: delta\nid: 7\ndata: {"secret":1,\ndata: "b":2}\n\n',
        b'data: {"error":{"secret":1}}\n\n',
        b"data: plain\n\n",
        b'data: {"\\u0073ecret":1}\n\n',
        b'data: {"a":2}\n\n',
    ]
    gateway, _ = await upstream(rig, blocks, response="{remove: [secret]}")
    reply = await gateway.request("POST", "/v1/greet", b"{}", headers=[("content-type", "application/json")])
    assert reply.body == (
        b'data: {"a":1}\n\n'
        b'data: {"a":"xn"}\n\n'
        b": still here\n\n"
        b'event: delta\nid: 7\ndata: {"b":2}\n\n'
        b'data: {"error":{"secret":1}}\n\n'
        b"data: plain\n\n"
        b"data: {}\n\n"
        b'data: {"a":2}\n\n'
        b"data: [DONE]\n\n"
    )


async def test_an_upload_has_only_its_headers_changed(rig: FrontRig) -> None:
    """A form is handed on byte for byte."""
    changes = "{clamp: {max_tokens: [1, 2]}, headers: {set: {x-team: 'red ${tenant}'}, remove: [x-color]}}"
    gateway, backend = await upstream(rig, Response(200, (), b"{}"), request=changes, methods="[POST]")
    form = b'--b\r\ncontent-disposition: form-data; name="a"\r\n\r\n1\r\n--b--\r\n'
    sent = [("content-type", "multipart/form-data; boundary=b"), ("x-color", "blue")]
    reply = await gateway.request("POST", "/v1/greet", form, headers=sent)
    assert reply.status == 200, reply.body
    got = backend.seen[-1]
    assert (await got.read(), got.headers.get("x-team"), got.headers.get("x-color")) == (
        form,
        "red default",
        None,
    )


async def test_a_stream_that_no_longer_fits_ends_with_an_error(rig: FrontRig) -> None:
    """What came before it goes out; then the error in words, and no [DONE]. Here the last chunk has no text."""
    gateway = await rig.gateway(route(response="{set: {model: 'body.choices[0].delta.content'}}"))
    *chunks, error = await events(gateway)
    assert [msgspec.json.decode(data)["model"] for data in chunks] == ["", "Good ", "morning ", "to ", "you."]
    assert (
        "this route sets 'model' of the response, and cannot"
        in msgspec.json.decode(error)["error"]["message"]
    )


async def test_a_reply_without_a_body_has_nothing_to_change(rig: FrontRig) -> None:
    """A HEAD is answered with the headers alone."""
    gateway, backend = await upstream(rig, Response(200, (), b""), response="{remove: [a]}", methods="[GET]")

    async def answer(request: Request, context: Context) -> Response:
        return Response(200, (("x-b", "1"),), b'{"a":1,"b":2}')

    backend.app.route("GET", "/v1/ask", answer)
    reply = await gateway.request("GET", "/v1/greet")
    assert reply.body == b'{"b":2}'
    reply = await gateway.request("HEAD", "/v1/greet")
    assert (reply.status, reply.headers.get("x-b"), reply.body) == (200, "1", b"")

"""Requests as a route changes them, seen from the model behind a real gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from frontkit import GATEWAY, TALK, FrontRig, ask


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[FrontRig]:
    async with AsyncExitStack() as stack:
        yield FrontRig(tmp_path, stack)


def route(**keys: str) -> str:
    """The spec with one route that has these keys."""
    lines = "".join(f"    {key}: {value}\n" for key, value in keys.items())
    return TALK + GATEWAY + "  - path: /v1/greet\n    megaservice: talk\n" + lines


async def seen(rig: FrontRig, body: dict[str, Any], **keys: str) -> Any:
    """What the model is asked when a caller asks this."""
    gateway = await rig.gateway(route(**keys))
    status, reply, _ = await ask(gateway, **body)
    assert status == 200, reply
    return rig.requests()[-1]


async def test_defaults_stand_in_for_what_is_absent_or_null(rig: FrontRig) -> None:
    """A field that the caller sent stays; one that is absent or null takes the default."""
    asked = await seen(
        rig,
        {"temperature": 0.7, "top_p": None},
        request="{defaults: {temperature: 0.2, top_p: 0.5, seed: 7}}",
    )
    assert (asked.temperature, asked.top_p, asked.seed) == (0.7, 0.5, 7)


@pytest.mark.parametrize(("sent", "got"), [({}, 64), ({"max_tokens": 9}, 9), ({"max_tokens": 999}, 64)])
async def test_clamped_fields_stay_within_their_bounds(rig: FrontRig, sent: Any, got: int) -> None:
    """Above the bounds the greatest, within them itself, and absent the greatest."""
    assert (await seen(rig, sent, request="{clamp: {max_tokens: [1, 64]}}")).max_tokens == got


async def test_removed_fields_do_not_reach_the_model(rig: FrontRig) -> None:
    """What is taken away is not refused as a field that nothing reads."""
    assert (await seen(rig, {"seed": 3, "prompt": "x"}, request="{remove: [seed, prompt]}")).seed is None


async def test_either_name_of_the_answers_length_is_clamped(rig: FrontRig) -> None:
    """A caller who writes max_completion_tokens does not get past the bounds of max_tokens."""
    asked = await seen(rig, {"max_completion_tokens": 4096}, request="{clamp: {max_tokens: [1, 64]}}")
    assert (asked.max_tokens, asked.max_completion_tokens) == (None, 64)


async def test_fields_are_set_by_expressions_over_request_and_caller(rig: FrontRig) -> None:
    """The example of the specification: a prompt becomes the messages, and is taken away."""
    change = (
        "{set: {messages: \"has(body.prompt) ? [{'role': 'user', 'content': body.prompt}] : body.messages\", "
        "user: \"tenant + '/' + headers['x-team']\"}, remove: [prompt]}"
    )
    gateway = await rig.gateway(route(request=change))
    status, reply, _ = await ask(gateway, headers={"x-team": "red"}, prompt="Hi there")
    assert status == 200, reply
    asked = rig.requests()[-1]
    assert [(m.role, m.content) for m in asked.messages] == [("user", "Hi there")]
    assert asked.user == "default/red"
    assert (await ask(gateway, headers={"x-team": "red"}))[0] == 200
    assert rig.requests()[-1].messages[0].content == "Hello?"


async def test_templates_put_values_into_a_text(rig: FrontRig) -> None:
    """Text stays, expressions become their values: a text as it is, anything else as JSON, null as nothing."""
    change = "{template: {user: \"${tenant}-${body.n}-${body.tags}-${body.none}-$${x}-${'a}b'}\"}, remove: [tags, none, n]}"
    asked = await seen(rig, {"n": 2, "tags": ["a"], "none": None}, request=change)
    assert asked.user == 'default-2-["a"]--${x}-a}b'


async def test_the_order_is_the_same_whatever_the_file_says(rig: FrontRig) -> None:
    """set, rename, remove, defaults, clamp: each sees what those before it have made."""
    change = (
        "{clamp: {max_tokens: [1, 64], seed: [0, 5]}, defaults: {temperature: 0.5}, remove: [temperature, limit], "
        "rename: {budget: max_tokens}, set: {budget: body.limit}}"
    )
    asked = await seen(rig, {"limit": 1000, "temperature": 0.1, "budget": 3, "seed": 7}, request=change)
    assert (asked.max_tokens, asked.temperature, asked.seed) == (64, 0.5, 5)


async def test_nested_fields(rig: FrontRig) -> None:
    """Paths lead into objects, which are made where they are not there."""
    change = "{defaults: {metadata.a.b: 1}, remove: [metadata.c], set: {metadata.who: caller}}"
    asked = await seen(rig, {"metadata": {"c": 2, "d": 3}}, request=change)
    assert asked.metadata == {"d": 3, "who": "", "a": {"b": 1}}
    assert (await seen(rig, {}, request=change)).metadata == {"who": "", "a": {"b": 1}}


@pytest.mark.parametrize(
    ("sent", "keys", "param", "said"),
    [
        ({"max_tokens": "many"}, "{clamp: {max_tokens: [1, 64]}}", "max_tokens", "'max_tokens' is a number from 1 to 64"),
        ({"max_tokens": True}, "{clamp: {max_tokens: [1, 64]}}", "max_tokens", "'max_tokens' is a number from 1 to 64"),
        ({"metadata": 5}, "{defaults: {metadata.a: 1}}", "metadata", "'metadata' is no object"),
        ({}, "{set: {user: body.name}}", "user", "'body' has no field 'name'"),
        ({"name": 5}, "{set: {user: \"'u-' + body.name\"}}", "user", "'+' joins strings or lists"),
    ],
)  # fmt: skip
async def test_a_request_that_does_not_fit_is_the_callers_fault(
    rig: FrontRig, sent: Any, keys: str, param: str, said: str
) -> None:
    """400, with the field and what is wrong with it; the model is not asked."""
    gateway = await rig.gateway(route(request=keys))
    status, reply, _ = await ask(gateway, **sent)
    assert (status, reply["error"]["param"]) == (400, param)
    assert said in reply["error"]["message"]
    assert rig.requests() == []


async def test_an_expression_over_who_asks_that_fails_is_the_files_fault(rig: FrontRig) -> None:
    """The caller can mend nothing: 500, and the message says what the route does."""
    gateway = await rig.gateway(route(request="{set: {user: claims.department}}"))
    status, reply, _ = await ask(gateway)
    assert status == 500
    assert "this route sets 'user' of the request, and cannot: 'claims' has no field 'department'" in str(
        reply
    )


async def test_every_way_to_the_target_is_changed(rig: FrontRig) -> None:
    """The route's own path, which is OPEA's form, and the contract's."""
    gateway = await rig.gateway(route(request="{clamp: {max_tokens: [1, 64]}}"))
    for path in ("/v1/greet", "/v1/chat/completions"):
        assert (await ask(gateway, path, stream=False, max_tokens=999))[0] == 200
        assert rig.requests()[-1].max_tokens == 64


async def test_a_field_that_is_sent_twice_reaches_the_model_once(rig: FrontRig) -> None:
    """What was checked is what is handed on, whoever would have read the other one."""
    gateway = await rig.gateway(route(request="{clamp: {max_tokens: [1, 64]}}"))
    body = (
        b'{"model": "talk", "messages": [{"role":"user","content":"x"}], "max_tokens": 999, "max_tokens": 5}'
    )
    reply = await gateway.request(
        "POST", "/v1/chat/completions", body, headers=[("content-type", "application/json")]
    )
    assert (reply.status, rig.requests()[-1].max_tokens) == (200, 5)


@pytest.mark.parametrize("body", [b"[1]", b'"text"', b"{", b"\xff"])
async def test_what_is_no_object_is_refused(rig: FrontRig, body: bytes) -> None:
    """A body that cannot be changed does not pass unchanged."""
    gateway = await rig.gateway(route(request="{clamp: {max_tokens: [1, 64]}}"))
    reply = await gateway.request("POST", "/v1/greet", body, headers=[("content-type", "application/json")])
    assert reply.status == 400


async def test_whole_numbers_are_clamped_as_such(rig: FrontRig) -> None:
    """A fraction is no number of tokens, out of bounds or not; where fractions are, they stay."""
    gateway = await rig.gateway(route(request="{clamp: {max_tokens: [1, 64], temperature: [0, 1]}}"))
    for sent in (3.5, 3000.5):
        status, reply, _ = await ask(gateway, max_tokens=sent)
        assert (status, reply["error"]["param"]) == (400, "max_tokens")
        assert "'max_tokens' is a whole number from 1 to 64" in reply["error"]["message"]
    assert (await ask(gateway, max_tokens=1e300, temperature=0.5))[0] == 200
    assert (rig.requests()[-1].max_tokens, rig.requests()[-1].temperature) == (64, 0.5)


async def test_what_becomes_too_large_is_refused(rig: FrontRig) -> None:
    """An expression can write a body down many times: 413 beyond 32 MiB, before it is written."""
    copies = ", ".join(["body.messages[0]"] * 200)
    gateway = await rig.gateway(route(request=f'{{set: {{messages: "[{copies}]"}}}}'))
    small = {"messages": [{"role": "user", "content": "x"}]}
    assert (await ask(gateway, **small))[0] == 200
    assert len(rig.requests()[-1].messages) == 200
    status, reply, _ = await ask(gateway, messages=[{"role": "user", "content": "x" * 200_000}])
    assert (status, reply["error"]["code"]) == (413, "payload_too_large")


DOCUMENTS = '''\
from weft.contracts.dataprep import (
    Counts, DeleteRequest, DeleteResponse, GetRequest, GetResponse, IndicesRequest, IndicesResponse, IngestRequest, IngestResponse,
    JobRequest, Job, JobsRequest, JobsResponse,
)


class Documents:
    """Notes what it is asked."""

    seen: list = []

    async def ingest(self, request: IngestRequest) -> IngestResponse:
        raise NotImplementedError

    async def get(self, request: GetRequest) -> GetResponse:
        self.seen.append(request)
        return GetResponse([])

    async def indices(self, request: IndicesRequest) -> IndicesResponse:
        return IndicesResponse([])

    async def delete(self, request: DeleteRequest) -> DeleteResponse:
        return DeleteResponse(True)

    async def jobs(self, request: JobsRequest) -> JobsResponse:
        self.seen.append(request)
        return JobsResponse([])

    async def job(self, request: JobRequest) -> Job:
        self.seen.append(request)
        return Job(request.id, "done", "default", 0, 0, 0, Counts(), [], 0.0)
'''


async def test_fields_in_an_address_are_changed_as_those_of_a_body(rig: FrontRig) -> None:
    """A GET is no way past the bounds: in the query, in the path, and absent."""
    (rig.folder / "documents.py").write_text(DOCUMENTS)
    spec = TALK.replace(
        'llm: {component: "./chat.py:Chat"}',
        'llm: {component: "./chat.py:Chat"}\n  documents: {component: "./documents.py:Documents"}',
    )
    gateway = await rig.gateway(
        spec + GATEWAY + "  - path: /v1/papers\n    service: documents\n"
        "    request: {clamp: {limit: [1, 5]}, remove: [active], set: {id: \"'job-' + (has(body.id) ? body.id : 'none')\"}}\n"
    )  # fmt: skip
    for path, expected in [
        ("/v1/dataprep/jobs?limit=900&active=true", (5, False)),
        ("/v1/dataprep/jobs?limit=3", (3, False)),
        ("/v1/dataprep/jobs", (5, False)),
    ]:
        assert (await gateway.request("GET", path)).status == 200
        asked = rig.seen("documents.py", "Documents")[-1]
        assert (asked.limit, asked.active) == expected
    assert (await gateway.request("GET", "/v1/dataprep/jobs/7?limit=900")).status == 200
    asked = rig.seen("documents.py", "Documents")[-1]
    assert (asked.id, asked.limit) == ("job-7", 5)
    assert (await gateway.request("GET", "/v1/dataprep/jobs?limit=x")).status == 400


async def test_what_is_no_text_is_refused(rig: FrontRig) -> None:
    """A body with a byte that is no UTF-8 is the caller's error, on every path."""
    gateway = await rig.gateway(route(request="{clamp: {max_tokens: [1, 64]}}"))
    body = b'{"model": "talk", "messages": "\xff"}'
    for path in ("/v1/greet", "/v1/chat/completions"):
        reply = await gateway.request("POST", path, body, headers=[("content-type", "application/json")])
        assert reply.status == 400, reply.body

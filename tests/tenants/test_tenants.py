"""What a caller tries to get at another tenant's documents, jobs, histories and routes, and gets nothing by it."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from itertools import product
from typing import Any

import pytest
import pytest_asyncio

from storekit import fresh_schema
from tenantkit import ACME_TEXT, EMBEDDER, RIVAL_TEXT, STAFF_TEXT, House, opened
from weft.context import Context
from weft.transport.signing import ContextSigner

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["qdrant-edge", "pgvector"])
async def house(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[House]:
    """One house for all, over each store: whoever takes something away in it puts it back."""
    store = f"{{component: {request.param}}}"
    if request.param == "pgvector":
        url, schema = request.getfixturevalue("postgres"), fresh_schema()
        store = f'{{component: pgvector, config: {{url: "{url}", schema: {schema}, connections: 2}}}}'
    async with opened(tmp_path_factory.mktemp("house"), store) as found:
        yield found


CLAIMS: dict[str, Any] = {"tenant": "acme", "readers": ["staff"], "user": "ann", "caller": "ann"}
"""What a body may say of the caller; none of it is believed."""

HEADERS = (
    {},
    {"x-tenant": "acme", "x-weft-tenant": "acme", "x-user": "ann", "x-forwarded-user": "ann"},
    {"x-weft-readers": "staff", "x-weft-roles": "admin", "x-remote-user": "ann", "x-scope-orgid": "acme"},
)
"""By which other systems say who asks."""


def told(reply: Any) -> str:
    """What a reply says beside the question that it repeats."""
    return json.dumps({**reply, "query": ""} if isinstance(reply, dict) else reply)


# Documents.


@pytest.mark.parametrize("headers", HEADERS, ids=["plain", "named", "granted"])
async def test_the_same_words_find_nothing_of_another_tenant(house: House, headers: dict[str, str]) -> None:
    """With a similarity of 1.0 to another tenant's document, in every way to search: only one's own is found."""
    vector = EMBEDDER.vector(ACME_TEXT)
    found = [await house.ask("eve", ACME_TEXT, stream=False), await house.ask("eve", ACME_TEXT, stream=True)]
    for path, body in (
        ("/v1/retrieval", {"query": ACME_TEXT, "k": 100}),
        ("/v1/store/search", {"embedding": vector, "query": ACME_TEXT, "k": 100}),
        ("/v1/store/search", {"embedding": vector, "k": 100, "filter": {"source": "rocket.txt"}}),
        ("/v1/store/read", {"file": "rocket.txt"}),
        ("/v1/store/list", {}),
        ("/v1/store/collections", {}),
        ("/v1/passages", {"query": ACME_TEXT, "k": 100}),
        ("/v1/dataprep/files", {}),
        ("/v1/dataprep/get", {}),
        ("/v1/library", {"messages": ACME_TEXT, "stream": False}),
        (
            "/v1/messages",
            {"model": "library", "max_tokens": 99, "messages": [{"role": "user", "content": ACME_TEXT}]},
        ),
    ):
        for claims in ({}, CLAIMS, {"tenant": "acme"}):
            status, reply = await house.send("eve", "POST", path, body | claims, headers)
            assert status in (200, 400, 404), (path, reply)
            found.append(told(reply))
    for text in found:
        assert "rocket" not in text
    assert sum("recipe" in text for text in found) > 5
    assert ACME_TEXT in await house.ask("bob", ACME_TEXT, stream=False)


async def test_a_document_for_readers_is_found_by_them_only(house: House) -> None:
    """Its words find it for a reader of its tenant; for others of the tenant, and for that group of another tenant, nothing does."""
    vector = EMBEDDER.vector(STAFF_TEXT)
    for caller, finds in (("ann", True), ("bob", False), ("eve", False)):
        for path, body in (
            ("/v1/retrieval", {"query": STAFF_TEXT, "k": 100}),
            ("/v1/store/search", {"embedding": vector, "query": STAFF_TEXT, "k": 100}),
            ("/v1/store/read", {"file": "salaries.txt"}),
        ):
            for claims in ({}, {"readers": ["staff"]}):
                status, reply = await house.send(caller, "POST", path, body | claims)
                assert status in (200, 400, 404), reply
                assert (STAFF_TEXT in told(reply)) == finds, (caller, path, reply)
        answer = await house.ask(caller, "What do salaries do in March?", stream=False)
        assert (STAFF_TEXT in answer) == finds


async def test_collections_are_ones_own(house: House) -> None:
    """The name of another tenant's collection is in no list."""
    document = {"id": "p", "text": "Plan.", "embedding": EMBEDDER.vector("Plan.")}
    body = {"documents": [document], "file": "plan.txt", "collection": "takeover"}
    assert (await house.send("ann", "POST", "/v1/store/upsert", body))[0] == 200
    for path in ("/v1/store/collections", "/v1/dataprep/collections", "/v1/dataprep/indices"):
        for claims in ({}, CLAIMS):
            assert "takeover" not in told((await house.send("eve", "POST", path, claims))[1])
        assert "takeover" in told((await house.send("ann", "POST", path, {}))[1])
    for claims in ({}, CLAIMS):
        found = {"embedding": EMBEDDER.vector("Plan."), "collection": "takeover", "k": 9} | claims
        assert "Plan" not in told((await house.send("eve", "POST", "/v1/store/search", found))[1])
    await house.send("ann", "POST", "/v1/store/delete", {"all_files": True, "collection": "takeover"})


async def test_a_file_of_the_same_name_is_ones_own(house: House) -> None:
    """Two tenants' files of one name have each its own words and its own digest."""
    for caller, text in (("ann", "Acme's minutes."), ("eve", "Rival's minutes.")):
        await house.put(caller, "minutes.txt", text)
    for caller, text in (("ann", "Acme's minutes."), ("eve", "Rival's minutes.")):
        for claims in ({}, CLAIMS):
            _, reply = await house.send(caller, "POST", "/v1/store/read", {"file": "minutes.txt"} | claims)
            assert [document["text"] for document in reply["documents"]] == [text]
            assert reply["digest"] == hashlib.sha256(text.encode()).hexdigest()
    for caller in ("ann", "eve"):
        await house.send(caller, "POST", "/v1/dataprep/delete", {"file_path": "minutes.txt"})


async def test_a_collection_of_the_same_name_is_ones_own(house: House) -> None:
    """Two tenants' collections of one name are made with an embedder each, counted each, and forgotten each."""

    async def put(caller: str, embedder: str, *ids: str) -> tuple[int, Any]:
        documents = [{"id": id_, "text": id_, "embedding": EMBEDDER.vector(id_)} for id_ in ids]
        manifest = {"embedder": embedder, "dimensions": 64}
        body = {"documents": documents, "file": "same.txt", "collection": "same", "manifest": manifest}
        return await house.send(caller, "POST", "/v1/store/upsert", body)

    async def finds(caller: str, embedder: str) -> int:
        body = {"embedding": EMBEDDER.vector("a"), "collection": "same", "manifest": {"embedder": embedder}}
        return (await house.send(caller, "POST", "/v1/store/search", body))[0]

    first = await put("fay", "one", "a", "b", "c")
    second = await put("gil", "two", "a")
    assert (first[0], second[0]) == (200, 200), (first, second)
    assert [first[1]["count"], second[1]["count"]] == [3, 1]
    for caller, own, other in (("fay", "one", "two"), ("gil", "two", "one")):
        assert (await finds(caller, own), await finds(caller, other)) == (200, 409)
        _, listed = await house.send(caller, "POST", "/v1/store/list", {"collection": "same"})
        assert [file["chunks"] for file in listed["files"]] == [3 if caller == "fay" else 1]
    await house.send("gil", "POST", "/v1/store/delete", {"all_files": True, "collection": "same"})
    assert (await finds("fay", "one"), await finds("fay", "two")) == (200, 409)
    assert (await put("gil", "three", "a"))[0] == 200
    for caller in ("fay", "gil"):
        await house.send(caller, "POST", "/v1/store/delete", {"all_files": True, "collection": "same"})


async def test_what_may_not_be_read_takes_no_place(house: House) -> None:
    """The nearest passage that a caller may read is found, however many that they may not are nearer."""
    body = {"embedding": EMBEDDER.vector(STAFF_TEXT), "k": 1}
    for caller, text in (("ann", STAFF_TEXT), ("bob", ACME_TEXT), ("eve", RIVAL_TEXT)):
        _, reply = await house.send(caller, "POST", "/v1/store/search", body)
        assert [hit["document"]["text"] for hit in reply["hits"]] == [text], reply


async def test_what_all_have_together_is_told_to_nobody(house: House) -> None:
    """A tenant cannot watch the others' documents come and go in a number."""
    status, told_first = await house.send("eve", "POST", "/v1/store/describe", {})
    await house.put("ann", "more.txt", "One more document of acme.")
    assert status == 200
    assert (await house.send("eve", "POST", "/v1/store/describe", {}))[1] == told_first
    await house.send("ann", "POST", "/v1/dataprep/delete", {"file_path": "more.txt"})


async def test_readers_hold_from_the_time_they_are_said(house: House) -> None:
    """A document that everybody could read is its readers' once it is handed in again with them, though it is unchanged.

    Handed in without readers it stays theirs; an empty group is refused, and does not mean everybody.
    """
    text = "The garden party has a string quartet."
    for readers, finds in (((), True), (("staff",), False), ((), False), (('["board", "staff"]',), False)):
        await house.put("ann", "party.txt", text, *readers)
        assert (text in await house.ask("bob", text, stream=False)) == finds, readers
        assert text in await house.ask("ann", text, stream=False)
    for readers in ([""], [], ["x" * 201], ["staff "]):
        body = {"files": [{"name": "party.txt", "content": "eA=="}], "readers": readers}
        status, reply = await house.send("ann", "POST", "/v1/dataprep/ingest", body)
        assert (status, reply["code"]) == (400, "invalid_request"), reply
    assert text not in await house.ask("bob", text, stream=False)
    await house.send("ann", "POST", "/v1/dataprep/delete", {"file_path": "party.txt"})


async def test_nobody_changes_another_tenants_documents(house: House) -> None:
    """Deleted, replaced and added to by name and by id: the other tenant has what it had."""
    before = await state(house)
    for claims in ({}, CLAIMS):
        await house.send("eve", "POST", "/v1/dataprep/delete", {"file_path": "rocket.txt"} | claims)
        await house.send("eve", "POST", "/v1/dataprep/delete", {"file_path": "all"} | claims)
        await house.send("eve", "POST", "/v1/store/delete", {"file": "rocket.txt"} | claims)
        await house.send("eve", "POST", "/v1/store/delete", {} | claims)
        await house.send("eve", "POST", "/v1/store/delete", {"ids": ["salaries.txt"]} | claims)
        document = {
            "id": "salaries.txt",
            "text": "Salaries go down.",
            "embedding": EMBEDDER.vector(STAFF_TEXT),
        }
        await house.send(
            "eve", "POST", "/v1/store/upsert", {"documents": [document], "file": "salaries.txt"} | claims
        )
    await house.put("eve", "rocket.txt", "There is no rocket.")
    assert await state(house) == before
    assert "Salaries go down" not in await house.ask("ann", "salaries", stream=False)
    await house.send("eve", "POST", "/v1/dataprep/delete", {"file_path": "all"})
    await house.put("eve", "recipe.txt", RIVAL_TEXT)


async def state(house: House) -> list[Any]:
    """What acme has."""
    files = await house.send("ann", "POST", "/v1/store/list", {})
    found = await house.send(
        "ann", "POST", "/v1/store/search", {"embedding": EMBEDDER.vector(STAFF_TEXT), "k": 100}
    )
    assert "Salaries go up" in json.dumps(found)
    return [files, found[1]["hits"]]


async def test_another_tenants_jobs_are_not_there(house: House) -> None:
    """By its id a job of another tenant is 404 to look at and to cancel, and no list has it."""
    for method, path, body in (
        ("GET", f"/v1/dataprep/jobs/{house.job}", None),
        ("DELETE", f"/v1/dataprep/jobs/{house.job}", None),
        ("POST", "/v1/dataprep/job", {"id": house.job}),
        ("POST", "/v1/dataprep/cancel", {"id": house.job} | CLAIMS),
        ("POST", "/v1/dataprep/job", {"id": house.job, "tenant": "acme"}),
    ):
        assert (await house.send("bob", "GET", f"/v1/dataprep/jobs/{house.job}"))[0] == 200
        status, reply = await house.send("eve", method, path, body)
        assert status in (400, 404), reply
        assert "rocket" not in json.dumps(reply)
    _, listed = await house.send("eve", "GET", "/v1/dataprep/jobs?active=false&tenant=acme")
    assert house.job not in json.dumps(listed)
    status, reply = await house.send("eve", "GET", "/v1/dataprep/document?name=rocket.txt")
    assert "rocket" not in json.dumps(reply) or status == 404


# Histories.


async def test_another_callers_history_is_not_there(house: House) -> None:
    """A stored response is found by who made it: not by another tenant, not by another caller, not as what came before."""
    status, reply = await house.send(
        "ann", "POST", "/v1/responses", {"model": "library", "input": "Which rocket?"}
    )
    assert status == 200, reply
    kept = reply["id"]
    assert (await house.send("ann", "GET", f"/v1/responses/{kept}"))[0] == 200
    for caller in ("bob", "cyd", "eve", "twin"):
        for path in (f"/v1/responses/{kept}", f"/v1/responses/{kept}/input_items"):
            assert (await house.send(caller, "GET", path))[0] == 404
        assert (await house.send(caller, "DELETE", f"/v1/responses/{kept}"))[0] == 404
        body = {"model": "library", "input": "And then?", "previous_response_id": kept}
        status, reply = await house.send(caller, "POST", "/v1/responses", body)
        assert status in (400, 404), reply
    assert (await house.send("ann", "GET", f"/v1/responses/{kept}"))[0] == 200


# What is kept to be told again.


async def test_a_reply_that_was_kept_is_not_anothers(house: House) -> None:
    """Nobody is told what was kept for other readers or another tenant, nor whether it was asked there.

    By the same question, and by one of the same words in another order.
    """
    body = {"model": "kept", "messages": ACME_TEXT + " " + STAFF_TEXT, "stream": False}
    turned = body | {"messages": STAFF_TEXT + " " + ACME_TEXT}
    told_to = {}
    for asked in (body, turned):
        for caller in ("ann", "bob", "eve"):
            status, reply = await house.send(caller, "POST", "/v1/kept", asked)
            assert status == 200, reply
            told_to[caller] = json.dumps(reply)
            outcome = house.said.get("x-weft-cache", "")
            assert outcome.startswith("miss") == (asked is body), (caller, outcome)
            if asked is body:
                await house.send(caller, "POST", "/v1/kept", asked)
                assert house.said["x-weft-cache"].startswith("hit"), house.said
        assert "board" in told_to["ann"]
        assert "rocket" in told_to["bob"]
        assert "board" not in told_to["bob"]
        assert "rocket" not in told_to["eve"]
        assert "board" not in told_to["eve"]


async def test_two_tenants_with_nothing_between_them_share_no_reply(house: House) -> None:
    """Also where all else is the same that an answer depends on: documents, readers, question."""
    body = {"model": "kept", "messages": "What is there?", "stream": False}
    for caller in ("fay", "gil"):
        for expected in ("miss", "hit"):
            assert (await house.send(caller, "POST", "/v1/kept", body))[0] == 200
            assert house.said["x-weft-cache"].startswith(expected), (caller, house.said)


async def test_an_idempotency_key_is_its_callers(house: House) -> None:
    """A key that another caller has used, guessed or seen, gives nothing of theirs, and does not stand in the way."""
    key = {"idempotency-key": "order-1"}
    body = {"model": "library", "messages": [{"role": "user", "content": ACME_TEXT}], "stream": False}
    found = {}
    for caller in ("ann", "eve", "twin", "bob", "ann"):
        status, reply = await house.send(caller, "POST", "/v1/chat/completions", body, key)
        assert status == 200, reply
        found[caller] = json.dumps(reply)
    assert "rocket" in found["ann"]
    assert "rocket" not in found["eve"]
    assert "rocket" not in found["twin"]
    other = body | {"messages": [{"role": "user", "content": "Something else"}]}
    assert (
        await house.send("eve", "POST", "/v1/chat/completions", other, key | {"idempotency-key": "order-2"})
    )[0] == 200


# Who one is.


async def test_a_forged_identity_is_refused(house: House) -> None:
    """x-weft-context of no key, of another key, unsigned: 401 with a key and without, and never another tenant."""
    other = ContextSigner(b"x" * 32).sign(Context(tenant="acme", caller="ann", readers=["staff"]))
    body, _, mac = other.partition(".")
    for shown in (other, body, f"{body}.", f".{mac}", f"{body}.{'A' * 43}", "e30.e30", "", "null"):
        for caller in ("", "eve"):
            status, reply = await house.send(
                caller, "POST", "/v1/retrieval", {"query": ACME_TEXT}, {"x-weft-context": shown}
            )
            assert status == 401, reply


async def test_two_keys_in_one_request_are_one_callers(house: House) -> None:
    """Whichever of two keys counts, a request has one tenant, and it is the first header's."""
    headers = {"x-api-key": house.keys["ann"]}
    status, reply = await house.send("eve", "POST", "/v1/retrieval", {"query": ACME_TEXT}, headers)
    assert status == 200
    assert "rocket" not in json.dumps(reply["documents"])
    assert "recipe" in json.dumps(reply["documents"])


async def test_no_spelling_of_a_path_leads_around_the_role(house: House) -> None:
    """Doubled and trailing slashes, dots, percent signs, case: 401 or 403 or nothing there, and never an answer."""
    body = json.dumps({"model": "llm", "messages": [{"role": "user", "content": "Hello"}], "stream": False})
    for path in (
        "/v1/secret", "//v1/secret", "/v1//secret", "/v1/secret/", "/v1/secret//", "/V1/SECRET", "/v1/Secret",
        "/v1/%73ecret", "/%76%31/secret", "/v1%2fsecret", "/v1/%2573ecret", "/v1/library/../secret", "/v1/./secret",
        "/v1/library/%2e%2e/secret", "/v1/%2e/secret", "/..//v1/secret", "/v1/secret;x=1", "/v1/secret?x=/v1/library",
        "/v1/secret%00", "/v1/secret%20", "/v1/secret%0d%0a", "/v1\\secret", "/v1/secret#x", "/health/../v1/secret",
        "/health/live/..%2f..%2fv1/secret", "/static/../v1/secret", "http://127.0.0.1/v1/secret", "/v1/sec%E2%80%8Bret",
        "/v1/chat/completions", "//v1/chat/completions", "/v1/chat/completions/", "/v1/chat/%63ompletions",
    ):  # fmt: skip
        for caller in ("", "bob"):
            status = await raw(house, caller, path, body)
            assert status in (400, 401, 403, 404, 405), (path, status)
            if path in ("/v1/secret", "/v1/%73ecret", "/v1/chat/completions"):
                assert status == (403 if caller else 401)


async def test_no_spelling_of_a_model_leads_around_the_role(house: House) -> None:
    """However the model is named, on whichever protocol: what bob may not have does not answer him."""
    paths = ("/v1/chat/completions", "/v1/messages", "/v1/responses", "/v1/library", "/v1/secret")
    models = (
        "llm",
        "llm@1",
        "LLM",
        " llm",
        "llm ",
        "llm\x00",
        "l\u200blm",
        "secret",
        "/v1/secret",
        "library\x00llm",
    )
    for path, model in product(paths, models):
        body = {
            "model": model,
            "messages": [{"role": "user", "content": "Hello"}],
            "input": "Hello",
            "max_tokens": 5,
            "stream": False,
        }
        status, reply = await house.send("bob", "POST", path, body)
        if path == "/v1/library":
            assert "found:" in json.dumps(reply) or status >= 400, reply
        else:
            assert status in (400, 403, 404), (path, model, reply)


async def test_a_model_named_twice_is_one_model(house: House) -> None:
    """Where a body names a model twice, the one that is let in is the one that answers."""
    for first, second in (("library", "llm"), ("llm", "library")):
        body = (
            f'{{"model": "{first}", "messages": [{{"role": "user", "content": "Hello"}}], "stream": false, '
            f'"model": "{second}"}}'
        ).encode()
        status, reply = await house.send(
            "bob", "POST", "/v1/chat/completions", body, {"content-type": "application/json"}
        )
        assert status in (400, 403) or "found:" in json.dumps(reply), reply


async def test_an_upstream_sees_no_key(house: House) -> None:
    """What a caller shows here is not handed on to a foreign server."""
    await house.send(
        "eve", "POST", "/v1/elsewhere", {}, {"x-api-key": house.keys["eve"], "cookie": "weft_login=x"}
    )
    assert len(house.upstream) == 1
    for secret in (house.keys["eve"], "weft_login"):
        assert secret not in json.dumps(house.upstream)


async def raw(house: House, caller: str, target: str, body: str) -> int:
    """The status of a request whose target is sent as it is."""
    host, _, port = house.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    lines = [
        f"POST {target} HTTP/1.1",
        f"host: {host}",
        "content-type: application/json",
        f"content-length: {len(body)}",
    ]
    if caller:
        lines.append(f"authorization: Bearer {house.keys[caller]}")
    writer.write(("\r\n".join([*lines, "connection: close"]) + "\r\n\r\n" + body).encode())
    try:
        head = await asyncio.wait_for(reader.readline(), 10)
    finally:
        writer.close()
        await writer.wait_closed()
    return int(head.split()[1])


async def test_the_texts_share_no_word() -> None:
    """What is looked for in replies is told apart."""
    assert "rocket" not in RIVAL_TEXT + STAFF_TEXT


async def test_a_caller_is_told_of_the_models_that_they_may_ask(house: House) -> None:
    """What a role keeps from a caller is in no list, and is not there by its name."""
    for caller, names in (("ann", {"library", "kept", "llm"}), ("bob", {"library", "kept"})):
        _, listed = await house.send(caller, "GET", "/v1/models")
        chats = {entry["id"] for entry in listed["data"] if entry["contract"] == "chat"}
        assert chats == names
        status, reply = await house.send(caller, "GET", "/v1/models/llm")
        assert status == (200 if "llm" in names else 404)
        assert status == 200 or "llm" not in json.dumps(reply).replace("'llm'", "")

"""Another model for a service of a running gateway: what there is, the switch, and everything that can go wrong with it."""

from __future__ import annotations

import asyncio
import stat
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from switchkit import CHOICES, LOCAL_CHAT, SPEC, Rig, says, send, served
from weft.context import Context
from weft.errors import StateError
from weft.gateway import chosen
from weft.gateway.siblings import obeying_route
from weft.gateway.switch import Order
from weft.http.client import Endpoint
from weft.http.message import Headers, Request, Response
from weft.serve.access import Access
from weft.serve.application import Application
from weft.spec.load import loads
from weft.transport.signing import ContextSigner

ASYNC = [("prefer", "respond-async")]


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with AsyncExitStack() as stack:
        yield Rig(tmp_path, stack)


async def use(gateway: Endpoint, model: str, **other: str) -> dict[str, Any]:
    status, service = await send(gateway, "POST", CHOICES, {"model": model} | other)
    assert status == 200, service
    return dict(service)


async def service_of(gateway: Endpoint) -> dict[str, Any]:
    status, listed = await send(gateway, "GET", CHOICES)
    assert status == 200, listed
    return dict(listed["services"][0])


async def eventually(state: str, gateway: Endpoint) -> dict[str, Any]:
    async with asyncio.timeout(10):
        while (service := await service_of(gateway))["switch"]["state"] != state:
            await asyncio.sleep(0.01)
        return service


async def test_a_service_is_switched_to_a_second_server_and_back(rig: Rig) -> None:
    """The next request is answered by the new model, by the megaservice and by the exposed service alike."""
    gateway, second = await rig.gateway(), await rig.second("better")
    assert await says(gateway) == "I am first, as the script says."
    service = await use(gateway, f"{second.url}#better")
    assert (service["model"], service["server"]) == ("better", f"{second.url}/v1")
    assert not service["is_default"]
    assert service["switch"].pop("started") > 1_700_000_000
    assert service["switch"] == {"model": f"{second.url}#better", "state": "done"}
    assert await says(gateway) == await says(gateway, "llm") == "I am better, as the script says."
    status, service = await send(gateway, "DELETE", f"{CHOICES}/llm")
    assert (status, service["model"], service["is_default"]) == (200, "first", True)
    assert await says(gateway) == "I am first, as the script says."


async def test_what_uses_the_service_asks_the_new_one(rig: Rig) -> None:
    """A node that asks the model what it is hears of the new one with the next request."""
    gateway, second = await rig.gateway(), await rig.second("better")
    await says(gateway)
    assert rig.first.chats["first"].requests[-1].messages[0].text() == "You are first."
    await use(gateway, f"{second.url}#better")
    await says(gateway)
    assert second.chats["better"].requests[-1].messages[0].text() == "You are better."


async def test_requests_under_way_end_with_the_old_model_which_is_closed_then(
    rig: Rig, tmp_path: Path
) -> None:
    """Not before, and not only when the application stops."""
    (tmp_path / "local.py").write_text(LOCAL_CHAT)
    rig.spec = SPEC.replace(
        'openai-chat, config: {url: "URL", model: first}',
        f'"./local.py:Local", config: {{folder: "{tmp_path}"}}',
    )
    gateway, second = await rig.gateway(), await rig.second("better")
    local = rig.services.transports["llm"].instance  # type: ignore[attr-defined]
    local.gate.clear()
    under_way = asyncio.create_task(says(gateway))
    async with asyncio.timeout(10):
        while not local.running:
            await asyncio.sleep(0.001)
    await use(gateway, f"{second.url}#better")
    assert await says(gateway) == "I am better, as the script says."
    assert not (tmp_path / "closed").exists()
    local.gate.set()
    assert await under_way == "I am local, as the script says."
    async with asyncio.timeout(10):
        while not (tmp_path / "closed").exists():
            await asyncio.sleep(0.01)


async def test_what_a_request_may_say_is_what_the_new_model_reads(rig: Rig, tmp_path: Path) -> None:
    """A field that only the new one honours is accepted from then on, and refused again after it."""
    (tmp_path / "local.py").write_text(LOCAL_CHAT)
    rig.spec = SPEC.replace(
        'openai-chat, config: {url: "URL", model: first}',
        f'"./local.py:Local", config: {{folder: "{tmp_path}"}}',
    )
    gateway, second = await rig.gateway(), await rig.second("better")
    for model in ("talk", "llm"):
        asked = {"model": model, "messages": [{"role": "user", "content": "x"}], "reasoning_effort": "low"}
        assert (await send(gateway, "POST", "/v1/chat/completions", asked))[0] == 400
        await use(gateway, f"{second.url}#better")
        status, body = await send(gateway, "POST", "/v1/chat/completions", asked)
        assert status == 200, body
        await use(gateway, "default", service="llm")
        assert (await send(gateway, "POST", "/v1/chat/completions", asked))[0] == 400


async def test_no_request_fails_while_models_are_switched(rig: Rig) -> None:
    """With questions coming in all the time, whole and streamed, each is answered by one model or the other."""
    gateway, second = await rig.gateway(), await rig.second("better")
    answers: list[str] = []
    is_over = False

    async def ask() -> None:
        while not is_over:
            answers.append(await says(gateway))
            body = {"model": "talk", "stream": True, "messages": [{"role": "user", "content": "Who?"}]}
            reply = await gateway.request(
                "POST",
                "/v1/chat/completions",
                msgspec.json.encode(body),
                headers=[("content-type", "application/json")],
            )
            assert reply.status == 200
            assert reply.body.endswith(b"data: [DONE]\n\n"), reply.body

    askers = [asyncio.create_task(ask()) for _ in range(8)]
    for _ in range(3):
        await use(gateway, f"{second.url}#better")
        await use(gateway, "default")
    is_over = True
    await asyncio.gather(*askers)
    said = {answer.split(",")[0] for answer in answers}
    assert said == {"I am first", "I am better"}, said


@pytest.mark.parametrize(
    ("model", "status", "words"),
    [
        ("SECOND#worse", 400, "has no model 'worse'"),
        ("SECOND#beter", 400, "did you mean 'better'? models there: better, other"),
        ("SECOND", 400, "has 2 models: say which"),
        ("http://127.0.0.1:9#x", 400, "start the server there"),
        ("http://169.254.169.254/v1#x", 400, "never contacted"),
        ("http://[::ffff:169.254.169.254]/v1#x", 400, "never contacted"),
        ("http://93.184.216.34#x", 400, "outside of the networks"),
        ("http://user:pw@127.0.0.1#x", 400, "carries neither a password"),
        ("http://127.0.0.1:99999#x", 400, "is no address"),
        ("http://127.0.0.1:1/model.gguf", 400, "weft models pull"),
        ("file:///etc/passwd", 400, "is no way to a model"),
        ("/etc/passwd", 400, "is not a GGUF file"),
        ("/nowhere/model.gguf", 400, "there is no file"),
        ("smollm2-135m-instruc", 400, "did you mean 'smollm2-135m-instruct'?"),
        ("all-minilm-l6-v2", 400, "a model of another kind"),
        ("owner/name", 400, "working offline"),
        ("", 400, "this is none"),
        ("x\ny", 400, "this is none"),
    ],
)
async def test_what_cannot_be_used_is_refused_and_the_old_model_goes_on(
    rig: Rig, model: str, status: int, words: str
) -> None:
    """The reply says what to do, and so does the list; nothing is written down for the next start."""
    gateway, second = await rig.gateway(), await rig.second("better", "other")
    model = model.replace("SECOND", second.url)
    found, body = await send(gateway, "POST", CHOICES, {"model": model})
    assert (found, words in body["detail"]) == (status, True), body
    service = await service_of(gateway)
    assert (service["model"], service["switch"]["state"]) == ("first", "failed")
    assert words in service["switch"]["error"]
    assert await says(gateway) == "I am first, as the script says."
    assert not (rig.folder / "models.json").exists()


async def test_a_model_that_does_not_answer_is_not_switched_to(rig: Rig) -> None:
    """It is listed by its server, and fails when it is tried: that is found out before a user does."""
    gateway, second = await rig.gateway(), await rig.second("better")

    async def fail(request: Request, context: Context) -> Response:
        return Response(500, (), b'{"error": {"message": "CUDA out of memory"}}')

    app = second.app()
    app.router.exact["/v1/chat/completions"].methods["POST"].handler = fail
    broken = await served(app, rig.stack)
    status, body = await send(gateway, "POST", CHOICES, {"model": f"{broken}#better"})
    assert (status, body["service"], body["endpoint"]) == (502, "llm", f"{broken}/v1/chat/completions"), body
    assert "CUDA out of memory" in body["detail"]
    assert await says(gateway) == "I am first, as the script says."


async def test_the_choice_holds_at_the_next_start(rig: Rig) -> None:
    """With the same build id as before it; and after going back, the spec's own."""
    second = await rig.second("better")
    gateway = await rig.gateway()
    before = rig.app.build_id
    await use(gateway, f"{second.url}#better")
    chosen_id = rig.app.build_id
    assert chosen_id != before
    again = await rig.gateway()
    assert (await says(again), rig.app.build_id) == ("I am better, as the script says.", chosen_id)
    reply = await again.request("GET", "/v1/models")
    assert reply.headers.get("x-weft-build") == chosen_id
    await send(again, "DELETE", f"{CHOICES}/llm")
    assert rig.app.build_id == before
    assert await says(await rig.gateway()) == "I am first, as the script says."


async def test_a_key_is_used_and_never_shown(rig: Rig) -> None:
    """Not in a reply, a log line or a metric, whatever the server says; kept where only its owner reads it."""
    key = "sk-verysecret123"
    gateway, second = await rig.gateway(), await rig.second("better", key=key)

    async def refused(request: Request, context: Context) -> Response:
        told = request.headers.get("authorization") or ""
        return Response(401, (), msgspec.json.encode({"error": {"message": f"Bad key: {told}"}}))

    told: list[bytes] = []
    for body, words in (
        ({"model": second.url}, "send it as 'key'"),
        ({"model": second.url, "key": "sk-wrong"}, "refuses the key"),
    ):
        status, said = await send(gateway, "POST", CHOICES, body)
        assert (status, said["param"], words in said["detail"]) == (400, "key", True), said
    app = second.app()
    app.access = Access(hosts=["*"])
    app.router.exact["/v1/chat/completions"].methods["POST"].handler = refused
    echoing = await served(app, rig.stack)
    status, said = await send(gateway, "POST", CHOICES, {"model": echoing, "key": key})
    assert (status, "Bad key: Bearer ***" in said["detail"]) == (502, True), said
    await use(gateway, second.url, key=key)
    assert await says(gateway) == "I am better, as the script says."
    for path in (CHOICES, "/metrics", "/openapi.json", "/health/ready", "/v1/models"):
        told.append((await gateway.request("GET", path)).body)
    told.append((await gateway.request("POST", CHOICES, f'{{"key": "{key}"}}'.encode(), headers=[])).body)
    told += [rig.log.getvalue().encode(), repr(chosen.read(rig.folder)).encode(), msgspec.json.encode(said)]
    assert key.encode() not in b"".join(told)
    path = rig.folder / "models.json"
    assert key in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert await says(await rig.gateway()) == "I am better, as the script says."
    await use(await rig.gateway(), "default")
    assert key not in path.read_text()


async def test_a_server_s_key_is_never_quoted_to_those_who_ask_the_model(rig: Rig) -> None:
    """A server that takes the key at first and later refuses it, quoting it, does not give it away."""
    key = "sk-verysecret123"
    gateway, second = await rig.gateway(), await rig.second("better", key=key)
    await use(gateway, second.url, key=key)

    async def refused(request: Request, context: Context) -> Response:
        told = request.headers.get("authorization") or ""
        return Response(401, (), msgspec.json.encode({"error": {"message": f"Bad key: {told}"}}))

    second.running.router.exact["/v1/chat/completions"].methods["POST"].handler = refused
    for stream in (False, True):
        question = {"model": "talk", "stream": stream, "messages": [{"role": "user", "content": "x"}]}
        reply = await gateway.request(
            "POST",
            "/v1/chat/completions",
            msgspec.json.encode(question),
            headers=[("content-type", "application/json")],
        )
        assert b"Bad key" in reply.body
        assert key.encode() not in reply.body
    assert key not in rig.log.getvalue()


async def test_a_switch_can_be_followed_and_given_up(rig: Rig) -> None:
    """Asked for in the background, it is in the list; given up, what ran goes on, and another may be asked for."""
    gateway, second = await rig.gateway(), await rig.second("better")
    second.chats["better"].held.clear()  # its trial never ends
    status, service = await send(gateway, "POST", CHOICES, {"model": second.url}, ASYNC)
    assert (status, service["switch"]["state"]) == (202, "asking")
    await second.chats["better"].asked.wait()
    assert (await service_of(gateway))["switch"]["state"] == "starting"
    status, busy = await send(gateway, "POST", CHOICES, {"model": "default"})
    assert (status, "give it up" in busy["detail"]) == (409, True), busy
    status, service = await send(gateway, "DELETE", f"{CHOICES}/llm")
    assert (status, service["model"], service["switch"]["state"]) == (200, "first", "cancelled")
    second.chats["better"].held.set()
    await use(gateway, second.url)
    assert await says(gateway) == "I am better, as the script says."


async def test_who_leaves_before_the_reply_gives_the_switch_up(rig: Rig) -> None:
    """A switch that nobody waits for is not made behind everybody's back."""
    gateway, second = await rig.gateway(), await rig.second("better")
    second.chats["better"].held.clear()
    asking = asyncio.create_task(use(gateway, second.url))
    await second.chats["better"].asked.wait()
    asking.cancel()
    await asyncio.wait((asking,))
    await eventually("cancelled", gateway)
    second.chats["better"].held.set()
    assert await says(gateway) == "I am first, as the script says."


async def test_a_choice_that_cannot_be_kept_is_not_made(rig: Rig) -> None:
    """What the next start would not know is no choice: the old model goes on, and the reply says so."""
    gateway, second = await rig.gateway(), await rig.second("better")
    (rig.folder / "models.json").mkdir()
    status, _ = await send(gateway, "POST", CHOICES, {"model": second.url})
    assert status == 500
    assert await says(gateway) == "I am first, as the script says."
    (rig.folder / "models.json").rmdir()
    await use(gateway, second.url)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"model": "x", "service": "lm"}, 400, "did you mean 'llm'?"),
        ({"model": "x", "contract": "embedding"}, 400, "0 services fulfil"),
        ({"service": "llm"}, 400, "a choice is {model, service, key}"),
        ([], 400, "a choice is"),
    ],
)
async def test_a_malformed_choice_is_refused(rig: Rig, body: Any, status: int, words: str) -> None:
    """With what is wrong, and nothing begun."""
    gateway = await rig.gateway()
    found, said = await send(gateway, "POST", CHOICES, body)
    assert (found, words in said["detail"]) == (status, True), said
    assert (await service_of(gateway))["switch"] is None
    status, said = await send(gateway, "DELETE", f"{CHOICES}/lm")
    assert (status, "did you mean 'llm'?" in said["detail"]) == (404, True), said


async def test_models_are_chosen_from_this_machine_or_with_the_token(rig: Rig) -> None:
    """From elsewhere, a gateway without a token neither switches nor says what runs here."""
    await rig.gateway()
    for method, path in (("GET", CHOICES), ("POST", CHOICES), ("DELETE", f"{CHOICES}/llm")):
        for peer, refused in (("192.0.2.7", True), ("127.0.0.1", False), ("::1", False)):
            headers = Headers([(b"host", b"localhost"), (b"content-type", b"application/json")])
            request = Request(method, path, path, "", headers, b'{"model": "default"}', peer=peer)
            reply = await rig.app(request)
            assert (reply.status == 403) is refused, (method, peer, reply)
    guarded = await rig.gateway(Access("token"))
    assert (await send(guarded, "POST", CHOICES, {"model": "default"}))[0] == 401
    with_token = [("authorization", "Bearer token")]
    assert (await send(guarded, "POST", CHOICES, {"model": "default"}, with_token))[0] == 200


async def test_the_parameters_that_a_server_tells_are_known(rig: Rig) -> None:
    """A small model on a server is small all the same: who asks ``describe`` hears its size and window."""
    gateway = await rig.gateway()
    second = await rig.second("tiny", facts={"meta": {"n_params": 135_000_000}, "max_model_len": 2048})
    service = await use(gateway, second.url)
    assert (service["parameters"], service["context_window"]) == (135_000_000, 2048)


async def test_a_service_elsewhere_is_switched_there(rig: Rig, tmp_path: Path) -> None:
    """The list says so, and so does the refusal."""
    rig.spec = (
        SPEC + '---\napiVersion: weft/v1\nkind: Placement\nservices:\n  llm: {at: "http://127.0.0.1:9"}\n'
    )
    gateway = await rig.gateway()
    assert (await service_of(gateway))["fixed"] == "it runs elsewhere (http://127.0.0.1:9); switch it there"
    status, body = await send(gateway, "POST", CHOICES, {"model": "smollm2-135m-instruct"})
    assert (status, "switch it there" in body["detail"]) == (400, True), body


# What is kept.


def test_what_was_kept_by_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    """And what is damaged is said without a word of what is in it, for it may be a key."""
    path = tmp_path / "models.json"
    path.write_text('{"schema_version": 2, "services": {}, "secrets": {}}')
    with pytest.raises(StateError, match="written by a newer Weft"):
        chosen.read(tmp_path)
    for text in (
        '{"schema_version": 1, "secrets": {"x": sk-secret}}',
        '{"schema_version": 1, "services": "sk-secret"}',
        "[]",
    ):
        path.write_text(text)
        with pytest.raises(StateError, match="is damaged") as caught:
            chosen.read(tmp_path)
        assert "sk-secret" not in str(caught.value)


def test_a_choice_for_a_service_that_is_gone_changes_nothing() -> None:
    """The spec may have changed since."""
    spec = loads(SPEC)
    assert chosen.applied(spec, {"gone": chosen.Choice("x", "openai-chat", {})}) == spec


# Orders between processes.


async def test_only_the_processes_of_an_installation_say_what_it_runs() -> None:
    """An order without their seal, with another's, or an old one is refused, and nothing is done."""
    obeyed: list[Order] = []

    class Obeying:
        async def obey(self, order: Order) -> None:
            obeyed.append(order)

    signer, app = ContextSigner(b"k" * 32), Application(name="a", version="1", access=Access())
    obeying_route(app, Obeying(), signer)  # type: ignore[arg-type]
    app.state = "running"
    now_s = int(time.time())
    for by, sent_s, status in (
        (None, now_s, 403),
        (ContextSigner(b"x" * 32), now_s, 403),
        (signer, now_s - 120, 403),
        (signer, now_s, 200),
    ):
        body = msgspec.json.encode(Order("commit", sent_s, "llm"))
        lines = [(b"host", b"localhost"), (b"content-type", b"application/json")]
        lines += [(b"x-weft-seal", by.seal(body).encode())] if by is not None else []
        request = Request("POST", "/weft/switch", "/weft/switch", "", Headers(lines), body, peer="127.0.0.1")
        assert (await app(request)).status == status
    assert [order.sent_s for order in obeyed] == [now_s]

"""Services and processes ask each other who they are: a signature, and nothing else, opens them."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest

from accesskit import KEYS, bearer, made
from frontkit import TALK, FrontRig, ask
from switchkit import served
from weft.context import Context
from weft.errors import UsageError
from weft.gateway import build
from weft.http.client import Client, Endpoint
from weft.serve.access import Access
from weft.serve.scrape import SNAPSHOT_PATH, snapshot_route
from weft.transport.signing import CONTEXT_HEADER, LIFETIME_S, SERVICE_KEY, ContextSigner

KEY = "0123456789abcdef" * 4
START_KEY = b"s" * 32


async def service(rig: FrontRig, **options: Any) -> tuple[str, Endpoint]:
    """The service ``llm`` as a process of its own: its address, and something that asks it."""
    app = build.service(rig.assembly(TALK, **options), "llm", Access(hosts=["*"]))
    url = await served(app, rig.stack)
    client = Client()
    rig.stack.push_async_callback(client.aclose)
    return url, client.endpoint(url, timeout_s=20)


def signed(key: str | bytes, context: Context | None = None, **options: Any) -> dict[str, str]:
    signer = ContextSigner(key.encode() if isinstance(key, str) else key, **options)
    return {CONTEXT_HEADER: signer.sign(context or Context())}


@pytest.mark.parametrize("of_start", [True, False], ids=["process", "machine"])
async def test_a_service_answers_who_has_its_key_and_nobody_else(rig: FrontRig, of_start: bool) -> None:
    """Unsigned, forged, signed with another key, and expired: 401 on every path; only health is open."""
    key: str | bytes = START_KEY if of_start else KEY
    options = {"signing_key": START_KEY} if of_start else {"secrets": {SERVICE_KEY: KEY}}
    _, llm = await service(rig, **options)
    assert (await ask(llm, headers=signed(key), stream=False))[0] == 200
    good = signed(key)[CONTEXT_HEADER]
    old = signed(key, now_s=lambda: 1_000_000.0)[CONTEXT_HEADER]
    other = signed("another key, of 32 characters ....")[CONTEXT_HEADER]
    for shown in (
        None,
        "",
        "forged",
        old,
        other,
        good[:-2],
        good.partition(".")[0],
        f"{good}.x",
        f" {good}x",
    ):
        headers = {} if shown is None else {CONTEXT_HEADER: shown}
        for path in ("/v1/chat/completions", "/metrics", "/v1/contract", "/nothing", "//v1/contract"):
            status, body, _ = await ask(llm, path, headers)
            assert status == 401, (shown, path, body)
    assert (await llm.request("GET", "/health/ready")).status == 200


async def test_a_gateway_calls_a_service_on_another_machine_for_its_caller(rig: FrontRig) -> None:
    """With the shared secret on both sides the call goes through; a gateway without it gets the service's refusal."""
    url, _ = await service(rig, secrets={SERVICE_KEY: KEY})
    placed = f'apiVersion: weft/v1\nkind: Placement\nservices:\n  llm: {{at: "{url}"}}\n---\n'
    secret = await made(rig)
    gateway = await rig.gateway(placed + KEYS, secrets={SERVICE_KEY: KEY})
    assert (await ask(gateway, headers=bearer(secret), stream=False))[0] == 200
    stranger = await rig.gateway(placed + KEYS)
    status, body, _ = await ask(stranger, headers=bearer(secret), stream=False)
    assert status in (502, 503), body


def test_a_key_that_can_be_guessed_is_refused(rig: FrontRig) -> None:
    """A short key for services is an error at the start that says how to make one."""
    with pytest.raises(UsageError, match="openssl rand -hex 32"):
        rig.assembly(TALK, secrets={SERVICE_KEY: "secret"})


def test_a_store_elsewhere_needs_the_key_where_there_are_tenants(rig: FrontRig) -> None:
    """A service that keeps documents and cannot know whose a request is does not start behind `auth:`."""
    text = """\
apiVersion: weft/v1
kind: Services
services:
  library: {component: qdrant-edge}
---
apiVersion: weft/v1
kind: Placement
services: {library: {at: "http://127.0.0.1:9"}}
---
apiVersion: weft/v1
kind: Gateway
name: front
routes: [{path: /v1/library, service: library}]
auth: {keys: true}
"""
    with pytest.raises(
        UsageError, match="'library' is at http://127.0.0.1:9, and could not know whose documents"
    ):
        build.gateway(rig.assembly(text), Access())
    build.gateway(rig.assembly(text, secrets={SERVICE_KEY: KEY}), Access())
    build.gateway(rig.assembly(text.replace("auth: {keys: true}", "")), Access())


async def test_what_siblings_use_is_on_the_private_address_only(rig: FrontRig) -> None:
    """Metrics and orders between processes are not on the public address, and on the private one only for siblings."""
    secret = await made(rig, roles=["admin"])
    public = await rig.gateway(KEYS, signing_key=START_KEY)
    assert rig.app is not None
    private = rig.app.private
    assert private is not None
    assert rig.app.metrics is not None
    snapshot_route(private, rig.app.metrics)
    await private.start()
    client = Client()
    rig.stack.push_async_callback(client.aclose)
    inside = client.endpoint(await served(private, rig.stack), timeout_s=20)
    for path in (SNAPSHOT_PATH, "/weft/switch"):
        assert (await ask(public, path, bearer(secret)))[0] == 404
        assert (await public.request("GET", path)).status == 401
    sibling = list(signed(START_KEY).items())
    assert (await inside.request("GET", SNAPSHOT_PATH, headers=sibling)).status == 200
    for headers in ([], list(bearer(secret).items()), list(signed(KEY).items())):
        assert (await inside.request("GET", SNAPSHOT_PATH, headers=headers)).status == 401
        assert (await inside.request("GET", "/v1/models", headers=headers)).status == 401
    sent = [("content-type", "application/json"), *sibling]
    for at_s, seal_of, expected in ((time.time(), None, 200), (time.time(), b"other", 403), (0, None, 403)):
        order = msgspec.json.encode({"step": "look", "sent_s": int(at_s)})
        seal = ("x-weft-seal", ContextSigner(START_KEY).seal(seal_of or order))
        assert (await inside.request("POST", "/weft/switch", order, headers=[*sent, seal])).status == expected
    assert (await inside.request("POST", "/weft/switch", order, headers=sent)).status == 403


async def test_the_public_address_believes_no_signature_of_a_start(rig: FrontRig) -> None:
    """A signature of the processes' own key opens nothing to users' routes: with keys on, and without."""
    for text in (KEYS, KEYS.replace("auth: {keys: true}\n", "")):
        public = await rig.gateway(text, signing_key=START_KEY)
        status, body, _ = await ask(public, headers=signed(START_KEY, Context(tenant="acme")), stream=False)
        assert status == 401, body


async def test_a_gateway_before_this_one_asks_for_its_callers(rig: FrontRig) -> None:
    """Signed with the shared secret, a request is its tenant's, without roles; expired it is 401."""
    text = KEYS.replace("megaservice: talk}", "megaservice: talk, roles: [staff]}").replace(
        "{keys: true}", "{keys: true, roles: {staff: \"tenant == 'acme'\"}}"
    )
    gateway = await rig.gateway(text, secrets={SERVICE_KEY: KEY})
    acme, other = Context(tenant="acme", caller="ann"), Context(tenant="other")
    assert (await ask(gateway, headers=signed(KEY, acme), stream=False))[0] == 200
    assert (await ask(gateway, headers=signed(KEY, other), stream=False))[0] == 403
    assert (await ask(gateway, "/v1/keys", headers=signed(KEY, acme)))[0] == 403
    late = signed(KEY, acme, now_s=lambda: -float(LIFETIME_S))
    assert (await ask(gateway, headers=late, stream=False))[0] == 401

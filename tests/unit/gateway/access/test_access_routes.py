"""Whom a gateway with `auth: {keys: true}` lets in, and to what."""

from __future__ import annotations

from itertools import count
from typing import Any

import msgspec
import pytest

from accesskit import KEYS, ROUTE, bearer, index_of, made, stores
from frontkit import FrontRig, ask
from weft.http.client import Endpoint
from weft.serve.routing import Path


@pytest.mark.parametrize("path", ["/v1/greet", "/v1/chat/completions"])
async def test_a_key_opens_a_route_and_without_one_it_is_closed(rig: FrontRig, path: str) -> None:
    """Every path to a route is 401 to a stranger, and answers to who has a key, in both headers in which SDKs send it."""
    secret = await made(rig)
    gateway = await rig.gateway(KEYS)
    for headers in (bearer(secret), {"x-api-key": secret}, {"authorization": f"bearer  {secret} "}):
        status, body, _ = await ask(gateway, path, headers, stream=False)
        assert status == 200, body
    wrong = secret[:-1] + ("0" if secret[-1] != "0" else "1")
    for headers in (
        {},
        bearer(wrong),
        {"x-api-key": wrong},
        bearer("sk-123"),
        {"authorization": "Basic eDp5"},
    ):
        status, body, _ = await ask(gateway, path, headers)
        assert status == 401, body


@pytest.mark.parametrize("name", ["authorization", "x-api-key", "x-weft-context"])
async def test_who_shows_two_of_one_kind_is_refused(rig: FrontRig, name: str) -> None:
    """A proxy before the gateway might have looked at the other one. Two headers that SDKs send side by side are no fault."""
    secret = await made(rig)
    gateway = await rig.gateway(KEYS)
    body = b'{"model": "talk", "messages": [{"role": "user", "content": "?"}], "stream": false}'
    sent = [("content-type", "application/json"), ("authorization", f"Bearer {secret}")]
    twice = [*sent, (name, f"Bearer {secret}"), *([(name, secret)] if name != "authorization" else [])]
    reply = await gateway.request("POST", "/v1/greet", body, headers=twice)
    assert reply.status == 400
    assert f"the header {name} is there more than once".encode() in reply.body
    reply = await gateway.request("POST", "/v1/greet", body, headers=[*sent, ("x-api-key", secret)])
    assert reply.status == 200


NUMBERS = count(1)


def auth(text: str, *, route: str = "") -> str:
    """:data:`ROUTE` with this ``auth``, and with more keys for its route."""
    return ROUTE.replace("megaservice: talk}", f"megaservice: talk{route}}}") + f"auth: {text}\n"


async def status(rig: FrontRig, gateway: Endpoint, path: str = "/v1/greet", **fields: Any) -> int:
    """What a new key with these fields gets."""
    secret = await made(rig, f"key {next(NUMBERS)}", **fields)
    await looked(rig)
    found, _, _ = await ask(gateway, path, bearer(secret), stream=False)
    return found


async def looked(rig: FrontRig) -> None:
    """Have the gateway look for new keys now, and not within a second."""
    assert rig.app is not None
    await index_of(rig.app).refresh()


async def test_a_routes_roles_are_asked_for(rig: FrontRig) -> None:
    """One of the route's roles, or admin, opens it; 403 says which; a stranger gets 401 and no names."""
    gateway = await rig.gateway(auth("{keys: true}", route=", roles: [staff, hr]"))
    assert await status(rig, gateway, roles=["hr"]) == 200
    assert await status(rig, gateway, roles=["admin"]) == 200
    assert await status(rig, gateway, roles=["other"]) == 403
    secret = await made(rig, "last")
    await looked(rig)
    _, body, _ = await ask(gateway, "/v1/chat/completions", bearer(secret))
    assert body["error"]["message"] == "'last' needs the role 'staff' or 'hr' for this"


@pytest.mark.parametrize(
    ("rule", "granted"),
    [
        ("tenant == 'acme'", True),
        ("caller == 'ann' && tenant == 'acme'", True),
        ("'talk' in scopes", True),
        ("'weft-admin' in claims.groups", False),
        ("claims.level > 3", False),
        ("has(claims.groups) && 'weft-admin' in claims.groups", False),
        ("true", True),
    ],
)
async def test_a_role_is_given_by_its_rule_and_an_error_in_it_denies(
    rig: FrontRig, rule: str, granted: bool
) -> None:
    """Rules see claims, caller, tenant and scopes; where a claim is missing or of another type, the role is not given."""
    gateway = await rig.gateway(auth(f'{{keys: true, roles: {{staff: "{rule}"}}}}', route=", roles: [staff]"))
    found = await status(rig, gateway, tenant="acme", owner="ann", scopes=["talk"])
    assert found == (200 if granted else 403)


async def test_a_key_for_some_routes_opens_no_other(rig: FrontRig) -> None:
    """By the route's name or its path, on each of its paths; admin among them is for what administers."""
    gateway = await rig.gateway(KEYS)
    for path in ("/v1/greet", "/v1/chat/completions"):
        assert await status(rig, gateway, path, scopes=["talk"]) == 200
        assert await status(rig, gateway, path, scopes=["/v1/greet", "other"]) == 200
        assert await status(rig, gateway, path, scopes=["other"]) == 403
        assert await status(rig, gateway, path, scopes=["admin"]) == 403
    admin = {"roles": ["admin"]}
    for scopes, expected in (([], 200), (["talk"], 403), (["admin"], 200), (["talk", "admin"], 200)):
        secret = await made(rig, f"key {next(NUMBERS)}", scopes=scopes, **admin)
        await looked(rig)
        reply = await gateway.request("GET", "/v1/keys", headers=list(bearer(secret).items()))
        assert reply.status == expected, scopes


async def test_anonymous_callers_have_what_is_for_everybody(rig: FrontRig) -> None:
    """With `anonymous: true` a route without roles is open, one with roles is 401, and what administers is 401."""
    gateway = await rig.gateway(auth("{keys: true, anonymous: true}"))
    assert (await ask(gateway, "/v1/greet", stream=False))[0] == 200
    assert (await gateway.request("GET", "/v1/keys")).status == 401
    for shown in (
        bearer("weft_nonsense"),
        bearer("sk-nothing"),
        {"authorization": "Basic eDp5"},
        {"x-api-key": ""},
    ):
        assert (await ask(gateway, "/v1/greet", shown))[0] == 401
    closed = await rig.gateway(auth("{keys: true, anonymous: true}", route=", roles: [staff]"))
    assert (await ask(closed, "/v1/greet", stream=False))[0] == 401


async def test_a_stranger_learns_nothing_of_the_paths(rig: FrontRig) -> None:
    """Whatever is asked for, there or not, with any method: 401; only health is open."""
    gateway = await rig.gateway(KEYS)
    assert rig.app is not None
    for path in [*rig.app.router.paths(), Path("/nothing"), Path("/v1/keys/x/y"), Path("/weft/snapshot")]:
        for method in ("GET", "POST", "DELETE", "OPTIONS"):
            route = path.methods.get(method)
            reply = await gateway.request(method, path.name.replace("{", "").replace("}", ""))
            assert (reply.status == 401) == (route is None or not route.is_open), (method, path.name)


async def test_what_administers_is_for_administrators(rig: FrontRig) -> None:
    """Every route that is not for each caller is 403 without the role admin. A new route is one of these until it says otherwise."""
    secret = await made(rig)
    gateway = await rig.gateway(KEYS)
    assert rig.app is not None
    closed = set()
    for path in rig.app.router.paths():
        for method, route in path.methods.items():
            if route.is_open or not route.needs:
                continue
            name = path.name.replace("{", "").replace("}", "")
            reply = await gateway.request(method, name, headers=list(bearer(secret).items()))
            assert reply.status == 403, (method, path.name)
            closed.add(path.name)
    assert closed >= {"/v1/keys", "/v1/audit", "/v1/models/choices", "/v1/registry/services", "/metrics"}


# Administration over HTTP.


async def send(gateway: Endpoint, secret: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    content = msgspec.json.encode(body) if body is not None else b""
    headers = [("content-type", "application/json"), *bearer(secret).items()]
    reply = await gateway.request(method, path, content, headers=headers)
    return reply.status, msgspec.json.decode(reply.body) if reply.body else None


async def test_keys_are_administered_over_http(rig: FrontRig) -> None:
    """Made, used, rotated and revoked by an administrator's key; what was done holds at once."""
    admin = await made(rig, "root", roles=["admin"])
    gateway = await rig.gateway(KEYS)
    found, reply = await send(gateway, admin, "POST", "/v1/keys", {"name": "site", "tenant": "acme"})
    assert found == 201
    first = reply["secret"]
    assert (await ask(gateway, "/v1/greet", bearer(first), stream=False))[0] == 200
    found, reply = await send(gateway, admin, "POST", "/v1/keys/site/rotate", {"grace_s": 0})
    assert (found, (await ask(gateway, "/v1/greet", bearer(first)))[0]) == (200, 401)
    second = reply["secret"]
    assert (await ask(gateway, "/v1/greet", bearer(second), stream=False))[0] == 200
    found, keys = await send(gateway, admin, "GET", "/v1/keys")
    assert [key["name"] for key in keys["keys"]] == ["site", "root"]
    assert first[18:] not in repr(keys)
    assert (await send(gateway, admin, "DELETE", f"/v1/keys/{reply['key']['id']}"))[0] == 200
    found, body, _ = await ask(gateway, "/v1/greet", bearer(second))
    assert (found, body["detail"].partition("\n")[0]) == (401, "this API key was revoked")
    found, audit = await send(gateway, admin, "GET", "/v1/audit")
    events = [(record["event"], record["actor"].partition(" ")[2]) for record in audit["records"]]
    assert events[:3] == [("key.revoked", "(root)"), ("key.rotated", "(root)"), ("key.created", "(root)")]
    assert await send(gateway, admin, "GET", "/v1/audit/verify") == (200, {"records": 4, "faults": []})


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        ("POST", "/v1/keys", {"name": "root"}, 409),
        ("POST", "/v1/keys", {"name": ""}, 400),
        ("POST", "/v1/keys", {"name": "x", "secret": "mine"}, 400),
        ("POST", "/v1/keys", [], 400),
        ("POST", "/v1/keys/nobody/rotate", {}, 404),
        ("POST", "/v1/keys/root/rotate", {"grace_s": -1}, 400),
        ("DELETE", "/v1/keys/nobody", None, 404),
        ("GET", "/v1/audit?event=nothing", None, 400),
        ("GET", "/v1/audit?limit=0", None, 400),
        ("GET", "/v1/audit?limit=1001", None, 400),
        ("GET", f"/v1/audit?before={'0' * 5000}1", None, 400),
    ],
)
async def test_what_is_wrong_in_administration_is_told(
    rig: FrontRig, method: str, path: str, body: Any, expected: int
) -> None:
    """Each mistake has its status, and nothing is changed by it."""
    admin = await made(rig, "root", roles=["admin"])
    gateway = await rig.gateway(KEYS)
    assert (await send(gateway, admin, method, path, body))[0] == expected
    _, keys = await send(gateway, admin, "GET", "/v1/keys")
    assert [key["name"] for key in keys["keys"]] == ["root"]


async def test_refusals_are_in_the_audit_log(rig: FrontRig) -> None:
    """A stranger's request and a caller's without the role are recorded, with the address and the path and no secret."""
    secret = await made(rig, "site")
    gateway = await rig.gateway(KEYS)
    wrong = secret[:-1] + ("0" if secret[-1] != "0" else "1")
    await ask(gateway, "/v1/greet?key=hunter2", bearer(wrong))
    await ask(gateway, "/v1/keys", bearer(secret))
    assert rig.app is not None
    await rig.app.stop()
    async with stores(rig.folder / "data") as (_, audit):
        records = [record for record in await audit.page() if record.event == "refused"]
    assert {(r.actor.partition(" ")[2], r.details["asked"]) for r in records} == {
        ("", "POST /v1/greet"),
        ("(site)", "POST /v1/keys"),
    }
    assert all(r.details["address"] == "127.0.0.1" for r in records)
    assert "hunter2" not in repr(records)
    assert wrong[18:] not in repr(records)


async def test_no_log_has_a_secret(rig: FrontRig) -> None:
    """Keys that are made, used, refused, rotated and revoked: no part of a secret is in the process's log or the audit log."""
    admin = await made(rig, "root", roles=["admin"])
    gateway = await rig.gateway(KEYS)
    _, reply = await send(gateway, admin, "POST", "/v1/keys", {"name": "site"})
    _, rotated = await send(gateway, admin, "POST", "/v1/keys/site/rotate", {})
    secrets = [admin, reply["secret"], rotated["secret"]]
    for secret in secrets:
        await ask(gateway, "/v1/greet", bearer(secret), stream=False)
        await ask(gateway, "/v1/greet", {"x-api-key": secret[:-1]})
        await ask(gateway, f"/v1/keys/{secret}", bearer(secret))
        await send(gateway, admin, "DELETE", f"/v1/keys/{secret}")
        await send(gateway, admin, "POST", "/v1/keys", {"name": secret})
    await send(gateway, admin, "DELETE", "/v1/keys/site")
    await ask(gateway, "/v1/greet", bearer(rotated["secret"]))
    assert rig.app is not None
    await rig.app.stop()
    said = rig.log.getvalue() + "".join(
        path.read_bytes().decode("latin-1") for path in (rig.folder / "data").glob("gateway.sqlite*")
    )
    assert "key.revoked" in said
    for secret in secrets:
        assert secret[18:40] not in said

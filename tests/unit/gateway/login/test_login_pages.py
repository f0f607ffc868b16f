"""The pages on which people log in, at a gateway as it is started."""

from __future__ import annotations

import re
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from accesskit import ROUTE, bearer, made, stores
from frontkit import FrontRig, ask
from loginkit import Browser
from papers import Papers
from weft.errors import MissingExtraError, UsageError
from weft.gateway.access.audit import AuditLog
from weft.gateway.access.authenticator import GatewayAuthenticator
from weft.gateway.access.desk import DATABASE_FILE
from weft.gateway.login import passwords
from weft.gateway.login.accounts import AccountStore, NewAccount
from weft.gateway.login.attempts import PER_PAIR
from weft.gateway.login.routes import safe_path
from weft.gateway.login.sessions import Sessions
from weft.http.client import Client
from weft.http.server import Server
from weft.store.sqlite import SqliteDatabase

ACCOUNTS = ROUTE + "auth: {accounts: true, roles: {staff: \"'staff' in claims.groups\"}}\n"
GOOD = "four words make one"


@pytest.fixture
async def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FrontRig]:
    monkeypatch.setattr(passwords.Passwords.__init__, "__defaults__", ((4, 8, 1),))  # quick, for tests only
    async with AsyncExitStack() as stack:
        yield FrontRig(tmp_path, stack)


async def browser(rig: FrontRig, text: str = ACCOUNTS) -> Browser:
    return Browser(await rig.gateway(text), rig.url)


async def invited(rig: FrontRig, name: str = "ann", **fields: Any) -> str:
    """The path of a new invitation, made as the command line does beside a gateway."""
    database = SqliteDatabase(rig.folder / "data" / DATABASE_FILE)
    try:
        store = AccountStore(database, AuditLog(database))
        return (await store.invite(NewAccount(name, **fields), "a test")).path
    finally:
        await database.aclose()


async def entered(page: Browser, rig: FrontRig, name: str = "ann", **fields: Any) -> None:
    """Take up an invitation: ``page`` is logged in then."""
    path = await invited(rig, name, **fields)
    status, _ = await page.post("/login/invitation", token=path.partition("=")[2], password=GOOD)
    assert (status, page.location) == (303, "/")


async def me(page: Browser) -> dict[str, Any]:
    status, body = await page.get("/v1/me")
    assert status == 200, body
    decoded: dict[str, Any] = msgspec.json.decode(body)
    return decoded


async def test_an_invitation_leads_to_the_chat(rig: FrontRig) -> None:
    """The link, a password, and one is in: on the page, and as who was invited."""
    page = await browser(rig)
    path = await invited(rig, readers=["staff"])
    status, html = await page.get(path)
    assert status == 200
    assert 'value="ann" readonly' in html
    assert page.headers["referrer-policy"] == "same-origin"
    status, _ = await page.post("/login/invitation", token=path.partition("=")[2], password=GOOD)
    assert (status, page.location) == (303, "/")
    status, html = await page.get("/")
    assert (status, "Ask your documents" in html) == (200, True)
    assert await me(page) == {
        "caller": "ann",
        "tenant": "default",
        "shown": "account",
        "roles": ["staff"],
        "can_log_in": False,
        "can_log_out": True,
    }
    status, html = await page.get(path)
    assert (status, "taken up" in html) == (404, True)


async def test_one_logs_in_and_out(rig: FrontRig) -> None:
    """Name and password, then the page one came for; after logging out the old cookie opens nothing."""
    page = await browser(rig)
    await entered(page, rig)
    page.cookies.clear()
    status, _ = await page.get("/docs?a=b%20c")
    assert (status, page.location) == (303, "/login?next=%2Fdocs%3Fa%3Db%2520c")
    status, html = await page.get(page.location)
    assert (status, 'name="next" value="/docs?a=b%20c"' in html) == (200, True)
    status, _ = await page.post("/login", name="ANN", password=GOOD, next="/docs?a=b%20c")
    assert (status, page.location) == (303, "/docs?a=b%20c")
    assert "HttpOnly; SameSite=Lax" in page.set_cookies[0]
    status, html = await page.get("/login")
    assert "logged in as <b>ann</b>" in html
    kept = dict(page.cookies)
    status, _ = await page.post("/logout")
    assert (status, page.location, page.cookies) == (303, "/login", {})
    page.cookies = kept
    assert (await page.get("/"))[0] == 303
    async with stores(rig.folder / "data") as (_, audit):
        events = [record.event for record in await audit.page()]
    assert [event for event in events if event.startswith("log")] == ["logout", "login", "login"]


async def test_a_wrong_password_is_refused_on_the_page(rig: FrontRig) -> None:
    """401, what was typed for a name is there still, the password is nowhere; the sixth attempt is 429."""
    page = await browser(rig)
    await entered(page, rig)
    page.cookies.clear()
    for _ in range(PER_PAIR):
        status, html = await page.post("/login", name='"ann>', password="hunter2 & more")
        assert (status, "Name or password is wrong." in html) == (401, True)
        assert 'value="&quot;ann&gt;"' in html
        assert "hunter2" not in html
        assert page.cookies == {}
    status, html = await page.post("/login", name='"ann>', password=GOOD)
    assert (status, "Try again in 1" in html) == (429, True)
    assert 0 < int(page.headers["retry-after"]) <= 900
    assert "hunter2" not in rig.log.getvalue()
    assert "ann>" not in rig.log.getvalue()


async def test_the_api_takes_the_session_of_a_page_of_ours_only(rig: FrontRig) -> None:
    """A question of the chat page is answered; the same cookie with another site's page is nobody's."""
    page = await browser(rig)
    await entered(page, rig)
    cookie = "; ".join(f"{name}={value}" for name, value in page.cookies.items())
    gateway = page._gateway
    assert (await ask(gateway, headers={"cookie": cookie, "origin": rig.url}, stream=False))[0] == 200
    assert (await ask(gateway, headers={"cookie": cookie}, stream=False))[0] == 200
    for headers in ({"sec-fetch-site": "same-site"}, {"sec-fetch-site": "cross-site"}):
        assert (await ask(gateway, headers={"cookie": cookie, **headers}))[0] == 401
    assert (await ask(gateway, headers={"cookie": cookie, "origin": "http://evil.example"}))[0] == 403


@pytest.mark.parametrize("path", ["/login", "/logout", "/login/invitation"])
async def test_a_form_of_another_site_is_refused(rig: FrontRig, path: str) -> None:
    """Nobody is logged in as somebody else, or out, by a page that they look at."""
    page = await browser(rig)
    await entered(page, rig)
    for origin in ("http://evil.example", "null", rig.url + "0"):
        status, _ = await page.post(path, origin, name="ann", password=GOOD)
        assert status == 403
    assert (await me(page))["caller"] == "ann"


async def test_a_site_that_may_call_may_not_send_forms(rig: FrontRig) -> None:
    """A configured origin is for keys and tokens."""
    from weft.serve.access import Access

    access = Access(origins=["https://chat.example"])
    page = Browser(await rig.gateway(ACCOUNTS, access), rig.url)
    status, html = await page.post("/login", "https://chat.example", name="ann", password=GOOD)
    assert (status, "not sent by a page of this server" in html) == (403, True)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"name=ann&password=%ff%fe", 400),
        (b"&".join(b"a%d=1" % number for number in range(100)), 400),
        (b"name=" + b"a" * 20_000, 413),
        (b"", 401),
    ],
    ids=["not text", "many fields", "long", "empty"],
)
async def test_a_form_is_read_within_bounds(rig: FrontRig, body: bytes, status: int) -> None:
    """What cannot be read is refused, and not quoted."""
    page = await browser(rig)
    headers = {"content-type": "application/x-www-form-urlencoded", "origin": rig.url}
    found, _ = await page._send("POST", "/login", body, headers)
    assert found == status


async def test_a_program_gets_its_401(rig: FrontRig) -> None:
    """Whoever does not ask for a page is not sent to one, and nobody is for what is no page to look at."""
    page = await browser(rig)
    assert (await page.get("/v1/models", accept="application/json"))[0] == 401
    assert (await ask(page._gateway, headers={"accept": "text/html"}))[0] == 401


async def test_without_roles_a_page_of_administration_is_closed(rig: FrontRig) -> None:
    """Who is logged in without the role admin lists no accounts; who has it does, and invites."""
    page = await browser(rig)
    await entered(page, rig)
    assert (await page.get("/v1/accounts"))[0] == 403
    await page.post("/logout")
    await entered(page, rig, "root", roles=["admin"])
    status, body = await page.get("/v1/accounts")
    assert (status, [each["name"] for each in msgspec.json.decode(body)["accounts"]]) == (
        200,
        ["ann", "root"],
    )
    headers = {"content-type": "application/json", "origin": rig.url}
    status, body = await page._send("POST", "/v1/accounts", b'{"name": "bob"}', headers)
    invitation = msgspec.json.decode(body)
    assert (status, invitation["account"]["created_by"]) == (201, "root")
    assert (await page.get(invitation["path"]))[0] == 200
    status, body = await page._send("POST", "/v1/accounts/bob/reset", b"{}", headers)
    assert (status, (await page.get(invitation["path"]))[0]) == (200, 404)
    assert (await page._send("DELETE", "/v1/accounts/bob", b"", headers))[0] == 200
    assert (await page._send("DELETE", "/v1/accounts/bob", b"", headers))[0] == 404
    status, body = await page._send("POST", "/v1/accounts", b'{"name": "bob", "admin": true}', headers)
    assert (status, "admin" in body) == (400, True)


async def test_a_removed_account_is_logged_out(rig: FrontRig) -> None:
    """So is one whose password was taken away, with the gateway's next look."""
    page = await browser(rig)
    await entered(page, rig)
    assert (await me(page))["caller"] == "ann"
    database = SqliteDatabase(rig.folder / "data" / DATABASE_FILE)
    await AccountStore(database, AuditLog(database)).reset("ann", "a test")
    await database.aclose()
    assert rig.app is not None
    authenticator = rig.app.authenticator
    assert isinstance(authenticator, GatewayAuthenticator)
    for source in authenticator.sources:
        if isinstance(source, Sessions):
            await source.refresh()  # as it does once a second
    assert (await page.get("/"))[0] == 303


@pytest.mark.system("openssl")
async def test_over_tls_the_session_is_for_tls_and_this_host_only(rig: FrontRig, tmp_path: Path) -> None:
    """Its cookie is Secure and has the prefix that no other host can set; behind a proxy that ends TLS it is Secure."""
    papers = Papers(tmp_path)
    plain = await browser(rig)
    assert rig.app is not None
    server = Server(rig.app, on_error=rig.app.on_error, ssl=papers.server_context())
    port = await server.listen("127.0.0.1", 0)
    rig.stack.push_async_callback(server.aclose)
    client = Client(ca_file=papers.ca)
    rig.stack.push_async_callback(client.aclose)
    url = f"https://localhost:{port}"
    page = Browser(client.endpoint(url), url)
    await entered(page, rig)
    assert page.set_cookies[0].startswith("__Host-weft_session_")
    assert page.set_cookies[0].endswith("; Path=/; Max-Age=43200; HttpOnly; SameSite=Lax; Secure")
    assert (await me(page))["caller"] == "ann"
    await page.post("/logout")
    assert all(line.startswith("__Host-") for line in page.set_cookies)

    form = {
        "content-type": "application/x-www-form-urlencoded",
        "origin": rig.url,
        "x-forwarded-proto": "https",
    }
    await plain._send("POST", "/login", f"name=ann&password={GOOD.replace(' ', '+')}".encode(), form)
    assert plain.set_cookies[0].startswith("weft_session_")
    assert plain.set_cookies[0].endswith("; Secure")
    assert (await me(plain))["caller"] == "ann"


# Keys.


async def test_with_keys_one_logs_in_with_a_key(rig: FrontRig) -> None:
    """The session is the key's; the key itself is in no cookie, and when it is revoked the session ends."""
    secret = await made(rig, "root", roles=["admin"])
    page = await browser(rig, ROUTE + "auth: {keys: true}\n")
    status, html = await page.get("/login")
    assert (status, 'name="key"' in html, 'name="password"' in html) == (200, True, False)
    status, html = await page.post("/login", key="weft_nonsense")
    assert (status, "no whole API key" in html) == (401, True)
    status, _ = await page.post("/login", key=f" {secret} ", next="/v1/keys")
    assert (status, page.location) == (303, "/v1/keys")
    assert secret not in str(page.cookies)
    assert (await me(page))["shown"] == "key"
    status, body = await page.get("/v1/keys")
    assert status == 200
    key = msgspec.json.decode(body)["keys"][0]["id"]
    assert (await page._send("DELETE", f"/v1/keys/{key}", b"", {"origin": rig.url}))[0] == 200
    assert (await page.get("/"))[0] == 303
    assert secret not in rig.log.getvalue()


async def test_a_key_in_a_header_comes_before_a_session(rig: FrontRig) -> None:
    """What a request says of itself counts, and a wrong key is wrong whoever is logged in."""
    secret = await made(rig, "site")
    page = await browser(rig, ROUTE + "auth: {keys: true, accounts: true}\n")
    await entered(page, rig)
    status, body = await page.get("/v1/me", **bearer(secret))
    assert (status, msgspec.json.decode(body)["caller"]) == (200, "site")
    assert (await page.get("/v1/me", **bearer(secret[:-1])))[0] == 401


async def test_where_nobody_can_log_in_the_page_is_told_so(rig: FrontRig) -> None:
    """A gateway without auth has no page to log in on."""
    page = await browser(rig, ROUTE)
    assert (await me(page))["can_log_in"] is False
    assert (await page.get("/login"))[0] == 404


async def test_an_anonymous_visitor_can_log_in(rig: FrontRig) -> None:
    """Where anybody may ask, the page shows how to be somebody."""
    page = await browser(rig, ROUTE + "auth: {accounts: true, anonymous: true}\n")
    assert (await page.get("/"))[0] == 200
    known = await me(page)
    assert (known["shown"], known["can_log_in"], known["can_log_out"]) == ("anonymous", True, False)
    await entered(page, rig)
    assert (await me(page))["caller"] == "ann"


# Providers.


OIDC = ROUTE + 'auth: {accounts: true, oidc: {issuer: "https://id.example", audience: weft}}\n'


async def test_a_program_finds_out_where_tokens_are_from(rig: FrontRig) -> None:
    """RFC 9728: the gateway's own address, and its provider's; anybody may ask."""
    page = await browser(rig, OIDC)
    status, body = await page.get("/.well-known/oauth-protected-resource")
    assert (status, msgspec.json.decode(body)) == (
        200,
        {
            "resource": rig.url,
            "authorization_servers": ["https://id.example"],
            "bearer_methods_supported": ["header"],
        },
    )


async def test_without_the_packages_for_tokens_a_gateway_says_what_to_install(
    rig: FrontRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When it starts, by the name of the extra; accounts and keys need none of them."""
    for name in [name for name in sys.modules if name.partition(".")[0] in ("jwt", "cryptography")]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("jwt", "cryptography"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'weft\[gateway\]'"):
        await rig.gateway(OIDC)
    page = await browser(rig, ROUTE + "auth: {accounts: true, keys: true, certificates: true}\n")
    await entered(page, rig)
    assert (await me(page))["caller"] == "ann"


async def test_a_secret_that_is_not_set_is_named(rig: FrontRig) -> None:
    """When the gateway starts, and not when somebody logs in."""
    text = OIDC.replace("audience: weft", "audience: weft, client_secret: {secret: PAGE_SECRET}")
    with pytest.raises(UsageError, match="the secret 'PAGE_SECRET' is not set"):
        await rig.gateway(text)


# Pages.


async def test_the_pages_load_nothing_from_elsewhere_and_run_nothing_inline(rig: FrontRig) -> None:
    """Their policy says so, and what they name is there for one who is not logged in."""
    page = await browser(rig)
    _, html = await page.get("/login")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "form-action 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert page.headers["cache-control"] == "no-store"
    assert not re.search(r"<script(?![^>]*src=)|style=| on\w+=|https?://", html)
    for path in re.findall(r'(?:href|src)="(/static[^"]+)"', html):
        assert (await page.get(path))[0] == 200, path


@pytest.mark.parametrize(
    ("asked", "goes"),
    [
        ("/", "/"),
        ("/docs?x=1#y", "/docs?x=1#y"),
        ("", "/"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("/a\\b", "/"),
        ("https://evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("/\t/evil.example", "/"),
        ("/\n/evil.example", "/"),
        ("/%0d%0aset-cookie:x", "/%0d%0aset-cookie:x"),
        ("/\x00", "/"),
        ("/ü", "/"),
        ("/" + "a" * 3000, "/"),
        ("/logout", "/"),
        ("/login?next=/login", "/"),
        ("/login/oidc", "/"),
        ("/loginfo", "/loginfo"),
    ],
)
def test_afterwards_one_is_led_to_a_page_of_this_server_only(asked: str, goes: str) -> None:
    """Whatever the link said that led here."""
    assert safe_path(asked) == goes

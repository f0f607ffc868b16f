"""The page of the API keys, as an administrator uses it: made, copied, given a new secret, revoked."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
expect = playwright.expect

from page_moves import side  # noqa: E402 - needs playwright
from test_page_axe import clean  # noqa: E402 - needs playwright
from test_page_login import GOOD, LoginServer, log_in  # noqa: E402 - as above

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.browser, pytest.mark.system("chromium")]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoginServer]:
    running = LoginServer(tmp_path_factory.mktemp("keys"))
    yield running
    running.stop()


def status(server: LoginServer, key: str) -> int:
    """What the gateway answers to a key."""
    request = urllib.request.Request(f"{server.url}/v1/models", headers={"authorization": f"Bearer {key}"})
    try:
        with urllib.request.urlopen(request, timeout=20) as reply:
            json.load(reply)
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_keys_are_made_and_revoked_on_the_page(page: Any, server: LoginServer) -> None:
    """Who is nobody is led to the login and back; a key is shown once and works; a revoked one does not."""
    width = page.viewport_size["width"]
    admin = f"root{width}"
    page.goto(server.accounts("invite", admin, "--role", "admin"))
    page.get_by_label("New password").fill(GOOD)
    page.get_by_role("button", name="Set password").click()
    expect(page.locator("#welcome")).to_be_visible()
    page.context.clear_cookies()
    page.goto(f"{server.url}/keys")
    log_in(page, admin)
    page.get_by_role("link", name="Chat").click()
    side(page)
    page.get_by_role("link", name="API keys").click()
    expect(page.get_by_role("heading", name="API keys")).to_be_visible()
    page.get_by_label("What it is for").fill(f"our site {width}")
    page.get_by_label("Only these routes").fill("echo, documents")
    page.get_by_label("Days that it holds").fill("30")
    page.get_by_role("button", name="Make it").click()
    expect(page.get_by_role("heading", name=f"our site {width}: the key")).to_be_visible()
    key = page.locator("#secret").inner_text()
    assert status(server, key) == 200
    clean(page, "keys")
    listed = page.locator("#keys li").filter(has_text=f"our site {width}")
    expect(listed).to_contain_text("only: echo, documents")
    page.get_by_role("button", name=f"Give our site {width} a new secret").click()
    clean(page, "keys-confirm")
    page.get_by_role("button", name="Make it").last.click()
    expect(page.get_by_role("heading", name="the new secret")).to_be_visible()
    other = page.locator("#secret").inner_text()
    assert other != key
    assert (status(server, key), status(server, other)) == (200, 200)
    page.get_by_label("What it is for").fill(f"our site {width}")
    page.get_by_role("button", name="Make it").click()
    expect(page.get_by_role("alert")).to_contain_text("there is a key")
    page.get_by_role("button", name=f"Revoke our site {width}").click()
    page.get_by_role("button", name="Revoke", exact=True).last.click()
    expect(page.locator("#keys li").filter(has_text=f"our site {width}")).to_have_count(0)
    assert (status(server, key), status(server, other)) == (401, 401)
    page.reload()
    expect(page.locator("#made")).to_be_hidden()
    assert other not in page.content()


def test_the_page_is_for_administrators(page: Any, server: LoginServer) -> None:
    """Who has logged in and is none gets 403, and no list."""
    name = f"plain{page.viewport_size['width']}"
    page.goto(server.accounts("invite", name))
    page.get_by_label("New password").fill(GOOD)
    page.get_by_role("button", name="Set password").click()
    expect(page.locator("#welcome")).to_be_visible()
    side(page)
    expect(page.locator("#me-name")).to_have_text(name)
    expect(page.get_by_role("link", name="API keys")).to_be_hidden()
    reply = page.goto(f"{server.url}/keys")
    assert reply.status == 403

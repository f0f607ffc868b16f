"""Logging in on the page, as people do it: an invitation, a password, chats that are one's own, and out again."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from chatqna_process import Gateway

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
expect = playwright.expect

from page_moves import answered, ask, front, picture, side  # noqa: E402 - needs playwright
from page_server import COMPONENTS, SPEC  # noqa: E402 - as above
from test_page_axe import clean  # noqa: E402 - as above

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.browser, pytest.mark.system("chromium")]

FRONT = """\
---
apiVersion: weft/v1
kind: Gateway
name: front
routes:
  - {path: /v1/echo, megaservice: echo}
  - {path: /v1/documents, service: documents}
auth: {accounts: true, keys: true}
"""
GOOD = "four words make one"


class LoginServer(Gateway):
    """A gateway with local accounts, whose model says what it was asked."""

    def __init__(self, folder: Path) -> None:
        (folder / "echo.py").write_text(COMPONENTS)
        self.spec = str(folder / "spec.yaml")
        (folder / "spec.yaml").write_text(SPEC + FRONT)
        super().__init__(folder / "data", spec=self.spec, env={"WEFT_ACCESS_TOKEN": ""})
        # It tells of every login; nobody reading, it would wait.
        self._reader = threading.Thread(target=self.read_until, args=("\0",))
        self._reader.start()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        self._reader.join(20)
        return super().stop()

    def accounts(self, *arguments: str) -> str:
        """``weft accounts`` on its database: what it printed last."""
        command = ("accounts", *arguments, "--data", str(self.folder))
        with ThreadPoolExecutor(1) as thread:  # the browser has a loop in this one
            return thread.submit(self.run, *command).result().splitlines()[-1]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoginServer]:
    running = LoginServer(tmp_path_factory.mktemp("login"))
    yield running
    running.stop()


def log_in(page: Any, name: str, password: str = GOOD) -> None:
    page.get_by_label("Name or e-mail address").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in", exact=True).click()


def test_one_is_invited_and_has_chats_of_ones_own(page: Any, server: LoginServer) -> None:
    """The link, a password, the chat; who logs in after one with the same browser sees none of it."""
    phone = page.viewport_size["width"] < 500
    ann, bob = (f"{name}{int(phone)}" for name in ("ann", "bob"))
    page.goto(server.accounts("invite", ann, "--role", "admin"))
    expect(page.get_by_role("heading", name="Choose a password")).to_be_visible()
    expect(page.get_by_label("New password")).to_be_focused()
    page.get_by_label("New password").fill("aaaaaaaaaaaaa")
    page.get_by_role("button", name="Set password").click()
    expect(page.get_by_role("alert")).to_contain_text("too easy to guess")
    page.get_by_label("New password").fill(GOOD)
    page.get_by_role("button", name="Set password").click()
    expect(page.locator("#welcome")).to_be_visible()
    ask(page, "something of my own")
    expect(answered(page).locator(".text")).to_contain_text("something of my own")
    side(page)
    expect(page.locator("#conversations")).to_contain_text("something of my own")
    expect(page.locator("#me-name")).to_have_text(ann)
    picture(page, f"login-side-{page.viewport_size['width']}")
    page.get_by_role("button", name="Log out").click()

    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    page.go_back()
    page.reload()
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    page.goto(server.accounts("invite", bob))
    page.get_by_label("New password").fill(GOOD)
    page.get_by_role("button", name="Set password").click()
    side(page)
    expect(page.locator("#me-name")).to_have_text(bob)
    expect(page.locator("#conversations")).to_have_count(1)
    expect(page.locator("#conversations li")).to_have_count(0)
    page.get_by_role("button", name="Log out").click()
    log_in(page, ann.upper())
    side(page)
    expect(page.locator("#conversations")).to_contain_text("something of my own")


def test_a_login_that_was_ended_leads_to_the_page_again(
    new_page: Callable[..., Any], server: LoginServer
) -> None:
    """With the next question; and afterwards back to the chat."""
    page = new_page()
    page.goto(server.accounts("invite", "eve"))
    page.get_by_label("New password").fill(GOOD)
    page.get_by_role("button", name="Set password").click()
    expect(page.locator("#welcome")).to_be_visible()
    assert server.accounts("logout", "eve") == "eve: 1 login ended"
    for _ in range(100):  # the gateway looks once a second
        if page.context.request.get(f"{server.url}/v1/me").status == 401:
            break
        page.wait_for_timeout(50)
    ask(page, "still there?")
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    log_in(page, "eve")
    expect(page.locator("#welcome")).to_be_visible()


@pytest.mark.parametrize(("phone", "scheme"), [(False, "light"), (True, "dark")], ids=["desktop", "phone"])
def test_axe_finds_nothing(
    new_page: Callable[..., Any], server: LoginServer, scheme: str, *, phone: bool
) -> None:
    """The page to log in, after a wrong password, an invitation, a link that has ended, and who is in already."""
    page = new_page(phone=phone, scheme=scheme)
    page.goto(server.url)
    expect(page.get_by_label("Name or e-mail address")).to_be_focused()
    clean(page, f"login-{scheme}")
    page.get_by_text("Use an API key").click()
    clean(page, f"login-key-{scheme}")
    log_in(page, f"nobody{scheme}{phone}", "not the password")
    expect(page.get_by_role("alert")).to_have_text("Name or password is wrong.")
    expect(page.get_by_label("Password")).to_be_focused()
    clean(page, f"login-wrong-{scheme}")
    link = server.accounts("invite", f"{scheme}{phone}".lower())
    page.goto(link)
    clean(page, f"invitation-{scheme}")
    page.get_by_label("New password").fill(GOOD)
    page.get_by_role("button", name="Set password").click()
    expect(page.locator("#welcome")).to_be_visible()
    side(page)
    clean(page, f"logged-in-{scheme}")
    front(page)
    page.goto(f"{server.url}/login")
    clean(page, f"login-known-{scheme}")
    page.goto(link)
    expect(page.get_by_role("alert")).to_contain_text("has been taken up")
    clean(page, f"invitation-ended-{scheme}")


def test_it_works_without_scripts(browser: Any, server: LoginServer) -> None:
    """An invitation, a wrong password, the right one, and out again."""
    context = browser.new_context(java_script_enabled=False)
    try:
        page = context.new_page()
        page.goto(server.accounts("invite", "plain"))
        page.get_by_label("New password").fill(GOOD)
        page.get_by_role("button", name="Set password").click()
        page.goto(f"{server.url}/login")
        expect(page.get_by_text("You are logged in as plain.")).to_be_visible()
        page.get_by_role("button", name="Log out").click()
        log_in(page, "plain", "not the password")
        expect(page.get_by_role("alert")).to_have_text("Name or password is wrong.")
        log_in(page, "plain")
        expect(page).to_have_url(f"{server.url}/")
    finally:
        context.close()

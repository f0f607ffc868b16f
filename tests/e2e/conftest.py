"""One ChatQnA for all end-to-end tests that only ask it things, in one process and split; and a browser."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from chatqna_process import HANDBOOK, Gateway
from page_server import DESKTOP, PHONE


@pytest.fixture(scope="session", params=[(), ("--split",)], ids=["one process", "split"])
def gateway(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """ChatQnA with the handbook in it."""
    folder = tmp_path_factory.mktemp("data")
    running = Gateway(folder, *request.param)
    try:
        document = folder / "handbook.txt"
        document.write_text(HANDBOOK)
        assert "handbook.txt ingested" in running.run("ingest", str(document))
        yield running
    finally:
        status = running.stop()
    assert status == 130, running.output


FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    playwright.expect.set_options(timeout=30_000)  # a model on a busy machine takes its time
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def new_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Makes pages of their own storage, on which an error of a script, or a request to elsewhere, fails the test."""
    contexts: list[Any] = []
    faults: list[str] = []

    def make(*, phone: bool = False, scheme: str = "light", policed: bool = True) -> Any:
        context = browser.new_context(
            viewport=PHONE if phone else DESKTOP, color_scheme=scheme, is_mobile=phone, has_touch=phone
        )
        contexts.append(context)
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on(
            "request",
            lambda request: (
                None
                if re.match(r"(http://127\.0\.0\.1[:/]|data:)", request.url)
                else faults.append(request.url)
            ),
        )
        # What the policy of the page has kept from leaving has not left.
        page.on(
            "requestfailed",
            lambda request: faults.remove(request.url) if request.failure == "csp" and not policed else None,
        )
        if policed:
            page.on(
                "console",
                lambda said: faults.append(said.text) if "Content Security Policy" in said.text else None,
            )
        return page

    yield make
    for context in contexts:
        context.close()
    assert not faults


@pytest.fixture(params=[False, True], ids=["desktop", "phone"])
def page(request: pytest.FixtureRequest, new_page: Callable[..., Any]) -> Any:
    """The page on a desktop, and on a phone."""
    return new_page(phone=request.param)

"""The chat page over ChatQnA with its own model: what a person does with a document."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chatqna_process import HANDBOOK, QUESTION, Gateway

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
expect = playwright.expect

from page_moves import answered, ask, hand_over, picture, side  # noqa: E402 - needs playwright

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.browser, pytest.mark.system("chromium")]

IMAGE = "<img src=x onerror=\"document.title='owned'\">"


@pytest.fixture(scope="module")
def chatqna(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """ChatQnA without a document."""
    running = Gateway(tmp_path_factory.mktemp("data"))
    yield running
    running.stop()


def test_a_document_is_handed_over_asked_opened_and_deleted(page: Any, chatqna: Gateway) -> None:
    """The streamed answer quotes the document; the citation opens it, marked, at its place; then it is deleted."""
    page.goto(chatqna.url)
    expect(page.locator("#welcome")).to_contain_text("Hand over a document")
    size = page.viewport_size["width"]
    picture(page, f"empty-{size}")
    hand_over(page, "handbook.txt", HANDBOOK)
    ask(page, QUESTION)
    answer = answered(page)
    expect(answer.locator("blockquote").first).to_contain_text(
        "“New employees have 30 days of leave per year.”"
    )
    expect(answer.locator(".sources li").first).to_contain_text("handbook.txt")
    assert "(handbook.txt)" not in answer.locator(".text").inner_text()  # the button says it
    assert page.evaluate("document.documentElement.scrollWidth") <= size
    picture(page, f"answer-{size}")

    cite = answer.locator(".cite").first
    expect(cite).to_have_accessible_name("1: source handbook.txt")
    cite.click()
    passage = page.get_by_role("dialog", name="handbook.txt")
    expect(passage.locator("mark")).to_have_text("New employees have 30 days of leave per year.")
    expect(passage.locator("mark")).to_be_in_viewport()
    expect(passage).to_contain_text("It was founded in 2024 by Ada Muster")
    picture(page, f"passage-{size}")
    page.keyboard.press("Escape")
    expect(passage).to_be_hidden()
    expect(cite).to_be_focused()

    expect(answer.locator(".steps summary")).to_contain_text("services")
    answer.locator(".steps summary").click()
    for step in ("retrieve", "evidence", "answer"):
        expect(answer.locator(".steps")).to_contain_text(step)

    side(page)
    page.get_by_role("button", name="Delete handbook.txt", exact=True).click()
    page.get_by_role("dialog", name="Delete this document?").get_by_role("button", name="Delete").click()
    side(page)
    expect(page.locator("#list li")).to_have_count(0)


def test_a_hostile_document_does_nothing(new_page: Callable[..., Any], chatqna: Gateway) -> None:
    """Mark-up in a document, in its name, in a question and in an answer is text; nothing of it is run or loaded."""
    page = new_page()
    page.goto(chatqna.url)
    name = "<img src=x onerror=alert(1)>.txt"
    page.on("dialog", lambda _: pytest.fail("a script of a document ran"))
    hand_over(page, name, f"The secret word of the harbour is {IMAGE} swordfish.\n")
    ask(page, f"What is the secret word of the harbour? {IMAGE}")
    answer = answered(page)
    expect(page.locator("li.user")).to_contain_text(IMAGE)
    expect(answer.locator(".text")).to_contain_text("swordfish")
    answer.locator(".cite").first.click()
    expect(page.locator("#passage mark").first).to_contain_text("swordfish")
    expect(page.locator("#passage h2")).to_contain_text(name)
    assert page.locator("img, #messages script, #passage script").count() == 0
    assert page.title() == "Weft"
    picture(page, "hostile")
    page.locator("#passage-close").click()
    page.get_by_role("button", name=f"Delete {name}", exact=True).click()
    page.locator("#confirm-act").click()
    expect(page.locator("#list li")).to_have_count(0)


def test_a_collection_is_made_asked_and_deleted(page: Any, chatqna: Gateway) -> None:
    """What is in it is found in it, and is not found in the default one."""
    name = f"team{page.viewport_size['width']}"
    page.goto(chatqna.url)
    side(page)
    page.locator("#collection").select_option(label="New collection …")
    box = page.get_by_role("dialog", name="New collection")
    box.get_by_label("Name").fill("no good name")
    box.get_by_role("button", name="Use it").click()
    expect(box.get_by_role("alert")).to_contain_text("A name has letters")
    box.get_by_label("Name").fill(name)
    box.get_by_role("button", name="Use it").click()
    side(page)
    expect(page.locator("#collection")).to_have_value(name)
    hand_over(page, "team.txt", "The team meets on Thursdays at nine in the blue room.\n")
    ask(page, "On which day does the team meet?")
    expect(answered(page).locator("blockquote")).to_contain_text("Thursdays")
    page.locator(".cite").first.click()
    expect(page.locator("#passage mark")).to_contain_text("Thursdays")
    page.locator("#passage-close").click()

    side(page)
    page.locator("#collection").select_option("default")
    expect(page.locator("#list li")).to_have_count(0)
    ask(page, "On which day does the team meet?")
    assert "Thursdays" not in answered(page).inner_text()

    page.reload()
    side(page)
    page.locator("#collection").select_option(name)
    page.get_by_role("button", name="Delete this collection").click()
    page.locator("#confirm-act").click()
    side(page)
    expect(page.locator("#collection")).to_have_value("default")
    expect(page.locator(f"#collection option[value={name}]")).to_have_count(0)


def test_the_page_is_small(chatqna: Gateway, new_page: Callable[..., Any]) -> None:
    """All that the page loads is its own files, under 120 kB."""
    page = new_page()
    sizes: dict[str, int] = {}
    page.on("response", lambda reply: sizes.update({reply.url.removeprefix(chatqna.url): len(reply.body())}))
    page.goto(chatqna.url)
    expect(page.locator("#welcome")).to_be_visible()
    files = {path: size for path, size in sizes.items() if not path.startswith("/v1/")}
    assert set(files) == {"/", "/static/chat.css", "/static/chat.js", "/static/early.js"}
    assert sum(files.values()) < 120_000


@pytest.mark.system("npm")
def test_what_is_committed_is_what_the_sources_build(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    """``web/`` builds exactly the files under ``src/weft/web``; needs Node and, once, a network."""
    web = tmp_path / "web"
    shutil.copytree(Path(__file__).parents[2] / "web", web, ignore=shutil.ignore_patterns("node_modules"))
    shutil.copytree(Path(__file__).parents[2] / "src" / "weft" / "web", tmp_path / "src" / "weft" / "web")
    installed = subprocess.run(
        ["npm", "ci", "--no-audit", "--no-fund"], cwd=web, capture_output=True, text=True, check=False
    )
    if re.search(
        r"ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT", installed.stderr
    ) and not pytestconfig.getoption("--all"):
        pytest.skip("needs a network: npm cannot reach its registry")
    assert installed.returncode == 0, installed.stderr
    for command in (["npm", "run", "check"], ["node", "build.mjs", "--check"]):
        done = subprocess.run(command, cwd=web, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

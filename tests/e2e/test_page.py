"""The chat page in a real browser: what a person sees, and what a hostile document cannot do."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from chatqna_process import HANDBOOK, QUESTION, Gateway

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
Browser, Page, expect = playwright.Browser, playwright.Page, playwright.expect
expect.set_options(timeout=30_000)  # a model on a busy machine takes its time

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.browser, pytest.mark.system("chromium")]

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
IMAGE = "<img src=x onerror=\"document.title='owned'\">"
PHONE = {"width": 360, "height": 640}

SPEC = """\
apiVersion: weft/v1
kind: Services
services:
  echo: {component: ./echo.py:Echo}
---
apiVersion: weft/v1
kind: Megaservice
name: echo
version: "1.0.0"
contract: chat
nodes:
  answer: {service: echo, fill_from: request}
output: answer
"""

COMPONENT = """\
import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from weft.contracts.chat import ChatChunk, ChatRequest, ChatResponse, ChunkChoice, Delta, collect


class Echo:
    \"\"\"Says what it was asked, word by word; asked for 'forever', until nobody listens any more.\"\"\"

    async def invoke(self, request: ChatRequest) -> ChatResponse:
        return collect([chunk async for chunk in self.stream(request)])

    async def stream(self, request: ChatRequest) -> AsyncIterator[ChatChunk]:
        text = request.messages[-1].text()
        if text == "fail":
            yield self._chunk("half an ans")
            raise RuntimeError("the model broke")
        for word in text.split(" "):
            yield self._chunk(f"{word} ")
        try:
            while "forever" in text:
                yield self._chunk("and on ")
                await asyncio.sleep(0.01)
        finally:
            Path(__file__).with_name("closed").touch()
        yield self._chunk(None, "stop")

    def _chunk(self, text, end=None):
        return ChatChunk("1", "echo", [ChunkChoice(0, Delta(content=text), end)])
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway whose model says what it was asked."""
    folder = tmp_path_factory.mktemp("echo")
    (folder / "echo.py").write_text(COMPONENT)
    (folder / "spec.yaml").write_text(SPEC)
    running = Gateway(folder / "data", spec=str(folder / "spec.yaml"))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def chatqna(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """ChatQnA without a document."""
    running = Gateway(tmp_path_factory.mktemp("data"))
    yield running
    running.stop()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page on which any error of a script, and any request to elsewhere, fails the test."""
    context = browser.new_context(viewport={"width": 1000, "height": 640})
    opened = context.new_page()
    opened.set_default_timeout(20_000)
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on(
        "request",
        lambda request: (
            None
            if re.match(r"http://(127\.0\.0\.1|localhost)[:/]", request.url)
            else faults.append(request.url)
        ),
    )
    yield opened
    context.close()
    assert not faults


def ask(page: Page, text: str) -> None:
    page.get_by_label("Your question").fill(text)
    page.get_by_role("button", name="Ask").click()


def picture(page: Page, name: str) -> None:
    """Keep a picture where ``WEFT_PICTURES`` names a folder: to be looked at."""
    if folder := os.environ.get("WEFT_PICTURES"):
        page.screenshot(path=str(Path(folder) / f"{name}.png"))


def test_a_document_is_handed_over_and_asked(page: Page, chatqna: Gateway) -> None:
    """Upload, ask, and the streamed answer quotes the document and names it; then it is deleted."""
    page.goto(chatqna.url)
    expect(page.locator("#welcome")).to_contain_text("Hand over a document")
    picture(page, "empty")
    page.locator("#files").set_input_files(
        {"name": "handbook.txt", "mimeType": "text/plain", "buffer": HANDBOOK.encode()}
    )
    expect(page.locator("#progress")).to_have_text("handbook.txt: ingested")
    expect(page.locator("#list")).to_contain_text("handbook.txt")
    ask(page, QUESTION)
    answer = page.locator("li.assistant")
    expect(answer.locator(".text")).to_contain_text("“New employees have 30 days of leave per year.” [1]")
    expect(answer.locator(".sources")).to_have_text("[1] handbook.txt")
    expect(page.get_by_role("button", name="Ask")).to_be_visible()
    picture(page, "answer")
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete handbook.txt").click()
    expect(page.locator("#list li")).to_have_count(0)


def test_a_hostile_document_does_nothing(page: Page, chatqna: Gateway) -> None:
    """Mark-up in a document, in its name, in a question and in an answer is text; nothing of it is run or loaded."""
    page.goto(chatqna.url)
    text = f"The secret word of the harbour is {IMAGE} swordfish."
    page.locator("#files").set_input_files(
        {"name": "<img src=x onerror=alert(1)>.txt", "mimeType": "text/plain", "buffer": text.encode()}
    )
    expect(page.locator("#list")).to_contain_text("<img src=x onerror=alert(1)>.txt")
    ask(page, f"What is the secret word of the harbour? {IMAGE}")
    expect(page.locator("li.user")).to_contain_text(IMAGE)
    expect(page.locator("li.assistant .text")).to_contain_text("swordfish")
    expect(page.get_by_role("button", name="Ask")).to_be_visible()
    assert page.locator("img").count() == 0
    assert page.title() == "Weft"
    picture(page, "hostile")


def test_an_answer_that_is_mark_up_is_text(page: Page, echo: Gateway) -> None:
    """What the model says is shown, not run, also while it streams."""
    page.goto(echo.url)
    ask(page, f"{IMAGE} <script>document.title='owned'</script>")
    expect(page.locator("li.assistant .text")).to_contain_text("</script>")
    assert page.locator("img, #messages script").count() == 0
    assert page.title() == "Weft"


def test_the_policy_forbids_foreign_and_inline_code(page: Page, echo: Gateway) -> None:
    """The page comes with a policy under which injected code would not run if it got into the page after all."""
    reply = page.goto(echo.url)
    assert reply is not None
    policy = reply.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert reply.headers["x-content-type-options"] == "nosniff"
    page.evaluate("""() => {
        const image = document.createElement('div');
        image.innerHTML = '<img src=/nothing onerror="document.title=\\'owned\\'">';
        document.body.append(image);
        const script = document.createElement('script');
        script.textContent = "document.title='owned'";
        document.body.append(script);
        return new Promise((done) => image.firstChild.addEventListener('error', done));
    }""")
    assert page.title() == "Weft"


def test_stop_ends_the_answer_on_both_sides(page: Page, echo: Gateway) -> None:
    """The button appears while an answer comes; pressed, the server stops too, and the next question is answered."""
    page.goto(echo.url)
    closed = echo.folder.parent / "closed"
    closed.unlink(missing_ok=True)
    ask(page, "go on forever")
    expect(page.locator("li.assistant .text")).to_contain_text("and on and on")
    stop = page.get_by_role("button", name="Stop")
    expect(stop).to_be_visible()
    picture(page, "streaming")
    stop.click()
    expect(page.locator("li.assistant .note")).to_have_text("Stopped.")
    expect(stop).to_be_hidden()
    said = page.locator("li.assistant .text").inner_text()
    ask(page, "hello again")
    expect(page.locator("li.assistant .text").nth(1)).to_contain_text("hello again")
    assert page.locator("li.assistant .text").first.inner_text() == said
    assert closed.exists()  # the component was told before the next question was answered


def test_an_answer_that_breaks_off_says_so(page: Page, echo: Gateway) -> None:
    """What came stays, the error is under it, and the conversation goes on."""
    page.goto(echo.url)
    ask(page, "fail")
    expect(page.locator("li.assistant .text")).to_have_text("half an ans")
    expect(page.locator("li.assistant .error")).to_contain_text("component")
    ask(page, "still there")
    expect(page.locator("li.assistant .text").nth(1)).to_contain_text("still there")
    picture(page, "error")


def test_a_new_chat_forgets_the_one_before(page: Page, echo: Gateway) -> None:
    """Also one whose answer is still coming: nothing of it is sent with the next question."""
    page.goto(echo.url)
    ask(page, "go on forever")
    expect(page.locator("li.assistant .text")).to_contain_text("and on")
    page.get_by_role("button", name="New chat").click()
    expect(page.locator("#messages li")).to_have_count(0)
    with page.expect_request("**/v1/chat/completions") as sent:
        ask(page, "who are you")
    body = json.loads(sent.value.post_data or "")
    assert body["messages"] == [{"role": "user", "content": "who are you"}]
    expect(page.locator("li.assistant .text")).to_contain_text("who are you")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_works_on_a_phone(browser: Browser, chatqna: Gateway, scheme: str) -> None:
    """At 360 pixels nothing is cut off, everything can be reached, and an answer can be read; light and dark."""
    context = browser.new_context(viewport=PHONE, color_scheme=scheme, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.set_default_timeout(20_000)
    try:
        page.goto(chatqna.url)
        page.locator("#files").set_input_files(
            {"name": "handbook.txt", "mimeType": "text/plain", "buffer": HANDBOOK.encode()}
        )
        expect(page.locator("#list")).to_contain_text("handbook.txt")
        ask(page, QUESTION)
        expect(page.locator("li.assistant .sources")).to_contain_text("handbook.txt")
        expect(page.get_by_role("button", name="Ask")).to_be_in_viewport()
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        picture(page, f"phone-{scheme}")
    finally:
        context.close()


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

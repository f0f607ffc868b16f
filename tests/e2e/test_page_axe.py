"""Every view of the chat page under axe: nothing that keeps somebody out, on a desktop and a phone, light and dark."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
expect = playwright.expect

from page_moves import answered, ask, picture, side  # noqa: E402 - needs playwright
from page_server import EchoServer  # noqa: E402 - as above

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.browser, pytest.mark.system("chromium")]

RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}

ANSWER = """\
## Heading

Some **words** with `code`, a [link](https://example.org) and ![a picture](https://example.org/p.png).

| a | b |
|---|---|
| 1 | 2 |

```python
print("a line of code")
```

> quoted"""


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EchoServer]:
    """A gateway whose model says what it was asked."""
    running = EchoServer(tmp_path_factory.mktemp("echo"))
    yield running
    running.stop()


def clean(page: Any, view: str) -> None:
    """Nothing is wrong with what is shown."""
    picture(page, f"axe-{view}-{page.viewport_size['width']}")
    found = axe.Axe().run(page, options=RULES)
    wrong = [
        (
            rule["id"],
            rule["help"],
            [node["html"][:160] + " | " + node["failureSummary"] for node in rule["nodes"]],
        )
        for rule in found.response["violations"]
    ]
    assert not wrong, (view, wrong)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
def test_axe_finds_nothing(
    new_page: Callable[..., Any], echo: EchoServer, scheme: str, *, phone: bool
) -> None:
    """Empty, with documents, an upload at work and ended, answers, an error, a citation, every dialogue."""
    page = new_page(phone=phone, scheme=scheme)
    page.goto(echo.url)
    expect(page.locator("#welcome")).to_be_visible()
    clean(page, f"empty-{scheme}")

    hold = echo.files / "hold"
    hold.touch()
    try:
        side(page)
        files = [(f"{scheme}{phone}.txt", b"All keys hang in the hall."), ("x.bin", b"\0\1\2")]
        page.locator("#files").set_input_files(
            [{"name": name, "mimeType": "text/plain", "buffer": text} for name, text in files]
        )
        expect(page.locator("#jobs")).to_contain_text("1 of 2 files")
        clean(page, f"job-{scheme}")
    finally:
        hold.unlink()
    expect(page.locator("#jobs .outcomes li")).to_have_count(2)
    expect(page.locator("#list li").first).to_be_visible()
    clean(page, f"documents-{scheme}")

    page.locator("#collection").select_option(label="New collection …")
    clean(page, f"new-collection-{scheme}")
    page.keyboard.press("Escape")
    side(page)
    page.locator("#list").get_by_role("button", name="Delete").first.click()
    clean(page, f"confirm-{scheme}")
    page.keyboard.press("Escape")

    ask(page, ANSWER)
    answered(page)
    ask(page, "fail")
    answered(page).locator(".steps summary").click()
    clean(page, f"answers-{scheme}")
    ask(page, "go on forever")
    expect(page.locator("li.assistant .text").last).to_contain_text("and on")
    clean(page, f"streaming-{scheme}")
    page.get_by_role("button", name="Stop").click()

    ask(page, f"cite |{scheme}{phone}.txt|keys|All keys hang in the hall.")
    answered(page).locator(".cite").first.click()
    expect(page.locator("#passage mark")).to_be_visible()
    clean(page, f"passage-{scheme}")
    page.locator("#passage-close").click()

    page.get_by_role("button", name="Use a better model").click()
    expect(page.locator("#models-offers li").first).to_be_visible()
    clean(page, f"models-{scheme}")
    page.locator("#models-close").click()
    side(page)
    clean(page, f"side-{scheme}")

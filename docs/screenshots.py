"""Take the pictures of the chat page that the documentation shows: ``python docs/screenshots.py``.

A ChatQnA with its own model is started on a made-up handbook of several pages; needs Chromium, Playwright and reportlab.
"""

from __future__ import annotations

import io
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect, sync_playwright
from reportlab.lib.styles import getSampleStyleSheet
from reportlab.platypus import PageBreak, Paragraph, SimpleDocTemplate

from weft.serve import ports

IMAGES = Path(__file__).parent / "images"
DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
QUESTION = "When was the firm founded?"
ANSWER = "1987"
TRIES = 8
"""The small model samples its words and now and then contradicts what it quotes: no picture shows a false statement."""

HANDBOOK = {
    "Welcome": [
        "This handbook is for everybody who works at Muster and Partners. It says how we work, and what you can count on.",
        "The firm was founded in Heidelberg in 1987 and has two hundred employees at three sites.",
    ],
    "Leave": [
        "New employees have 30 days of leave per year. After five years it is 32 days.",
        "Leave that is not taken by the end of March of the following year lapses, unless illness kept you from taking it.",
        "Ask for leave at least two weeks ahead, in the calendar of your team. Your team lead answers within three days.",
    ],
    "Working hours": [
        "The working week has 38 hours. Core time is from 10:00 to 15:00.",
        "Up to three days a week may be worked from home.",
    ],
    "Travel": [
        "Train tickets are booked in second class. For journeys of more than three hours a seat is reserved.",
        "A hotel may cost up to 120 euros per night. Receipts are handed in within a month.",
    ],
}
NOTES = "# Minutes, 4 May\n\nThe new canteen opens on 1 September. Lunch will cost 6 euros.\n"


def handbook() -> bytes:
    """The handbook as a PDF, a chapter on each page."""
    styles, file = getSampleStyleSheet(), io.BytesIO()
    parts: list[Any] = []
    for title, paragraphs in HANDBOOK.items():
        parts.append(Paragraph(title, styles["Heading1"]))
        parts += [Paragraph(text, styles["BodyText"]) for text in paragraphs]
        parts.append(PageBreak())
    SimpleDocTemplate(file, title="Employee handbook", author="Muster and Partners").build(parts)
    return file.getvalue()


def ask(page: Page, question: str) -> None:
    """Ask, and wait for a whole answer that is right."""
    page.get_by_label("Your question").fill(question)
    page.get_by_role("button", name="Ask", exact=True).click()
    for _ in range(TRIES):
        answer = page.locator("li.assistant").last
        expect(answer.locator(".actions")).to_be_visible()
        words = answer.locator(".text > :not(blockquote)").all_inner_texts()
        if len(words) == 1 and ANSWER in words[0]:
            return
        page.get_by_role("button", name="Answer again").click()
    raise SystemExit(f"no answer in {TRIES} had {ANSWER}")


def take(url: str, browser: Any) -> None:
    """All pictures."""

    def opened(size: dict[str, int], scheme: str) -> Page:
        phone = size is PHONE
        context = browser.new_context(
            viewport=size, color_scheme=scheme, is_mobile=phone, has_touch=phone, device_scale_factor=1.5
        )
        page: Page = context.new_page()
        page.goto(url)
        expect(page.locator("#welcome")).to_be_visible()
        return page

    page = opened(DESKTOP, "light")
    page.locator("#files").set_input_files(
        [
            {"name": "minutes.md", "mimeType": "text/markdown", "buffer": NOTES.encode()},
            {"name": "handbook.pdf", "mimeType": "application/pdf", "buffer": handbook()},
        ]
    )
    expect(page.locator("#jobs .outcomes li")).to_have_count(2)
    page.get_by_role("button", name="Dismiss").click()
    ask(page, QUESTION)
    page.get_by_label("Your question").focus()
    page.screenshot(path=IMAGES / "chat.png")
    page.locator(".cite").first.click()
    expect(page.locator("#passage mark")).to_be_visible()
    page.screenshot(path=IMAGES / "citation.png")

    page = opened(DESKTOP, "dark")
    ask(page, QUESTION)
    page.locator(".steps summary").click()
    page.screenshot(path=IMAGES / "chat-dark.png")

    page = opened(PHONE, "light")
    ask(page, QUESTION)
    page.screenshot(path=IMAGES / "chat-phone.png")


expect.set_options(timeout=60_000)  # a model on a busy machine takes its time


def main() -> None:
    """Start a ChatQnA, take the pictures, stop it."""
    port = ports.next_free("127.0.0.1", 18_500)
    command = [sys.executable, "-c", "from weft.cli.main import main; main()", "up", "chatqna"]
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        process = subprocess.Popen(  # noqa: S603 - our own command
            [*command, "--port", str(port), "--data", folder], stdout=subprocess.PIPE, text=True
        )
        try:
            assert process.stdout is not None
            if not any("is ready" in line for line in process.stdout):
                raise SystemExit("it did not start")
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
            )
            take(f"http://127.0.0.1:{port}", browser)
            browser.close()
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(20)


if __name__ == "__main__":
    main()

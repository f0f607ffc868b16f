"""What a person does on the page, on a desktop and on a phone."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect


def side(page: Page) -> None:
    """Have documents and chats in view: on a phone they are behind a button."""
    if page.locator("#menu").is_visible() and not page.locator("#sidebar").is_visible():
        page.locator("#menu").click()


def front(page: Page) -> None:
    """Have the conversation in view."""
    if page.locator("#sidebar-close").is_visible():
        page.locator("#sidebar-close").click()


def ask(page: Page, text: str) -> None:
    """Ask, without waiting for the answer."""
    front(page)
    page.get_by_label("Your question").fill(text)
    page.get_by_role("button", name="Ask", exact=True).click()


def answered(page: Page) -> Any:
    """Wait for the end of the last answer; its item."""
    expect(page.get_by_role("button", name="Ask", exact=True)).to_be_visible()
    last = page.locator("li.assistant").last
    expect(last).not_to_have_attribute("aria-busy", "true")
    return last


def hand_over(page: Page, name: str, text: str) -> None:
    """Upload a document and wait until it is in."""
    side(page)
    page.locator("#files").set_input_files({"name": name, "mimeType": "text/plain", "buffer": text.encode()})
    card = page.locator("#jobs > li").filter(has_text=name).last
    expect(card.locator(".outcomes")).to_contain_text(re.compile("is in|was in already"))
    expect(page.locator("#list")).to_contain_text(name)


def picture(page: Page, name: str) -> None:
    """Keep a picture where ``WEFT_PICTURES`` names a folder: to be looked at."""
    if folder := os.environ.get("WEFT_PICTURES"):
        page.screenshot(path=str(Path(folder) / f"{name}.png"))

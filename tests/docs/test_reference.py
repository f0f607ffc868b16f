"""The reference pages are what the code says."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize("name", ["commands.md", "errors.md", "components.md", "contracts.md"])
def test_a_reference_page_is_up_to_date(name: str) -> None:
    """What ``python docs/generate.py`` would write is what is committed."""
    pages = runpy.run_path(str(DOCS / "generate.py"))["PAGES"]
    assert (DOCS / "reference" / name).read_text(encoding="utf-8") == pages[name]()

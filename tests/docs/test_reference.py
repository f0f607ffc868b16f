"""The reference pages are what the code says."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from click.testing import CliRunner

from weft.cli.main import COMMANDS, group

DOCS = Path(__file__).resolve().parents[2] / "docs"


GENERATE = runpy.run_path(str(DOCS / "generate.py"))


@pytest.mark.parametrize("name", GENERATE["PAGES"])
def test_a_reference_page_is_up_to_date(name: str) -> None:
    """What ``python docs/generate.py`` would write is what is committed."""
    assert (DOCS / "reference" / name).read_text(encoding="utf-8") == GENERATE["PAGES"][name]()


def test_the_pages_do_not_depend_on_what_ran_before() -> None:
    """Commands that were asked for help already are described as ever: click keeps what it made for them."""
    for command in COMMANDS:
        CliRunner().invoke(group, [command, "--help"], terminal_width=60)
    page = (DOCS / "reference" / "commands.md").read_text(encoding="utf-8")
    assert GENERATE["commands"]() == page

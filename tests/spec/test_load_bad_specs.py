"""Every fault that a file alone shows: the whole rendered report is the expectation."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from update_load_reports import report

from weft.spec.problems import CODES

BAD = Path(__file__).parent / "bad"
CASES = sorted(path.stem for path in BAD.glob("load-*.yaml"))


@pytest.mark.parametrize("name", CASES)
def test_report_is_the_expected_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The report has every problem, in file order, with place, caret and help."""
    monkeypatch.chdir(BAD)
    assert report(name) == (BAD / f"{name}.txt").read_text(encoding="utf-8")


def test_every_code_is_described() -> None:
    """Each code that a file alone can have has a meaning."""
    reports = [(BAD / f"{name}.txt").read_text(encoding="utf-8") for name in CASES]
    used = {code for text in reports for code in re.findall(r"(?:error|warning)\[([a-z-]+)\]", text)}
    assert used - set(CODES) == set()

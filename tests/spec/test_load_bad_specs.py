"""Every fault that a file alone shows: the whole rendered report is the expectation."""

from __future__ import annotations

from pathlib import Path

import pytest
from update_load_reports import report

BAD = Path(__file__).parent / "bad"
CASES = sorted(path.stem for path in BAD.glob("load-*.yaml"))


@pytest.mark.parametrize("name", CASES)
def test_report_is_the_expected_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The report has every problem, in file order, with place, caret and help."""
    monkeypatch.chdir(BAD)
    assert report(name) == (BAD / f"{name}.txt").read_text(encoding="utf-8")

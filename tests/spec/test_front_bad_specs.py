"""Every fault between a Gateway file and the files that it names: the whole rendered report is the expectation."""

from __future__ import annotations

from pathlib import Path

import pytest
from update_load_reports import report_whole

BAD = Path(__file__).parent / "bad"
CASES = sorted(path.stem for path in BAD.glob("front-*.yaml"))


@pytest.mark.parametrize("name", CASES)
def test_report_is_the_expected_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A problem is shown where it stands: in the Gateway file, or in the file that it names."""
    monkeypatch.chdir(BAD)
    assert report_whole(name) == (BAD / f"{name}.txt").read_text(encoding="utf-8")

"""The guide on changing requests, followed to the letter: its files, its commands, what they print."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from weft.cli.main import group
from weft.errors import SpecError

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "change-requests.md"
BLOCK = re.compile(r"^```\w+ (?P<role>\w+)=(?P<name>[\w.-]+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = {(m["role"], m["name"]): m["text"] for m in BLOCK.finditer(GUIDE.read_text(encoding="utf-8"))}


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for (role, name), text in BLOCKS.items():
        if role == "file":
            (tmp_path / name).write_text(text)


def test_the_dry_run_prints_what_the_guide_shows() -> None:
    """Every line of it."""
    result = CliRunner().invoke(group, shlex.split(BLOCKS["run", "explain"])[1:])
    assert (result.exit_code, result.output) == (0, BLOCKS["output", "explain"])


def test_what_is_wrong_is_found_as_the_guide_says() -> None:
    """The report begins as it is shown; the other fault, with its fields, follows."""
    result = CliRunner().invoke(group, shlex.split(BLOCKS["run", "check"])[1:])
    assert isinstance(result.exception, SpecError)
    report = str(result.exception)
    assert report.startswith(BLOCKS["output", "check"].rstrip())
    assert "did you mean 'temperature'?" in report

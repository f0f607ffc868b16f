"""``weft init``: what it writes passes the check, its tests, and runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from weft.cli.main import group
from weft.errors import UsageError


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def weft(*arguments: str) -> Result:
    return CliRunner().invoke(group, [*arguments])


@pytest.mark.parametrize("arguments", [[], ["--name", "team-chat"]])
def test_a_first_spec_passes_the_check(here: Path, arguments: list[str]) -> None:
    """The file that it names is a whole megaservice, with nothing to fill in."""
    written = weft("init", *arguments)
    name = arguments[-1] if arguments else "my-chat"
    assert written.output == (f"Wrote {name}.yaml. Next: weft check {name}.yaml && weft up {name}.yaml\n")
    checked = weft("check", f"{name}.yaml")
    assert checked.exit_code == 0, checked.output
    assert f"{name} 0.1.0 is fine" in checked.output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "stem"),
    [([], "word_reranker"), (["--name", "BM25Ranker"], "bm25_ranker"), (["--name", "X"], "x")],
)
def test_a_first_component_keeps_its_promises(here: Path, arguments: list[str], stem: str) -> None:
    """Its spec passes the check, and every test of its contract passes, shoulds included."""
    written = weft("init", "component", *arguments)
    assert written.exit_code == 0, written.output
    spec = f"{stem.replace('_', '-')}.yaml"
    assert sorted(path.name for path in here.iterdir()) == sorted([f"{stem}.py", f"test_{stem}.py", spec])
    checked = weft("check", spec)
    assert checked.exit_code == 0, checked.output
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"test_{stem}.py"]
    tested = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert tested.returncode == 0, tested.stdout
    assert "15 passed" in tested.stdout
    assert "xfailed" not in tested.stdout


def test_nothing_is_written_over(here: Path) -> None:
    """Not even one of three files; with --force, all of them."""
    (here / "test_word_reranker.py").write_text("mine")
    refused = weft("init", "component")
    assert isinstance(refused.exception, UsageError)
    assert "test_word_reranker.py is there already" in str(refused.exception)
    assert [path.name for path in here.iterdir()] == ["test_word_reranker.py"]
    assert weft("init", "component", "--force").exit_code == 0
    assert "class TestWordReranker" in (here / "test_word_reranker.py").read_text()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--name", "My Chat"],
        ["--name", "../up"],
        ["component", "--name", "a b"],
        ["component", "--name", "class"],
    ],
)
def test_a_name_that_cannot_be_is_refused(here: Path, arguments: list[str]) -> None:
    """Before anything is written; the message says what a name is."""
    refused = weft("init", *arguments)
    assert isinstance(refused.exception, UsageError)
    assert list(here.iterdir()) == []

"""``weft ingest`` and ``weft documents``, against a server that takes documents in for real."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from documenthouse import House
from weft.cli import ingest as ingest_command
from weft.cli import sources
from weft.cli.ingest_progress import duration
from weft.cli.main import group
from weft.errors import RequestError, UsageError


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """A server without documents."""
    with House(tmp_path / "data") as house:
        yield house


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Documents as people have them: folders, hidden files, others that nobody reads."""
    top = tmp_path / "handbook"
    for name, text in {
        "index.md": "# Apples\n\nApples are red.", "pay/index.md": "# Bananas\n\nBananas are yellow.",
        ".hidden.md": "Hidden.", ".git/x.md": "Hidden.", "pay/logo.xyz": "x",
    }.items():  # fmt: skip
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(text)
    return top


def test_a_folder_goes_in_and_a_second_run_sends_nothing(house: House, folder: Path) -> None:
    """Files are called by their path, hidden ones and other kinds are left out; what is in is not sent again."""
    output = house.done("ingest", str(folder))
    assert "handbook/index.md ingested" in output
    assert "handbook/pay/index.md ingested" in output
    assert "Left out, of no kind that is read: 1 .xyz" in output
    assert "2 files: 2 ingested; 2 pages" in output
    assert sorted(house.sent) == ["handbook/index.md", "handbook/pay/index.md"]
    house.sent.clear()
    (folder / "index.md").write_text("# Apples\n\nApples are green.")
    assert "2 files: 1 ingested, 1 unchanged" in house.done("ingest", str(folder))
    assert house.sent == ["handbook/index.md"]
    house.done("ingest", str(folder), "--again")
    assert sorted(house.sent[1:]) == ["handbook/index.md", "handbook/pay/index.md"]


def test_a_refused_file_is_said_and_the_others_are_in(house: House, folder: Path) -> None:
    """Its reason is in the list, and the exit status tells a script."""
    (folder / "bad.pdf").write_bytes(b"no pdf at all")
    result = house.run("ingest", str(folder), "--json")
    assert isinstance(result.exception, RequestError)
    assert result.exception.exit_code == 11
    assert str(result.exception) == "1 of 3 files are not in"
    outcomes = {outcome["name"]: outcome for outcome in json.loads(result.output)}
    assert outcomes["handbook/bad.pdf"]["outcome"] == "refused"
    assert outcomes["handbook/index.md"]["outcome"] == "ingested"
    assert len(json.loads(house.done("documents", "list", "--json"))) == 2


def test_many_files_go_in_by_several_requests(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few at a time, each a job; all outcomes are told."""
    monkeypatch.setattr(sources, "BATCH_FILES", 3)
    for number in range(10):
        (tmp_path / f"{number}.txt").write_text(f"Number {number}.")
    output = house.done("ingest", *(str(tmp_path / f"{number}.txt") for number in range(10)))
    assert "10 files: 10 ingested" in output
    assert len(json.loads(house.done("documents", "jobs", "--json"))) == 4


def test_ctrl_c_says_where_things_stand(house: House, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the server has goes in by itself; the same command does the rest."""

    async def interrupted(self: Any, server: Any, job: dict[str, Any], batch: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ingest_command._Handing, "_follow", interrupted)
    result = house.run("ingest", str(folder))
    assert result.exit_code != 0
    assert (
        "Stopped: 0 of 2 files have ended, 2 more are with the server and go in by themselves"
        in result.output
    )
    assert "Run the same command again for the rest" in result.output
    monkeypatch.undo()
    assert "2 files" in house.done("ingest", str(folder))


def test_documents_are_listed_shown_and_deleted(house: House, folder: Path) -> None:
    """By name, with the nearest where it is not there; a collection as a whole."""
    assert "No document is in" in house.done("documents", "list")
    house.done("ingest", str(folder), "--collection", "work")
    house.done("ingest", str(folder / "index.md"))
    assert house.done("documents", "list").split() == ["index.md", "1", "passage"]
    assert "Bananas are yellow." in house.done(
        "documents", "show", "handbook/pay/index.md", "--collection", "work"
    )
    result = house.run("documents", "show", "indx.md")
    assert str(result.exception) == "no document is called 'indx.md'\ndid you mean 'index.md'?"
    rows = [row.split() for row in house.done("documents", "collections").splitlines()]
    assert rows == [["default", "1", "file", "1", "passage"], ["work", "2", "files", "2", "passages"]]
    assert house.done("documents", "delete", "index.md") == "index.md is deleted\n"
    assert isinstance(house.run("documents", "delete").exception, UsageError)
    house.done("documents", "delete", "--all", "--yes", "--collection", "work")
    assert "There is no collection yet" in house.done("documents", "collections")


def test_a_long_document_is_shown_without_repetition(house: House, tmp_path: Path) -> None:
    """Passages overlap; what is printed is the text."""
    text = " ".join(f"Sentence number {n} is here." for n in range(300))
    (tmp_path / "long.txt").write_text(text)
    house.done("ingest", str(tmp_path / "long.txt"))
    shown = house.done("documents", "show", "long.txt")
    assert [int(word) for word in shown.split() if word.isdigit()] == list(range(300))


def test_jobs_are_shown(house: House, folder: Path) -> None:
    """The list, one with what was refused, and cancelling."""
    assert "Nothing has been handed in yet" in house.done("documents", "jobs")
    (folder / "bad.pdf").write_bytes(b"no pdf at all")
    house.run("ingest", str(folder))
    (job,) = json.loads(house.done("documents", "jobs", "--json"))
    assert f"{job['id']}  " in house.done("documents", "jobs")
    shown = house.done("documents", "jobs", job["id"])
    assert "done" in shown
    assert "handbook/bad.pdf refused: it is called a PDF" in shown
    assert all(len(row) <= 80 for row in shown.splitlines())
    assert "done" in house.done("documents", "cancel", job["id"])
    assert "Nothing is being taken in." in house.done("documents", "jobs", "--active")


def test_what_cannot_be_handed_in_is_said(tmp_path: Path) -> None:
    """A name that is not there, nothing to hand in, and two files of one name: before anything is sent."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no file or folder 'nope'"):
        sources.find(["nope"])
    with pytest.raises(UsageError, match="two files are called 'x.txt'"):
        sources.find([str(tmp_path / "a/x.txt"), str(tmp_path / "b/x.txt")])
    found = sources.find([str(tmp_path / "a"), str(tmp_path / "b"), "https://example.org/x.txt"])
    assert [source.name for source in found.sources] == ["a/x.txt", "b/x.txt", "https://example.org/x.txt"]
    result = CliRunner().invoke(group, ["ingest", str(tmp_path / "empty")])
    assert isinstance(result.exception, UsageError)


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "1 s"), (89, "89 s"), (120, "2 min"), (7500, "2 h 5 min")]
)
def test_durations(seconds: float, words: str) -> None:
    """As people say them."""
    assert duration(seconds) == words

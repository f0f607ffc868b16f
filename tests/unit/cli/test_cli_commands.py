"""The command line as a person or a script meets it."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from weft.cli.ingest import form
from weft.cli.init import command as init
from weft.cli.main import COMMANDS, group


def test_every_command_is_there_and_has_help() -> None:
    """Each command of the help page can be imported, and its one line is its own."""
    for name in COMMANDS:
        result = CliRunner().invoke(group, [name, "--help"])
        assert result.exit_code == 0, (name, result.output)
        assert "Usage:" in result.output


def test_a_misspelt_command_gets_a_suggestion() -> None:
    """The error names the nearest command and the status is 2."""
    result = CliRunner().invoke(group, ["chek"])
    assert result.exit_code == 2
    assert "did you mean 'check'?" in result.output


def test_init_writes_a_spec_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is there is not written over unless told to."""
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(init, ["--name", "first"]).exit_code == 0
    assert "name: first" in (tmp_path / "first.yaml").read_text()
    again = CliRunner().invoke(init, ["--name", "first"])
    assert again.exception is not None
    assert "is there already" in str(again.exception)


def test_a_form_quotes_what_a_file_name_may_hold() -> None:
    """A quotation mark or line break in a file's name cannot end the header."""
    body, content_type = form({"replace": "true", "index_name": ""}, [('a"b\r\nc.txt', b"text")])
    head = body.split(b"\r\n\r\n")[1].split(b"\r\n", 2)[2] if b"index_name" in body else body
    assert b'filename="a%22b%0D%0Ac.txt"' in head
    assert content_type.startswith("multipart/form-data; boundary=")
    assert b"index_name" not in body

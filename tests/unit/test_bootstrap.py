"""``bootstrap.py``: what is said where Weft cannot be set up."""

from __future__ import annotations

import builtins
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

import bootstrap


def failure(capsys: pytest.CaptureFixture[str], status: int) -> str:
    """What was said on the way out."""
    said = capsys.readouterr().err
    assert said.count("\n") == 1, "one sentence"
    assert status
    return said


def test_an_old_python_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sentence, and status 1."""
    monkeypatch.setattr(bootstrap.sys, "version_info", (3, 9, 2))
    with pytest.raises(SystemExit) as ended:
        bootstrap.check_python()
    assert "Weft needs Python 3.11 or newer, and this is 3.9.2: install" in failure(capsys, ended.value.code)


def test_a_python_without_venv_is_told_the_package(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Debian splits it out."""
    real = builtins.__import__

    def without(name: str, *arguments: object, **named: object) -> object:
        if name == "ensurepip":
            raise ImportError(name)
        return real(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SystemExit) as ended:
        bootstrap.check_python()
    said = failure(capsys, ended.value.code)
    assert f"apt-get install python{sys.version_info[0]}.{sys.version_info[1]}-venv" in said


def test_too_little_disk_is_said_before_anything_is_downloaded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Needed and free, and the documented status."""
    monkeypatch.setattr(bootstrap, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=100_000_000))
    monkeypatch.setattr(bootstrap.subprocess, "run", lambda *_a, **_k: pytest.fail("it began all the same"))
    with pytest.raises(SystemExit) as ended:
        bootstrap.prepare("run")
    assert ended.value.code == 7
    assert "0.9 GB needed, 0.1 GB free" in failure(capsys, 7)

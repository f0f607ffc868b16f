"""What the README says, on a fresh clone: an environment of its own, made by ``./run`` from its lock file."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def fresh_copy(folder: Path) -> Path:
    """What a clone of the tree as it stands would have."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        source, target = ROOT / name, folder / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    return folder


@pytest.mark.e2e
@pytest.mark.network
@pytest.mark.system("git")
def test_run_installs_all_that_it_needs(tmp_path: Path) -> None:
    """The lock of ``./run`` is enough to install and start Weft, and a second start installs nothing."""
    clone = fresh_copy(tmp_path / "weft")
    env = {name: value for name, value in os.environ.items() if not name.startswith(("WEFT_", "PYTHONPATH"))}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(clone / "run"), *arguments],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )

    first = run("--help")
    assert first.returncode == 0, first.stdout + first.stderr
    assert "Setting up Weft" in first.stdout
    assert "Usage: weft up" in first.stdout
    second = run("--help")
    assert (second.returncode, "Setting up" in second.stdout) == (0, False)
    version = subprocess.run(
        [str(clone / ".venv/bin/weft"), "version"], capture_output=True, text=True, check=True, env=env
    )
    assert version.stdout.strip()

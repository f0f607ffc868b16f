"""The guide on Python, followed word for word: its programs, and what they print."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "use-from-python.md"
BLOCK = re.compile(
    r"^```(?P<kind>\w+) (?P<role>\w+)=(?P<name>[\w.-]+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
BLOCKS = {(m["role"], m["name"]): m["text"] for m in BLOCK.finditer(GUIDE.read_text(encoding="utf-8"))}
PROGRAMS = [name for role, name in BLOCKS if role == "file"]


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_prints_what_the_guide_says(program: str, tmp_path: Path) -> None:
    """Run as it stands in the guide, in an empty folder."""
    (tmp_path / program).write_text(BLOCKS["file", program])
    environment = os.environ | {"WEFT_DATA_DIR": str(tmp_path / "data")}
    done = subprocess.run(
        [sys.executable, program],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    expected = BLOCKS["output", program.removesuffix(".py")]
    if program == "broken.py":  # a program that ends with an error prints where first
        assert done.returncode == 1
        assert expected in done.stderr
    else:
        assert (done.stdout, done.stderr, done.returncode) == (expected, "", 0)

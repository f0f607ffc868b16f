"""The guide to documents: its lines are run in its order, against a server that takes documents in."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from documenthouse import House

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "documents.md"


def lines() -> list[str]:
    """The lines of its blocks that can be run."""
    blocks = re.findall(r"```\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.startswith(("weft ", "curl "))]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not there: apt-get install curl")
@pytest.mark.slow
def test_the_lines_of_the_guide_do_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each ends well, and at the end everything is deleted but what the guide leaves."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "handbook/pay").mkdir(parents=True)
    (tmp_path / "handbook/index.md").write_text("# Leave\n\nThirty days of leave a year.")
    (tmp_path / "handbook/pay/index.md").write_text("# Pay\n\nOn the last day of the month.")
    (tmp_path / "minutes.md").write_text("# Minutes\n\nThe roof is mended.")
    found = lines()
    assert len(found) > 8
    with House(tmp_path / "data") as house:
        for line in found:
            words = shlex.split(line.replace("http://localhost:8080", house.url))
            if words[0] == "weft":
                house.done(*words[1:])
            else:
                reply = subprocess.run(words, capture_output=True, text=True, check=True, timeout=30).stdout
                assert '"code"' not in reply, reply
        # The upload that nobody waited for goes in by itself.
        house.done("documents", "jobs")
        assert "handbook/pay/index.md" not in house.done("documents", "list")
        assert "handbook/index.md" in house.done("documents", "list")
        assert "board" not in house.done("documents", "collections")

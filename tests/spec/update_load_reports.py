"""Write the expected reports of the broken specs anew: run by hand, then read every line of the difference.

python tests/spec/update_load_reports.py
"""

from __future__ import annotations

import os
from pathlib import Path

from weft.errors import SpecError
from weft.spec.load import load

BAD = Path(__file__).parent / "bad"


def report(name: str) -> str:
    """What ``load`` says of one file, in the folder where it stands."""
    try:
        load(f"{name}.yaml")
    except SpecError as error:
        return f"{error}\n"
    return "loads\n"


if __name__ == "__main__":
    os.chdir(BAD)
    for path in sorted(Path().glob("load-*.yaml")):
        path.with_suffix(".txt").write_text(report(path.stem), encoding="utf-8", newline="\n")

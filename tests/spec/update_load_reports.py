"""Write the expected reports of the broken specs anew: run by hand, then read every line of the difference.

python tests/spec/update_load_reports.py
"""

from __future__ import annotations

import os
from pathlib import Path

from weft.errors import SpecError
from weft.plan import check
from weft.registry.components import Components
from weft.spec.load import load
from weft.spec.sources import load_whole

BAD = Path(__file__).parent / "bad"
FAKES = Path(__file__).parents[1] / "unit" / "plan"


def report(name: str) -> str:
    """What ``load`` says of one file, in the folder where it stands."""
    try:
        load(f"{name}.yaml")
    except SpecError as error:
        return f"{error}\n"
    return "loads\n"


def report_whole(name: str) -> str:
    """What a start says of a Gateway file and the files that it names, in the folder where it stands."""
    fakes = Components({}).get("./plan_fakes.py:ChatModel", folder=FAKES).type
    components = Components(vars(__import__(fakes.__module__))["COMPONENTS"])
    try:
        check(load_whole(f"{name}.yaml", examples={"chatqna": Path("chatqna.yaml")}), components)
    except SpecError as error:
        return f"{error}\n"
    return "loads\n"


if __name__ == "__main__":
    os.chdir(BAD)
    for path in sorted(Path().glob("load-*.yaml")):
        path.with_suffix(".txt").write_text(report(path.stem), encoding="utf-8", newline="\n")
    for path in sorted(Path().glob("front-*.yaml")):
        path.with_suffix(".txt").write_text(report_whole(path.stem), encoding="utf-8", newline="\n")

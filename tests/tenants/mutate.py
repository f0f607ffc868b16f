"""Takes every tenant check out in turn, each in a copy of the source, and shows that a named test fails without it.

    python tests/tenants/mutate.py                    all of them: about ten minutes on two cores
    python tests/tenants/mutate.py --only sql         those whose names have "sql" in them

Exit status 1: a check can be taken out and no test notices, or a check is not where the list has it.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from checks import LISTED, SOURCE, in_sql

ROOT = SOURCE.parents[1]
TIMEOUT_S = 300
FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)
TRIES = 3
"""On a machine that is busy a database may not come up in time, which says nothing about a check."""


def main() -> int:
    """Run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="a part of the names of checks")
    only = parser.parse_args().only
    checks = [check for check in [*LISTED, *in_sql()] if only in check.name]
    survived, begun = [], time.monotonic()
    with tempfile.TemporaryDirectory(prefix="weft-mutate-") as folder:
        copy = Path(folder)
        shutil.copytree(SOURCE, copy / "weft", ignore=shutil.ignore_patterns("__pycache__"))
        for name in sorted({test for check in checks for test in check.tests}):
            said = failure(copy, (name,))
            if said is not None:
                print(f"{name} fails as it is: {said}")  # noqa: T201 - a program
                return 1
        for number, check in enumerate(checks, 1):
            path = copy / "weft" / check.path
            whole = path.read_text()
            path.write_text(check.taken_out(whole))
            said = failure(copy, check.tests)
            path.write_text(whole)
            if said is None and check.doubled:
                said = f"kept by another: {check.doubled}"
            print(f"{number:>3}/{len(checks)} {check.name}\n        {said or 'NO TEST NOTICES'}", flush=True)  # noqa: T201
            if said is None:
                survived.append(check)
    print(f"{len(checks) - len(survived)} of {len(checks)} found, in {time.monotonic() - begun:.0f} s")  # noqa: T201
    return 1 if survived else 0


def failure(copy: Path, tests: tuple[str, ...]) -> str | None:
    """The first test that fails with the source in ``copy``; None: all pass."""
    for test in tests:
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--no-header", test]
        environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
        for _ in range(TRIES):
            done = subprocess.run(
                command,
                cwd=ROOT,
                env=environment,
                capture_output=True,
                text=True,
                timeout=TIMEOUT_S,
                check=False,
            )
            if done.returncode == 0:
                break
            match = FAILED.search(done.stdout)
            if match is None or "TimeoutExpired" not in done.stdout:
                return match[1] if match else f"{test}: {(done.stdout + done.stderr)[-300:]}"
        else:
            return f"{test} could not be run"
    return None


if __name__ == "__main__":
    sys.exit(main())

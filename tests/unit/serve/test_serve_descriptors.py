"""A server takes more connections than a shell's habit allows."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import resource
hard = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 900)
resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
from weft.serve.descriptors import allow_many
allow_many()
print(resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_the_soft_limit_is_raised_as_far_as_it_may() -> None:
    """The hard one, which is the administrator's, stays."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"

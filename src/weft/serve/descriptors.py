"""How many files and connections this process and its children may have open."""

from __future__ import annotations

import sys
from typing import Final

WANTED: Final = 65_536
"""Two for each connection of a server that has as many as it takes, and room; whatever the shell's habit, which is 1,024."""


def allow_many() -> None:
    """Raise the soft limit as far as this user may, up to :data:`WANTED`; processes that are started later inherit it.

    Where the limit cannot be raised it stays, as the administrator has set it.
    """
    if sys.platform == "win32":
        return
    import resource  # noqa: PLC0415 - not on Windows

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (ValueError, OSError):
        return  # macOS has a bound of the kernel beside it: what holds is still said when a connection is refused

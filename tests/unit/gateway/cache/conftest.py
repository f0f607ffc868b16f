"""A gateway on a free port, and the SDKs that ask it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from frontkit import FrontRig


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[FrontRig]:
    """Started by the test; stopped after it."""
    async with AsyncExitStack() as stack:
        yield FrontRig(tmp_path, stack)

"""Three gateways behind HAProxy, each restarted in turn under load: nothing is cut, refused or lost.

The full size, 500 streams of 30 s and 100 new requests a second, is measured by ``benchmarks/rolling.py``.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from rolling import Plan, roll

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.mark.skipif(
    shutil.which("haproxy") is None, reason="HAProxy is not installed: ./test --all installs it"
)
def test_a_rolling_restart_loses_nothing(tmp_path: Path) -> None:
    """Readiness goes first, what is under way ends, then the process; the balancer sends what comes to the others."""
    plan = Plan(streams=24, stream_s=1.0, token_s=0.05, rate=40.0, delay_s=1.0, settle_s=0.8)
    outcome = asyncio.run(roll(plan, tmp_path))
    assert outcome.failures == []
    assert outcome.streams_whole == outcome.streams_begun >= 2 * plan.streams
    assert outcome.requests_answered == outcome.requests_sent > 100
    assert len(outcome.restarts_s) == plan.gateways

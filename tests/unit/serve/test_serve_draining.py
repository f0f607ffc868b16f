"""The end of a server, as whoever stops it sees it."""

from __future__ import annotations

import io

import pytest

from weft.serve.application import Access, Application
from weft.serve.log import Log
from weft.serve.serving import Serving, Stop


@pytest.mark.parametrize(
    ("count", "said"), [(1, "waiting for a request"), (3, "waiting for 3 requests"), (0, "")]
)
async def test_who_stops_it_is_told_what_it_waits_for(count: int, said: str) -> None:
    """And how not to wait; with nothing in flight there is nothing to say."""
    lines = io.StringIO()
    app = Application(name="x", version="1", access=Access(), log=Log(lines, pretty=True))
    serving = Serving(app)
    app.era.in_flight = count
    stop = Stop()
    stop.asked.set()
    await serving.run(stop)
    assert said in lines.getvalue()
    assert ("Ctrl-C again" in lines.getvalue()) is bool(count)

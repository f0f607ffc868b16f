"""Limits on requests: refused beyond them, with the headers that clients read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from frontkit import GATEWAY, TALK, FrontRig, ask


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[FrontRig]:
    async with AsyncExitStack() as stack:
        yield FrontRig(tmp_path, stack)


def limited(limits: str) -> str:
    """A route with these limits."""
    return f"{TALK}{GATEWAY}  - {{path: /v1/greet, megaservice: talk, limits: [{limits}]}}\n"


async def test_requests_beyond_the_limit_are_refused(rig: FrontRig) -> None:
    """The third request of a minute that has two is refused with 429, on whichever path it comes, and told when to come again."""
    gateway = await rig.gateway(limited("{per: key, requests: 2/min}"))
    for path in ("/v1/greet", "/v1/chat/completions"):
        assert (await ask(gateway, path, stream=False))[0] == 200
    status, body, headers = await ask(gateway)
    assert status == 429
    assert body["error"]["code"] == "rate_limit_exceeded"
    assert body["error"]["type"] == "rate_limit_error"
    assert body["error"]["message"].startswith(
        "the limit is reached: 2 requests a minute for each key; try again in 6"
    )
    assert 55 <= int(headers["retry-after"]) <= 63
    status, body, _ = await ask(gateway, "/v1/greet")
    assert (status, body["code"]) == (429, "rate_limit_exceeded")


async def test_every_reply_says_what_is_left(rig: FrontRig) -> None:
    """A reply has the limits' policy, what is left and when all is there again, in the IETF's form and in OpenAI's."""
    gateway = await rig.gateway(limited("{per: key, requests: 60/min}"))
    _, _, headers = await ask(gateway)
    assert headers["ratelimit-policy"] == '"key-requests-min";q=60;w=60'
    assert headers["ratelimit"].startswith('"key-requests-min";r=59;t=6')
    assert headers["x-ratelimit-limit-requests"] == "60"
    assert headers["x-ratelimit-remaining-requests"] == "59"
    assert headers["x-ratelimit-reset-requests"].startswith("1m")


async def test_a_route_without_limits_says_nothing_of_them(rig: FrontRig) -> None:
    """Without limits no reply speaks of any."""
    gateway = await rig.gateway(TALK + GATEWAY + "  - {path: /v1/greet, megaservice: talk}\n")
    _, _, headers = await ask(gateway)
    assert not [name for name in headers if "ratelimit" in name]


async def test_refusals_are_counted(rig: FrontRig) -> None:
    """Metrics say which limit of which route refused how often."""
    gateway = await rig.gateway(limited("{per: key, requests: 1/min}, {per: route, requests: 9/min}"))
    for _ in range(3):
        await ask(gateway, stream=False)
    reply = await gateway.request("GET", "/metrics")
    assert b'weft_limit_refused_total{limit="key-requests-min",route="talk"} 2' in reply.body or (
        b'weft_limit_refused_total{route="talk",limit="key-requests-min"} 2' in reply.body
    )

"""Requests as a route changes them, seen from the model behind a real gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from frontkit import GATEWAY, TALK, FrontRig, ask


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[FrontRig]:
    async with AsyncExitStack() as stack:
        yield FrontRig(tmp_path, stack)


def route(**keys: str) -> str:
    """The spec with one route that has these keys."""
    lines = "".join(f"    {key}: {value}\n" for key, value in keys.items())
    return TALK + GATEWAY + "  - path: /v1/greet\n    megaservice: talk\n" + lines


async def seen(rig: FrontRig, body: dict[str, Any], **keys: str) -> Any:
    """What the model is asked when a caller asks this."""
    gateway = await rig.gateway(route(**keys))
    status, reply, _ = await ask(gateway, **body)
    assert status == 200, reply
    return rig.requests()[-1]


async def test_defaults_stand_in_for_what_is_absent_or_null(rig: FrontRig) -> None:
    """A field that the caller sent stays; one that is absent or null takes the default."""
    asked = await seen(
        rig,
        {"temperature": 0.7, "top_p": None},
        request="{defaults: {temperature: 0.2, top_p: 0.5, seed: 7}}",
    )
    assert (asked.temperature, asked.top_p, asked.seed) == (0.7, 0.5, 7)


@pytest.mark.parametrize(("sent", "got"), [({}, 64), ({"max_tokens": 9}, 9), ({"max_tokens": 999}, 64)])
async def test_clamped_fields_stay_within_their_bounds(rig: FrontRig, sent: Any, got: int) -> None:
    """Above the bounds the greatest, within them itself, and absent the greatest."""
    assert (await seen(rig, sent, request="{clamp: {max_tokens: [1, 64]}}")).max_tokens == got


async def test_removed_fields_do_not_reach_the_model(rig: FrontRig) -> None:
    """What is taken away is not refused as a field that nothing reads."""
    assert (await seen(rig, {"seed": 3, "prompt": "x"}, request="{remove: [seed, prompt]}")).seed is None

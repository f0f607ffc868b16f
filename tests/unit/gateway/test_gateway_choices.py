"""Another model for a service of a running gateway: what there is, the switch, and everything that can go wrong with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from switchkit import CHOICES, Rig, says, send


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with asyncio.timeout(30), AsyncExitStack() as stack:
        yield Rig(tmp_path, stack)


async def test_a_service_is_switched_to_a_second_server_and_back(rig: Rig) -> None:
    """The next request is answered by the new model, by the megaservice and by the exposed service alike."""
    gateway, second = await rig.gateway(), await rig.second("better")
    assert await says(gateway) == "I am first, as the script says."
    status, service = await send(gateway, "POST", CHOICES, {"model": f"{second.url}#better"})
    assert (status, service["model"], service["server"]) == (200, "better", f"{second.url}/v1")
    assert not service["is_default"]
    assert service["switch"].pop("started") > 1_700_000_000
    assert service["switch"] == {"model": f"{second.url}#better", "state": "done"}
    assert await says(gateway) == await says(gateway, "llm") == "I am better, as the script says."
    status, service = await send(gateway, "DELETE", f"{CHOICES}/llm")
    assert (status, service["model"], service["is_default"]) == (200, "first", True)
    assert await says(gateway) == "I am first, as the script says."

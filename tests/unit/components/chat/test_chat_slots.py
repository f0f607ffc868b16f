"""The line before the slots."""

from __future__ import annotations

import asyncio

import pytest

from weft.components.chat.slots import Slots
from weft.errors import OverloadedError


async def _turns() -> None:
    """Let every task that can go on, go on."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_first_come_first_served() -> None:
    """Those in line get the slot in the order in which they came."""
    slots, served = Slots(1, 3), []
    held = await slots.take()

    async def ask(name: str) -> None:
        slot = await slots.take()
        served.append(name)
        slot.free()

    tasks = [asyncio.create_task(ask(name)) for name in "abc"]
    await _turns()
    assert (slots.busy, slots.waiting, served) == (1, 3, [])
    held.free()
    await asyncio.gather(*tasks)
    assert served == ["a", "b", "c"]
    assert (slots.busy, slots.waiting) == (0, 0)


async def test_a_full_line_turns_away_with_a_time() -> None:
    """One more than may wait is refused; how long to wait grows with the line and with what answers took."""
    now = 0.0
    slots = Slots(1, 1, clock=lambda: now)
    held = await slots.take()
    waiting = asyncio.create_task(slots.take())
    await _turns()
    with pytest.raises(OverloadedError, match="1 requests are being answered and 1 wait") as first:
        await slots.take()
    assert first.value.retry_after_s == 2.0
    now = 101.0
    held.free()
    second = asyncio.create_task(slots.take())
    await _turns()
    with pytest.raises(OverloadedError) as later:
        await slots.take()
    assert later.value.retry_after_s == 42.0  # the average is 21 s now
    (await waiting).free()
    (await second).free()


async def test_who_leaves_the_line_makes_room() -> None:
    """Cancelling leaves the line at once, and the slot goes to the next one."""
    slots = Slots(1, 1)
    held = await slots.take()
    leaver = asyncio.create_task(slots.take())
    await _turns()
    leaver.cancel()
    await asyncio.wait([leaver])
    assert slots.waiting == 0
    stayer = asyncio.create_task(slots.take())
    await _turns()
    held.free()
    (await stayer).free()
    assert slots.busy == 0


async def test_cancelled_while_the_slot_is_handed_over_loses_no_slot() -> None:
    """The slot that was on its way to someone who left is free for the next."""
    slots = Slots(1, 2)
    held = await slots.take()
    leaver = asyncio.create_task(slots.take())
    await _turns()
    held.free()
    leaver.cancel()
    await asyncio.wait([leaver])
    async with asyncio.timeout(10):
        (await slots.take()).free()
    assert (slots.busy, slots.waiting) == (0, 0)


async def test_a_slot_is_freed_once() -> None:
    """Freeing it again does not make two of one."""
    slots = Slots(1, 0)
    slot = await slots.take()
    slot.free()
    slot.free()
    await slots.take()
    with pytest.raises(OverloadedError):
        await slots.take()


async def test_who_was_admitted_is_not_turned_away() -> None:
    """The second of several answers waits even when the line is full."""
    slots = Slots(1, 0)
    held = await slots.take()
    again = asyncio.create_task(slots.take(is_admitted=True))
    await _turns()
    assert slots.waiting == 1
    held.free()
    (await again).free()

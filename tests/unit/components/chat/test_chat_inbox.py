"""Events on their way from a thread to the event loop."""

from __future__ import annotations

import asyncio
import threading

from weft.components.chat.inbox import Inbox


async def _all(inbox: Inbox) -> list[bytes]:
    found: list[bytes] = []
    async with asyncio.timeout(10):
        while events := await inbox.take():
            found += events
    return found


async def test_no_event_is_lost_and_their_order_is_kept() -> None:
    """Twenty thousand events put by a thread as fast as it can, read by a loop."""
    loop = asyncio.get_running_loop()
    inbox, sent = Inbox(loop), [b"%d" % number for number in range(20_000)]

    def put() -> None:
        for event in sent:
            assert not inbox.put(event)
        loop.call_soon_threadsafe(inbox.end)

    thread = threading.Thread(target=put)
    thread.start()
    found = await _all(inbox)
    thread.join()
    assert found == sent


async def test_many_events_come_in_one_hop() -> None:
    """What has piled up is handed over at once, and the loop is woken once for it."""
    hops: list[object] = []

    class CountingLoop:
        def call_soon_threadsafe(self, call: object) -> None:
            hops.append(call)
            asyncio.get_running_loop().call_soon(call)

    inbox = Inbox(CountingLoop())
    for event in (b"a", b"b", b"c"):
        inbox.put(event)
    assert await inbox.take() == [b"a", b"b", b"c"]
    assert len(hops) == 1
    inbox.put(b"d")
    assert await inbox.take() == [b"d"]


async def test_the_end_comes_after_what_was_said() -> None:
    """Events that were put before the end are still read; then there are none, however often one asks."""
    inbox = Inbox(asyncio.get_running_loop())
    inbox.put(b"last")
    inbox.end()
    assert await inbox.take() == [b"last"]
    assert await inbox.take() == []
    assert await inbox.take() == []


async def test_an_end_wakes_a_reader_that_waits() -> None:
    """Nobody waits for ever for an answer that said nothing."""
    inbox = Inbox(asyncio.get_running_loop())
    reader = asyncio.create_task(inbox.take())
    await asyncio.sleep(0)
    inbox.end()
    assert await asyncio.wait_for(reader, 10) == []


async def test_a_reader_that_has_gone_stops_the_engine() -> None:
    """The engine is told at its next event, which is not kept."""
    inbox = Inbox(asyncio.get_running_loop())
    assert not inbox.put(b"a")
    inbox.stop()
    assert inbox.put(b"b")
    inbox.end()
    assert await _all(inbox) == [b"a"]


def test_a_closed_loop_stops_the_engine() -> None:
    """A program whose loop has ended while the model still talks is no crash."""
    loop = asyncio.new_event_loop()
    inbox = Inbox(loop)
    loop.close()
    assert inbox.put(b"a")
    assert inbox.is_stopped

"""Writes that are made together at the end of a turn of the loop, and writes that are made at once.

Under load, one turn of the loop reads many messages and answers each. Written one by one, between the reading and the
thinking, each write wakes a receiver that has long gone to sleep; written back to back, one wake-up serves many, which
at 16 requests at a time saves a quarter of the system's share of the CPU. A lone request is written at once: for it,
the turn would only be late.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable

BUSY = 4
"""From this many exchanges at a time on, writes are gathered: below it they rarely meet in one turn."""

MAX_GATHERED_BYTES = 16384
"""Longer messages are written at once: for them the bytes cost more than the wake-up."""


class Outbox:
    """Messages of one turn, in order. Only for transports of one loop."""

    __slots__ = ("_loop", "_messages")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._messages: list[tuple[asyncio.Transport, bytes]] = []

    def add(self, transport: asyncio.Transport, message: bytes) -> None:
        """Write ``message`` before the loop waits again; dropped if the transport is closed by then."""
        messages = self._messages
        if not messages:
            self._loop.call_soon(self.flush)
        messages.append((transport, message))

    def flush(self) -> None:
        """Write everything now; needed before a transport in here is written to or closed in another way."""
        if not self._messages:
            return
        messages, self._messages = self._messages, []
        for transport, message in messages:
            if not transport.is_closing():
                transport.write(message)


class Noted:
    """What was written last, for those who look now and then.

    Attributes:
        last: None: nothing, since somebody looked.
    """

    __slots__ = ("last",)

    def __init__(self) -> None:
        self.last: bytes | None = None


def direct_writer(transport: asyncio.Transport, noted: Noted) -> Callable[[bytes], object]:
    """Writes to ``transport`` with nothing in between but the system call, as long as the receiver keeps up.

    What a relay saves with it is the transport's own bookkeeping, a tenth of the cost of an event. For one stretch of
    writing that ends before ``connection_lost``: a transport closes its socket after it has said so.
    """
    socket = transport.get_extra_info("socket")
    if sys.platform == "win32" or socket is None or transport.get_extra_info("ssl_object") is not None:

        def written(data: bytes) -> None:
            noted.last = data
            transport.write(data)

        return written
    fd, unsent, send, later = socket.fileno(), transport.get_write_buffer_size, os.write, transport.write

    def write(data: bytes) -> None:
        noted.last = data
        if unsent():
            later(data)
            return
        try:
            sent = send(fd, data)
        except OSError:
            sent = 0  # it is full, or broken: the transport knows what to do
        if sent != len(data):
            later(data[sent:])

    return write

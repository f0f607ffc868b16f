"""Sections 6 and 7 of the specification: deadlines, cancellation, identity."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Final

from weft.testing.promises.base import Promises, Unseen, expect
from weft.testing.wire.service import Service, changed

REQUESTS: Final[Promises[Service]] = Promises()

IN_FLIGHT: Final = re.compile(rb"^weft_http_requests_in_flight(?:\{[^}]*\})? ([0-9.e+]+)$", re.MULTILINE)
"""The gauge that shows that the work has ended, where a service has it."""

STOPS_WITHIN_S: Final = 1.0


@REQUESTS("6.1")
async def deadlines_are_read(service: Service) -> None:
    """A service must serve a request that has time enough in `x-weft-timeout-ms`, and must ignore a value that is no
    number."""
    for value in ("60000", "soon", "-5", ""):
        await service.serve(headers=[("x-weft-timeout-ms", value)])


@REQUESTS("6.2")
async def no_time_is_504(service: Service) -> None:
    """A service should give up when the time is up, and answer 504; with no time left (`0`), at once."""
    reply = await service.ask(headers=[("x-weft-timeout-ms", "0")])
    expect(reply.status == 504, f"status {reply.status}")


@REQUESTS("6.3")
async def who_leaves_ends_the_work(service: Service) -> None:
    """When the caller closes the connection, streamed or not, the service must stop working on the request within 1 s, and
    should within 100 ms."""
    before = await _in_flight(service)
    for _ in range(4):
        if service.streams:
            async with await service.open(changed(service.long, stream=True)) as reply:
                await anext(aiter(reply.body), None)
        else:
            await _leave(service)
    if before is None:
        await service.serve()
        raise Unseen(
            "what it works on cannot be seen (no weft_http_requests_in_flight in /metrics); it serves on"
        )
    left = time.monotonic()
    while ((now := await _in_flight(service)) or 0.0) > before:
        expect(time.monotonic() - left < STOPS_WITHIN_S, f"{now} requests in flight after 1 s")
        await asyncio.sleep(0.02)
    await service.serve()


async def _leave(service: Service) -> None:
    task = asyncio.create_task(service.ask(service.long))
    await asyncio.sleep(0.002)
    task.cancel()
    await asyncio.wait([task])


async def _in_flight(service: Service) -> float | None:
    """The service's own count of requests that it works on; this one is among them."""
    reply = await service.send("GET", "/metrics")
    found = IN_FLIGHT.search(reply.body) if reply.status == 200 else None
    return float(found[1]) if found else None


@REQUESTS("7.1")
async def request_ids_come_back(service: Service) -> None:
    """`x-request-id` of a request must come back on its reply, on an error's too."""
    for body in (None, b"{"):
        reply = await service.ask(body, [("x-request-id", "weft-conform-1")])
        found = reply.headers.get("x-request-id")
        expect(found == "weft-conform-1", f"x-request-id: {found}")


@REQUESTS("7.2")
async def request_ids_are_made(service: Service) -> None:
    """A service should make an `x-request-id` where there is none."""
    found = [(await service.ask()).headers.get("x-request-id") for _ in range(2)]
    expect(all(found), f"x-request-id: {found[0]}")
    expect(found[0] != found[1], f"two requests have the id {found[0]}")


@REQUESTS("7.3")
async def forged_identity_is_not_believed(service: Service) -> None:
    """A service must not serve a request for the tenant of one that it cannot verify, or that has expired: it must answer
    401, or, where it keeps no data, may ignore it."""
    for value in ("forged", "eyJ0ZW5hbnQiOiJ4In0.AAAA", "é"):
        reply = await service.ask(headers=[("x-weft-context", value)])
        expect(reply.status == 401 or 200 <= reply.status < 300, f"status {reply.status}")

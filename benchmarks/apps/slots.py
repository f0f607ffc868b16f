"""A backend that serves a fixed number of requests at a time, each for a fixed time; the others wait inside, unseen.

usage: slots.py PORT SLOTS SERVICE_MS
"""

from __future__ import annotations

import asyncio
import sys

import uvloop

from weft.http.message import Request, Response
from weft.http.server import Server

REPLY = (
    b'{"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"Yes."}}]}'
)


async def main(port: int, slots: int, service_ms: float) -> None:
    places = asyncio.Semaphore(slots)

    async def handle(request: Request) -> Response:
        await request.read()
        async with places:
            await asyncio.sleep(service_ms / 1000)
        return Response(body=REPLY)

    await Server(handle).listen("127.0.0.1", port)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))

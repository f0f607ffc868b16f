"""Many callers hang up at once: how soon is each backend's connection closed, however the request got there?"""

from __future__ import annotations

import asyncio
import json
import re
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress

import weft_app
from report import Bar, Section
from runner import TESTED_CPU, Options, free_port, running

AT_ONCE, TIMES, WATCHDOG_S = 32, 8, 10.0
CLOSED_BAR = "callers gone: a backend's connection is closed, p99"
LEFT_BAR = "callers gone: what stays counted as under way"

CASES = (
    ("a graph, three megaservices deep, and a call beside", "/v1/deep", False, 2),
    ("the same, streamed", "/v1/deep", True, 2),
    ("an upstream", "/v1/straight", False, 1),
    ("an upstream, streamed", "/v1/straight", True, 1),
    ("two addresses, hedged as far as the retry budget goes", "/v1/hedged", False, 1),
    ("another route in its place", "/v1/instead", False, 1),
    ("the same, streamed", "/v1/instead", True, 1),
)
"""What it is called, where, whether streamed, and how many backend connections each request has at least."""

HEDGED_S = 0.1
"""In which whoever is hedged is."""

EVENT = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,'
    b'"delta":{"role":"assistant","content":"word "},"finish_reason":null}]}\n\n'
)
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
MODELS = b'{"object":"list","data":[{"id":"m","object":"model"}]}'
LISTED = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
    len(MODELS),
    MODELS,
)
"""For whoever asks whether it is well."""

COUNTED = re.compile(
    r"^(?:weft_route_running|weft_route_waiting|weft_backend_in_flight)\{[^}]*\} (\S+)$", re.MULTILINE
)


class Stalling:
    """A backend that never ends an answer, and notes when each caller leaves.

    Attributes:
        reached: Requests under way.
        left: When connections with a request under way were closed.
    """

    def __init__(self) -> None:
        self.reached = 0
        self.left: list[float] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            while (head := await reader.readuntil(b"\r\n\r\n")).startswith(b"GET "):
                writer.write(LISTED)
            length = int((re.search(rb"content-length: (\d+)", head.lower()) or [b"", b"0"])[1])
            body = await reader.readexactly(length)
            if b'"stream":true' in body.replace(b" ", b""):
                writer.write(HEAD + b"%x\r\n%b\r\n" % (len(EVENT), EVENT))
            self.reached += 1
            with suppress(ConnectionError):
                await reader.read(1)
            self.left.append(time.perf_counter())
            self.reached -= 1
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # it was opened for nothing
        finally:
            writer.close()


async def until(is_so: Callable[[], bool]) -> None:
    """Look every millisecond."""
    async with asyncio.timeout(WATCHDOG_S):
        while not is_so():  # noqa: ASYNC110 - what is waited for happens in many places
            await asyncio.sleep(0.001)


async def hang_up(port: int, path: str, backends: list[Stalling], *, stream: bool, each: int) -> list[float]:
    """Many requests, hung up at once; milliseconds until each backend connection is closed."""
    body = json.dumps(
        {"model": "outer", "messages": [{"role": "user", "content": "A story."}], "stream": stream}
    ).encode()
    message = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    ).encode() + body
    for backend in backends:
        backend.left.clear()
    callers = [await asyncio.open_connection("127.0.0.1", port) for _ in range(AT_ONCE)]
    for reader, writer in callers:
        writer.write(message)
        if stream:
            await asyncio.wait_for(reader.readuntil(b"data: "), WATCHDOG_S)
    await until(lambda: sum(backend.reached for backend in backends) >= AT_ONCE * each)
    await asyncio.sleep(HEDGED_S)
    expected = sum(backend.reached for backend in backends)
    closed = time.perf_counter()
    for _, writer in callers:
        writer.transport.abort()
    await until(lambda: sum(len(backend.left) for backend in backends) >= expected)
    return [1000 * (left - closed) for backend in backends for left in backend.left]


async def still_counted(port: int) -> float:
    """What the metrics say is under way."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /metrics HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")
    text = (await asyncio.wait_for(reader.read(), WATCHDOG_S)).decode()
    writer.close()
    return sum(float(value) for value in COUNTED.findall(text))


def measure(options: Options) -> Section:
    """Hang up in every way, many callers at once."""
    del options  # it is counted in times, not seconds
    section = Section(
        "Callers that hang up, at once",
        f"{AT_ONCE} callers leave in the same moment, {TIMES} times: from then until each connection to a backend is closed, the "
        "closing of the other connections included.",
        ["", "connections", "median ms", "p99 ms", "worst ms"],
        bars=[Bar(CLOSED_BAR, 100, "ms"), Bar(LEFT_BAR, 0, "")],
    )
    asyncio.run(_measure(section))
    return section


async def _measure(section: Section) -> None:
    backends = [Stalling(), Stalling()]
    found: list[float] = []
    async with (
        await asyncio.start_server(backends[0].serve, "127.0.0.1", 0) as one,
        await asyncio.start_server(backends[1].serve, "127.0.0.1", 0) as two,
    ):
        ports = [server.sockets[0].getsockname()[1] for server in (one, two)]
        port = free_port()
        command = weft_app.command("gone.yaml", port, one=ports[0], two=ports[1], dead=free_port())
        with ExitStack() as stack:
            start = running("gone", command, port=port, cpu=TESTED_CPU)
            if await asyncio.to_thread(stack.enter_context, start) is None:
                return
            for name, path, stream, each in CASES:
                times: list[float] = []
                for _ in range(TIMES):
                    times += await hang_up(port, path, backends, stream=stream, each=each)
                times.sort()
                found += times
                p99 = times[int(0.99 * len(times))]
                section.rows.append([name, len(times), statistics.median(times), p99, times[-1]])
                print(f"  {name}: p99 {p99:.1f} ms", file=sys.stderr)
            await asyncio.sleep(0.1)
            section.measured(LEFT_BAR, await still_counted(port))
    found.sort()
    section.measured(CLOSED_BAR, found[int(0.99 * len(found))])


if __name__ == "__main__":
    shown = measure(Options())
    print("\n".join(["", *(" | ".join(bar.row()) for bar in shown.bars), "", shown.markdown()]))

"""Ten times more than can be served: is what can be served still served, and does everyone else learn it at once?"""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field

import weft_app
from report import Bar, Section
from runner import HERE, LOAD_CPU, TESTED_CPU, Options, free_port, running

from weft.errors import RequestError
from weft.http.client import Client, ClientLimits, Endpoint

SLOTS, SERVICE_MS, CAPACITY = 5, 100, 50
OFFERED, HIGH = 500, 25
SETTLE_S, WINDOW_S = 4.0, 15.0
"""Of load before anything is counted: until a number is found, where it is not given; then of what is counted."""

GOODPUT_BAR = "ten times the load: goodput lost of the peak, worst"
REFUSAL_BAR = "ten times the load: a refusal on arrival, p99, worst"
HIGH_BAR = "ten times the load: requests of high priority lost, worst"
HINT_BAR = "ten times the load: refusals without Retry-After"

BODY = (HERE / "bodies" / "relay.json").read_bytes()
LATER = (b"no place became free in time", b"took its place in the queue")
"""How refusals read that come after waiting."""


@dataclass
class Tally:
    """What became of the requests of one priority that were sent within the window."""

    asked: int = 0
    served: int = 0
    refused: int = 0
    other: int = 0
    unhinted: int = 0
    refusals_ms: list[float] = field(default_factory=list)
    waits_ms: list[float] = field(default_factory=list)


class OpenLoop:
    """Sends requests at their times, whatever became of those before."""

    def __init__(self, endpoint: Endpoint, path: str) -> None:
        self._endpoint, self._path = endpoint, path
        self.tallies = {"low": Tally(), "high": Tally()}
        self.served_in_window = 0
        self._begin = self._end = 0.0
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, *, low: float, high: float) -> None:
        """Offer so many requests a second."""
        start = time.perf_counter()
        self._begin, self._end = start + SETTLE_S, start + SETTLE_S + WINDOW_S
        due = [(n / low, "low") for n in range(int(low * (SETTLE_S + WINDOW_S)))]
        due += [((n + 0.5) / high, "high") for n in range(int(high * (SETTLE_S + WINDOW_S)))] if high else []
        for at, priority in sorted(due):
            wait = start + at - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            task = asyncio.create_task(self._ask(priority))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        await asyncio.gather(*self._tasks)

    async def _ask(self, priority: str) -> None:
        headers = [("content-type", "application/json")]
        if priority == "high":
            headers.append(("x-plan", "gold"))
        sent = time.perf_counter()
        tally = self.tallies[priority] if self._begin <= sent < self._end else Tally()
        tally.asked += 1
        try:
            reply = await self._endpoint.request("POST", self._path, BODY, headers=headers)
        except RequestError:
            tally.other += 1
            return
        ended = time.perf_counter()
        if reply.status == 200:
            tally.served += 1
            tally.waits_ms.append(1000 * (ended - sent))
            self.served_in_window += self._begin <= ended < self._end
        elif reply.status in (429, 503):
            tally.refused += 1
            tally.unhinted += reply.headers.get("retry-after") is None
            if not any(text in reply.body for text in LATER):
                tally.refusals_ms.append(1000 * (ended - sent))
        else:
            tally.other += 1


async def peak(endpoint: Endpoint, path: str) -> float:
    """Requests a second that the backend serves when it is never idle and nobody has to be refused."""
    until = time.perf_counter() + 5
    begin, served = until - 4, 0

    async def ask() -> None:
        nonlocal served
        while time.perf_counter() < until:
            headers = [("content-type", "application/json")]
            reply = await endpoint.request("POST", path, BODY, headers=headers)
            served += reply.status == 200 and begin <= time.perf_counter() < until

    await asyncio.gather(*(ask() for _ in range(2 * SLOTS)))
    return served / 4


def p99(times: list[float]) -> float:
    """The 99th percentile; 0 of none."""
    return sorted(times)[int(0.99 * len(times))] if times else 0.0


def measure(options: Options) -> Section:
    """An open loop of ten times the capacity, alone and with requests of high priority among it."""
    del options  # the times are those of the question
    section = Section(
        "Ten times the load",
        f"A backend of {SLOTS} slots, {SERVICE_MS} ms each; {OFFERED} requests a second for {WINDOW_S:.0f} s, sent at their times "
        f"whatever became of those before. Peak: {2 * SLOTS} requests at a time, none refused. On arrival: refused without having "
        "waited, as the client sees it.",
        [
            "",
            "goodput /s",
            "of the peak",
            "refused /s",
            "on arrival p50 ms",
            "p99 ms",
            "high priority served",
            "its p99 ms",
        ],
        bars=[
            Bar(GOODPUT_BAR, 10, "%"),
            Bar(REFUSAL_BAR, 5, "ms"),
            Bar(HIGH_BAR, 1, "%"),
            Bar(HINT_BAR, 0, ""),
        ],
    )
    backend_port, port = free_port(), free_port()
    slots = [sys.executable, str(HERE / "apps" / "slots.py"), str(backend_port), str(SLOTS), str(SERVICE_MS)]
    command = weft_app.command("overload.yaml", port, backend=backend_port, slots=SLOTS)
    with ExitStack() as stack:
        stack.enter_context(running("slots", slots, port=backend_port, cpu=LOAD_CPU))
        if stack.enter_context(running("overload", command, port=port, cpu=TESTED_CPU)) is not None:
            asyncio.run(_measure(section, port))
    return section


async def _measure(section: Section, port: int) -> None:
    client = Client(limits=ClientLimits(max_connections=4000, max_waiting=4000))
    endpoint = client.endpoint(f"http://127.0.0.1:{port}", timeout_s=30)
    lost, refusals, high_lost, unhinted = [], [], [], 0
    best = await peak(endpoint, "/v1/fixed")
    section.rows.append(["closed loop, places given", best, 1.0, 0.0, "-", "-", "-", "-"])
    for path, name in (("/v1/fixed", "places given"), ("/v1/found", "places found")):
        for high in (0, HIGH):
            loop = OpenLoop(endpoint, path)
            await loop.run(low=OFFERED - high, high=high)
            await asyncio.sleep(2)  # what waits is served before the next begins
            low, gold = loop.tallies["low"], loop.tallies["high"]
            goodput = loop.served_in_window / WINDOW_S
            on_arrival = sorted(low.refusals_ms + gold.refusals_ms)
            lost.append(100 * (1 - goodput / best))
            refusals.append(p99(on_arrival))
            unhinted += low.unhinted + gold.unhinted
            if low.other + gold.other:
                print(f"  {low.other + gold.other} requests ended otherwise", file=sys.stderr)
            share = gold.served / gold.asked if gold.asked else None
            if share is not None:
                high_lost.append(100 * (1 - share))
            section.rows.append(
                [
                    f"{name}, {high} of high priority a second" if high else name,
                    goodput,
                    goodput / best,
                    (low.refused + gold.refused) / WINDOW_S,
                    on_arrival[len(on_arrival) // 2] if on_arrival else 0.0,
                    p99(on_arrival),
                    f"{100 * share:.2f} %" if share is not None else "-",
                    p99(gold.waits_ms) if high else "-",
                ]
            )
    await client.aclose()
    section.measured(GOODPUT_BAR, max(lost))
    section.measured(REFUSAL_BAR, max(refusals))
    section.measured(HIGH_BAR, max(high_lost))
    section.measured(HINT_BAR, float(unhinted))


if __name__ == "__main__":
    found = measure(Options())
    print("\n".join(["", *(" | ".join(bar.row()) for bar in found.bars), "", found.markdown()]))

"""A client hangs up in mid-answer: how soon does the backend know, and how soon can a local model take the next?"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress

import weft_app
from report import Bar, Section
from runner import TESTED_CPU, Options, free_port, running

HOPS = ("/embed", "/v1/retrieval", "/rerank", "/v1/chat/completions")
SEEN_BAR = "client gone: a backend sees it, worst"
SLOT_BAR = "client gone: a local model's slot is free, worst"
PROMPT_BAR = "client gone while a local model reads its prompt: the slot is free, worst"
TIMES = 20
WATCHDOG_S = 10.0

REPLIES = {
    "/embed": [[0.25] * 384],
    "/v1/retrieval": {
        "id": "r",
        "initial_query": "q",
        "top_n": 1,
        "retrieved_docs": [{"id": "d", "text": "words"}] * 4,
    },
    "/rerank": [{"index": index, "score": 0.9 - index / 10} for index in range(4)],
}
EVENT = b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"word "},"finish_reason":null}]}\n\n'


class StallingBackend:
    """Answers every hop (and whoever asks whether it is well) but one: there it hangs (in a stream: after the first event) and notes when the caller goes."""

    def __init__(self) -> None:
        self.stalls_at = ""
        self.reached = asyncio.Event()
        self.left: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    def expect(self, hop: str) -> None:
        """Hang at ``hop`` from now on."""
        self.stalls_at = hop
        self.reached = asyncio.Event()
        self.left = asyncio.get_running_loop().create_future()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = next(
                    (
                        int(line.split(b":")[1])
                        for line in head.lower().split(b"\r\n")
                        if line.startswith(b"content-length:")
                    ),
                    0,
                )
                body = await reader.readexactly(length)
                path = head.split(b" ", 2)[1].decode()
                if path == self.stalls_at:
                    await self._stall(reader, writer, is_stream=b'"stream":true' in body)
                    return
                reply = json.dumps(REPLIES.get(path, {})).encode()
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
                    % (len(reply), reply)
                )
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _stall(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_stream: bool
    ) -> None:
        if is_stream:
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
                + b"%x\r\n%b\r\n" % (len(EVENT), EVENT)
            )
        self.reached.set()
        with suppress(ConnectionError):
            await reader.read(1)
        if not self.left.done():
            self.left.set_result(time.perf_counter())


LONG_PROMPT = "The quick brown fox jumps over the lazy dog and runs away into the deep dark forest. " * 80
"""About 1,500 tokens: some five seconds of reading on two cores."""


def request(model: str, *, stream: bool, max_tokens: int = 128, prompt: str = "Tell a long story.") -> bytes:
    """A chat request as bytes."""
    body = json.dumps(
        {
            "model": model,
            "messages": [{"role": "user", "content": prompt}],
            "stream": stream,
            "max_tokens": max_tokens,
            "temperature": 0,  # the same story each time: one that ends early would be waited for in vain
        }
    ).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def hang_up(
    port: int, message: bytes, when: Callable[[asyncio.StreamReader], Awaitable[object]]
) -> float:
    """Send a request, close the connection when ``when`` has come; the time of that."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(message)
    try:
        await asyncio.wait_for(when(reader), WATCHDOG_S)
    finally:
        writer.close()
    return time.perf_counter()


async def hops(port: int, backend: StallingBackend) -> dict[str, list[float]]:
    """Milliseconds until the backend sees it, for a client that leaves at each hop."""
    found: dict[str, list[float]] = {}
    cases = [*((hop, False) for hop in HOPS), (HOPS[-1], True)]
    for hop, is_stream in cases:
        for _ in range(TIMES):
            backend.expect(hop)

            async def when(reader: asyncio.StreamReader, *, is_stream: bool = is_stream) -> None:
                await backend.reached.wait()
                if is_stream:
                    await reader.readuntil(b"data: ")

            closed = await hang_up(port, request("chain", stream=is_stream), when)
            seen = await asyncio.wait_for(backend.left, WATCHDOG_S)
            found.setdefault(f"{hop}{' (stream)' if is_stream else ''}", []).append(1000 * (seen - closed))
    return found


async def first_token_ms(port: int) -> float:
    """Milliseconds to the first token of a short answer."""
    begin = time.perf_counter()
    await hang_up(
        port, request("local", stream=True, max_tokens=1), lambda reader: reader.readuntil(b"[DONE]")
    )
    return 1000 * (time.perf_counter() - begin)


async def slot(port: int) -> tuple[list[float], list[float]]:
    """Milliseconds longer that a request takes when it follows one that was hung up on, with one slot.

    Returns:
        For those hung up on in the middle of their answer, and in the middle of their prompt.
    """
    await first_token_ms(port)
    idle = statistics.median([await first_token_ms(port) for _ in range(5)])
    answering, reading = [], []
    for index in range(TIMES):
        await hang_up(port, request("local", stream=True, max_tokens=400), _tokens)
        answering.append(max(0.0, await first_token_ms(port) - idle))
        # Another prompt each time, or it would be in the prompt cache; left at another point of a step each time.
        prompt, after_s = f"{index} {LONG_PROMPT}", 0.4 + 0.017 * index
        await hang_up(
            port, request("local", stream=True, prompt=prompt), lambda _, s=after_s: asyncio.sleep(s)
        )
        reading.append(max(0.0, await first_token_ms(port) - idle))
    return answering, reading


async def _tokens(reader: asyncio.StreamReader) -> None:
    for _ in range(5):
        await reader.readuntil(b"data: ")


def measure(options: Options) -> Section:
    """Hang up at every hop, then on a local model."""
    del options  # it is counted in times, not seconds
    section = Section(
        "A client that hangs up",
        f"From the client's close until the backend at that hop sees its connection end; {TIMES} times each. Local model: how "
        "much later than on an idle server the next answer comes, with one slot.",
        ["", "median ms", "worst ms"],
        bars=[Bar(SEEN_BAR, 100, "ms"), Bar(SLOT_BAR, 300, "ms"), Bar(PROMPT_BAR, 300, "ms")],
    )
    asyncio.run(_measure(section))
    return section


async def _measure(section: Section) -> None:
    backend = StallingBackend()
    async with await asyncio.start_server(backend.serve, "127.0.0.1", 0) as server:
        port = free_port()
        command = weft_app.command("chain.yaml", port, backend=server.sockets[0].getsockname()[1])
        with ExitStack() as stack:
            # In a thread: until it is ready, the program asks the backend, which lives in this one.
            start = running("cancel", command, port=port, cpu=TESTED_CPU)
            process = await asyncio.to_thread(stack.enter_context, start)
            if process is not None:
                found = await hops(port, backend)
                section.rows += [
                    [name, statistics.median(times), max(times)] for name, times in found.items()
                ]
                worst = max(max(times) for times in found.values())
                section.measured(SEEN_BAR, worst)
    port = free_port()
    with running("cancel-local", weft_app.command("local.yaml", port), port=port, cpu="0,1") as process:
        if process is not None:
            answering, reading = await slot(port)
            for name, bar, extra in (
                ("a local model's slot, in mid-answer", SLOT_BAR, answering),
                ("a local model's slot, in mid-prompt", PROMPT_BAR, reading),
            ):
                section.rows.append([name, statistics.median(extra), max(extra)])
                section.measured(bar, max(extra))

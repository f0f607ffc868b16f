"""Gateways behind HAProxy, restarted one after the other under load: is a stream cut, a request refused or lost?

    python benchmarks/rolling.py                      500 streams of 30 s, 100 new requests a second, 3 gateways
    python benchmarks/rolling.py --streams 50 --stream-s 5 --rate 50

HAProxy passes on TCP and asks each gateway for /health/ready every 500 ms; it tries no connection twice, so that whatever is
refused is counted. Half of the new requests come on a connection of their own, half on connections that stay open.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import signal
import socket
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from report import Bar, Section
from runner import Options

from weft.errors import RequestError
from weft.http.client import Client, Endpoint

WATCHDOG_S = 60.0

CHAT = '''\
from weft.contracts.chat import ChatRequest, ChatResponse
from weft.testing import ScriptedChat


class Chat(ScriptedChat):
    """Streams slowly, and answers at once when it is asked for a whole reply."""

    def __init__(self, words: int, token_s: float) -> None:
        super().__init__(" ".join(["word"] * words), token_s=token_s)
        self._quick = ScriptedChat("At once.")

    async def invoke(self, request: ChatRequest) -> ChatResponse:
        return await self._quick.invoke(request)
'''

FRONT = """\
apiVersion: weft/v1
kind: Services
services:
  llm: {{component: "./chat.py:Chat", config: {{words: {words}, token_s: {token_s}}}}}
---
apiVersion: weft/v1
kind: Megaservice
name: talk
version: "1.0.0"
contract: chat
nodes:
  answer: {{service: llm, fill_from: request, inputs: {{messages: request.messages}}}}
output: answer
---
apiVersion: weft/v1
kind: Gateway
name: front
routes:
  - {{path: /v1/talk, megaservice: talk}}
drain: {{delay_s: {delay_s}, timeout_s: {timeout_s}}}
"""

HAPROXY = """\
global
    maxconn 8000
defaults
    mode tcp
    retries 0
    timeout connect 2s
    timeout client 300s
    timeout server 300s
listen front
    bind 127.0.0.1:{port}
    balance leastconn
    option httpchk
    http-check send meth GET uri /health/ready ver HTTP/1.1 hdr Host localhost
    http-check expect status 200
    default-server check inter 500ms fall 1 rise 1
{servers}
"""


@dataclass
class Plan:
    """What is to happen."""

    gateways: int = 3
    workers: int = 1
    streams: int = 500
    stream_s: float = 30.0
    token_s: float = 1.0
    rate: float = 100.0
    delay_s: float = 1.5
    settle_s: float = 2.0

    @property
    def words(self) -> int:
        return max(2, round(self.stream_s / self.token_s))


@dataclass
class Outcome:
    """What happened."""

    streams_begun: int = 0
    streams_whole: int = 0
    requests_sent: int = 0
    requests_answered: int = 0
    restarts_s: list[float] = field(default_factory=list)
    latencies_ms: list[float] = field(default_factory=list, repr=False)
    failures: list[str] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        found = {key: value for key, value in asdict(self).items() if key != "latencies_ms"}
        ordered = sorted(self.latencies_ms)
        if ordered:
            found["p50_ms"] = round(ordered[len(ordered) // 2], 1)
            found["p99_ms"] = round(ordered[int(len(ordered) * 0.99)], 1)
            found["slowest_ms"] = round(ordered[-1], 1)
        return found


class Gateway:
    """One process of ``weft up``, on one port for its whole life and those after it."""

    def __init__(self, folder: Path, number: int, port: int, workers: int) -> None:
        self._folder, self._data, self.port = folder, folder / f"data-{number}", port
        self._workers = workers
        self._log = folder / f"gateway-{number}.log"
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", "from weft.cli.main import main; main()", "up",
                str(self._folder / "front.yaml"), "--port", str(self.port), "--data", str(self._data), "--workers", str(self._workers),
                stdout=log, stderr=log,
            )  # fmt: skip
        client = Client()
        endpoint = client.endpoint(f"http://127.0.0.1:{self.port}", timeout_s=5)
        try:
            async with asyncio.timeout(WATCHDOG_S):
                while not await _is_ready(endpoint):
                    if self._process.returncode is not None:
                        raise RuntimeError(self._log.read_text())
                    await asyncio.sleep(0.1)
        finally:
            await client.aclose()

    async def stop(self) -> int:
        """SIGTERM; its exit status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return await self._process.wait()

    def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()


async def _is_ready(endpoint: Endpoint) -> bool:
    try:
        return (await endpoint.request("GET", "/health/ready")).status == 200
    except RequestError:
        return False


class Load:
    """Streams that are always open, and new requests at their times."""

    def __init__(self, plan: Plan, url: str) -> None:
        self._plan, self._url = plan, url
        self._stopping = asyncio.Event()
        self.outcome = Outcome()
        self.open = 0

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for number in range(self._plan.streams):
                tasks.create_task(self._keep_streaming(number))
            tasks.create_task(self._keep_asking())

    def stop(self) -> None:
        """Begin nothing more; what is under way ends."""
        self._stopping.set()

    async def _keep_streaming(self, number: int) -> None:
        # Not all at one time: a connection is made every few milliseconds.
        await asyncio.sleep(number * min(0.01, self._plan.stream_s / self._plan.streams))
        client = Client()
        endpoint = client.endpoint(self._url, timeout_s=20)
        while not self._stopping.is_set():
            self.outcome.streams_begun += 1
            self.open += 1
            try:
                words, is_whole = await self._stream(endpoint)
                if is_whole and words == self._plan.words:
                    self.outcome.streams_whole += 1
                else:
                    self.outcome.failures.append(f"a stream was cut after {words} words")
            except RequestError as error:
                self.outcome.failures.append(f"a stream failed: {error!r}")
            finally:
                self.open -= 1
        await client.aclose()

    async def _stream(self, endpoint: Endpoint) -> tuple[int, bool]:
        words, tail = 0, b""
        reply = await endpoint.stream(
            "POST", "/v1/chat/completions", _body(stream=True), headers=JSON, idle_timeout_s=30
        )
        try:
            if reply.status != 200:
                self.outcome.failures.append(f"a stream was answered with {reply.status}")
                return 0, False
            async for block in reply.body:
                words += block.count(b'"content":"word')
                tail = (tail + block)[-64:]
        finally:
            await reply.aclose()
        return words, tail.endswith(b"data: [DONE]\n\n")

    async def _keep_asking(self) -> None:
        kept, fresh = Client(), Client()
        running: set[asyncio.Task[None]] = set()
        begun, number = time.perf_counter(), 0
        while not self._stopping.is_set():
            is_fresh = number % 2 == 0
            endpoint = (fresh if is_fresh else kept).endpoint(self._url, timeout_s=20)
            task = asyncio.create_task(self._ask(endpoint, is_fresh=is_fresh))
            running.add(task)
            task.add_done_callback(running.discard)
            number += 1
            await asyncio.sleep(max(0.0, begun + number / self._plan.rate - time.perf_counter()))
        if running:
            await asyncio.wait(running)
        await kept.aclose()
        await fresh.aclose()

    async def _ask(self, endpoint: Endpoint, *, is_fresh: bool) -> None:
        self.outcome.requests_sent += 1
        headers = [*JSON, ("connection", "close")] if is_fresh else JSON
        begun = time.perf_counter()
        try:
            reply = await endpoint.request(
                "POST", "/v1/chat/completions", _body(stream=False), headers=headers, idempotent=False
            )
        except RequestError as error:
            self.outcome.failures.append(f"a request failed: {error!r}")
            return
        self.outcome.latencies_ms.append((time.perf_counter() - begun) * 1000)
        if reply.status == 200 and b"At once." in reply.body:
            self.outcome.requests_answered += 1
        else:
            self.outcome.failures.append(f"a request was answered with {reply.status}: {reply.body[:200]!r}")


JSON = [("content-type", "application/json")]


def _body(*, stream: bool) -> bytes:
    content = {"model": "talk", "stream": stream, "messages": [{"role": "user", "content": "Hello?"}]}
    return json.dumps(content).encode()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


async def roll(plan: Plan, folder: Path) -> Outcome:
    """Start everything, restart each gateway under load, and end everything."""
    haproxy = shutil.which("haproxy") or "/usr/sbin/haproxy"
    (folder / "chat.py").write_text(CHAT)
    (folder / "front.yaml").write_text(
        FRONT.format(
            words=plan.words,
            token_s=plan.token_s,
            delay_s=plan.delay_s,
            timeout_s=plan.stream_s * 2 + 10,
        )
    )
    gateways = [Gateway(folder, number, _free_port(), plan.workers) for number in range(plan.gateways)]
    port = _free_port()
    servers = "\n".join(f"    server g{n} 127.0.0.1:{g.port}" for n, g in enumerate(gateways))
    (folder / "haproxy.cfg").write_text(HAPROXY.format(port=port, servers=servers))
    balancer: asyncio.subprocess.Process | None = None
    try:
        await asyncio.gather(*(gateway.start() for gateway in gateways))
        with (folder / "haproxy.log").open("wb") as log:
            balancer = await asyncio.create_subprocess_exec(
                haproxy, "-db", "-f", str(folder / "haproxy.cfg"), stdout=log, stderr=log
            )
        url = f"http://127.0.0.1:{port}"
        await _until_answered(url)
        load = Load(plan, url)
        loading = asyncio.create_task(load.run())
        while load.open < 0.9 * plan.streams:  # noqa: ASYNC110 - a look now and then is enough
            await asyncio.sleep(0.05)
        await asyncio.sleep(plan.settle_s)
        for gateway in gateways:
            begun = time.perf_counter()
            status = await gateway.stop()
            if status != 0:
                load.outcome.failures.append(f"a gateway ended with status {status}")
            await gateway.start()
            load.outcome.restarts_s.append(round(time.perf_counter() - begun, 1))
            await asyncio.sleep(plan.settle_s)  # the balancer sees that it is back
        load.stop()
        await loading
        await asyncio.gather(*(gateway.stop() for gateway in gateways))
        return load.outcome
    finally:
        for gateway in gateways:
            gateway.kill()
        if balancer is not None:
            balancer.kill()
            await balancer.wait()


async def _until_answered(url: str) -> None:
    client = Client()
    try:
        async with asyncio.timeout(WATCHDOG_S):
            while not await _is_ready(client.endpoint(url, timeout_s=5)):  # noqa: ASYNC110 - the same
                await asyncio.sleep(0.05)
    finally:
        await client.aclose()


STREAMS_BAR = "rolling restart: streams cut or not begun"
REQUESTS_BAR = "rolling restart: requests refused or lost"


def measure(options: Options) -> Section:
    """Restart three gateways one after the other, with 500 streams open and 100 new requests a second."""
    plan = Plan()
    section = Section(
        "A rolling restart behind HAProxy",
        f"{plan.gateways} gateways behind HAProxy in TCP mode, which asks each for `/health/ready` every 500 ms and tries no "
        f"connection twice; {plan.streams} streams of {plan.stream_s:g} s are always open, and {plan.rate:g} requests a second "
        "come in, half of them on a connection of their own. Each gateway in turn gets SIGTERM, ends, and is started again.",
        ["", "begun", "answered whole", "p50 ms", "p99 ms", "slowest ms"],
        bars=[Bar(STREAMS_BAR, 0, ""), Bar(REQUESTS_BAR, 0, "")],
    )
    if shutil.which("haproxy") is None:
        print("  HAProxy is not installed (Debian: haproxy)", file=sys.stderr)
        return section
    with tempfile.TemporaryDirectory(prefix="weft-rolling-") as folder:
        found = asyncio.run(roll(plan, Path(folder)))
    for failure in found.failures[:10]:
        print(f"  {failure}", file=sys.stderr)
    times = found.summary()
    section.rows.append(["streams", found.streams_begun, found.streams_whole, "-", "-", "-"])
    section.rows.append(
        ["requests", found.requests_sent, found.requests_answered]
        + [times.get(name, "-") for name in ("p50_ms", "p99_ms", "slowest_ms")]
    )
    section.measured(STREAMS_BAR, float(found.streams_begun - found.streams_whole))
    section.measured(REQUESTS_BAR, float(found.requests_sent - found.requests_answered))
    return section


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, value in asdict(Plan()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    plan = Plan(**vars(parser.parse_args()))
    with tempfile.TemporaryDirectory(prefix="weft-rolling-") as folder:
        outcome = asyncio.run(roll(plan, Path(folder)))
    print(json.dumps(asdict(plan) | outcome.summary(), indent=2))
    sys.exit(1 if outcome.failures else 0)


if __name__ == "__main__":
    main()

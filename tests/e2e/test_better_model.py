"""``weft up`` with another model: switched to a second local server under load and back, kept over a restart."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from chatqna_process import HANDBOOK, QUESTION, Gateway
from click.testing import CliRunner

from switchkit import SecondServer
from weft.cli.main import group

pytestmark = pytest.mark.e2e

KEY = "sk-verysecret123"


@pytest.fixture(scope="module")
def second() -> Iterator[SecondServer]:
    """A server with one model, in a thread of this process."""
    server, started, stop = SecondServer("better", key=KEY), threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def run() -> None:
        async with AsyncExitStack() as stack:
            await server.start(stack)
            started.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()))
    thread.start()
    assert started.wait(10)
    yield server
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)
    loop.close()


def use(gateway: Gateway, model: str, key: str | None = None) -> str:
    """``weft models use``, and what it printed."""
    environment = {"WEFT_LLM_KEY": key or ""}
    result = CliRunner().invoke(group, ["models", "use", model, "--url", gateway.url], env=environment)
    return f"{result.output}{result.exception or ''}"


@pytest.mark.parametrize("processes", [(), ("--split",), ("--workers", "2")], ids=["one", "split", "workers"])
def test_a_model_is_switched_to_under_load_and_back(
    processes: tuple[str, ...], second: SecondServer, tmp_path: Path
) -> None:
    """No request fails, every process has the new model at once, the next start has it too, and nobody sees the key."""
    gateway = Gateway(tmp_path, *processes)
    try:
        document = tmp_path / "handbook.txt"
        document.write_text(HANDBOOK)
        gateway.run("ingest", str(document))
        answers: list[str] = []
        is_over = threading.Event()

        def ask() -> None:
            client = gateway.client()
            while not is_over.is_set():
                said = client.chat.completions.create(
                    model="chatqna", messages=[{"role": "user", "content": QUESTION}], max_tokens=4
                )
                answers.append(said.choices[0].message.content or "")

        with ThreadPoolExecutor(4) as pool:
            asking = [pool.submit(ask) for _ in range(4)]
            try:
                assert "asks for a key" in use(gateway, second.url)
                assert "llm uses better" in use(gateway, second.url, KEY)
                seen = len(answers)
                while len(answers) < seen + 8:
                    is_over.wait(0.02)
                assert "llm uses smollm2" in use(gateway, "default")
                assert "llm uses better" in use(gateway, second.url, KEY)
            finally:
                is_over.set()
            for asked in asking:
                asked.result(timeout=30)
        assert all("30 days" in answer for answer in answers)
        assert any(answer.startswith("I am better,") for answer in answers)
        for _ in range(6):  # whichever process answers
            assert gateway.run("ask", QUESTION).startswith("I am better,")
        assert "has no model" in use(gateway, f"{second.url}#worse", KEY)
        assert "never contacted" in use(gateway, "http://169.254.169.254")
    finally:
        assert gateway.stop() == 130, gateway.output
    again = Gateway(tmp_path, *processes)
    try:
        assert again.run("ask", QUESTION).startswith("I am better,")
        assert "llm uses smollm2" in use(again, "default")
        assert not again.run("ask", QUESTION).startswith("I am better,")
    finally:
        again.stop()
    assert KEY not in gateway.output + again.output


def test_the_command_line_says_the_model(second: SecondServer, tmp_path: Path) -> None:
    """``--llm`` with a key from a file: it answers at once, and its key is on no command line."""
    key = tmp_path / "key"
    key.write_text(f"{KEY}\n")
    gateway = Gateway(tmp_path / "data", "--llm", second.url, "--llm-key-file", str(key))
    try:
        assert gateway.run("ask", "Good morning!").startswith("I am better,")
    finally:
        gateway.stop()
    assert KEY not in gateway.output

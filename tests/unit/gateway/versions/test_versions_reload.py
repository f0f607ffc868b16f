"""A Gateway file that changes while it is served: what it says takes the place of what runs, and no request is lost."""

from __future__ import annotations

import asyncio
import gc
import sys
import weakref
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from frontkit import ask
from switchkit import SecondServer
from weft.cli.renewing import Alone, Reader
from weft.cli.running import Running, host_settings
from weft.cli.settings import from_environment
from weft.http.client import Client, Endpoint
from weft.serve import ports
from weft.serve.doors import Door
from weft.serve.serving import Serving, Stop

CHAT = '''\
import asyncio
from weft.testing import ScriptedChat


class Chat(ScriptedChat):
    """Says what it is told to; ``made`` and ``closed`` are counted, and one that is held waits in its stream."""

    made: list[str] = []
    closed: list[str] = []
    held: dict[str, asyncio.Event] = {}

    def __init__(self, reply: str, fails: bool = False) -> None:
        super().__init__(reply)
        self.says, self.fails = reply, fails

    async def start(self, host):
        if self.fails:
            raise RuntimeError("it has no weights")
        self.made.append(self.says)

    async def aclose(self):
        self.closed.append(self.says)

    async def stream(self, request):
        async for chunk in super().stream(request):
            yield chunk
            if (held := self.held.get(self.says)) is not None:
                await held.wait()
'''

TALK = """\
apiVersion: weft/v1
kind: Services
services:
  llm: {component: "./chat.py:Chat", config: {reply: "REPLY"}}
  shared: {component: "./chat.py:Chat", config: {reply: "the same"}}
---
apiVersion: weft/v1
kind: Megaservice
name: talk
version: "VERSION"
contract: chat
nodes:
  answer: {service: llm, fallback: shared, fill_from: request, inputs: {messages: request.messages}}
output: answer
"""

FRONT = """\
apiVersion: weft/v1
kind: Gateway
name: front
routes:
  - path: /v1/greet
    megaservice: talk
    versions:
      - {version: "1.0.0", from: one.yaml, weight: 1}
      - {version: "2.0.0", from: two.yaml, weight: 0}  # being tried out
"""


class Rig:
    """An installation of one process that is served.

    Attributes:
        folder: Where its files are.
        chat: The class behind its services.
    """

    def __init__(self, folder: Path, alone: Alone, serving: Serving, endpoint: Endpoint) -> None:
        self.folder, self.alone, self.serving, self.endpoint = folder, alone, serving, endpoint
        modules = [name for name in sys.modules if name.startswith("weft_file_chat")]
        path = str(folder / "chat.py")
        self.chat: Any = next(sys.modules[m].Chat for m in modules if sys.modules[m].__file__ == path)

    async def reload(self, text: str | None = None, **sources: str) -> str:
        """Write files and have them taken in; what was wrong with them."""
        for name, content in sources.items():
            (self.folder / f"{name}.yaml").write_text(content)
        if text is not None:
            (self.folder / "front.yaml").write_text(text)
        return (await self.alone.renewal.reload()).error

    async def version(self, **options: Any) -> str:
        """Which version answers."""
        status, body, headers = await ask(self.endpoint, stream=False, **options)
        assert status == 200, body
        return headers["x-weft-version"]

    async def json(self, path: str) -> Any:
        return msgspec.json.decode((await self.endpoint.request("GET", path)).body)


def talk(version: str, reply: str) -> str:
    return TALK.replace("VERSION", version).replace("REPLY", reply)


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[Rig]:
    """The installation of ``folder``, as ``weft up`` has it run."""
    settings = from_environment()
    running = Running(
        files=[str(folder / "front.yaml")],
        split=False,
        workers=1,
        host=host_settings(settings, folder / "data", offline=True),
        secrets={},
    )
    running.texts = dict(running.spec().sources)
    door = Door("127.0.0.1", 0)
    reader = Reader(running, running.load(), [door], settings=settings, keys={}, watches=False, offline=True)
    alone = Alone(reader)
    serving = Serving(alone.application())
    listener = ports.bind(door.host, door.port)
    listener.listen()
    await serving.listen(listener)
    started, stop = asyncio.Event(), Stop()

    async def on_started() -> None:
        serving.on_drain.append(alone.begin(serving))
        started.set()

    task = asyncio.create_task(serving.run(stop, on_started=on_started))
    client = Client()
    try:
        await started.wait()
        yield Rig(
            folder,
            alone,
            serving,
            client.endpoint(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout_s=10),
        )
    finally:
        await client.aclose()
        stop.ask()
        stop.ask()
        await task


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    (tmp_path / "chat.py").write_text(CHAT)
    (tmp_path / "one.yaml").write_text(talk("1.0.0", "I am one"))
    (tmp_path / "two.yaml").write_text(talk("2.0.0", "I am two"))
    (tmp_path / "front.yaml").write_text(FRONT)
    async with AsyncExitStack() as stack:
        yield await stack.enter_async_context(served(tmp_path))


async def test_what_the_file_says_now_is_served(rig: Rig) -> None:
    """From the next request on, on the connections that are open, too."""
    assert await rig.version() == "1.0.0"
    assert (
        await rig.reload(FRONT.replace("weight: 1}", "weight: 0}").replace("weight: 0}  #", "weight: 1}  #"))
        == ""
    )
    assert await rig.version() == "2.0.0"


async def test_what_is_the_same_goes_on(rig: Rig) -> None:
    """Services that the new file has too are neither closed nor made again, whatever they are called."""
    made = list(rig.chat.made)
    assert sorted(made) == ["I am one", "I am two", "the same"]
    only_two = FRONT.replace('      - {version: "1.0.0", from: one.yaml, weight: 1}\n', "").replace(
        "weight: 0", "weight: 1"
    )
    assert await rig.reload(only_two) == ""
    assert rig.chat.made == made
    await rig.serving.settled()
    assert rig.chat.closed == ["I am one"]
    assert await rig.version() == "2.0.0"


async def test_a_request_under_way_ends_as_it_began(rig: Rig) -> None:
    """A stream goes on over a reload on the version that it began with, which is closed when it has ended."""
    held = rig.chat.held["I am one"] = asyncio.Event()
    stream = await rig.endpoint.stream("POST", "/v1/chat/completions", _question(), headers=JSON)
    blocks = stream.body.__aiter__()
    begun = await anext(blocks)
    without_one = FRONT.replace('      - {version: "1.0.0", from: one.yaml, weight: 1}\n', "")
    assert await rig.reload(without_one.replace("weight: 0", "weight: 1")) == ""
    assert await rig.version() == "2.0.0"
    assert rig.chat.closed == []
    held.set()
    rest = begun + b"".join([block async for block in blocks])
    assert rest.endswith(b"data: [DONE]\n\n")
    assert b"one" in rest
    await rig.serving.settled()
    assert rig.chat.closed == ["I am one"]


async def test_no_request_is_lost_over_many_reloads(rig: Rig) -> None:
    """While the file changes again and again, every request is answered whole."""
    done = asyncio.Event()
    answers: list[str] = []

    async def keep_asking() -> None:
        while not done.is_set():
            answers.append(await rig.version())

    asking = [asyncio.create_task(keep_asking()) for _ in range(4)]
    for number in range(3):
        weights = f"weight: {number % 2}}}", f"weight: {1 - number % 2}}}  #"
        assert (
            await rig.reload(FRONT.replace("weight: 1}", weights[0]).replace("weight: 0}  #", weights[1]))
            == ""
        )
    done.set()
    await asyncio.gather(*asking)
    assert set(answers) == {"1.0.0", "2.0.0"}


async def test_an_invalid_file_never_replaces_what_runs(rig: Rig) -> None:
    """What runs goes on; status, health and metrics say that the file is another, and why to administrators only."""
    error = await rig.reload(FRONT.replace("weight: 1", "wait: 1"))
    assert "'wait' is not a key of a version" in error
    assert await rig.version() == "1.0.0"
    status = await rig.json("/v1/gateway")
    assert status["reload"]["drifted"]
    assert "front.yaml:8:" in status["reload"]["error"]
    health = await rig.json("/health/ready")
    assert health["status"] == "ready"
    assert health["notes"] == [
        "the Gateway file was changed and could not be taken in: weft gateway status says why"
    ]
    metrics = (await rig.endpoint.request("GET", "/metrics")).body.decode()
    assert "weft_gateway_drift 1\n" in metrics
    assert await rig.reload(FRONT) == ""
    assert "notes" not in await rig.json("/health/ready")
    assert "weft_gateway_drift 0\n" in (await rig.endpoint.request("GET", "/metrics")).body.decode()


async def test_what_cannot_start_never_replaces_what_runs(rig: Rig) -> None:
    """A component that does not start is given up with everything that was started beside it."""
    faulty = talk("2.0.0", "I am new").replace(
        'config: {reply: "the same"}', "config: {reply: x, fails: true}"
    )
    error = await rig.reload(two=faulty)
    assert "it has no weights" in error
    assert await rig.version(model="talk@2") == "2.0.0"
    assert rig.chat.closed in ([], ["I am new"])
    assert rig.chat.made.count("I am new") == rig.chat.closed.count("I am new")


async def test_a_change_of_a_source_is_taken_in(rig: Rig) -> None:
    """A file that a route names by from: is watched as the Gateway file is."""
    watched = {path.name for path in rig.alone.files()}
    assert watched == {"front.yaml", "one.yaml", "two.yaml", "chat.py"}
    assert await rig.reload(one=talk("1.0.0", "I am better")) == ""
    _, body, _ = await ask(rig.endpoint, stream=False)
    assert body["choices"][0]["message"]["content"] == "I am better"


async def test_a_comment_changes_nothing(rig: Rig) -> None:
    """What runs is what the file says, however it says it."""
    before = rig.serving.app
    assert await rig.reload(FRONT + "# The end.\n") == ""
    assert rig.serving.app is before


async def test_what_was_used_of_a_limit_stays_used(rig: Rig) -> None:
    """A reload gives nobody a new allowance."""
    limited = FRONT + "    limits:\n      - {per: route, requests: 3/hour}\n"
    assert await rig.reload(limited) == ""
    assert [await rig.version() for _ in range(2)] == ["1.0.0"] * 2
    assert await rig.reload(limited.replace("weight: 0", "weight: 1")) == ""
    statuses = [(await ask(rig.endpoint, stream=False))[0] for _ in range(2)]
    assert statuses == [200, 429]


async def test_a_model_that_was_chosen_stays_chosen(rig: Rig) -> None:
    """A reload keeps what was switched while it ran, in the very service; after it the next switch works as before."""
    async with AsyncExitStack() as stack:
        second = await SecondServer("better", "best").start(stack)
        for model in ("better", "best"):
            chosen = {"service": "llm", "model": f"{second.url}#{model}"}
            status, body = await _post(rig, "/v1/models/choices", chosen)
            assert status in (200, 202), body
            assert await _until_said(rig, f"I am {model}, as the script says.")
            assert await rig.reload(FRONT.replace("weight: 1}", f"weight: {len(model)}}}")) == ""
            assert await _until_said(rig, f"I am {model}, as the script says.")
            await rig.serving.settled()
        assert rig.chat.closed == ["I am one"]


async def test_reloads_leave_nothing_behind(rig: Rig) -> None:
    """What was served before is forgotten, but for the last, which what serves may know."""
    before: list[weakref.ref[Any]] = []
    for number in range(4):
        before.append(weakref.ref(rig.serving.app))
        assert await rig.reload(FRONT.replace("weight: 1}", f"weight: {number + 2}}}")) == ""
        await rig.serving.settled()
    gc.unfreeze()
    gc.collect()
    assert sum(app() is not None for app in before) <= 1


async def test_a_process_of_its_own_takes_a_restart(rig: Rig) -> None:
    """One process does not become several while it serves."""
    placed = "---\napiVersion: weft/v1\nkind: Placement\nservices:\n  llm: {at: process}\n"
    assert "that takes a restart" in await rig.reload(one=talk("1.0.0", "I am one") + placed)
    assert await rig.version() == "1.0.0"


async def test_where_it_listens_is_settled_at_the_start(rig: Rig) -> None:
    """The rest is taken in, and it is said what is not."""
    assert await rig.reload(FRONT + 'listen:\n  - {http: "127.0.0.1:1"}\n') == ""
    notes = (await rig.json("/v1/gateway"))["reload"]["notes"]
    assert notes == ["'listen' has changed, which takes a restart: it is as it was"]


async def test_promotion_and_rollback_through_the_api(rig: Rig) -> None:
    """The file's weights change, comments kept, and are served when the reply comes."""
    promoted = await _post(rig, "/v1/gateway/promote", {"route": "talk", "version": "2"})
    assert promoted == (
        200,
        {"route": "talk", "before": {"1.0.0": 1, "2.0.0": 0}, "after": {"1.0.0": 0, "2.0.0": 100}},
    )
    assert await rig.version() == "2.0.0"
    text = (rig.folder / "front.yaml").read_text()
    assert text == FRONT.replace("weight: 1}", "weight: 0}").replace("weight: 0}  #", "weight: 100}  #")
    earlier = (await rig.json("/v1/gateway"))["routes"][0]["earlier"]
    assert [state["weights"] for state in earlier] == [{"1.0.0": 1, "2.0.0": 0}]
    assert (await _post(rig, "/v1/gateway/rollback", {"route": "/v1/greet"}))[0] == 200
    assert await rig.version() == "1.0.0"
    assert (rig.folder / "front.yaml").read_text() == FRONT
    status, body = await _post(rig, "/v1/gateway/rollback", {"route": "talk"})
    assert (status, body["code"]) == (409, "conflict")
    desk = rig.alone.assembly.desk
    assert desk is not None
    records = [record.event for record in await desk.audit.page()]
    assert sorted(records) == ["config.reloaded"] * 2 + ["version.promoted", "version.rolled-back"]


async def test_a_promotion_is_made_whole_though_its_caller_leaves(rig: Rig) -> None:
    """Who hangs up in the middle does not leave a file behind that says something else than what runs."""
    asking = asyncio.create_task(_post(rig, "/v1/gateway/promote", {"route": "talk", "version": "2"}))
    async with asyncio.timeout(10):
        while not rig.alone.renewal.status.is_reloading:
            await asyncio.sleep(0)
        asking.cancel()
        while "weight: 100" not in (rig.folder / "front.yaml").read_text():
            await asyncio.sleep(0.01)
        while rig.alone.renewal.status.number == 0:
            await asyncio.sleep(0.01)
    assert await rig.version() == "2.0.0"


async def test_nothing_is_promoted_in_a_file_that_does_not_run(rig: Rig) -> None:
    """Else another's half-done work would be taken in, or be lost."""
    (rig.folder / "front.yaml").write_text(broken := FRONT.replace("weight: 1", "wait: 1"))
    status, body = await _post(rig, "/v1/gateway/promote", {"route": "talk", "version": "2"})
    assert (status, body["code"]) == (409, "conflict")
    assert (rig.folder / "front.yaml").read_text() == broken


JSON = [("content-type", "application/json")]


def _question() -> bytes:
    return msgspec.json.encode(
        {"model": "talk", "stream": True, "messages": [{"role": "user", "content": "Who are you?"}]}
    )


async def _until_said(rig: Rig, words: str) -> bool:
    """Ask until this is the answer; a switch is made within milliseconds of its reply."""
    async with asyncio.timeout(10):
        while True:
            _, body, _ = await ask(rig.endpoint, model="talk@1", stream=False)
            if body["choices"][0]["message"]["content"] == words:
                return True


async def _post(rig: Rig, path: str, body: Any) -> tuple[int, Any]:
    reply = await rig.endpoint.request("POST", path, msgspec.json.encode(body), headers=JSON)
    return reply.status, msgspec.json.decode(reply.body)

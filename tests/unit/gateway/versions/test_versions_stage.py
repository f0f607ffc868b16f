"""Several versions of one route: which answers, who keeps which, and what is said of those that end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from frontkit import FrontRig, ask
from weft.context import Context, Identity
from weft.contracts.chat import CONTRACT as CHAT
from weft.gateway.passage import Passage
from weft.gateway.targets import Target
from weft.gateway.versions.stage import Version, VersionStage, versions_of
from weft.http.client import Endpoint
from weft.http.message import Headers, Request, Response
from weft.serve.application import Era, Exchange, Route
from weft.spec.gateway import RouteSpec, VersionSpec

SOURCE = """\
apiVersion: weft/v1
kind: Services
services:
  llm: {component: "./chat.py:Chat", config: {reply: "I am VERSION."}}
---
apiVersion: weft/v1
kind: Megaservice
name: talk
version: "VERSION"
contract: chat
nodes:
  answer: {service: llm, fill_from: request, inputs: {messages: request.messages}}
output: answer
"""

FRONT = """\
apiVersion: weft/v1
kind: Gateway
name: front
routes:
  - path: /v1/greet
    megaservice: talk
    STICKY
    versions:
"""


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[FrontRig]:
    async with AsyncExitStack() as stack:
        yield FrontRig(tmp_path, stack)


async def gateway(rig: FrontRig, *versions: str, sticky: str = "", more: str = "") -> Endpoint:
    """A gateway with these versions: each as ``"1.2.0", weight: 3``."""
    text = FRONT.replace("STICKY", sticky or "description: Greets.")
    for version in versions:
        number = version.partition('"')[2].partition('"')[0]
        (rig.folder / f"{number}.yaml").write_text(SOURCE.replace("VERSION", number))
        text += f"      - {{version: {version}, from: {number}.yaml}}\n"
    return await rig.gateway(text + more)


async def who(asked: Endpoint, path: str = "/v1/chat/completions", **options: Any) -> str:
    """Which version answered, by its words, which its header has to say too."""
    status, body, headers = await ask(asked, path, stream=False, **options)
    assert status == 200, body
    said: str = (body["text"] if "text" in body else body["choices"][0]["message"]["content"]).split()[-1][
        :-1
    ]
    assert headers["x-weft-version"] == said
    return said


TWO = ('"1.2.0", weight: 1', '"2.0.0", weight: 0')


async def test_a_version_is_chosen_by_path_model_or_header(rig: FrontRig) -> None:
    """All three ways lead to the version that a request names, whole or by its leading parts."""
    asked = await gateway(rig, *TWO)
    assert await who(asked) == "1.2.0"
    assert await who(asked, "/v1/greet") == "1.2.0"
    assert await who(asked, model="talk@2") == "2.0.0"
    assert await who(asked, "/v1/greet/v/2.0.0") == "2.0.0"
    assert await who(asked, "/v1/greet/v/2") == "2.0.0"
    assert await who(asked, headers={"x-weft-version": "2.0"}) == "2.0.0"
    assert await who(asked, "/v1/greet", headers={"x-weft-version": "2"}) == "2.0.0"


async def test_a_partial_version_is_the_highest_that_it_fits(rig: FrontRig) -> None:
    """``1`` is the newest of the versions 1, and a number is not a text: 1.10 is newer than 1.9; 1 is not 10."""
    asked = await gateway(rig, '"1.10.0"', '"1.9.0"', '"10.0.0"', '"1.11.0-rc.1"')
    assert await who(asked, model="talk@1.9") == "1.9.0"
    assert await who(asked, headers={"x-weft-version": "1.10"}) == "1.10.0"
    assert await who(asked, headers={"x-weft-version": "1"}) == "1.11.0-rc.1"


@pytest.mark.parametrize(
    ("path", "options"),
    [
        ("/v1/chat/completions", {"model": "talk@3"}),
        ("/v1/greet/v/3.0.0", {}),
        ("/v1/greet", {"headers": {"x-weft-version": "3"}}),
        ("/v1/chat/completions", {"headers": {"x-weft-version": "zwei"}}),
    ],
)
async def test_an_unknown_version_is_an_error_that_lists_them(
    rig: FrontRig, path: str, options: dict[str, Any]
) -> None:
    """Whichever way it was named."""
    asked = await gateway(rig, *TWO)
    status, body, _ = await ask(asked, path, **options)
    assert status == 404
    assert "versions: 1.2.0, 2.0.0" in msgspec.json.encode(body).decode()


async def test_two_versions_in_one_request_are_refused(rig: FrontRig) -> None:
    """Unless they mean the same."""
    asked = await gateway(rig, *TWO)
    status, body, _ = await ask(asked, model="talk@1", headers={"x-weft-version": "2"})
    assert (status, body["error"]["code"]) == (400, "invalid_request")
    assert await who(asked, model="talk@2", headers={"x-weft-version": "2.0.0"}) == "2.0.0"


async def test_each_version_has_its_own_build(rig: FrontRig) -> None:
    """A reply names the build that it was made by."""
    asked = await gateway(rig, *TWO)
    builds = {(await ask(asked, model=f"talk@{n}"))[2]["x-weft-build"] for n in (1, 2)}
    assert len(builds) == 2


async def test_models_list_their_versions(rig: FrontRig) -> None:
    """With what is known of their end; each can be looked up."""
    asked = await gateway(rig, '"1.2.0", deprecated: 2031-01-31', '"2.0.0"')
    listed = msgspec.json.decode((await asked.request("GET", "/v1/models")).body)["data"]
    assert [(entry["id"], entry["versions"]) for entry in listed] == [
        (
            "talk",
            [
                {"id": "talk@1.2.0", "version": "1.2.0", "deprecated": "2031-01-31"},
                {"id": "talk@2.0.0", "version": "2.0.0"},
            ],
        )
    ]
    shown = msgspec.json.decode((await asked.request("GET", "/v1/models/talk@1")).body)
    assert (shown["id"], shown["version"]) == ("talk@1", "1.2.0")
    unknown = msgspec.json.decode((await asked.request("GET", "/v1/models/talk@3")).body)
    assert "versions: 1.2.0, 2.0.0" in unknown["error"]["message"]


async def test_what_ends_says_so(rig: FrontRig) -> None:
    """``Deprecation`` is RFC 9745's date, ``Sunset`` RFC 8594's; the link leads to the version that stays."""
    asked = await gateway(
        rig,
        '"1.2.0", deprecated: 2031-01-31, sunset: 2031-06-30, notice: "https://example.org/end"',
        '"2.0.0"',
    )
    _, _, headers = await ask(asked, model="talk@1")
    assert headers["deprecation"] == "@1927584000"
    assert headers["sunset"] == "Mon, 30 Jun 2031 00:00:00 GMT"
    assert headers["link"] == (
        '</v1/greet/v/2.0.0>; rel="successor-version", <https://example.org/end>; rel="deprecation"; type="text/html", '
        '<https://example.org/end>; rel="sunset"; type="text/html"'
    )
    _, _, headers = await ask(asked, model="talk@2")
    assert not {"deprecation", "sunset", "link"} & headers.keys()


async def test_what_has_ended_is_gone(rig: FrontRig) -> None:
    """Asked by name it is 410 with those that are left; who asks for none gets one of these."""
    asked = await gateway(rig, '"1.2.0", weight: 1000, sunset: 2020-06-30', '"2.0.0", weight: 1')
    status, body, _ = await ask(asked, model="talk@1")
    assert (status, body["error"]["code"]) == (410, "gone")
    assert "2020-06-30" in body["error"]["message"]
    assert "versions: 2.0.0" in body["error"]["message"]
    assert await who(asked) == "2.0.0"


async def test_all_that_has_ended_is_gone(rig: FrontRig) -> None:
    """A route whose versions have all ended says that of the newest."""
    asked = await gateway(rig, '"1.2.0", sunset: 2020-06-30', '"2.0.0", sunset: 2021-06-30')
    status, body, _ = await ask(asked)
    assert (status, body["error"]["code"]) == (410, "gone")
    assert "2.0.0" in body["error"]["message"]


def route(*versions: VersionSpec) -> tuple[RouteSpec, list[Version]]:
    """A route and its versions, whose targets are only told apart."""
    rule = RouteSpec(path="/v1/greet", megaservice="talk", versions=versions)
    targets = [Target("talk", version.version, CHAT, _unasked, None, {}) for version in versions]
    return rule, versions_of(rule, targets)


async def _unasked(operation: str, request: Any) -> Any:
    raise AssertionError("nobody asks it")


async def given(stage: VersionStage, rule: RouteSpec, user: str) -> str:
    """The version that somebody is given."""
    request = Request("POST", "/v1/greet", "/v1/greet", "", Headers([]), b"{}")
    context = Context("1")
    context.identify(Identity(user, "t"))
    request.scope = Exchange(context, 0.0, Era())
    chosen: list[str] = []

    async def answer(passage: Passage) -> Response:
        assert passage.target is not None
        chosen.append(passage.target.version)
        return Response()

    await stage(Passage(request, context, rule), answer)
    return chosen[0]


async def test_who_had_a_version_that_ends_gets_another_from_that_moment_on() -> None:
    """On the day of its sunset, without a restart; who had another keeps it."""
    now_s = 0.0
    rule, versions = route(
        VersionSpec(version="1.0.0", from_="x", weight=1, sunset="2030-01-02"),
        VersionSpec(version="2.0.0", from_="x", weight=1),
        VersionSpec(version="3.0.0", from_="x", weight=1),
    )
    stage = VersionStage(rule, versions, now=lambda: now_s)
    users = [f"user-{number}" for number in range(60)]
    before = {user: await given(stage, rule, user) for user in users}
    assert set(before.values()) == {"1.0.0", "2.0.0", "3.0.0"}
    assert before == {user: await given(stage, rule, user) for user in users}
    now_s = datetime(2030, 1, 2, tzinfo=UTC).timestamp()
    after = {user: await given(stage, rule, user) for user in users}
    assert set(after.values()) == {"2.0.0", "3.0.0"}
    assert all(after[user] == version for user, version in before.items() if version != "1.0.0")


async def test_what_is_known_of_users_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many ask, and each still gets the same version."""
    monkeypatch.setattr("weft.gateway.versions.stage.MAX_KNOWN", 8)
    rule, versions = route(
        VersionSpec(version="1.0.0", from_="x", weight=1), VersionSpec(version="2.0.0", from_="x", weight=1)
    )
    stage = VersionStage(rule, versions)
    users = [f"user-{number}" for number in range(30)]
    first = [await given(stage, rule, user) for user in users]
    assert first == [await given(stage, rule, user) for user in users]
    assert len(stage.known) <= 8


async def test_nobodys_requests_are_shared_out(rig: FrontRig) -> None:
    """Without stickiness the weights alone decide."""
    asked = await gateway(rig, '"1.2.0", weight: 1', '"2.0.0", weight: 1', sticky="sticky: none")
    found = {await who(asked) for _ in range(60)}
    assert found == {"1.2.0", "2.0.0"}


async def test_one_who_shows_nothing_keeps_a_version_by_the_address(rig: FrontRig) -> None:
    """A stranger's address is what they are known by."""
    asked = await gateway(rig, '"1.2.0", weight: 1', '"2.0.0", weight: 1')
    assert len({await who(asked) for _ in range(20)}) == 1


class ByHeader:
    """Believes whoever says who they are."""

    async def __call__(self, request: Request, context: Context, route: Route | None) -> Response | None:
        context.identify(Identity(request.headers.get("x-user", ""), request.headers.get("x-tenant", "t")))
        return None


@pytest.mark.parametrize(("sticky", "header"), [("user", "x-user"), ("tenant", "x-tenant")])
async def test_one_who_is_known_keeps_a_version_in_every_gateway(
    rig: FrontRig, sticky: str, header: str
) -> None:
    """Each user, or tenant, gets the same version in two gateways, and not all get the same."""
    given = []
    for _ in range(2):
        asked = await gateway(rig, '"1.2.0", weight: 1', '"2.0.0", weight: 1', sticky=f"sticky: {sticky}")
        assert rig.app is not None
        rig.app.authenticator = ByHeader()
        given.append([await who(asked, headers={"x-user": "u", header: f"name-{n}"}) for n in range(16)])
    assert given[0] == given[1]
    assert set(given[0]) == {"1.2.0", "2.0.0"}


async def test_a_copy_goes_to_the_version_that_mirrors(rig: FrontRig) -> None:
    """It gets what the caller sent, the caller gets the reply of the other, and its tokens count for nobody."""
    asked = await gateway(rig, '"1.2.0", weight: 1', '"2.0.0", weight: 0, mirror: 100')
    for stream in (False, True):
        status, body, headers = await ask(asked, stream=stream)
        assert (status, headers["x-weft-version"]) == (200, "1.2.0")
        assert "2.0.0" not in str(body)
    counted = await _until(asked, 'outcome="ok"} 2')
    assert 'weft_gateway_mirrored_total{route="talk",version="2.0.0",outcome="ok"} 2' in counted


async def test_a_copy_is_charged_to_nobody(rig: FrontRig) -> None:
    """Requests and tokens of copies count for no limit."""
    asked = await gateway(
        rig,
        '"1.2.0", weight: 1',
        '"2.0.0", weight: 0, mirror: 100',
        more="    reserve: 100\n    limits: [{per: route, requests: 3/hour}, {per: route, tokens: 100000/hour}]\n",
    )
    left = []
    for number in range(3):
        status, _, headers = await ask(asked, stream=False, max_tokens=10)
        assert status == 200
        await _until(asked, f'outcome="ok"}} {number + 1}')
        left.append(int(headers["x-ratelimit-remaining-tokens"]))
    assert left[0] - left[1] == left[1] - left[2] < 20
    assert (await ask(asked, stream=False, max_tokens=10))[0] == 429


async def test_a_copy_that_fails_is_counted_and_fails_nobody(rig: FrontRig) -> None:
    """The version that is tried out may be broken."""
    asked = await gateway(rig, '"1.2.0", weight: 1', '"2.0.0", weight: 0, mirror: 100')
    assert rig.app is not None

    async def broken(operation: str, request: Any) -> Any:
        raise RuntimeError("not yet")

    _mirrored(rig).call = broken
    assert await who(asked) == "1.2.0"
    await _until(asked, 'outcome="failed"} 1')
    assert "a copy for talk 2.0.0 failed: RuntimeError: not yet" in rig.log.getvalue()


async def test_copies_that_hang_are_bounded(rig: FrontRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond a number under way no more are made: the callers are answered, and the rest is counted as dropped."""
    monkeypatch.setattr("weft.gateway.versions.mirror.MAX_AT_ONCE", 2)
    asked = await gateway(rig, '"1.2.0", weight: 1', '"2.0.0", weight: 0, mirror: 100')
    begun = asyncio.Semaphore(0)

    async def hangs(operation: str, request: Any) -> Any:
        begun.release()
        await asyncio.Event().wait()

    _mirrored(rig).call = hangs
    for _ in range(5):
        assert await who(asked) == "1.2.0"
    await begun.acquire()
    await begun.acquire()
    await _until(asked, 'outcome="dropped"} 3')


def _mirrored(rig: FrontRig) -> Any:
    """The target of the version that gets copies."""
    assert rig.built is not None
    return rig.built.targets["talk"][1]


async def _until(asked: Endpoint, expected: str) -> str:
    """The metrics, once they say this."""
    async with asyncio.timeout(10):
        while expected not in (text := (await asked.request("GET", "/metrics")).body.decode()):
            await asyncio.sleep(0)
    return text

"""The Gateway file: what it lets in, and that every way to a target goes through its route's stages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from frontkit import GATEWAY, TALK, FrontRig, ask
from weft.errors import ForbiddenError
from weft.gateway import build
from weft.gateway.passage import Passage, Proceed, Reply


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[FrontRig]:
    async with AsyncExitStack() as stack:
        yield FrontRig(tmp_path, stack)


ROUTE = TALK + GATEWAY + "  - {path: /v1/greet, megaservice: talk}\n"


async def test_a_route_answers_on_its_path_and_on_its_contracts_own(rig: FrontRig) -> None:
    """A megaservice behind a route is asked by the route's path and by its model name."""
    gateway = await rig.gateway(ROUTE)
    for path in ("/v1/greet", "/v1/chat/completions"):
        status, body, _ = await ask(gateway, path, stream=False)
        assert status == 200, body
    assert (await ask(gateway, "/v1/talk"))[0] == 404


async def test_what_no_route_leads_to_is_not_exposed(rig: FrontRig) -> None:
    """A service that the spec exposes, but no route, is no model of the gateway."""
    exposing = ROUTE.replace("llm: {component", "llm: {component", 1).replace(
        "---\n", "expose: [llm]\n---\n", 1
    )
    gateway = await rig.gateway(exposing)
    status, body, _ = await ask(gateway, model="llm")
    assert (status, body["error"]["code"]) == (404, "model_not_found")


class Refusing:
    """A stage that refuses everything, and notes how each request ended."""

    def __init__(self) -> None:
        self.ended: list[int] = []

    async def __call__(self, passage: Passage, proceed: Proceed) -> Reply:
        passage.on_end(self.ended.append)
        passage.add_header("x-stage", "seen")
        if passage.body().get("user") == "stranger":
            raise ForbiddenError("strangers may not")
        return await proceed(passage)


@pytest.mark.parametrize("path", ["/v1/greet", "/v1/chat/completions"])
async def test_every_path_goes_through_the_stages(
    rig: FrontRig, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stage sees a request on each path, its refusal is the reply, and it learns once how each request ended."""
    stage = Refusing()
    monkeypatch.setattr(build, "stages_of", lambda assembly: lambda rule: [stage])
    gateway = await rig.gateway(ROUTE)
    status, _, headers = await ask(gateway, path, stream=False)
    assert (status, headers["x-stage"]) == (200, "seen")
    status, _, headers = await ask(gateway, path, user="stranger")
    assert (status, headers["x-stage"]) == (403, "seen")
    assert stage.ended == [200, 403]

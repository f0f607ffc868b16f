"""Questions that are nearly the same: one answer serves for both within everything that the answer depends on, never across."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from accesskit import bearer, made
from frontkit import FrontRig
from protocolkit import SPEAKER, SPOKEN, delta, model_of, usage

EMBED = '''\
from weft.contracts.embedding import EmbeddingRequest, EmbeddingResponse
from weft.errors import UnavailableError
from weft.testing import ScriptedEmbedder


class Embedder(ScriptedEmbedder):
    """Texts of the same words have the same vector, in whatever order they stand."""

    asked: list[str] = []

    async def invoke(self, request: EmbeddingRequest) -> EmbeddingResponse:
        self.asked += request.texts
        if "broken" in request.texts[0]:
            raise UnavailableError("the embedder is gone")
        return await super().invoke(request)
'''

FILE = SPOKEN.replace(
    "config: {chunks: CHUNKS}}\n",
    'config: {chunks: CHUNKS}}\n  embedder: {component: "./embed.py:Embedder"}\n',
)
CACHE = """\
---
apiVersion: weft/v1
kind: Gateway
name: front
routes:
  - {path: /v1/greet, megaservice: talk, cache: {semantic: 0.9, embedder: embedder}}
"""
SAID = [delta(content="Thirty."), delta("stop"), usage(7, 2)]
ONE, SAME, OTHER = (
    "How many days of leave?",
    "Leave of how many days?",
    "Who may enter the building at night?",
)


async def start(rig: FrontRig, auth: str = "") -> None:
    (rig.folder / "chat.py").write_text(SPEAKER)
    (rig.folder / "embed.py").write_text(EMBED)
    await rig.gateway(FILE.replace("CHUNKS", json.dumps(json.dumps(SAID))) + CACHE + auth)


async def outcome(rig: FrontRig, question: Any, headers: dict[str, str] | None = None, **fields: Any) -> str:
    """What the cache did with a question."""
    messages = question if isinstance(question, list) else [{"role": "user", "content": question}]
    async with httpx.AsyncClient(base_url=rig.url, timeout=20) as client:
        body = {"model": "talk", "messages": messages} | fields
        reply = await client.post("/v1/chat/completions", json=body, headers=headers)
    assert reply.status_code == 200, reply.text
    return reply.headers["x-weft-cache"]


async def test_a_question_that_is_alike_enough_has_the_answer(rig: FrontRig) -> None:
    """The same words in another order do, other words do not; what is the same is not even embedded."""
    await start(rig)
    assert [await outcome(rig, question) for question in (ONE, SAME, OTHER, OTHER)] == [
        "miss",
        "hit",
        "miss",
        "hit",
    ]
    assert len(model_of(rig).seen) == 2


async def test_likeness_is_within_all_else_that_an_answer_depends_on(rig: FrontRig) -> None:
    """With another instruction, conversation, temperature or user, a question that is exactly alike is another."""
    await start(rig)
    await outcome(rig, ONE)
    system = {"role": "system", "content": "Answer as a lawyer."}
    user = {"role": "user", "content": SAME}
    assert await outcome(rig, [system, user]) == "miss"
    assert (
        await outcome(rig, [{"role": "user", "content": "Hm."}, {"role": "assistant", "content": "?"}, user])
        == "miss"
    )
    for fields in ({"temperature": 0.1}, {"user": "u"}, {"max_tokens": 9}, {"seed": 1}):
        assert await outcome(rig, SAME, **fields) == "miss"
    assert await outcome(rig, SAME) == "hit"


async def test_numbers_are_never_alike(rig: FrontRig) -> None:
    """Questions of the same words with other numbers have other answers; with the same numbers the same one."""
    await start(rig)
    asked = "How many days of leave are there in all in the year %s of work?"
    for year, expected in (("1", "miss"), ("2", "miss"), ("2.5", "miss"), ("1", "hit")):
        assert await outcome(rig, asked % year) == expected
    assert await outcome(rig, "In the year 2 of work, how many days of leave are there in all?") == "hit"


async def test_likeness_never_leads_to_another_tenant_or_other_readers(rig: FrontRig) -> None:
    """A question of likeness 1 is asked for anew in each: nothing of what others were told is told."""
    keys = {}
    for name, tenant, readers in (
        ("anna", "a", ["staff"]),
        ("ben", "a", ["staff"]),
        ("boss", "a", ["board"]),
        ("eve", "b", ["staff"]),
    ):
        keys[name] = bearer(await made(rig, name, tenant=tenant, readers=readers))
    await start(rig, "auth: {keys: true}\n")
    assert await outcome(rig, ONE, keys["anna"]) == "miss"
    for question in (ONE, SAME):
        for name in ("boss", "eve"):
            assert await outcome(rig, question, keys[name]) == ("miss" if question == ONE else "hit"), name
    assert await outcome(rig, SAME, keys["ben"]) == "hit"
    assert len(model_of(rig).seen) == 3


async def test_what_is_no_question_in_words_is_told_only_again(rig: FrontRig) -> None:
    """Pictures, and conversations that do not end with the user, are compared exactly."""
    await start(rig)
    parts = [{"role": "user", "content": [{"type": "text", "text": ONE}]}]
    assert [await outcome(rig, parts), await outcome(rig, ONE), await outcome(rig, parts)] == [
        "miss",
        "miss",
        "hit",
    ]
    tool = [{"role": "user", "content": ONE}, {"role": "tool", "content": "3", "tool_call_id": "c"}]
    assert [await outcome(rig, tool), await outcome(rig, tool)] == ["miss", "hit"]


async def test_without_its_embedder_it_is_a_cache_of_what_is_the_same(rig: FrontRig) -> None:
    """An embedder that fails costs the likeness, and no request."""
    await start(rig)
    for expected in ("miss", "hit"):
        assert await outcome(rig, "Is it broken?") == expected
    assert "could not be embedded" in rig.log.getvalue()


@pytest.mark.parametrize("wish", ["no-cache", "no-store"])
async def test_wishes_hold_for_likeness_too(rig: FrontRig, wish: str) -> None:
    """Who asks for a new answer is not told one to nearly the same question."""
    await start(rig)
    await outcome(rig, ONE)
    assert await outcome(rig, SAME, {"cache-control": wish}) != "hit"

"""``cache:`` of a route: what was answered is told again, to whom it may be told, in every form, and to nobody else."""

from __future__ import annotations

import asyncio
from typing import Any

import anthropic
import httpx
import openai
import pytest

from accesskit import bearer, made
from frontkit import FrontRig
from protocolkit import CITED, WAITS, delta, model_of, speaking, usage

CACHED = "  - {path: /v1/greet, megaservice: talk, cache: {}RULES}\n"
SAID = [delta(content="Thirty "), delta(content="days [1]."), delta("stop", annotations=[CITED]), usage(7, 2)]
QUESTION: Any = [{"role": "user", "content": "How many days?"}]
ASKED: dict[str, Any] = {"model": "talk", "messages": QUESTION}


def routed(rules: str = "", auth: str = "") -> str:
    return CACHED.replace("RULES", rules) + auth


async def post(
    rig: FrontRig, body: Any = ASKED, path: str = "/v1/chat/completions", **headers: str
) -> httpx.Response:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    async with httpx.AsyncClient(base_url=rig.url, timeout=20) as client:
        return await client.post(path, json=body, headers=sent)


def words_of(reply: httpx.Response) -> str:
    """What an answer says, however it is told."""
    if not reply.headers["content-type"].startswith("text/event-stream"):
        return str(reply.json()["choices"][0]["message"]["content"])
    lines = [line.removeprefix("data: ") for line in reply.text.splitlines() if line.startswith("data: {")]
    chunks = [httpx.Response(200, text=line).json() for line in lines]
    return "".join(c["delta"].get("content") or "" for chunk in chunks for c in chunk["choices"])


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("second", [False, True])
async def test_what_was_answered_is_told_again(rig: FrontRig, *, first: bool, second: bool) -> None:
    """Whole or streamed, and either after the other: the model is asked once, and the answer costs no tokens again."""
    await speaking(rig, SAID, routed())
    options = {"stream_options": {"include_usage": True}}
    one = await post(rig, ASKED | {"stream": first} | (options if first else {}))
    two = await post(rig, ASKED | {"stream": second} | (options if second else {}))
    assert (one.headers["x-weft-cache"], two.headers["x-weft-cache"]) == ("miss", "hit")
    assert words_of(one) == words_of(two) == "Thirty days [1]."
    assert '"total_tokens":9' in one.text
    assert '"total_tokens":0' in two.text
    assert '"marker":1' in two.text
    assert int(two.headers["age"]) >= 0
    assert len(model_of(rig).seen) == 1
    if second:
        assert two.text.endswith("data: [DONE]\n\n")


async def test_every_protocol_is_answered_from_it(rig: FrontRig) -> None:
    """One answer serves chat, Anthropic's and the Responses API, whole and streamed, with its citations."""
    await speaking(rig, SAID, routed())
    await post(rig, ASKED | {"max_tokens": 50})
    claude = anthropic.AsyncAnthropic(base_url=rig.url, api_key="nobody")
    chats = openai.AsyncOpenAI(base_url=f"{rig.url}/v1", api_key="nobody")
    async with claude, chats:
        async with claude.messages.stream(model="talk", max_tokens=50, messages=QUESTION) as stream:
            block: Any = (await stream.get_final_message()).content[0]
        assert (block.text, block.citations[0].cited_text) == ("Thirty days [1].", "Thirty days.")
        response = await chats.responses.create(model="talk", max_output_tokens=50, input="How many days?")
        assert response.output_text == "Thirty days [1]."
    assert len(model_of(rig).seen) == 1


async def test_opeas_stream_is_answered_from_it(rig: FrontRig) -> None:
    """The route's own path has its own entries, for it has its own defaults, and its own form of a stream."""
    await speaking(rig, SAID, routed())
    body = {"messages": "How many days?"}
    first, again = [await post(rig, body, "/v1/greet") for _ in range(2)]
    assert again.headers["x-weft-cache"] == "hit"
    assert again.text == "data: b'Thirty days [1].'\n\ndata: [DONE]\n\n"
    assert first.text.startswith("data: b'Thirty '")


@pytest.mark.parametrize(
    "field",
    [{"temperature": 0.3}, {"seed": 7}, {"max_tokens": 5}, {"user": "u"}, {"stop": ["x"]}, {"top_p": 0.5}],
    ids=str,
)
async def test_what_an_answer_depends_on_is_in_its_key(rig: FrontRig, field: dict[str, Any]) -> None:
    """Another temperature, seed, bound, user: another question. The same of them: the same."""
    await speaking(rig, SAID, routed())
    for body, outcome in ((ASKED, "miss"), (ASKED | field, "miss"), (ASKED | field, "hit"), (ASKED, "hit")):
        assert (await post(rig, body)).headers["x-weft-cache"] == outcome


async def test_the_conversation_before_is_in_the_key(rig: FrontRig) -> None:
    """The same last words after other ones are another question."""
    await speaking(rig, SAID, routed())
    await post(rig)
    before = [{"role": "user", "content": "Of pay?"}, {"role": "assistant", "content": "Pay."}]
    assert (await post(rig, ASKED | {"messages": before + QUESTION})).headers["x-weft-cache"] == "miss"


async def test_what_a_caller_wishes_is_respected(rig: FrontRig) -> None:
    """``no-store`` neither tells nor keeps, ``no-cache`` asks anew and keeps, ``max-age`` bounds the age."""
    await speaking(rig, SAID, routed())
    for header, outcome in (
        ("no-store", "bypass"), ("max-age=60", "miss"), ("no-store", "bypass"), ("", "hit"), ("no-cache", "miss"),
        ("max-age=60, no-transform", "hit"), ("max-age=0", "miss"), ("No-Store", "bypass"),
    ):  # fmt: skip
        reply = await post(rig, cache_control=header)
        assert reply.headers["x-weft-cache"] == outcome, header
        await asyncio.sleep(0.001)  # older than nothing


async def test_several_answers_are_asked_for_each_time(rig: FrontRig) -> None:
    """Who wants ``n`` wants them to differ."""
    await speaking(rig, SAID, routed())
    for _ in range(2):
        assert (await post(rig, ASKED | {"n": 2})).headers["x-weft-cache"] == "bypass"


@pytest.mark.parametrize(
    "said",
    [[delta(content="Well"), {"fails": "gone"}], [delta("content_filter", content="I may not")], [delta(content="No end")]],
    ids=["failed", "filtered", "no end"],
)  # fmt: skip
@pytest.mark.parametrize("streamed", [False, True])
async def test_only_whole_answers_are_kept(rig: FrontRig, said: list[Any], *, streamed: bool) -> None:
    """One that failed, was filtered or broke off is asked for again."""
    await speaking(rig, said, routed())
    for _ in range(2):
        assert (await post(rig, ASKED | {"stream": streamed})).headers["x-weft-cache"] == "miss"
    assert len(model_of(rig).seen) == 2


async def test_a_stream_that_its_caller_left_is_not_kept(rig: FrontRig) -> None:
    """Half an answer is none."""
    await speaking(rig, [delta(content="Thirty "), WAITS, *SAID[1:]], routed())
    model = model_of(rig)
    left = asyncio.ensure_future(post(rig, ASKED | {"stream": True}))
    await asyncio.wait_for(model.waits.wait(), 10)
    left.cancel()
    await asyncio.wait_for(model.ended.wait(), 10)
    model.gate.set()
    assert (await post(rig)).headers["x-weft-cache"] == "miss"


@pytest.mark.parametrize("streamed", [False, True])
async def test_one_asks_and_the_others_wait(rig: FrontRig, *, streamed: bool) -> None:
    """Ten who ask the same at once have the model asked once."""
    await speaking(rig, [delta(content="Thirty "), WAITS, *SAID[1:]], routed())
    model = model_of(rig)
    body = ASKED | {"stream": streamed}
    asking = [asyncio.ensure_future(post(rig, body)) for _ in range(10)]
    await asyncio.wait_for(model.waits.wait(), 10)
    for _ in range(20):
        await asyncio.sleep(0.005)  # all of them are in by now; the claim does not depend on it
    model.gate.set()
    replies = await asyncio.gather(*asking)
    assert {words_of(reply) for reply in replies} == {"Thirty days [1]."}
    outcomes = [reply.headers["x-weft-cache"] for reply in replies]
    assert (outcomes.count("miss"), outcomes.count("hit")) == (1, 9)
    assert len(model.seen) == 1


async def test_when_the_first_leaves_the_next_asks(rig: FrontRig) -> None:
    """Who waits for one whose caller has gone is not left waiting."""
    await speaking(rig, [delta(content="Thirty "), WAITS, *SAID[1:]], routed())
    model = model_of(rig)
    first = asyncio.ensure_future(post(rig))
    await asyncio.wait_for(model.waits.wait(), 10)
    second = asyncio.ensure_future(post(rig))
    await asyncio.sleep(0.05)  # it is in, and waits; the claim does not depend on it
    model.gate.set()
    first.cancel()
    assert words_of(await asyncio.wait_for(second, 10)) == "Thirty days [1]."


async def test_who_waits_has_their_own_time(rig: FrontRig) -> None:
    """A deadline ends the wait for another's answer with 504; that goes on."""
    await speaking(rig, [delta(content="Thirty "), WAITS, *SAID[1:]], routed())
    model = model_of(rig)
    first = asyncio.ensure_future(post(rig))
    await asyncio.wait_for(model.waits.wait(), 10)
    assert (await post(rig, x_weft_timeout_ms="40")).status_code == 504
    model.gate.set()
    assert (await first).status_code == 200


async def test_a_hit_is_a_request_and_no_tokens(rig: FrontRig) -> None:
    """Limits count it as a request; its tokens are given back."""
    limits = ", reserve: 100, limits: [{per: route, requests: 3/hour}, {per: route, tokens: 1000/day}]"
    await speaking(rig, SAID, routed(limits))
    left = [int((await post(rig)).headers["x-ratelimit-remaining-tokens"]) for _ in range(3)]
    assert left == [
        900,
        891,
        891,
    ]  # each told with its own reservation of 100 taken; only the first used its 9
    assert (await post(rig)).status_code == 429
    assert len(model_of(rig).seen) == 1


# Whose an answer is.

TENANTS = "auth: {keys: true}\n"


async def keys_of(rig: FrontRig) -> dict[str, dict[str, str]]:
    """Keys of two tenants, and of two groups of readers in one of them."""
    found = {}
    for name, tenant, readers in (
        ("anna", "a", ("staff",)), ("ben", "a", ("staff",)), ("boss", "a", ("staff", "board")), ("bare", "a", None),
        ("eve", "b", ("staff",)),
    ):  # fmt: skip
        fields = {} if readers is None else {"readers": readers}
        found[name] = bearer(await made(rig, name, tenant=tenant, **fields))
    return found


async def test_an_answer_is_told_within_its_tenant_and_readers_only(rig: FrontRig) -> None:
    """A colleague with the same readers has it; with others, or in another tenant, it is asked for anew."""
    keys = await keys_of(rig)
    await speaking(rig, SAID, routed(auth=TENANTS))
    for name, outcome in (
        ("anna", "miss"), ("ben", "hit"), ("boss", "miss"), ("bare", "miss"), ("eve", "miss"), ("anna", "hit"),
    ):  # fmt: skip
        assert (await post(rig, **keys[name])).headers["x-weft-cache"] == outcome, name


@pytest.mark.parametrize(
    "forged",
    [
        {"x-weft-tenant": "a"},
        {"x-tenant": "a"},
        {"x-weft-context": "a.anna.staff"},
        {"x-weft-readers": "board"},
    ],
    ids=str,
)
async def test_headers_do_not_make_a_tenant(rig: FrontRig, forged: dict[str, str]) -> None:
    """What a caller says of whose they are opens nobody's answers."""
    keys = await keys_of(rig)
    await speaking(rig, SAID, routed(auth=TENANTS))
    await post(rig, **keys["anna"])
    reply = await post(rig, **keys["eve"], **forged)
    assert reply.headers.get("x-weft-cache", "miss") == "miss"


async def test_a_body_does_not_make_a_tenant(rig: FrontRig) -> None:
    """Neither do fields of a body, whatever they look like in a key."""
    keys = await keys_of(rig)
    await speaking(rig, SAID, routed(auth=TENANTS))
    await post(rig, **keys["anna"])
    for field in ({"user": "anna"}, {"metadata": {"tenant": "a", "readers": "staff"}}):
        assert (await post(rig, ASKED | field, **keys["eve"])).headers["x-weft-cache"] == "miss"


async def test_a_key_that_may_not_have_the_route_is_told_nothing(rig: FrontRig) -> None:
    """An answer that is kept is behind the route's roles as the model is."""
    clerk = bearer(await made(rig, "clerk", roles=("clerk",)))
    other = bearer(await made(rig, "other"))
    await speaking(rig, SAID, routed(", roles: [clerk]", TENANTS))
    assert (await post(rig, **clerk)).headers["x-weft-cache"] == "miss"
    refused = await post(rig, **other)
    assert refused.status_code == 403
    assert "x-weft-cache" not in refused.headers

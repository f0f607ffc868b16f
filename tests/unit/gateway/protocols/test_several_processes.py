"""Two gateway processes of one installation: what one keeps for a caller, the other has."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from frontkit import GATEWAY, TALK, FrontRig
from switchkit import served
from weft.gateway import build
from weft.serve.access import Access

ROUTE = TALK + GATEWAY + "  - {path: /v1/greet, megaservice: talk}\n"
PEERS = {"gateway-1": "http://127.0.0.1:1", "gateway-2": "http://127.0.0.1:2"}


async def started(rig: FrontRig, text: str) -> list[str]:
    """The addresses of two processes over one data folder."""
    return [
        await served(build.gateway(rig.assembly(text), Access(), process=name, peers=PEERS), rig.stack)
        for name in PEERS
    ]


async def post(url: str, path: str, body: Any, headers: dict[str, str] | None = None) -> httpx.Response:
    async with httpx.AsyncClient(base_url=url, timeout=20) as client:
        return await client.post(path, json=body, headers=headers)


@pytest.mark.parametrize("text", [ROUTE, TALK.removesuffix("---\n")], ids=["Gateway file", "none"])
async def test_a_response_is_had_and_gone_on_with_at_the_other(rig: FrontRig, text: str) -> None:
    """Whichever process a request comes to: whole and streamed, the last event says that it is kept."""
    one, other = await started(rig, text)
    for stream in (False, True):
        made = await post(one, "/v1/responses", {"model": "talk", "input": "Hello?", "stream": stream})
        id_ = made.text.partition('"id":"resp_')[2].partition('"')[0]
        follow = {"model": "talk", "input": "And?", "previous_response_id": f"resp_{id_}"}
        assert (await post(other, "/v1/responses", follow)).status_code == 200
        async with httpx.AsyncClient(base_url=other) as client:
            assert (await client.delete(f"/v1/responses/resp_{id_}")).json()["deleted"]
        assert (await post(one, "/v1/responses", follow)).status_code == 404


async def test_a_key_holds_at_both(rig: FrontRig) -> None:
    """What was answered by one is told again by the other, under the same key and for the same body only."""
    one, other = await started(rig, ROUTE)
    body = {"model": "talk", "messages": [{"role": "user", "content": "Hello?"}]}
    key = {"idempotency-key": "k"}
    first = await post(one, "/v1/chat/completions", body, key)
    again = await post(other, "/v1/chat/completions", body, key)
    assert (again.text, again.headers["idempotent-replayed"]) == (first.text, "true")
    assert (await post(other, "/v1/chat/completions", body | {"seed": 1}, key)).status_code == 422

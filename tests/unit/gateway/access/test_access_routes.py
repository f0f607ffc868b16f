"""Whom a gateway with `auth: {keys: true}` lets in, and to what."""

from __future__ import annotations

import pytest

from accesskit import KEYS, bearer, made
from frontkit import FrontRig, ask


@pytest.mark.parametrize("path", ["/v1/greet", "/v1/chat/completions"])
async def test_a_key_opens_a_route_and_without_one_it_is_closed(rig: FrontRig, path: str) -> None:
    """Every path to a route is 401 to a stranger, and answers to who has a key, in both headers in which SDKs send it."""
    secret = await made(rig)
    gateway = await rig.gateway(KEYS)
    for headers in (bearer(secret), {"x-api-key": secret}, {"authorization": f"bearer  {secret} "}):
        status, body, _ = await ask(gateway, path, headers, stream=False)
        assert status == 200, body
    wrong = secret[:-1] + ("0" if secret[-1] != "0" else "1")
    for headers in (
        {},
        bearer(wrong),
        {"x-api-key": wrong},
        bearer("sk-123"),
        {"authorization": "Basic eDp5"},
    ):
        status, body, _ = await ask(gateway, path, headers)
        assert status == 401, body

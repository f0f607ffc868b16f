"""Logins at several gateway processes: made at one, known to all, ended for all within five seconds."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import pytest
from chatqna_process import Gateway
from page_server import COMPONENTS

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SPEC = """\
apiVersion: weft/v1
kind: Services
services:
  llm: {component: ./echo.py:Echo}
---
apiVersion: weft/v1
kind: Megaservice
name: echo
version: "1.0.0"
contract: chat
nodes:
  answer: {service: llm, fill_from: request}
output: answer
---
apiVersion: weft/v1
kind: Gateway
name: front
routes:
  - {path: /v1/echo, megaservice: echo}
auth: {accounts: true}
"""


def test_a_login_is_known_to_all_workers_and_ended_for_all(tmp_path: Path) -> None:
    """Each request is a connection of its own, so that both workers get some."""
    (tmp_path / "echo.py").write_text(COMPONENTS)
    (tmp_path / "spec.yaml").write_text(SPEC)
    gateway = Gateway(
        tmp_path / "data", "--workers", "2", spec=str(tmp_path / "spec.yaml"), env={"WEFT_ACCESS_TOKEN": ""}
    )

    def accounts(*arguments: str) -> str:
        return gateway.run("accounts", *arguments, "--data", str(tmp_path / "data")).splitlines()[-1]

    try:
        form = {"token": accounts("invite", "ann").partition("token=")[2], "password": "four words make one"}
        entered = httpx.post(f"{gateway.url}/login/invitation", data=form)
        assert entered.status_code == 303, entered.text
        cookies = dict(entered.cookies)

        def statuses(count: int) -> set[int]:
            body = {"model": "echo", "messages": [{"role": "user", "content": "hello"}]}
            url = f"{gateway.url}/v1/chat/completions"
            return {httpx.post(url, json=body, cookies=cookies, timeout=20).status_code for _ in range(count)}

        assert statuses(20) == {200}
        assert accounts("logout", "ann") == "ann: 1 login ended"
        ended_at = time.monotonic()
        while 200 in statuses(5):
            assert time.monotonic() - ended_at < 5
        assert statuses(20) == {401}
    finally:
        assert gateway.stop() == 130, gateway.output

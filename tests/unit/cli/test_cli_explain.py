"""``weft gateway explain``: the example of the specification, step by step, in 80 columns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from frontkit import CHAT, TALK
from weft.cli.main import group
from weft.errors import UsageError

GATEWAY = """\
apiVersion: weft/v1
kind: Gateway
name: front
routes:
  - path: /v1/chat
    megaservice: talk
    roles: [reader]
    request:
      set: {messages: "has(body.prompt) ? [{'role': 'user', 'content': body.prompt}] : body.messages"}
      rename: {budget: max_tokens}
      remove: [prompt, seed]
      defaults: {temperature: 0.2, top_p: 1}
      clamp: {max_tokens: [1, 2048]}
      headers: {set: {x-tenant: "${tenant}"}, remove: [cookie]}
    response: {remove: [system_fingerprint, id]}
    limits: [{per: key, requests: 60/min}, {per: tenant, tokens: 200000/day}, {per: route, concurrent: 64, queue: 256}]
    reserve: 4096
auth: {keys: true, roles: {reader: "'staff' in claims.groups"}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "chat.py").write_text(CHAT)
    (tmp_path / "front.yaml").write_text(TALK + GATEWAY)
    return tmp_path


def explain(body: Any, *more: str) -> Result:
    Path("request.json").write_text(json.dumps(body))
    return CliRunner().invoke(group, ["gateway", "explain", "request.json", "front.yaml", *more])


STAFF = ("--caller", "ann", "--tenant", "red", "--claims", '{"groups": ["staff"]}')


def test_each_step_is_shown(folder: Path) -> None:
    """Who asks, what each step finds and leaves, what the target is asked, what the caller gets, and what counts."""
    Path("reply.json").write_text(json.dumps({"id": "1", "model": "m", "choices": []}))
    result = explain(
        {"prompt": "How long is the notice period of a contract that has no end?", "budget": 5000, "top_p": 0.5},
        *STAFF, "-H", "cookie: a=b", "--reply", "reply.json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert result.output == (
        """\
route      /v1/chat -> talk
caller     ann of red, roles reader
access     let in by the role reader

request
  set      messages
             (absent)
             -> [{"role":"user","content":"How long is the notice period of a...
  rename   budget -> max_tokens  5000
  remove   prompt
             "How long is the notice period of a contract that has no end?"
             -> (absent)
  remove   seed  not there
  defaults temperature  (absent) -> 0.2
  defaults top_p  stays 0.5
  clamp    max_tokens  5000 -> 2048

headers
  remove   cookie  a=b -> (absent)
  set      x-tenant  (absent) -> red

the target is asked
  {
    "top_p": 0.5,
    "messages": [
      {
        "role": "user",
        "content": "How long is the notice period of a contract that has no e...
      }
    ],
    "max_tokens": 2048,
    "temperature": 0.2
  }

response
  remove   system_fingerprint  not there
  remove   id  "1" -> (absent)

the caller gets
  {
    "model": "m",
    "choices": []
  }

limits     60 requests a minute for each key
           200000 tokens a day for each tenant
           64 at a time in all, and 256 waiting
"""
    )
    assert max(map(len, result.output.splitlines())) <= 80


def test_a_request_that_would_be_refused_ends_with_11(folder: Path) -> None:
    """With the status and the reason; what comes after is not shown."""
    result = explain({"messages": [], "budget": "much"}, *STAFF)
    assert result.exit_code == 11
    assert '  clamp    max_tokens  "much" -> refused' in result.output
    assert "refused    400: 'max_tokens' is a number from 1 to 2048" in result.output
    assert "the target is asked" not in result.output
    assert "403: the route needs the role reader" in explain({}, "--caller", "bob").output
    assert "401: one who shows nothing is not let in" in explain({}).output


def test_json_is_for_programs(folder: Path) -> None:
    """The same as data."""
    found = json.loads(explain({"messages": [], "prompt": "x"}, *STAFF, "--json").output)
    assert found["route"] == "/v1/chat"
    assert found["access"] == {"admitted": True, "reason": "let in by the role reader", "roles": ["reader"]}
    assert [step["kind"] for step in found["request"]["steps"]][:2] == ["set", "rename"]
    assert found["request"]["body"]["max_tokens"] == 2048
    assert len(found["limits"]) == 3


def test_versions_are_chosen_as_they_would_be(folder: Path) -> None:
    """By name where the request has one; else the caller's own; one who is nobody is given one by chance."""
    for name in ("one", "two"):
        version = {"one": "1.2.0", "two": "2.0.0"}[name]
        Path(f"{name}.yaml").write_text(
            TALK.replace('version: "1.0.0"', f'version: "{version}"').removesuffix("---\n")
        )
    Path("front.yaml").write_text(
        "apiVersion: weft/v1\nkind: Gateway\nname: front\nroutes:\n  - path: /v1/chat\n    megaservice: talk\n"
        '    versions: [{version: "1.2.0", from: one.yaml, weight: 3}, {version: "2.0.0", from: two.yaml}]\n'
    )
    assert "version    2.0.0 (1.2.0 75 %, 2.0.0 25 %)" in explain({"model": "talk@2"}).output
    assert "version    1.2.0 (1.2.0 75 %" in explain({}, "-H", "x-weft-version: 1").output
    assert "version    by chance: 1.2.0 75 %, 2.0.0 25 %" in explain({}).output
    once = explain({}, "--caller", "ann").output
    assert once == explain({}, "--caller", "ann").output
    assert "by chance" not in once
    result = explain({"model": "talk@3"})
    assert result.exit_code == 11
    assert "404: there is no version '3' of 'talk'" in result.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--route", "/v1/nothing"], "there is no route /v1/nothing"),
        (["-H", "nonsense"], "'nonsense' is no header"),
        (["--claims", "[]"], "--claims is no JSON object"),
        (["--reply", "gone.json"], "gone.json"),
    ],
)
def test_wrong_use_is_told(folder: Path, arguments: list[str], said: str) -> None:
    """Status 2, and what is wrong."""
    result = explain({}, *arguments)
    assert isinstance(result.exception, UsageError)
    assert said in str(result.exception)

"""A short run of the fuzzer of gateways, the same every time; and that it finds what it looks for."""

from __future__ import annotations

from typing import Any

import fuzz_gateway
import pytest

from weft.expressions import evaluate
from weft.gateway.transform import events, fields, program
from weft.spec.checks import CHECKS
from weft.spec.gateway import RouteSpec


def test_nothing_is_found() -> None:
    """Some hundred cases of each target: nothing to report."""
    outcome = fuzz_gateway.fuzz(seed=1, cases=2000)
    assert outcome.findings == []
    assert set(outcome.executions) == set(fuzz_gateway.TARGETS)


def _removed_in_place(value: dict[str, Any], name: str) -> dict[str, Any]:
    value.pop(name, None)
    return value


def _crashing(value: Any, *_: Any) -> Any:
    raise KeyError(value)


def _forgetful(self: events.EventChanges, block: bytes, feed: Any = events.EventChanges._feed) -> bytes:
    made = feed(self, block)
    self._held = b""
    return made


@pytest.mark.parametrize(
    ("owner", "name", "fault"),
    [
        (program, "removed", _removed_in_place),
        (program, "size_within", _crashing),
        (events.EventChanges, "_feed", _forgetful),
        (evaluate, "equal", _crashing),
        (fields, "_in_object", lambda value, *_rest, **_named: value),
        (CHECKS, RouteSpec, _crashing),
    ],
    ids=["in_place", "size", "cut_events", "equality", "clamp_lost", "check_crashes"],
)
def test_faults_are_found(monkeypatch: pytest.MonkeyPatch, owner: Any, name: Any, fault: Any) -> None:
    """Something that changes what is not its own, forgets, loses or crashes is found within two thousand cases."""
    change = monkeypatch.setitem if owner is CHECKS else monkeypatch.setattr
    change(owner, name, fault)
    assert fuzz_gateway.fuzz(seed=1, cases=2000, max_findings=1).findings

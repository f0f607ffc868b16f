"""Promotion and rollback of a version: in the file, comments kept, and back again."""

from __future__ import annotations

from pathlib import Path

import pytest

from weft.errors import ConflictError, InvalidRequestError, NotFoundError, StateError
from weft.gateway.versions.rollout import Rollout
from weft.gateway.versions.rollouts import FILE, MAX_STATES, Rollouts
from weft.gateway.versions.weights import Weights, promoted
from weft.spec.gateway import RouteSpec, VersionSpec

FRONT = """\
# Our front door.
apiVersion: weft/v1
kind: Gateway
name: front
routes:
  - {path: /v1/other, megaservice: other, from: other.yaml}   # one line
  # The one that everybody uses.
  - path: /v1/talk
    megaservice: talk
    versions:
      - {version: "1.0.0", from: one.yaml, weight: 95}  # since spring
      - version: "2.0.0"
        # being tried out
        from: two.yaml
        weight: 5
      - {version: "2.1.0-rc.1", from: three.yaml, weight: 0}
    limits:
      - {per: key, requests: 60/min}  # enough
---
# What is below stays, too.
apiVersion: weft/v1
kind: Services
services:
  # one
  llm: {component: openai-chat, config: {url: "http://localhost:1"}}
"""


@pytest.fixture
def rollout(tmp_path: Path) -> Rollout:
    (tmp_path / "front.yaml").write_text(FRONT)
    return Rollout(tmp_path / "front.yaml", tmp_path / "data")


def promote(rollout: Rollout, *arguments: object) -> Weights:
    step = rollout.promote("talk", *arguments)  # type: ignore[arg-type]
    step.keep()
    return step.change.after


def rollback(rollout: Rollout) -> Weights:
    step = rollout.rollback("talk")
    step.keep()
    return step.change.after


def test_a_promotion_changes_the_weights_and_nothing_else(rollout: Rollout) -> None:
    """Every other character of the file stays, comments included."""
    assert promote(rollout, "2.0.0", 20) == {"1.0.0": 80, "2.0.0": 20, "2.1.0-rc.1": 0}
    expected = FRONT.replace("weight: 95", "weight: 80").replace("weight: 5\n", "weight: 20\n")
    assert rollout.file.text() == expected


def test_weights_that_are_not_written_are_put_in(rollout: Rollout) -> None:
    """On the version's line in a flow mapping, on a line of their own in a block."""
    text = FRONT.replace(", weight: 95", "").replace("        weight: 5\n", "")
    rollout.file.write(text)
    assert promote(rollout, "2.0.0", 20) == {"1.0.0": 80, "2.0.0": 20, "2.1.0-rc.1": 0}
    expected = text.replace('{version: "1.0.0", from', '{version: "1.0.0", weight: 80, from')
    expected = expected.replace('version: "2.0.0"\n', 'version: "2.0.0"\n        weight: 20\n')
    assert rollout.file.text() == expected


def test_a_text_with_other_ends_of_lines_is_written_whole(rollout: Rollout) -> None:
    """It says the same as it should, with its comments."""
    rollout.file.path.write_bytes(FRONT.replace("\n", "\r\n").encode())
    assert promote(rollout, "2.0.0", 20) == {"1.0.0": 80, "2.0.0": 20, "2.1.0-rc.1": 0}
    text = rollout.file.text()
    assert "# being tried out" in text
    assert "# since spring" in text


def test_a_promotion_without_a_share_is_a_whole_one(rollout: Rollout) -> None:
    """The version gets everything that names no version; a leading part of its number will do, and the path."""
    step = rollout.promote("/v1/talk", "2.0")
    assert step.change.after == {"1.0.0": 0, "2.0.0": 100, "2.1.0-rc.1": 0}


def test_a_rollback_goes_back_step_by_step(rollout: Rollout) -> None:
    """Each takes back one promotion, to the very text; then there is no further way."""
    promote(rollout, "2.0.0", 20)
    promote(rollout, "2.0.0")
    assert rollback(rollout) == {"1.0.0": 80, "2.0.0": 20, "2.1.0-rc.1": 0}
    assert rollback(rollout) == {"1.0.0": 95, "2.0.0": 5, "2.1.0-rc.1": 0}
    assert rollout.file.text() == FRONT
    with pytest.raises(ConflictError, match="had no other weights"):
        rollback(rollout)


def test_a_rollback_to_what_is_gone_is_refused(rollout: Rollout) -> None:
    """Weights of a version that the file no longer has are not given to others silently."""
    promote(rollout, "2.0.0")
    text = rollout.file.text()
    rollout.file.write(
        text.replace('      - {version: "1.0.0", from: one.yaml, weight: 0}  # since spring\n', "")
    )
    with pytest.raises(ConflictError, match=r"no longer has the version 1\.0\.0"):
        rollback(rollout)
    assert rollout.rollouts.states("talk")


def test_the_file_keeps_its_rights(rollout: Rollout) -> None:
    """Who may read it may read it after, and a link to it stays one."""
    real = rollout.file.path.rename(rollout.file.path.with_name("real.yaml"))
    rollout.file.path.symlink_to(real)
    real.chmod(0o640)
    promote(rollout, "2.0.0")
    assert rollout.file.path.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640


def test_unknown_names_are_told_with_the_choices(rollout: Rollout) -> None:
    """Of routes with versions, and of versions."""
    with pytest.raises(NotFoundError, match=r"did you mean 'talk'\?"):
        rollout.promote("tlk", "2")
    with pytest.raises(ConflictError, match="has no versions"):
        rollout.promote("other", "2")
    with pytest.raises(
        NotFoundError, match=r"there is no version '3' of 'talk'\n.*1\.0\.0, 2\.0\.0, 2\.1\.0-rc\.1"
    ):
        rollout.promote("talk", "3")


def route(**weights: int) -> RouteSpec:
    versions = tuple(
        VersionSpec(version=name.strip("v"), from_="x", weight=weight) for name, weight in weights.items()
    )
    return RouteSpec(path="/v1/talk", megaservice="talk", versions=versions)


@pytest.mark.parametrize(
    ("before", "share", "after"),
    [
        ({"v1": 1, "v2": 1, "v3": 1}, 50, {"1": 25, "2": 25, "3": 50}),
        ({"v1": 1, "v2": 2, "v3": 0}, 0, {"1": 33, "2": 67, "3": 0}),
        ({"v1": 7, "v2": 0, "v3": 3}, 99, {"1": 1, "2": 0, "3": 99}),
        ({"v1": 0, "v2": 0, "v3": 9}, 100, {"1": 0, "2": 0, "3": 100}),
    ],
)
def test_the_others_share_out_the_rest_as_before(before: Weights, share: int, after: Weights) -> None:
    """The weights are whole and add up to a hundred."""
    assert promoted(route(**before), "3", share) == after
    assert sum(after.values()) == 100


def test_a_rest_that_nobody_would_get_is_refused() -> None:
    """Where the others have no weight, it is not known which of them is meant."""
    with pytest.raises(InvalidRequestError, match="nobody would get the other 80 %"):
        promoted(route(v1=0, v2=1), "2", 20)
    with pytest.raises(InvalidRequestError, match="0 to 100"):
        promoted(route(v1=1, v2=1), "2", 101)


def test_the_history_is_bounded_and_of_each_route(tmp_path: Path) -> None:
    """Twenty states of each; another route's are its own."""
    rollouts = Rollouts(tmp_path)
    for number in range(MAX_STATES + 5):
        rollouts.push("talk", {"1.0.0": number})
    assert [state.weights["1.0.0"] for state in rollouts.states("talk")] == list(range(5, MAX_STATES + 5))
    assert rollouts.states("other") == []


def test_a_history_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    """As every file of the data folder."""
    (tmp_path / FILE).write_text('{"schema_version": 9}')
    with pytest.raises(StateError, match="newer Weft"):
        Rollouts(tmp_path).push("talk", {})
    assert (tmp_path / FILE).read_text() == '{"schema_version": 9}'
    (tmp_path / FILE).write_text("{")
    with pytest.raises(StateError, match="damaged"):
        Rollouts(tmp_path).states("talk")

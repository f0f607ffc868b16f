"""The registry of live services."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from weft.contracts.reranker import CONTRACT
from weft.errors import ConflictError, InvalidRequestError, NotFoundError, StateError
from weft.registry.services import (
    MIGRATIONS,
    SCHEMA_VERSION,
    Registration,
    ServiceRegistry,
    differing_field,
)


def reranker(url: str = "http://127.0.0.1:7000") -> Registration:
    return Registration("rank", "reranker", url)


def test_a_registration_survives_a_restart(tmp_path: Path) -> None:
    """What was registered is there when the registry is opened again, its state unknown."""
    path = tmp_path / "services.json"
    registry = ServiceRegistry(path)
    registry.add(reranker())
    registry.mark("rank", "ready")
    again = ServiceRegistry(path)
    assert [(s.name, s.url, s.state) for s in again.list()] == [("rank", "http://127.0.0.1:7000", "unknown")]


def test_a_taken_name_is_refused() -> None:
    """A name cannot be taken over by another address; the same registration again is fine."""
    registry = ServiceRegistry()
    registry.add(reranker())
    registry.add(reranker())
    with pytest.raises(ConflictError, match="'rank' is taken: it is a reranker at http://127.0.0.1:7000"):
        registry.add(reranker("http://127.0.0.1:7001"))


@pytest.mark.parametrize(
    "url",
    ["ftp://x", "http://", "http://u:p@host", "nonsense", "http://host/?a=b", "http://[", "http://h:99999"],
)
def test_a_malformed_address_is_refused(url: str) -> None:
    """Only a plain http(s) base address is taken."""
    with pytest.raises(InvalidRequestError) as caught:
        ServiceRegistry().add(reranker(url))
    assert caught.value.param == "url"


def test_a_name_is_a_label() -> None:
    """A name that could not stand in a placement is refused."""
    with pytest.raises(InvalidRequestError):
        ServiceRegistry().add(Registration("Rank!", "reranker", "http://x"))


def test_removing_what_is_not_there_suggests_what_is() -> None:
    """The error names the nearest registration."""
    registry = ServiceRegistry()
    registry.add(reranker())
    with pytest.raises(NotFoundError, match="did you mean 'rank'"):
        registry.remove("rnk")


def test_a_newer_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    """A program too old for the state on disk does not touch it."""
    path = tmp_path / "services.json"
    content = '{"schema_version": 99, "services": "of another form"}'
    path.write_text(content)
    with pytest.raises(StateError, match="newer Weft"):
        ServiceRegistry(path)
    assert path.read_text() == content


def test_an_older_file_is_migrated_when_it_is_written(tmp_path: Path) -> None:
    """What version 1 wrote is read, and kept in today's form from the next registration on."""
    path = tmp_path / "services.json"
    old = {"name": "old", "contract": "reranker", "url": "http://127.0.0.1:7001", "digest": "d"}
    path.write_text(json.dumps({"schema_version": 1, "services": [old]}))
    registry = ServiceRegistry(path)
    assert [(s.name, s.digest, s.required) for s in registry.list()] == [("old", "d", {})]
    assert json.loads(path.read_text())["schema_version"] == 1
    registry.add(reranker())
    written = json.loads(path.read_text())
    assert written["schema_version"] == SCHEMA_VERSION
    assert [service["name"] for service in written["services"]] == ["old", "rank"]


def test_every_older_version_has_a_way_forward() -> None:
    """No version that was ever written is left behind."""
    assert sorted(MIGRATIONS) == list(range(1, SCHEMA_VERSION))


def test_several_processes_share_a_registry(tmp_path: Path) -> None:
    """What one registers the other sees, and neither writes over the other's; a name is taken for both."""
    path = tmp_path / "services.json"
    one, other = ServiceRegistry(path), ServiceRegistry(path)
    one.add(reranker())
    one.mark("rank", "ready")
    other.add(Registration("second", "reranker", "http://127.0.0.1:7002"))
    assert [(s.name, s.state) for s in one.list()] == [("rank", "ready"), ("second", "unknown")]
    assert [s.name for s in ServiceRegistry(path).list()] == ["rank", "second"]
    with pytest.raises(ConflictError, match="'rank' is taken"):
        other.add(reranker("http://127.0.0.1:7009"))
    other.remove("rank")
    assert one.find("rank") is None


def test_a_file_without_a_version_is_damaged(tmp_path: Path) -> None:
    """It was not written by Weft, so nothing is guessed."""
    path = tmp_path / "services.json"
    path.write_text('{"services": []}')
    with pytest.raises(StateError, match="no schema_version"):
        ServiceRegistry(path)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    """Damage is an error that names the file."""
    path = tmp_path / "services.json"
    path.write_text("{")
    with pytest.raises(StateError, match=r"services\.json is damaged"):
        ServiceRegistry(path)


def test_the_differing_field_is_named() -> None:
    """A service that needs more, or gives less, than the contract says does not fit, and the field is named."""
    theirs = CONTRACT.required()
    assert differing_field(CONTRACT, theirs) is None
    needs_more = theirs | {"invoke.request": [*theirs["invoke.request"], "lang: str"]}
    assert (
        differing_field(CONTRACT, needs_more)
        == "invoke.request needs 'lang: str', which this Weft does not require"
    )
    assert differing_field(CONTRACT, theirs | {"invoke.response": []}) is not None

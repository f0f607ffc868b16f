"""The registry of live services."""

from __future__ import annotations

from pathlib import Path

import pytest

from weft.contracts.reranker import CONTRACT
from weft.errors import ConflictError, InvalidRequestError, NotFoundError, StateError
from weft.registry.services import Registration, ServiceRegistry, differing_field


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


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://u:p@host", "nonsense", "http://host/?a=b"])
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
    content = '{"schema_version": 2, "services": "of another form"}'
    path.write_text(content)
    with pytest.raises(StateError, match="newer Weft"):
        ServiceRegistry(path)
    assert path.read_text() == content


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

"""What is kept or counted for a caller in memory is kept apart by tenant."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from weft.components.embedding.remembered import Remembered
from weft.context import Context, Identity, current, scope
from weft.contracts.embedding import CONTRACT, EmbeddingRequest, EmbeddingResponse
from weft.gateway.limits import subjects
from weft.transport.loopback import LoopbackTransport
from weft.types import vector


def as_(tenant: str, readers: list[str] | None = None) -> None:
    current.set(Context("r", tenant=tenant, readers=readers))


async def test_a_remembered_vector_is_not_another_tenants() -> None:
    """Whether a text was embedded before can be told from the time it takes: by its own tenant only."""
    kept = Remembered(10)
    as_("acme")
    kept.put("the launch code", vector([1.0]), 3)
    assert kept.get("the launch code") is not None
    as_("rival")
    assert kept.get("the launch code") is None


class Inner:
    """Notes for whom it was called."""

    service, component, contract = "embedder", "inner", CONTRACT

    def __init__(self) -> None:
        self.seen: list[tuple[str, list[str] | None]] = []

    async def call(self, operation: str, request: Any) -> EmbeddingResponse:
        self.seen.append(scope())
        return EmbeddingResponse([vector([1.0])], "m")


async def test_a_call_in_the_wire_form_is_the_callers() -> None:
    """Tenant and readers go through the loopback as they go over a connection."""
    inner = Inner()
    as_("acme", ["staff"])
    await LoopbackTransport(inner).bind("invoke")(EmbeddingRequest(["x"]))  # type: ignore[arg-type]
    assert inner.seen == [("acme", ["staff"])]


def passage(**identity: Any) -> Any:
    return SimpleNamespace(identity=Identity(**identity), request=SimpleNamespace(peer="10.0.0.1"))


def test_who_is_counted_is_who_asks() -> None:
    """Two tenants, two users of one name in two tenants, and two keys have a budget each."""
    for subject in (subjects.tenant, subjects.user):
        named = {
            subject(passage(caller="ann", tenant=tenant)) for tenant in ("acme", "rival", "acme/rival", "")
        }
        assert len(named) == 4
    keys = {subjects.key(passage(caller="ann", key=key)) for key in ("k1", "k2", "")}
    assert len(keys) == 3
    assert subjects.user(passage(caller="c", tenant="a/b")) != subjects.user(
        passage(caller="b/c", tenant="a")
    )

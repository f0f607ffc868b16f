"""The graphs of ``inprocess.py``: their components, run by hand and by Weft."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from msgspec import Struct

from weft.context import Context, current
from weft.contracts.retriever import RetrieveRequest, RetrieveResponse
from weft.observe.journal import Journal
from weft.observe.metrics import Metrics
from weft.plan import check
from weft.registry.components import Components
from weft.run import Runner
from weft.spec.load import loads
from weft.transport.local import LocalTransport
from weft.types import Document


class Given(Struct):
    """What a step is handed."""

    query: str
    documents: list[Document]


class Lists(Struct):
    """What all steps of the fan-out made."""

    query: str
    lists: list[list[Document]]


class FourDocuments:
    """A step that does next to nothing, as a service's shortest work would be."""

    async def invoke(self, request: Given) -> RetrieveResponse:
        """Build four Documents."""
        query = request.query
        return RetrieveResponse(
            [
                Document(query, id="a", score=0.9),
                Document(query, id="b", score=0.8),
                Document(query, id="c", score=0.7),
                Document(query, id="d", score=0.6),
            ],
            query,
        )


class Join:
    """The end of the fan-out."""

    async def invoke(self, request: Lists) -> RetrieveResponse:
        """The first list; the others were waited for."""
        return RetrieveResponse(request.lists[0], request.query)


def by_hand(chain_of: int, fan_out_of: int) -> dict[str, Callable[[], Awaitable[RetrieveResponse]]]:
    """The graphs as a programmer writes them."""
    four, join = [FourDocuments() for _ in range(max(chain_of, fan_out_of))], Join()

    async def chain() -> RetrieveResponse:
        async with asyncio.timeout(60):
            documents: list[Document] = []
            for step in four[:chain_of]:
                response = await step.invoke(Given("question", documents))
                documents = response.documents
        return response

    async def fan_out() -> RetrieveResponse:
        async with asyncio.timeout(60):
            responses = await asyncio.gather(
                *(step.invoke(Given("question", [])) for step in four[:fan_out_of])
            )
            return await join.invoke(Lists("question", [response.documents for response in responses]))

    return {"chain": chain, "fan-out": fan_out}


def runners(spec: str, *, metrics: bool) -> dict[str, Callable[[], Awaitable[RetrieveResponse]]]:
    """The graphs of a spec as Weft runs them: a context for each request, deadline and journal on."""
    classes = {"four": FourDocuments, "join": Join}
    components = Components(classes)
    plans = check(loads(spec), components)
    journal = Journal()

    def local(key: str, reference: str) -> LocalTransport:
        info = components.get(reference)
        return LocalTransport(key, reference, components.contract_of(info, {}), info.type())

    def run(name: str) -> Callable[[], Awaitable[RetrieveResponse]]:
        plan = plans[name]
        transports = {
            key: local(key, placed.component) for key, placed in plans.placed.items() if key in plan.services
        }
        runner = Runner(plan, transports, journal, metrics=Metrics() if metrics else None)

        async def invoke() -> RetrieveResponse:
            token = current.set(Context("bench"))
            try:
                return await runner.invoke(RetrieveRequest("question"))
            finally:
                current.reset(token)

        return invoke

    return {"chain": run("chain"), "fan-out": run("fan-out")}

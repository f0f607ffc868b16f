"""Checks a live service against the specification: its contract's promises and those of the wire, in order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from weft.context import Context, current
from weft.contracts import Contract, Operation, Route
from weft.errors import UsageError
from weft.http.client import Client
from weft.testing.promises import chat, dataprep, embedding, evidence, reranker, retriever, store
from weft.testing.promises.base import (
    SPECIFICATION,
    Broken,
    Family,
    Finding,
    Promise,
    Record,
    Subject,
    Unseen,
    judge,
)
from weft.testing.promises.every import promises_of
from weft.testing.wire.exchanges import EXCHANGES, stated
from weft.testing.wire.requests import REQUESTS
from weft.testing.wire.service import Service, changed
from weft.testing.wire.streams import STREAMS
from weft.transport.http import HttpTransport

FAMILIES: Final[dict[str, Family]] = {
    module.FAMILY.contract.name: module.FAMILY
    for module in (chat, embedding, retriever, reranker, evidence, store, dataprep)
}
"""The families whose promises are known, by the name of their contract."""


class Report(Struct):
    """What came of checking one service.

    Attributes:
        specification: The version of ``docs/spec/microservice.md``.
        conforms: No *must* is broken.
        findings: One for each promise, in the order of the specification.
    """

    url: str
    contract: str
    specification: int
    conforms: bool
    findings: list[Finding]

    def count(self, level: str, outcome: str) -> int:
        """How many promises of a level came out so."""
        return sum(f.level == level and f.outcome == outcome for f in self.findings)


async def conform(
    client: Client,
    url: str,
    contract: Contract,
    *,
    sample: dict[str, Any] | None = None,
    headers: Sequence[tuple[str, str]] = (),
) -> Report:
    """Check the service at ``url``.

    Nothing of its own data is changed: a store and a dataprep service are asked to keep a few passages in a collection
    made for it, which is emptied again.

    Args:
        client: Owns the connections.
        url: Where the service is.
        contract: What it says that it fulfils.
        sample: A request that it can serve; needed for a contract whose promises are not known here.
        headers: Sent with each request.

    Raises:
        UsageError: There is no request to send.
        UnreachableError: Nothing answers.
    """
    family = FAMILIES.get(contract.name)
    service = _service(client, url, contract, family, sample, headers)
    await service.is_reachable()
    findings: list[Finding] = []
    subject = _subject(client, url, family, headers) if family is not None else None
    unprepared = await _open(subject) if subject is not None else ""
    try:
        findings += [await judge(promise, service, service.record) for promise in _wire(contract)]
        if subject is not None:
            for of_contract in [*promises_of(contract, in_process=False), *subject.family.promises]:
                finding = await judge(of_contract, subject, subject.record) if not unprepared else None
                findings.append(finding or _unseen(of_contract, unprepared))
    finally:
        if subject is not None and subject.family.close is not None and not unprepared:
            await judge(Promise("close", "", "", subject.family.close), subject, Record())
    findings.sort(key=lambda f: [int(part) for part in f.section.split(".")])
    conforms = not any(f.level == "must" and f.outcome == "broken" for f in findings)
    return Report(url, contract.name, SPECIFICATION, conforms, findings)


def own_contract(name: str, required: Mapping[str, Sequence[str]]) -> Contract:
    """The contract of a component of no family, as far as its service states it.

    Args:
        name: As it is stated.
        required: ``name: type`` of the required fields of its request and reply.
    """
    types: dict[str, Any] = {"str": str, "int": int, "float": float, "bool": bool}

    def struct(role: str) -> type[Any]:
        pairs = [field.partition(": ") for field in required.get(f"invoke.{role}", ())]
        return msgspec.defstruct(role.title(), [(field, types.get(type_, Any)) for field, _, type_ in pairs])

    return Contract(name, "", {"invoke": Operation("invoke", struct("request"), struct("response"))})


def _wire(contract: Contract) -> Iterator[Promise[Service]]:
    yield from EXCHANGES
    checks = stated(contract, is_known=contract.protocol is not None)
    for section, check in zip(("2.5", "2.6"), checks, strict=True):
        says = " ".join((check.__doc__ or "").split())
        yield Promise(check.__name__.replace("_", "-"), section, says, check)
    if contract.streams:
        yield from STREAMS
    yield from REQUESTS


def _service(
    client: Client,
    url: str,
    contract: Contract,
    family: Family | None,
    sample: dict[str, Any] | None,
    headers: Sequence[tuple[str, str]],
) -> Service:
    operation = contract.primary
    route = operation.routes[0] if operation.routes else Route("/v1/invoke")
    if sample is not None:
        body = msgspec.json.encode(sample)
    elif family is not None:
        body = msgspec.json.encode(family.samples()[0])
    else:
        raise UsageError(
            f"there is no sample of a request for the contract '{contract.name}'",
            hint="""give one that the service can serve: --request '{"text": "hello"}'""",
        )
    required: dict[str, Any] = {
        f.encode_name: {} if _is_plain(f.type) else 7
        for f in msgspec.structs.fields(operation.request)
        if f.required
    }
    return Service(
        client,
        url,
        path=route.path,
        sample=body,
        required=required,
        is_openai=operation.openai,
        streams=operation.chunk is not None,
        headers=headers,
        long=changed(body, max_tokens=400) if operation.openai and operation.chunk is not None else b"",
    )


def _is_plain(annotation: Any) -> bool:
    """Whether a field is text or a number, so that an object is wrong there; else a number is."""
    return annotation in (str, int, float, bool)


def _subject(client: Client, url: str, family: Family, headers: Sequence[tuple[str, str]]) -> Subject:
    name = family.contract.name
    transport = HttpTransport(name, name, family.contract, [url], client=client, headers=headers)
    return Subject(transport, family)


async def _open(subject: Subject) -> str:
    """Make what the checks need; why that cannot be, if it cannot."""
    if subject.family.open is None:
        return ""
    current.set(Context("conform"))
    try:
        await subject.family.open(subject)
    except (Broken, Unseen) as error:
        return f"what the check needs could not be made: {error}"
    return ""


def _unseen(promise: Promise[Subject], why: str) -> Finding:
    return Finding(promise.section, promise.name, promise.level, promise.says, "unseen", why=why)

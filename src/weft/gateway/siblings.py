"""Telling the other processes of an installation to prepare and make a switch, and asking how far theirs are.

Their private addresses answer on the same routes as the public one, so an order is sealed with the key that the
supervisor gives its processes at each start, and holds for a minute.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import Struct

from weft.context import Context
from weft.contracts.manifest import Manifest
from weft.errors import ForbiddenError, InvalidRequestError, RequestError, UnavailableError, WeftError
from weft.gateway.chosen import Choice
from weft.gateway.switch import PREPARED_S, Order, Switcher
from weft.http.client import Client, Endpoint
from weft.http.message import Request, Response
from weft.serve.application import Application
from weft.transport.http import failure_of
from weft.transport.signing import ContextSigner

PATH: Final = "/weft/switch"
SEAL: Final = "x-weft-seal"

FRESH_S: Final = 60
"""How long an order holds: processes of one machine have one clock."""

MAX_ORDER_BYTES: Final = 65_536

LOOK_TIMEOUT_S: Final = 1.0
"""A gateway process answers from memory; one that is being started again has nothing to say."""

State = Literal["asking", "fetching", "starting", "done", "failed", "cancelled"]

UNDER_WAY: Final = ("asking", "fetching", "starting")

T = TypeVar("T")


class Switch(Struct, omit_defaults=True):
    """The last switch of a service, under way or ended.

    Attributes:
        model: What was asked for.
        started: When, in seconds since 1970.
        state: ``asking`` the server or hub, ``fetching`` the file, ``starting`` it beside the old one; ``done``;
            ``failed``, then what runs is what ran before.
        done_bytes, total_bytes: While it is fetched; the total is null until it is known.
        error: What went wrong, and what to do.
    """

    model: str
    state: State
    started: int = 0
    done_bytes: int = 0
    total_bytes: int | None = None
    error: str = ""


_decode = msgspec.json.Decoder(Order).decode
_encode = msgspec.json.Encoder().encode


Switches: TypeAlias = dict[str, Switch]
"""The last switch of each service, as one process knows it."""


def obeying_route(
    app: Application,
    switcher: Switcher,
    signer: ContextSigner,
    *,
    of: Application | None = None,
    look: Callable[[], Switches] = dict,
    cancel: Callable[[str], Awaitable[None]] | None = None,
) -> None:
    """Have this process do what its siblings say.

    Args:
        app: Where the route goes.
        switcher: Of this process.
        signer: Knows whose order it is.
        of: The application that switches; None: ``app``.
        look: Gives the switches that this process sees to.
        cancel: Gives one up.
    """
    switching = of or app

    async def obey(request: Request, context: Context) -> Response:
        body = await request.read(MAX_ORDER_BYTES)
        if not signer.is_sealed(body, request.headers.get(SEAL) or ""):
            raise ForbiddenError("only the processes of this installation may say what it runs")
        order = _decode(body)
        if abs(time.time() - order.sent_s) > FRESH_S:
            raise ForbiddenError("this order is too old")
        if order.step == "look":
            return Response(200, [], _encode(look()), "application/json")
        if order.step == "cancel":
            if cancel is not None:
                await cancel(order.service)
        elif order.step == "prepare" and switching.state != "running":
            raise UnavailableError(f"the process of {switching.name} is not running yet, or not any more")
        else:
            try:
                manifest = await switcher.obey(order)
            except WeftError as error:
                if isinstance(error, RequestError):
                    raise
                raise InvalidRequestError(str(error), param="model") from error
            return Response(200, [], _encode(manifest), "application/json")
        return Response(204, [], b"", "")

    # Open: it asks for the seal instead of the token, which the processes of an installation need not have.
    app.route("POST", PATH, obey, open=True)


class Siblings:
    """The other processes of an installation, as far as they take part in a switch.

    Args:
        signer: Seals the orders; None: there are no others.
        client: Calls them.
        gateways: Name to private address of the other gateway processes, which take part in every switch.
        runners: Service to the private addresses of the processes that run it.
    """

    def __init__(
        self,
        signer: ContextSigner | None,
        client: Client,
        gateways: Mapping[str, str],
        runners: Mapping[str, Sequence[str]],
    ) -> None:
        self._signer = signer

        def endpoint(address: str) -> Endpoint:
            return client.endpoint(address, timeout_s=PREPARED_S)

        self._gateways = {name: endpoint(url) for name, url in gateways.items()} if signer else {}
        self._runners = {
            service: {f"{service} {number}": endpoint(url) for number, url in enumerate(urls)}
            for service, urls in runners.items()
            if signer
        }

    async def prepare(self, service: str, choice: Choice | None, key: str | None) -> list[Manifest]:
        """Have all that take part prepare, at once; returns what :meth:`Switcher.prepare` does for those that run it.

        Raises:
            RequestError: One cannot; the others may have prepared, and are told by :meth:`abandon`.
        """
        order = Order("prepare", int(time.time()), service, choice, key)
        tasks = [
            asyncio.ensure_future(self._tell(endpoint, order)) for endpoint in self._of(service).values()
        ]
        try:
            bodies = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)
        return [manifest for body in bodies if (manifest := _decode_manifest(body)) is not None]

    async def commit(self, service: str) -> list[str]:
        """Have them make the switch; returns those that did not: they are started again, and then have it."""
        return await self._each(self._of(service), Order("commit", int(time.time()), service))

    async def abandon(self, service: str) -> None:
        """Have them give it up; one that cannot be told gives it up by itself, later."""
        await self._each(self._of(service), Order("abandon", int(time.time()), service))

    async def cancel(self, service: str) -> None:
        """Have whichever gateway process sees to a switch of this service give it up."""
        await self._each(self._gateways, Order("cancel", int(time.time()), service))

    async def look(self) -> list[Switches]:
        """The switches that the other gateway processes see to; one that does not answer has none."""
        order = Order("look", int(time.time()))
        bodies = await asyncio.gather(
            *(self._tell(endpoint, order, timeout_s=LOOK_TIMEOUT_S) for endpoint in self._gateways.values()),
            return_exceptions=True,
        )
        return [_decode_switches(body) for body in bodies if isinstance(body, bytes)]

    def _of(self, service: str) -> dict[str, Endpoint]:
        return self._gateways | self._runners.get(service, {})

    async def _each(self, endpoints: Mapping[str, Endpoint], order: Order) -> list[str]:
        results = await asyncio.gather(
            *(self._tell(endpoint, order) for endpoint in endpoints.values()), return_exceptions=True
        )
        return [
            name for name, result in zip(endpoints, results, strict=True) if not isinstance(result, bytes)
        ]

    async def _tell(self, endpoint: Endpoint, order: Order, *, timeout_s: float | None = None) -> bytes:
        assert self._signer is not None  # without it there is nobody to tell
        body = _encode(order)
        headers = [("content-type", "application/json"), (SEAL, self._signer.seal(body))]
        reply = await endpoint.request("POST", PATH, body, headers=headers, timeout_s=timeout_s)
        if reply.status >= 400:
            raise failure_of("POST", PATH, reply.status, reply.headers, reply.body)
        return reply.body


_decode_manifest = msgspec.json.Decoder(Manifest | None).decode
_decode_switches = msgspec.json.Decoder(Switches).decode


async def whatever_happens(work: Awaitable[T]) -> T:
    """Await ``work`` to its end even when the waiting task is cancelled, which it then is."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait((task,))
        raise

"""Telling the other processes of an installation to prepare and make a switch, and hearing how far theirs are.

Their private addresses answer on the same routes as the public one, so an order is sealed with the key that the
supervisor gives its processes at each start, and holds for a minute.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, TypeVar

import msgspec

from weft.context import Context
from weft.errors import ForbiddenError, InvalidRequestError, ServiceError, WeftError
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

T = TypeVar("T")

_decode = msgspec.json.Decoder(Order).decode
_encode = msgspec.json.Encoder().encode


def obeying_route(app: Application, switcher: Switcher, signer: ContextSigner) -> None:
    """Have this process do what its siblings say."""

    async def obey(request: Request, context: Context) -> Response:
        body = await request.read(MAX_ORDER_BYTES)
        if not signer.is_sealed(body, request.headers.get(SEAL) or ""):
            raise ForbiddenError("only the processes of this installation may say what it runs")
        order = _decode(body)
        if abs(time.time() - order.sent_s) > FRESH_S:
            raise ForbiddenError("this order is too old")
        try:
            await switcher.obey(order)
        except WeftError as error:
            if hasattr(error, "status"):
                raise
            raise InvalidRequestError(str(error), param="model") from error
        return Response(204, [], b"", "")

    app.route("POST", PATH, obey, open=True)


class Siblings:
    """The other processes that take part in a switch.

    Args:
        signer: Seals the orders.
        client: Calls them.
        addresses: Name to private address.
    """

    def __init__(self, signer: ContextSigner, client: Client, addresses: Mapping[str, str]) -> None:
        self._signer = signer
        self._endpoints = {
            name: client.endpoint(address, timeout_s=PREPARED_S) for name, address in addresses.items()
        }

    async def prepare(self, service: str, choice: Choice | None, key: str | None) -> None:
        """Have all of them prepare, at once.

        Raises:
            RequestError: One cannot; the others may have prepared, and are told by :meth:`abandon`.
        """
        await self._all(lambda: Order("prepare", int(time.time()), service, choice, key))

    async def commit(self) -> Sequence[str]:
        """Have all of them make the switch; returns those that did not: they are restarted, and then have it."""
        return await self._failing("commit")

    async def abandon(self) -> None:
        """Have all of them give it up."""
        await self._failing("abandon")

    async def _failing(self, step: str) -> Sequence[str]:
        order = Order("commit" if step == "commit" else "abandon", int(time.time()))
        results = await asyncio.gather(
            *(self._tell(name, endpoint, order) for name, endpoint in self._endpoints.items()),
            return_exceptions=True,
        )
        return [name for name, result in zip(self._endpoints, results, strict=True) if result is not None]

    async def _all(self, order: Callable[[], Order]) -> None:
        tasks = [
            asyncio.ensure_future(self._tell(name, endpoint, order()))
            for name, endpoint in self._endpoints.items()
        ]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)

    async def _tell(self, name: str, endpoint: Endpoint, order: Order) -> None:
        body = _encode(order)
        headers = [("content-type", "application/json"), (SEAL, self._signer.seal(body))]
        reply = await endpoint.request("POST", PATH, body, headers=headers)
        if reply.status >= 400:
            failure = failure_of("POST", PATH, reply.status, reply.headers, reply.body)
            if isinstance(failure, ServiceError):
                failure.at(service=order.service or name)
            raise failure


async def whatever_happens(work: Awaitable[T]) -> T:
    """Await ``work`` to its end even when the waiting task is cancelled, which it then is."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait((task,))
        raise

"""OpenAI's Responses API in front of every chat target: ``/v1/responses``, and the responses that are kept."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

from weft.context import Context
from weft.errors import NotFoundError, RequestError, UnsupportedParameterError
from weft.gateway.protocols import responses_told, responses_wire
from weft.gateway.protocols.asking import asking, encoded, owner_of, renamed
from weft.gateway.protocols.idempotency import HEADER as IDEMPOTENCY_KEY
from weft.gateway.protocols.responses_told import ResponseObject, ResponseTeller
from weft.gateway.protocols.responses_wire import ResponsesRequest
from weft.gateway.protocols.shelf import Bounds, Shelf
from weft.gateway.protocols.telling import Telling, told, whole
from weft.http.message import Request, Response, StreamResponse
from weft.serve.application import Application, RouteDoc, named
from weft.serve.operations import MAX_JSON_BYTES
from weft.serve.problems import openai_error
from weft.serve.streams import close

if TYPE_CHECKING:
    from weft.gateway.app import Gateway

BOUNDS: Final = Bounds(entries=10_000, owner_entries=1_000, ttl_s=24 * 3600)
"""Of the responses that are kept: a conversation can be gone on with for a day."""

MAX_KEPT_BYTES: Final = 4 * 1024 * 1024
"""Of one response with its conversation; a longer one is answered, and not kept."""

_encode = msgspec.json.Encoder().encode


class Turn(Struct):
    """A response as it is kept.

    Attributes:
        response: As it was told.
        input: The items it answers.
        messages: The conversation up to and with its answer, without its instructions.
    """

    response: ResponseObject
    input: list[dict[str, Any]]
    messages: list[dict[str, Any]]


class Deleted(Struct):
    """The reply to ``DELETE``."""

    id: str
    deleted: bool = True
    object: str = "response"


class ItemList(Struct):
    """The items that a response answers."""

    data: list[dict[str, Any]]
    first_id: str
    last_id: str
    has_more: bool = False
    object: str = "list"


_decode_turn = msgspec.json.Decoder(Turn).decode


class Responses:
    """The routes of OpenAI's Responses API.

    Args:
        gateway: Whose targets they ask.
        shelf: Where responses are kept.
    """

    def __init__(self, gateway: Gateway, shelf: Shelf) -> None:
        self._gateway, self._shelf = gateway, shelf

    def add_routes(self, app: Application) -> None:
        """Serve ``/v1/responses`` and what is kept under it."""
        models = self._gateway.targets("chat").names()
        example = ({"model": models[0]} if models else {}) | {
            "input": "Good morning.",
            "max_output_tokens": 16,
        }
        doc = RouteDoc(
            summary="OpenAI's Responses API: asks a chat model or megaservice, whole or streamed.",
            description="Its events are OpenAI's: `response.created` to `response.completed`. A response is kept for a "
            "day unless `store` is false; only who asked for it can have it.",
            request=ResponsesRequest,
            response=ResponseObject,
            chunk=dict[str, Any],
            tags=("responses",),
            examples={"whole": example, "streamed": example | {"stream": True}},
        )
        app.route(
            "POST",
            "/v1/responses",
            self.create,
            errors="openai",
            doc=doc,
            max_body_bytes=MAX_JSON_BYTES,
            needs="",
        )
        for method, path, handler, summary, response in (
            ("GET", "/v1/responses/{id}", self.show, "A response that is kept.", ResponseObject),
            ("DELETE", "/v1/responses/{id}", self.delete, "Keep a response no longer.", Deleted),
            ("GET", "/v1/responses/{id}/input_items", self.items, "What a response answers.", ItemList),
        ):
            doc = RouteDoc(summary=summary, response=response, tags=("responses",), named={"id": "RESPONSE"})
            app.route(method, path, handler, errors="openai", doc=doc, needs="")

    async def create(self, request: Request, context: Context) -> Response | StreamResponse:
        """Answer ``POST /v1/responses``."""
        body = request.body or b""
        asked = responses_wire.decode(body)
        before: list[dict[str, Any]] = []
        if asked.previous_response_id is not None:
            before = (await self._turn(asked.previous_response_id, context, "previous_response_id")).messages
        chat = responses_wire.chat_body(asked, body, before)
        if "metadata" in chat and not chat["metadata"]:
            del chat["metadata"]
        is_stored = asked.store is not False
        response = responses_told.begun(asked, _new_id(request, context), stored=is_stored)
        encoded(
            [[response]]
        )  # what is told again of the request must be found too deep before the model is asked
        with renamed(responses_wire.NAMES):
            reply = await self._gateway.ask("chat", asking(request, chat), context)
        said = chat["messages"][bool(asked.instructions) :]
        if isinstance(reply, Response):
            response = responses_told.completed(response, whole(reply))
            if is_stored:
                await self._keep(response, asked, said, context)
            return Response(reply.status, reply.headers, _encode(response))
        teller = ResponseTeller(response)
        if not is_stored:
            return told(reply, teller)
        return self._kept_stream(reply, teller, asked, said, context)

    def _kept_stream(
        self,
        reply: StreamResponse,
        teller: ResponseTeller,
        asked: ResponsesRequest,
        said: list[dict[str, Any]],
        context: Context,
    ) -> StreamResponse:
        """The stream, whose last event is sent when the response is kept: who reads it can go on at once."""
        telling = Telling(reply, teller)
        is_finished = False

        async def body() -> AsyncIterator[bytes]:
            nonlocal is_finished
            last: list[bytes] = []
            try:
                async for block in reply.body:
                    passed = telling.pass_on(block)
                    if telling.is_over:
                        last.append(passed)
                    elif passed:
                        yield passed
                is_finished = True
                last.append(telling.finish(None) or b"")
            finally:
                await close(reply.body)
            if teller.response.status in ("completed", "incomplete"):
                try:
                    await self._keep(teller.response, asked, said, context)
                except RequestError as error:
                    last = [teller.fail(openai_error(error, context.request_id)["error"])]
            yield b"".join(last)

        def finish(error: Exception | None) -> bytes | None:
            if is_finished:
                return b"" if error is None else None
            return telling.finish(error)

        return replace(reply, body=body(), pass_on=None, finish=finish, alike=None)

    async def show(self, request: Request, context: Context) -> Response:
        """Answer ``GET /v1/responses/{id}``."""
        if "stream=true" in request.query.split("&"):
            raise UnsupportedParameterError(
                "'stream' is not supported: a response that is kept has ended",
                param="stream",
                hint="leave it out",
            )
        return Response(200, (), _encode((await self._turn(named(request)["id"], context)).response))

    async def items(self, request: Request, context: Context) -> Response:
        """Answer ``GET /v1/responses/{id}/input_items``."""
        id_ = named(request)["id"]
        turn = await self._turn(id_, context)
        known = [{"id": f"{id_}_{index}", "type": "message", **item} for index, item in enumerate(turn.input)]
        known.reverse()  # OpenAI's order, unless asked otherwise: the last first
        ids = [str(item["id"]) for item in known] or [""]
        return Response(200, (), _encode(ItemList(known, ids[0], ids[-1])))

    async def delete(self, request: Request, context: Context) -> Response:
        """Answer ``DELETE /v1/responses/{id}``."""
        id_ = named(request)["id"]
        if not await self._shelf.remove(owner_of(context), id_):
            raise _no_response(id_, "id")
        return Response(200, (), _encode(Deleted(id_)))

    async def _keep(
        self, response: ResponseObject, asked: ResponsesRequest, said: list[dict[str, Any]], context: Context
    ) -> None:
        conversation = [*said, *responses_wire.messages(response.output)]
        body = _encode(Turn(response, responses_wire.items_of(asked.input), conversation))
        if len(body) <= MAX_KEPT_BYTES:
            await self._shelf.put(owner_of(context), response.id, body)

    async def _turn(self, id_: str, context: Context, param: str = "id") -> Turn:
        kept = await self._shelf.get(owner_of(context), id_)
        if kept is None:
            raise _no_response(id_, param)
        return _decode_turn(kept)


def _new_id(request: Request, context: Context) -> str:
    """An id that nobody can guess; the same for a request that is sent again with its key, as its answer is."""
    key = request.headers.get(IDEMPOTENCY_KEY)
    if key is None:
        return f"resp_{secrets.token_hex(24)}"
    told = _encode([owner_of(context), key, hashlib.sha256(request.body or b"").hexdigest()])
    return f"resp_{hashlib.sha256(told).hexdigest()[:48]}"


def _no_response(id_: str, param: str) -> NotFoundError:
    return NotFoundError(
        f"there is no response '{id_}'",
        param=param,
        hint="a response is kept for a day, unless it was asked for with store: false; only who asked for it has it",
    )

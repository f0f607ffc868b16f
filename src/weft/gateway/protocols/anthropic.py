"""Anthropic's Messages API in front of every chat target: ``/v1/messages`` and ``/v1/messages/count_tokens``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from weft.context import Context
from weft.contracts.base import invalid
from weft.contracts.chat import ChatRequest
from weft.errors import InvalidRequestError, did_you_mean
from weft.gateway.protocols import anthropic_told, anthropic_types, anthropic_wire
from weft.gateway.protocols.anthropic_types import TokenCount
from weft.gateway.protocols.asking import asking, renamed
from weft.gateway.protocols.counting import tokens_of
from weft.gateway.protocols.telling import told, whole
from weft.http.message import Request, Response, StreamResponse
from weft.serve.application import Application, RouteDoc
from weft.serve.operations import MAX_JSON_BYTES

if TYPE_CHECKING:
    from weft.gateway.app import Gateway

VERSIONS: Final = ("2026-10-21", "2023-06-01")
"""What ``anthropic-version`` may say. What is read and told is the same in both; fields that the newer one has no more
(``temperature``) are read all the same."""

_encode = msgspec.json.Encoder().encode

_VERSION: Final = {
    "name": "anthropic-version",
    "in": "header",
    "description": "The version of Anthropic's API.",
    "schema": {"type": "string", "enum": list(VERSIONS)},
}


class Anthropic:
    """The routes of Anthropic's API.

    Args:
        gateway: Whose targets they ask.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def add_routes(self, app: Application) -> None:
        """Serve ``/v1/messages``."""
        models = self._gateway.targets("chat").names()
        asked = {"max_tokens": 16, "messages": [{"role": "user", "content": "Good morning."}]}
        example = ({"model": models[0]} if models else {}) | asked
        doc = RouteDoc(
            summary="Anthropic's Messages API: asks a chat model or megaservice, whole or streamed.",
            description="Its events are Anthropic's: `message_start` to `message_stop`.",
            request=anthropic_types.MessagesRequest,
            response=anthropic_types.Message,
            chunk=dict[str, Any],
            tags=("anthropic",),
            parameters=(_VERSION,),
            examples={"whole": example, "streamed": example | {"stream": True}},
        )
        app.route(
            "POST",
            "/v1/messages",
            self.create,
            errors="anthropic",
            doc=doc,
            max_body_bytes=MAX_JSON_BYTES,
            needs="",
        )

        count = RouteDoc(
            summary="About how many tokens a message has: seldom fewer than the model's own count, for prose up to twice it.",
            request=anthropic_types.CountRequest,
            response=anthropic_types.TokenCount,
            tags=("anthropic",),
            parameters=(_VERSION,),
            examples={"request": {name: value for name, value in example.items() if name != "max_tokens"}},
        )
        app.route(
            "POST",
            "/v1/messages/count_tokens",
            self.count,
            errors="anthropic",
            doc=count,
            max_body_bytes=MAX_JSON_BYTES,
            needs="",
        )

    async def count(self, request: Request, context: Context) -> Response:
        """Answer ``POST /v1/messages/count_tokens``: for whom the model is for, and no model is asked."""
        _check_version(request)
        body = request.body or b""
        asked = anthropic_wire.decode_count(body)
        target = self._gateway.targets("chat").get(asked.model)
        if self._gateway.front is not None:
            self._gateway.front.admit(target.name, request, context.identity)
        chat = anthropic_wire.chat_body(asked, body)
        try:
            counted = tokens_of(msgspec.convert(chat, ChatRequest))
        except msgspec.ValidationError as error:
            raise invalid(error) from error
        return Response(200, (("request-id", context.request_id),), _encode(TokenCount(counted)))

    async def create(self, request: Request, context: Context) -> Response | StreamResponse:
        """Answer ``POST /v1/messages``."""
        _check_version(request)
        body = request.body or b""
        asked = anthropic_wire.decode(body)
        chat = anthropic_wire.chat_body(asked, body)
        ignored = self._leave_out(chat)
        with renamed(anthropic_wire.NAMES):
            reply = await self._gateway.ask("chat", asking(request, chat), context)
        headers = (*reply.headers, ("request-id", context.request_id), *ignored)
        thinks = asked.thinking is not None and asked.thinking.type == "adaptive"
        if isinstance(reply, StreamResponse):
            streamed = told(reply, anthropic_told.MessageTeller(context.request_id, thinks=thinks))
            streamed.headers = headers
            return streamed
        message = anthropic_told.message(whole(reply), context.request_id, thinks=thinks)
        return Response(reply.status, headers, _encode(message))

    def _leave_out(self, chat: dict[str, Any]) -> list[tuple[str, str]]:
        """Take away ``max_tokens`` where nothing reads it: Anthropic's clients cannot leave it out. The reply says so."""
        target = self._gateway.targets("chat").find(chat["model"])
        if target is None or "max_tokens" in target.readable:
            return []
        del chat["max_tokens"]
        return [("x-weft-ignored", "max_tokens")]


def _check_version(request: Request) -> None:
    version = request.headers.get("anthropic-version")
    if version is not None and version not in VERSIONS:
        raise InvalidRequestError(
            f"there is no version '{version}' of Anthropic's API here",
            param="anthropic-version",
            hint=did_you_mean(version, VERSIONS, what="versions"),
        )

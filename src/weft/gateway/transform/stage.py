"""The stage of a route that changes its requests and replies."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any, Final

import msgspec

from weft.errors import BackendReplyError, InvalidRequestError
from weft.gateway.passage import Passage, Proceed, Reply
from weft.gateway.transform.address import change_address, is_in_address
from weft.gateway.transform.events import Change, EventChanges
from weft.gateway.transform.headers import HeaderRules
from weft.gateway.transform.program import MAX_BYTES, Seen, Transform
from weft.http.message import Headers, Request, Response, StreamResponse
from weft.spec.gateway import RouteSpec

_BODY_METHODS: Final = frozenset({"POST", "PUT", "PATCH"})


class TransformStage:
    """Changes requests on their way in and replies on their way out, as the route says.

    A reply's body is changed where it tells of success; its headers always. What refuses a request, here or further in,
    is no reply of the target's, and stays as it is.

    Args:
        rule: Has a ``request`` or a ``response``.
        whole: Fields of the request that are whole numbers.
    """

    def __init__(self, rule: RouteSpec, *, whole: Collection[str] = ()) -> None:
        asked, given = rule.request, rule.response
        self._request = Transform(asked, whole=whole) if asked is not None else None
        self._request_headers = HeaderRules(asked.headers if asked is not None else None)
        self._response = Transform(given, of="response") if given is not None else None
        self._reply_headers = HeaderRules(given.headers if given is not None else None)
        self._changes_replies = bool(self._response or self._reply_headers)

    async def __call__(self, passage: Passage, proceed: Proceed) -> Reply:
        """See :class:`weft.gateway.passage.Stage`."""
        headers = passage.request.headers  # as they came: this is what expressions read
        if self._request:
            change_request(self._request, passage)
        if self._request_headers:
            passage.request.headers = self._request_headers.request(headers, _seen(passage, headers, {}))
        if not self._changes_replies:
            return await proceed(passage)
        return await self._changed(await proceed(passage), passage, headers)

    async def _changed(self, reply: Reply, passage: Passage, headers: Headers) -> Reply:
        if self._reply_headers:
            changed = self._reply_headers.reply(reply.headers, _seen(passage, headers, {}))
            reply = replace(reply, headers=changed)  # another, for a reply may be kept by whoever made it
        transform = self._response
        if not transform or not 200 <= reply.status < 300:
            return reply
        media_type = reply.content_type.partition(";")[0].strip().lower()

        def change(body: Any, size: int) -> Any:
            return transform(_seen(passage, headers, body), size=size)

        if media_type == "text/event-stream" and isinstance(reply, StreamResponse):
            return changed_events(reply, transform, change)
        if media_type != "application/json" and not media_type.endswith("+json"):
            return reply
        if isinstance(reply, StreamResponse):
            reply = await _collected(reply)
        return replace(reply, body=changed_json(reply.body, change))


def _seen(passage: Passage, headers: Headers, body: Any) -> Seen:
    return Seen(body, headers, passage.identity, passage.model)


def has_fields(request: Request) -> bool:
    """Whether the request has a body that is JSON, or has to be; an upload has none, nor has a GET."""
    if request.method not in _BODY_METHODS:
        return False
    return not request.headers.get("content-type", "").lstrip().lower().startswith("multipart/")


def change_request(transform: Transform, passage: Passage) -> None:
    """Let the request have its changed body. An upload has no fields that could be changed.

    Raises:
        InvalidRequestError: The body does not fit, or is no object.
    """
    request = passage.request
    if is_in_address(passage):
        change_address(transform, passage)
        return
    if not has_fields(request):
        return
    body = transform(_seen(passage, request.headers, passage.body()), size=len(request.body or b""))
    try:
        # Written anew even if nothing has changed: a field that is there twice is now there once, for whoever reads it.
        passage.replace(body)
    except RecursionError as error:
        raise InvalidRequestError("the body is nested too deeply") from error


def changed_json(body: bytes, change: Change) -> bytes:
    """A reply's body, changed; the same bytes if nothing changes, as where there are none.

    Raises:
        BackendReplyError: It is no JSON, although it says so: what is to be taken out of it could not be.
    """
    if not body:
        return body  # to a HEAD
    try:
        decoded = msgspec.json.decode(body)
    except (ValueError, RecursionError) as error:
        raise BackendReplyError(f"the reply is no JSON: {error}") from error
    if not isinstance(decoded, dict | list):
        return body
    after = change(decoded, len(body))
    return body if after is decoded else msgspec.json.encode(after)


def changed_events(reply: StreamResponse, transform: Transform, change: Change) -> StreamResponse:
    """A stream whose events are changed as they go by; where none can change, its bytes are relayed as before."""
    alike = None if transform.reads_values else reply.alike
    changes = EventChanges(transform, change, inner=reply.pass_on, alike=alike)
    return replace(reply, pass_on=changes.pass_on, alike=alike)


async def _collected(reply: StreamResponse) -> Response:
    """A reply that is on its way as one that is there.

    Raises:
        BackendReplyError: It is too large to be changed.
    """
    failure: Exception | None = None
    try:
        body = await _whole(reply)
    except Exception as error:
        failure = error
        raise
    finally:
        if (aclose := getattr(reply.body, "aclose", None)) is not None:
            await aclose()
        tail = reply.finish(failure) if reply.finish is not None else None
    return Response(reply.status, reply.headers, body + (tail or b""), reply.content_type)


async def _whole(reply: StreamResponse) -> bytes:
    blocks, size = [], 0
    async for block in reply.body:
        passed = reply.pass_on(block) if reply.pass_on is not None else block
        blocks.append(passed)
        size += len(passed)
        if size > MAX_BYTES:
            raise BackendReplyError(f"the reply has more than {MAX_BYTES // 2**20} MiB")
    return b"".join(blocks)

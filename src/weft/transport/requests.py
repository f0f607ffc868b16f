"""Requests in a contract's own form, with or without the wish for a stream."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from weft.contracts.chat import StreamOptions

_encode = msgspec.json.Encoder().encode


def whole(request: Any) -> bytes:
    """A request for a whole reply."""
    return _encode(replace(request, stream=False) if getattr(request, "stream", False) is True else request)


def streamed(request: Any) -> bytes:
    """A request for a stream; its token counts are always asked for, because they add up over the graph."""
    fields = request.__struct_fields__
    if "stream" not in fields:
        body = _encode(request)
        return b'{"stream":true' + (b"," + body[1:] if len(body) > 2 else b"}")
    if "stream_options" in fields:
        return _encode(replace(request, stream=True, stream_options=StreamOptions(include_usage=True)))
    return _encode(replace(request, stream=True))

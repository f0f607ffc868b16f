"""A streamed reply's beginning: had before the reply is handed on, where somebody must know that there is one."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator

from weft.http.body import ReplyBody
from weft.http.message import StreamResponse
from weft.serve.streams import close


async def begin(reply: StreamResponse) -> None:
    """Wait until the first block of a streamed reply is here, or its end.

    Nothing is sent meanwhile that would be sent otherwise: the head of a reply goes out with its first block. Safe to
    cancel: the reply is then closed.

    Raises: what the reply failed with before its first block; it is closed and finished.
    """
    body = reply.body
    try:
        if isinstance(body, ReplyBody):
            await body.ready()
        else:
            reply.body = await _begun(body)
    except Exception as error:
        await close(body)
        if reply.finish is not None:
            reply.finish(error)  # raises what it makes of it
        raise
    except BaseException:
        await close(body)
        raise


async def _begun(body: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    blocks = aiter(body)
    first = await anext(blocks, b"")
    return _from(first, blocks)


async def _from(first: bytes, blocks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    try:
        if first:
            yield first
        async for block in blocks:
            yield block
    finally:
        await close(blocks)

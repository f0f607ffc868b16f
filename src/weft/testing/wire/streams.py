"""Section 5 of the specification: streams."""

from __future__ import annotations

from typing import Any, Final

from weft.testing.promises.base import Promises, Unseen, cut, expect
from weft.testing.wire.service import Service, changed, check_error, parsed

STREAMS: Final[Promises[Service]] = Promises()

DONE: Final = b"[DONE]"


def _streamed(service: Service, **fields: Any) -> bytes:
    return changed(service.sample, stream=True, **fields)


@STREAMS("5.1")
async def streams_are_event_streams(service: Service) -> None:
    """A service of a streaming contract must stream when the request has `"stream": true`: `content-type:
    text/event-stream`, one JSON chunk in each event's `data`."""
    events = await service.events(_streamed(service))
    chunks = [event for event in events if event != DONE]
    expect(chunks, "there are no chunks")
    for event in chunks:
        expect(isinstance(parsed(event), dict), f"an event is no JSON object: {cut(event.decode())}")


@STREAMS("5.2")
async def streams_end_with_done(service: Service) -> None:
    """The last event of a stream that ended well must be `data: [DONE]`."""
    events = await service.events(_streamed(service))
    expect(events and events[-1] == DONE, f"the last is {cut(events[-1].decode()) if events else 'none'}")
    expect(events.count(DONE) == 1, "[DONE] came before the end")


@STREAMS("5.3")
async def errors_come_before_streams(service: Service) -> None:
    """A request that cannot be served must be answered with its error and status, also when it asks for a stream; after
    the first byte, an error must be the event `data: {"error": {"message", "code"}}` and the end, without `[DONE]`."""
    first = next(iter(service.required), None)
    if first is None:
        raise Unseen("its contract requires no field")
    reply = await service.open(_streamed(service, **{first: service.required[first]}))
    async with reply:
        expect(reply.status in (400, 422), f"status {reply.status}")
    check_error(service, await service.ask(_streamed(service, **{first: service.required[first]})))


@STREAMS("5.4")
async def usage_comes_when_asked_for(service: Service) -> None:
    """A chat service must send `usage` in a chunk of its own, without choices, before `[DONE]` when
    `stream_options.include_usage` is true."""
    if not service.is_openai:
        raise Unseen("it is no chat service")
    events = await service.events(_streamed(service, stream_options={"include_usage": True}))
    last = parsed(events[-2]) if len(events) > 1 else {}
    usage = last.get("usage") or {}
    expect(usage.get("prompt_tokens", 0) > 0, f"the last chunk is {last}")
    expect(last.get("choices") == [], f"the chunk with the usage has choices: {last}")


@STREAMS("5.5")
async def usage_comes_only_when_asked_for(service: Service) -> None:
    """A chat service should send no `usage` when it was not asked for."""
    if not service.is_openai:
        raise Unseen("it is no chat service")
    events = await service.events(_streamed(service))
    found = [event for event in events if event != DONE and parsed(event).get("usage")]
    expect(not found, f"{len(found)} chunks have a usage")

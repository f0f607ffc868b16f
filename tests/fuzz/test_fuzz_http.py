"""A short run of the fuzzer, the same every time; and that it finds what it looks for."""

from __future__ import annotations

import re

import fuzz_http
import pytest

from weft.http import connection, pool, wire
from weft.http.sse import SSEReader


async def test_nothing_is_found() -> None:
    """A thousand cases, each delivered whole, byte by byte and in pieces: nothing to report."""
    outcome = await fuzz_http.fuzz(seed=1, cases=1000)
    assert outcome.findings == []
    assert outcome.executions.total() == 3000
    assert set(outcome.executions) == set(fuzz_http.TARGETS)


def _events_without_memory_of_cr(reader: SSEReader, data: bytes, feed=SSEReader.feed):
    reader._after_cr = False
    return feed(reader, data)


def _chunks_without_memory(decoder: wire.ChunkDecoder, data: bytes, feed=wire.ChunkDecoder.feed):
    decoder._held = b""
    return feed(decoder, data)


def _release_with_more(client, head, *, has_more, release=pool.ClientConnection._release):
    release(client, head, has_more=False)


def _bare_line_feed_in_slice(data: bytes, start: int):
    return re.search(rb"(?<!\r)\n", data[max(start - 1, 0) :])


@pytest.mark.parametrize(
    ("owner", "name", "fault"),
    [
        (connection, "has_bare_line_feed", _bare_line_feed_in_slice),
        (wire.ChunkDecoder, "feed", _chunks_without_memory),
        (pool.ClientConnection, "_release", _release_with_more),
        (SSEReader, "feed", _events_without_memory_of_cr),
    ],
    ids=["bare_line_feed", "chunks", "smuggled_reply", "carriage_return"],
)
async def test_faults_are_found(monkeypatch, owner, name, fault) -> None:
    """A parser with a fault, of ours or of others, is found out within a thousand cases."""
    monkeypatch.setattr(owner, name, fault)
    assert (await fuzz_http.fuzz(seed=1, cases=1000, max_findings=1)).findings

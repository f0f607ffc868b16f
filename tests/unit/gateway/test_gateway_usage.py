"""Tokens that upstreams say they took: read on the way, whole replies and streams, however these are cut."""

from __future__ import annotations

from weft.context import Context
from weft.gateway.upstream.usage import UsageReader


def test_tokens_that_an_upstream_counts_are_counted() -> None:
    """Of whole replies and of streams, however the events are cut, and once each."""
    context = Context()
    UsageReader(context).read(b'{"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}')
    assert context.tally is not None
    assert context.tally.total is not None
    assert context.tally.total.total_tokens == 7
    events = (
        b'data: {"usage":null,"choices":[{"delta":{"content":"\\"usage\\": {\\"prompt_tokens\\": 90}"}}]}\n\n'
        b'data: {"usage":{"prompt_tokens":3,"completion_tokens":1}}\n\n'
        b'data: {"usage":{"prompt_tokens":3,"completion_tokens":5}}\n\ndata: [DONE]\n\n'
    )
    anthropic = (
        b'event: message_start\ndata: {"message":{"usage":{"input_tokens":3,"output_tokens":1}}}\n\n'
        b'event: message_delta\ndata: {"usage":{"output_tokens":5}}\n\n'
    )
    for stream in (events, anthropic):
        for size in (1, 7, 50, len(stream)):
            context = Context()
            reader = UsageReader(context)
            blocks = [stream[at : at + size] for at in range(0, len(stream), size)]
            assert [reader.pass_on(block) for block in blocks] == blocks
            assert context.tally is not None
            assert context.tally.total is not None
            total = context.tally.total
            assert (total.prompt_tokens, total.completion_tokens, total.total_tokens) == (3, 5, 8)


def test_plain_events_need_not_be_looked_at_and_what_is_cut_must_be() -> None:
    """What a relay may pass on unseen never has a count in it, wherever the reads are cut."""
    reader = UsageReader(Context())
    plain = b'data: {"choices":[{"delta":{"content":"word"}}]}\n\n'
    assert reader.pass_on(plain) is plain
    assert plain.startswith(reader.alike.before)
    assert plain.endswith(reader.alike.behind)
    for cut in (plain[:20], b'data: {"usage":{"prompt_tokens":1}}\n\n'):
        reader.pass_on(plain)
        reader.pass_on(cut)
        assert not plain.startswith(reader.alike.before)
        reader.pass_on(b"\n\n")

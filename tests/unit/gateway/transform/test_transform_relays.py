"""A relayed stream stays a relay: blocks in which nothing can change go out as they came, past the transformation."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from weft.context import Identity
from weft.errors import BackendReplyError
from weft.gateway.transform.events import EventChanges
from weft.gateway.transform.program import Seen, Transform
from weft.http.body import Alike
from weft.http.message import Headers
from weft.http.sse import MAX_EVENT_BYTES
from weft.spec.gateway import TransformSpec


def changes(alike: Alike | None = None, **keys: Any) -> EventChanges:
    transform = Transform(TransformSpec(**keys), of="response")

    def change(body: Any, _size: int) -> Any:
        return transform(Seen(body, Headers([]), Identity(), "m"))

    return EventChanges(transform, change, alike=alike)


def event(**fields: Any) -> bytes:
    return b"data: %b\n\n" % msgspec.json.encode(fields)


def learnt(block: bytes) -> Alike:
    alike = Alike()
    alike.learn(block[:10], block[-10:])
    return alike


def test_a_block_without_the_names_is_the_same_object() -> None:
    """Nothing is decoded, and nothing is copied."""
    block = event(model="m", choices=[])
    alike = learnt(block)
    assert changes(alike, remove=("system_fingerprint", "a.b")).pass_on(block) is block
    assert alike.before == block[:10], "blocks like it may still go past"


@pytest.mark.parametrize(
    "block",
    [
        event(system_fingerprint="f"),
        b'data: {"system\\u005ffingerprint":1}\n\n',
        b'data: {"model":"m"}\n\ndata: {"cut',
    ],
)
def test_no_block_goes_past_one_that_changes_or_is_cut(block: bytes) -> None:
    """A block is shown again once one has changed, and as long as the rest of one is held."""
    alike = learnt(block)
    changes(alike, remove=("system_fingerprint",)).pass_on(block)
    assert alike.before != block[:10]


def test_a_reply_is_whole_whatever_is_held() -> None:
    """A stream that ends within an event has not said it: what is cut off is not passed on, for nobody could look into it."""
    made = changes(remove=("a",))
    assert made.pass_on(b'data: {"a":1,"b":2}\n\ndata: {"a"') == b'data: {"b":2}\n\n'


def test_an_event_without_an_end_is_refused() -> None:
    """What is held has a bound."""
    made = changes(remove=("a",))
    with pytest.raises(BackendReplyError, match="an event is longer than"):
        for _ in range(6):
            made.pass_on(b'data: {"a":"' + b"x" * (MAX_EVENT_BYTES // 4))


def test_what_is_no_text_gets_past_no_change() -> None:
    """An event with a byte that is no UTF-8 is changed all the same, and the byte is replaced."""
    made = changes(remove=("secret",)).pass_on(b'data: {"secret":1,"text":"a\xff"}\n\n')
    assert made == 'data: {"text":"a\N{REPLACEMENT CHARACTER}"}\n\n'.encode()


def test_a_byte_order_mark_hides_nothing() -> None:
    """Readers leave it out before the first event, and so does the change."""
    block = b'\xef\xbb\xbfdata: {"secret":1,"b":2}\n\n'
    made = changes(remove=("secret",))
    assert b"".join(made.pass_on(block[i : i + 1]) for i in range(len(block))) == b'data: {"b":2}\n\n'
    whole = b'\xef\xbb\xbfdata: {"b":2}\n\n'
    assert changes(remove=("secret",)).pass_on(whole) is whole


@pytest.mark.parametrize(
    "block",
    [b'data: {"secret":1,"b":NaN}\n\n', b'data: {"secret":1}}\n\n', b'data: {"s\\u0065cret":1,"b":NaN}\n\n'],
)
def test_an_event_that_cannot_be_read_ends_the_stream(block: bytes) -> None:
    """A client with less exact rules would read the field that is to be removed."""
    with pytest.raises(BackendReplyError, match="an event cannot be read"):
        changes(remove=("secret",)).pass_on(block)


def test_what_cannot_be_read_and_could_not_change_goes_on() -> None:
    """It is the upstream's and its client's affair, however it is cut."""
    block = b'data: {"a":1,"b":NaN}\n\n'
    made = changes(remove=("secret",))
    assert b"".join(made.pass_on(block[i : i + 1]) for i in range(len(block))) == block
    with pytest.raises(BackendReplyError, match="an event cannot be read"):
        changes(defaults={"c": 1}).pass_on(block)


def test_a_text_of_opea_that_cannot_be_read_ends_the_stream() -> None:
    """Its text is to be taken away, and nobody knows what it is."""
    with pytest.raises(BackendReplyError, match="an event cannot be read"):
        changes(remove=("choices.delta.content",)).pass_on(b"data: b'secret\n\n")

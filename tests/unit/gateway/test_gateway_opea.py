"""OPEA's form on a megaservice's own route: which events a caller gets."""

from __future__ import annotations

import pytest

from weft.errors import InvalidRequestError
from weft.gateway.opea import told, wants_openai


@pytest.mark.parametrize(
    ("query", "accept", "openai"),
    [
        ("", None, False),
        ("format=openai", None, True),
        ("a=b&format=openai", "text/event-stream", True),
        ("", "text/event-stream; format=openai", True),
        ("format=opea", "text/event-stream; format=openai", False),
    ],
)
def test_the_form_of_the_events_is_negotiated(query: str, accept: str | None, *, openai: bool) -> None:
    """The query has the last word, then the Accept header; OPEA's own form otherwise."""
    assert wants_openai(query, accept) is openai


def test_a_form_that_there_is_not_is_refused() -> None:
    """With the nearest one, instead of events that the caller cannot read."""
    with pytest.raises(InvalidRequestError, match="there is no format 'opnai'") as refused:
        wants_openai("format=opnai", None)
    assert refused.value.param == "format"
    assert "did you mean 'openai'?" in str(refused.value)


def test_names_of_ignored_fields_become_a_header_whatever_they_are() -> None:
    """They are the caller's: what no header can have is written in percent signs, and of a thousand some are named."""
    assert told(["top_k", "größe", "a\r\nb: c", "x" * 100]) == (
        f"top_k, gr%C3%B6%C3%9Fe, a%0D%0Ab: c, {'x' * 64}"
    )
    assert told([f"f{n}" for n in range(1000)]).endswith("f31, ...")

"""OPEA's form on a megaservice's own route: which events a caller gets."""

from __future__ import annotations

import pytest

from weft.errors import InvalidRequestError
from weft.gateway.opea import wants_openai


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

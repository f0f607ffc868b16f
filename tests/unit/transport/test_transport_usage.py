"""The header that says what a reply cost."""

from __future__ import annotations

import pytest

from weft.transport.usage import read_header
from weft.types import Usage


@pytest.mark.parametrize("value", ["", "1", "1,2,3", "a,b", "-1,2", "1," + "9" * 5000, "\u00b2,1"])
def test_what_is_no_such_header_is_nothing(value: str) -> None:
    """A backend's odd header never fails the reply that it came with."""
    assert read_header(value) is None


def test_the_counts_are_read() -> None:
    """Prompt, completion, and their sum."""
    assert read_header("3,4") == Usage(3, 4, 7)

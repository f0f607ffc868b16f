"""Any spec: written and read again it is the same."""

from __future__ import annotations

from graphs import BOUNDED
from hypothesis import HealthCheck, given, settings
from specs import specs

from weft.spec.dump import to_yaml
from weft.spec.load import loads
from weft.spec.model import Spec
from weft.spec.update import update_yaml

MADE = settings(BOUNDED, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
"""Whole specs are large to draw."""


@settings(MADE, max_examples=100)
@given(specs())
def test_what_is_written_is_read_as_the_same(spec: Spec) -> None:
    """``load(dump(spec)) == spec``, and the text of the same spec is the same text."""
    text = to_yaml(spec)
    again = loads(text)
    assert again == spec
    assert to_yaml(again) == text


@settings(MADE, max_examples=40)
@given(specs(), specs())
def test_any_spec_is_written_into_the_text_of_any_other(old: Spec, new: Spec) -> None:
    """A user's text is changed until it says what the program's spec says, whatever the two are."""
    assert loads(update_yaml(to_yaml(old), new)) == new

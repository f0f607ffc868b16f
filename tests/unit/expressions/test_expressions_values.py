"""Expressions of any type: what makes values, what joins them, and how much work one may be."""

from __future__ import annotations

from typing import Any

import pytest

from weft.expressions import ExpressionError, compile_condition
from weft.expressions.evaluate import MAX_JOINED, MAX_WORK

NAMES = {"body": dict[str, Any], "caller": str, "names": list[str]}


def value(text: str, **values: Any) -> Any:
    """What the expression makes of these values."""
    return compile_condition(text, resolve=NAMES.__getitem__, expect=None).evaluate(values)


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("'Dear ' + caller + '!'", "Dear ann!"),
        ("names + [caller]", ["x", "ann"]),
        (
            "[{'role': 'user', 'content': body.prompt}] + body.messages",
            [{"role": "user", "content": "Hi"}, 1],
        ),
        ("body.prompt + ('' + '?')", "Hi?"),
        ("caller + 'b' == 'annb' ? 'same' : null", "same"),
        ("{'a': [1, 2.5, true, null], 'b': {'c': caller}}", {"a": [1, 2.5, True, None], "b": {"c": "ann"}}),
    ],
)
def test_values_are_made_and_joined(text: str, made: Any) -> None:
    """Literals, references, and strings and lists joined by ``+``, which binds closer than a comparison."""
    assert value(text, body={"prompt": "Hi", "messages": [1]}, caller="ann", names=["x"]) == made


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("1 + 2", 3, "arithmetic is not part of expressions"),
        ("size(names) + size(names)", 1, "arithmetic is not part of expressions"),
        ("caller + names", 1, "'+' joins strings or lists, not a string and a list(string)"),
        ("caller + true", 10, "'+' joins strings or lists, and this is a bool"),
        ("caller +", 9, "the expression ends too early"),
        ("+caller", 1, "'+' does not belong here"),
    ],
)
def test_what_cannot_be_joined_is_refused_before_anything_runs(text: str, column: int, message: str) -> None:
    """Each with its column."""
    with pytest.raises(ExpressionError) as caught:
        value(text)
    assert (caught.value.column, caught.value.message) == (column, message)


def test_what_only_the_values_show_is_an_error_of_the_evaluation() -> None:
    """A body's field may be of any type: joined to a string it must be one."""
    with pytest.raises(ExpressionError, match="'\\+' joins strings or lists, and this is string and int"):
        value("'a' + body.n", body={"n": 1})


def test_large_values_end_an_evaluation() -> None:
    """Comparing more elements than the bound is an error, and ``||`` does not go on after it."""
    many = [[0]] * MAX_WORK
    with pytest.raises(ExpressionError, match="too large"):
        value("body.a == body.b || true", body={"a": many, "b": list(many)})
    assert value("body.a == body.b", body={"a": many[:1000], "b": many[:1000]}) is True


def test_a_budget_is_of_one_evaluation() -> None:
    """An expression that was ended works the next time."""
    expression = compile_condition("body.a == body.b", resolve=NAMES.__getitem__)
    evaluate = expression.bind(lambda name: lambda values: values[name])
    many = [0] * (MAX_WORK + 1)
    for _ in range(2):
        with pytest.raises(ExpressionError, match="too large"):
            evaluate({"body": {"a": many, "b": list(many)}})
        assert evaluate({"body": {"a": [1], "b": [1]}}) is True


def test_joined_text_has_a_bound() -> None:
    """Joining a long text with itself again and again is refused before any memory is taken."""
    text = " + ".join(["body.a"] * 40)
    with pytest.raises(ExpressionError, match="too large"):
        value(text, body={"a": "x" * (MAX_JOINED // 30)})


def test_searches_are_counted() -> None:
    """A long text can be searched a few times, not hundreds."""
    body = {"a": "x" * 2_000_000}
    assert value("body.a.contains('y')", body=body) is False
    with pytest.raises(ExpressionError, match="too large"):
        value(" || ".join(["body.a.contains('y')"] * 150), body=body)

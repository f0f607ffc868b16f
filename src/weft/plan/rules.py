"""Expressions of a Gateway file: what they may read, of which types, and what is wrong with them.

They are checked here, when a file is loaded, and compiled once more where they are used: what passes the check
compiles.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from weft.errors import did_you_mean
from weft.expressions import Expression, ExpressionError, Unresolved, compile_condition
from weft.spec.model import Condition
from weft.spec.problems import Problems

REQUEST_NAMES: Final[Mapping[str, Any]] = {
    "body": dict[str, Any],
    "headers": dict[str, str],
    "caller": str,
    "tenant": str,
    "claims": dict[str, Any],
    "roles": list[str],
    "scopes": list[str],
    "model": str,
}
"""What an expression about a request may read, with the types: the body as JSON, headers by names in lower case, who
asks, and the model's name as the caller wrote it."""


def resolver(names: Mapping[str, Any]) -> Callable[[str], Any]:
    """The types of these names, for the compiler of expressions."""

    def resolve(name: str) -> Any:
        if name in names:
            return names[name]
        return Unresolved(f"there is no '{name}' here", did_you_mean(name, list(names), what="names"))

    return resolve


def compile_rule(
    condition: Condition,
    problems: Problems,
    *,
    what: str,
    names: Mapping[str, Any] = REQUEST_NAMES,
    expect: type[bool] | None = bool,
) -> Expression | None:
    """Check one expression; None when it is faulty, which is reported.

    Args:
        condition: As it stands in the file.
        problems: Takes what is wrong.
        what: What it is, for messages: ``the condition of role 'admin'``.
        names: What it may read.
        expect: ``bool`` for a condition, None for a value of any type.
    """
    try:
        return compile_condition(condition.text, resolve=resolver(names), expect=expect)
    except ExpressionError as error:
        mark = condition.mark_at(error.column, error.end_column)
        problems.add("bad-condition", f"{what}: {error.message}", mark, help=error.hint)
        return None

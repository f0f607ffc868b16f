"""Expressions of a Gateway file: what they may read, of which types, and what is wrong with them.

They are checked here, when a file is loaded, and compiled once more where they are used: what passes the check
compiles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from weft.errors import WeftError, did_you_mean
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


HEADER_NAMES: Final[Mapping[str, Any]] = {
    name: REQUEST_NAMES[name] for name in REQUEST_NAMES if name != "body"
}
"""What the template of a header may read: an upload has headers, and no body that is read."""

ROLE_NAMES: Final[Mapping[str, Any]] = {
    name: REQUEST_NAMES[name] for name in ("caller", "tenant", "claims", "scopes")
}
"""What the condition of a role may read: who asks, and nothing of what they ask."""


class TemplateError(WeftError):
    """A template is wrong, or an expression in it."""

    code = "template"


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


def compile_template(text: str, *, names: Mapping[str, Any] = REQUEST_NAMES) -> tuple[str | Expression, ...]:
    """The parts of a template: text as it is, and expressions whose values stand in it.

    An expression is written ``${...}``; ``$${`` is ``${`` itself.

    Raises:
        TemplateError: An expression has no end, or is wrong.
    """
    parts: list[str | Expression] = []
    resolve = resolver(names)
    for is_expression, part in _holes(text):
        if not is_expression:
            parts.append(part)
            continue
        try:
            parts.append(compile_condition(part, resolve=resolve, expect=None))
        except ExpressionError as error:
            raise TemplateError(f"in '{part}': {error.message}", hint=error.hint) from error
    return tuple(parts)


def _holes(text: str) -> Iterator[tuple[bool, str]]:
    """The parts of a template, and of each whether it is an expression."""
    at = 0
    while (start := text.find("${", at)) >= 0:
        if start > at and text[start - 1] == "$":
            yield False, text[at : start - 1] + "${"
            at = start + 2
            continue
        if start > at:
            yield False, text[at:start]
        end = _end_of_hole(text, start + 2)
        yield True, text[start + 2 : end]
        at = end + 1
    if at < len(text):
        yield False, text[at:]


def _end_of_hole(text: str, at: int) -> int:
    """Where the brace is that ends the expression that begins at ``at``: not one of a map, nor one in a string."""
    depth, quote = 0, ""
    start = at
    while at < len(text):
        character = text[at]
        if quote:
            if character == "\\":
                at += 1
            elif character == quote:
                quote = ""
        elif character in "'\"":
            quote = character
        elif character == "{":
            depth += 1
        elif character == "}":
            if not depth:
                return at
            depth -= 1
        at += 1
    raise TemplateError(
        f"'${{{text[start : start + 20]}' has no end", hint="${EXPRESSION}; write $${ for ${ itself"
    )

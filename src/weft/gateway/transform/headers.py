"""What becomes of headers: ``headers: {set: ..., remove: [...]}``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from weft.errors import InternalError, InvalidRequestError
from weft.expressions import ExpressionError
from weft.gateway.transform.program import Seen, template_evaluator
from weft.http.message import Headers
from weft.spec.gateway import HeadersSpec

MAX_REMEMBERED: Final = 512
"""Heads whose outcome need not be made again: a connection's requests have nearly always the same."""


class HeaderRules:
    """Removes headers, and sets others in place of those of the same name.

    Args:
        spec: Has passed the check of its file; None: nothing changes.
    """

    def __init__(self, spec: HeadersSpec | None) -> None:
        given = spec or HeadersSpec()
        self.remove = tuple(name.lower() for name in given.remove)
        made = [(name.lower(), *template_evaluator(text)) for name, text in given.set_.items()]
        self._set: list[tuple[str, Callable[[Seen], str], bool]] = [
            (name, evaluate, "headers" in roots) for name, evaluate, roots in made
        ]
        self._is_fixed = not any(roots for _, _, roots in made)
        self._gone = frozenset((*self.remove, *(name for name, _, _ in self._set)))
        self._gone_raw = frozenset(name.encode() for name in self._gone)
        self._known: dict[int, tuple[Headers, Headers]] = {}

    def __bool__(self) -> bool:
        return bool(self._gone)

    def values(self, seen: Seen) -> list[tuple[str, str]]:
        """The headers that are set, with their values.

        Raises:
            InvalidRequestError: A value is made of a header that is not there, or could not be a header.
            InternalError: A value is made of something that is not there.
        """
        return [(name, _value(name, evaluate, seen, is_callers)) for name, evaluate, is_callers in self._set]

    def request(self, headers: Headers, seen: Seen) -> Headers:
        """The headers of a request."""
        known = self._known.get(id(headers))
        if known is not None and known[0] is headers:
            return known[1]
        kept = [field for field in headers.raw if field[0] not in self._gone_raw]
        kept += [(name.encode(), value.encode("latin-1")) for name, value in self.values(seen)]
        made = Headers(kept)
        if self._is_fixed:
            if len(self._known) >= MAX_REMEMBERED:
                self._known.clear()
            self._known[id(headers)] = headers, made
        return made

    def reply(self, headers: Sequence[tuple[str, str]], seen: Seen) -> list[tuple[str, str]]:
        """The headers of a reply."""
        return [*(field for field in headers if field[0].lower() not in self._gone), *self.values(seen)]


def _value(name: str, evaluate: Callable[[Seen], Any], seen: Seen, is_callers: bool) -> str:
    try:
        value: str = evaluate(seen)
    except ExpressionError as error:
        if is_callers:
            raise InvalidRequestError(
                f"the header '{name}' is made of others, and cannot be made of these: {error.message}"
            ) from error
        raise InternalError(f"this route sets the header '{name}', and cannot: {error.message}") from error
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise InvalidRequestError(f"the header '{name}' would have characters that no header can have")
    # A header is bytes: what is beyond ASCII stands in it as UTF-8.
    return value.encode("utf-8").decode("latin-1")

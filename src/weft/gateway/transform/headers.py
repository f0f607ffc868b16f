"""What becomes of headers: ``headers: {set: ..., remove: [...]}``."""

from __future__ import annotations

from collections.abc import Sequence

from weft.http.message import Headers
from weft.spec.gateway import HeadersSpec


class HeaderRules:
    """Removes headers, and sets others in place of those of the same name.

    Args:
        spec: Has passed the check of its file; None: nothing changes.
    """

    def __init__(self, spec: HeadersSpec | None) -> None:
        given = spec or HeadersSpec()
        self.set = tuple((name.lower(), value) for name, value in given.set_.items())
        self.remove = tuple(name.lower() for name in given.remove)
        self._gone = frozenset((*self.remove, *(name for name, _ in self.set)))
        self._raw_gone = frozenset(name.encode() for name in self._gone)
        self._raw_set = [(name.encode(), value.encode("latin-1")) for name, value in self.set]

    def __bool__(self) -> bool:
        return bool(self._gone)

    def request(self, headers: Headers) -> Headers:
        """The headers of a request."""
        kept = [field for field in headers.raw if field[0] not in self._raw_gone]
        return Headers([*kept, *self._raw_set])

    def reply(self, headers: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """The headers of a reply."""
        return [*(field for field in headers if field[0].lower() not in self._gone), *self.set]

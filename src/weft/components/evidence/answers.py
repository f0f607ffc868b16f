"""What kind of answer a question wants, by its wording, and whether a sentence has one."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from weft.text import words

_ASKS_NUMBER: Final = re.compile(
    r"\bhow\s+(?:many|much|old|long|far|tall|large|big|high|deep|fast|wide|heavy|often)\b"
    r"|\b(?:what|which)\s+(?:(?:is|was|are|were)\s+)?(?:the\s+)?(?:number|percentage|amount|population|age|price|cost|size)\b",
    re.IGNORECASE,
)
_ASKS_TIME: Final = re.compile(
    r"\bwhen\b|\b(?:what|which)\s+(?:year|date|day|month|century|decade|time)s?\b", re.IGNORECASE
)

_NUMBER: Final = re.compile(
    r"\d+|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|forty|fifty|hundred"
    r"|thousand|million|billion|half|third|quarter|dozen|percent|once|twice|never|daily|weekly|monthly|yearly)\b",
    re.IGNORECASE,
)
_TIME: Final = re.compile(
    r"\d+|\b(?:january|february|march|april|may|june|july|august|september|october|november|december"
    r"|mon|tue|wed|thu|fri|sat|sun|monday|tuesday|wednesday|thursday|friday|saturday|sunday|century|centuries|noon|midnight|morning|evening"
    r"|today|tomorrow|yesterday|daily|weekly|monthly|yearly|always|never|spring|summer|autumn|winter|after|before|during|until|since)\b",
    re.IGNORECASE,
)


def lacks_answer(question: str, asked: Collection[str], sentence: str) -> bool:
    """Whether a sentence has nothing of the kind that the question asks for: no number, no time.

    What the question itself says is no answer to it. False for a question of another kind: a name is not told from other words
    in every language, and whoever is asked for may be ``the caretaker``.

    Args:
        question: The question.
        asked: Its words (:func:`weft.text.words`).
        sentence: What may answer it.
    """
    if _ASKS_NUMBER.search(question):
        pattern = _NUMBER
    elif _ASKS_TIME.search(question):
        pattern = _TIME
    else:
        return False
    return not any(word not in asked for match in pattern.finditer(sentence) for word in words(match.group()))

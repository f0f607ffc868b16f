"""What kind of answer a question wants, by its wording, and whether a sentence has one."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from weft.text import STOP_WORDS, words

_ASKS_NUMBER: Final = re.compile(
    r"\bhow\s+(?:many|much|old|long|far|tall|large|big|high|deep|fast|wide|heavy|often)\b"
    r"|\b(?:what|which)\s+(?:(?:is|was|are|were)\s+)?(?:the\s+)?(?:number|percentage|amount|population|age|price|cost|size)\b",
    re.IGNORECASE,
)
_ASKS_TIME: Final = re.compile(
    r"\bwhen\b|\b(?:what|which)\s+(?:year|date|day|month|century|decade|time)s?\b", re.IGNORECASE
)
_ASKS_NAME: Final = re.compile(r"\bwho(?:m|se)?\b|\bwhere\b", re.IGNORECASE)

_NUMBER: Final = re.compile(
    r"\d+|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|forty|fifty|hundred"
    r"|thousand|million|billion|half|third|quarter|dozen|percent|once|twice|never|daily|weekly|monthly|yearly)\b",
    re.IGNORECASE,
)
_TIME: Final = re.compile(
    r"\d+|\b(?:january|february|march|april|may|june|july|august|september|october|november|december"
    r"|monday|tuesday|wednesday|thursday|friday|saturday|sunday|century|centuries|noon|midnight|morning|evening"
    r"|today|tomorrow|yesterday|spring|summer|autumn|winter|after|before|during|until|since)\b",
    re.IGNORECASE,
)
_NAME: Final = re.compile(r"\b[^\W\d_a-z][\w'’-]*")  # noqa: RUF001 - a typographic apostrophe in a name


def lacks_answer(question: str, asked: Collection[str], sentence: str) -> bool:
    """Whether a sentence has nothing of the kind that the question asks for: no number, no time, no name.

    What the question itself says is no answer to it. False for a question of no such kind.

    Args:
        question: The question.
        asked: Its words (:func:`weft.text.words`).
        sentence: What may answer it.
    """
    # The start decides: "When did the one who ..." asks for a time, "Who came when ..." for a name.
    kinds = [
        (match.start(), pattern)
        for asks, pattern in ((_ASKS_NUMBER, _NUMBER), (_ASKS_TIME, _TIME), (_ASKS_NAME, _NAME))
        if (match := asks.search(question))
    ]
    if not kinds:
        return False
    _, pattern = min(kinds, key=lambda kind: kind[0])
    found = (word for match in pattern.finditer(sentence) for word in words(match.group()))
    # A capital at the start of a sentence may be a name's or not: only little words are known not to be names.
    return not any(word not in asked and word not in STOP_WORDS for word in found)

"""What the nodes of a conversation must agree on: what is small talk, and which models are small."""

from __future__ import annotations

import re
from typing import Final

from weft.contracts.chat import ChatDescription

LARGE_PARAMETERS: Final = 1_000_000_000
"""From this size on a model is trusted to put an answer into words; below, the quote speaks first."""

_SMALL_TALK: Final = re.compile(
    r"""(?:
      (?:hi|hello|hey|hiya|howdy|greetings|good\s(?:morning|afternoon|evening|day|night))(?:\s(?:there|all|everyone|again))?
    | (?:many\s)?thanks?(?:\s(?:you|a\slot|so\smuch|very\smuch|again))*
    | (?:ok|okay|great|cool|nice|perfect|good|awesome|got\sit|i\ssee|yes|no|sure|well\sdone)
    | how\sare\syou(?:\s(?:doing|today))*
    | (?:who|what)\sare\syou | what\scan\syou\sdo | what(?:'s|\sis)\syour\sname | nice\sto\smeet\syou
    | (?:good)?bye(?:\sbye)? | see\syou(?:\slater)? | have\sa\s(?:nice|good)\sday
    )""",
    re.VERBOSE,
)
_NO_WORD = re.compile(r"[^\w\s']+")


def is_small_talk(text: str) -> bool:
    """Whether a message only greets, thanks, agrees or asks after the speaker: documents have nothing to say to it."""
    words = " ".join(_NO_WORD.sub(" ", text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")).split())
    while words and (match := _SMALL_TALK.match(words)):
        if words[match.end() : match.end() + 1] not in ("", " "):
            return False
        words = words[match.end() :].lstrip()
        if not words:
            return True
    return False


def is_small(description: ChatDescription) -> bool:
    """Whether a model is too small to be trusted with the words; one that is somewhere else is assumed to be large."""
    if description.parameters is not None:
        return description.parameters < LARGE_PARAMETERS
    return description.local

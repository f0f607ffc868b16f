"""Text of documents made harmless where it is shown: to a model as data, to people as words."""

from __future__ import annotations

import re
from typing import Final

_UNSEEN: Final = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\U000e0000-\U000e007f]"
)
"""Control characters, and marks that hide text or turn it round."""

_MARK: Final = re.compile(
    r"""<(?=
          \s*/?\s*(?:quotes?|note|documents?|conversation)\b                # our own
        | [|\uff5c] | /?\s*(?:s|bos|eos|unk|pad|mask|cls|sep)>              # <|im_end|>, </s>
        | /?(?:start|end)_of_\w+> | <\s*/?SYS>+                             # Gemma, Llama 2
        | /?(?:think|tool_call|tool_response|tools|function(?:_call)?|system|user|assistant|human|im_start|im_end)\b
        )
      | \[(?=/?(?:INST|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|SYSTEM_PROMPT)\])""",
    re.VERBOSE | re.IGNORECASE,
)
"""How the marks begin by which chat templates and prompts tell who speaks."""

_IMAGE: Final = re.compile(r"!(?=\[)")


def for_model(text: str) -> str:
    """Words as data for a model: no mark in them tells it who speaks or where the data end.

    Each mark gets a space behind its bracket: it can still be read, and is none any more.
    """
    return _MARK.sub(lambda match: match.group() + " ", _UNSEEN.sub("", text))


def for_people(text: str) -> str:
    """Words in one line, without what is not seen; an image in Markdown is shown as text, not loaded."""
    return _IMAGE.sub("!\\\\", " ".join(_UNSEEN.sub("", text).split()))

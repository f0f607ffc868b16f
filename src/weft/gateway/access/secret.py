"""What an API key looks like: ``weft_`` + public id + ``_`` + secret + checksum.

The prefix lets scanners of repositories and logs find a key that was leaked, the checksum lets them (and us) tell a key
from what only looks like one; it protects nothing. The id is public: it is in lists, logs and the audit log. As a regular
expression: ``weft_[0-9a-z]{12}_[0-9A-Za-z]{49}``.

Of the secret only a plain SHA-256 is kept. Slow hashes with salt are for what people make up, which can be guessed;
256 random bits cannot, whatever the hash costs, and a fast one keeps a request at a microsecond.
"""

from __future__ import annotations

import hashlib
import secrets
import zlib
from typing import Final

PREFIX: Final = "weft_"
ID_CHARACTERS: Final = 12
"""36**12 ids: two of a million keys are equal with a chance of one in ten million, and then making one is refused."""

SECRET_CHARACTERS: Final = 43
"""Of 62 letters and digits: 256 bits."""

CHECK_CHARACTERS: Final = 6
"""A CRC-32 in the same letters."""

ID_START: Final = len(PREFIX)
ID_END: Final = ID_START + ID_CHARACTERS
LENGTH: Final = ID_END + 1 + SECRET_CHARACTERS + CHECK_CHARACTERS

_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
_LETTERS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def new_id() -> str:
    """The public part of a new key."""
    return "".join(secrets.choice(_DIGITS) for _ in range(ID_CHARACTERS))


def new_key(key_id: str) -> str:
    """A new key with this public id."""
    start = f"{PREFIX}{key_id}_" + "".join(secrets.choice(_LETTERS) for _ in range(SECRET_CHARACTERS))
    return start + _checksum(start)


def digest_of(key: str) -> bytes:
    """What is kept of a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def is_whole(text: str) -> bool:
    """Whether ``text`` is a key as it was made, and not one that was cut or mistyped."""
    return (
        len(text) == LENGTH
        and text.startswith(PREFIX)
        and text[ID_END] == "_"
        and text.isascii()
        and _checksum(text[:-CHECK_CHARACTERS]) == text[-CHECK_CHARACTERS:]
    )


def _checksum(text: str) -> str:
    rest, letters = zlib.crc32(text.encode()), ""
    for _ in range(CHECK_CHARACTERS):
        rest, digit = divmod(rest, len(_LETTERS))
        letters = _LETTERS[digit] + letters
    return letters

"""What documents and collections may be called."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from weft.errors import InvalidRequestError

MAX_NAME: Final = 255
MAX_LINK: Final = 2_000

ALL: Final = "all"
"""What OPEA's clients send as a name to delete everything; no file can be called so."""

DEFAULT: Final = "default"
"""What people call the collection without a name."""

_DRIVE = re.compile(r"[A-Za-z]:")


def safe_name(name: str, *, is_link: bool = False) -> str:
    """A name that can be shown, listed and deleted by: no control characters, nothing that leads anywhere.

    A file of a folder keeps the folders it was found in (``guide/index.html``); of an absolute path, or one that
    climbs, only the last part stays.
    """
    plain = "".join(
        c for c in unicodedata.normalize("NFC", name) if unicodedata.category(c)[0] != "C"
    ).strip()
    if is_link:
        return plain[:MAX_LINK]
    parts = [part.strip() for part in plain.replace("\\", "/").split("/")]
    leads = plain.startswith(("/", "\\")) or ".." in parts or any(_DRIVE.match(part) for part in parts)
    kept = [part for part in (parts[-1:] if leads else parts) if part not in ("", ".", "..")]
    return "/".join(kept)[-MAX_NAME:]


def collection_name(name: str) -> str:
    """The collection as stores call it: the one without a name is shown to people as ``default``.

    Raises:
        InvalidRequestError: It cannot be shown, or is too long.
    """
    if len(name) > MAX_NAME or any(unicodedata.category(c)[0] == "C" for c in name) or name != name.strip():
        raise InvalidRequestError(
            f"a collection's name has at most {MAX_NAME} characters, none of them invisible",
            param="index_name",
        )
    return "" if name == DEFAULT else name


def shown_collection(name: str) -> str:
    """The collection as people call it."""
    return name or DEFAULT

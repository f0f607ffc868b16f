"""Mails to blocks: who wrote what to whom and when, the text, and what is attached."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Callable
from email.errors import MessageError
from email.header import decode_header, make_header
from email.message import Message
from typing import Any, Final

from weft.components.dataprep.blocks import Block, Parsed, RefusedError
from weft.components.dataprep.html import parse_html
from weft.components.dataprep.plain import parse_text

MAX_PARTS: Final = 1_000
MAX_DEPTH: Final = 20
"""Parts in parts: replies that were forwarded as attachments come to a few."""

MAX_HEADER: Final = 100_000
"""Characters: two thousand addresses. What reads headers takes the square of their length."""

MAX_SHOWN: Final = 2_000
"""Characters of a header that are kept."""

MAX_ATTACHMENTS: Final = 50
HEADERS: Final = ("From", "To", "Cc", "Date", "Subject")

Reader = Callable[[str, str | None, bytes], Parsed]


def parse_mail(content: bytes, read: Reader) -> Parsed:
    """A mail's text, and the text of its attachments under a heading with each one's name.

    Args:
        content: The mail, as it was sent.
        read: Reads an attachment of a name, a content type and bytes; what it refuses is left out, and said.

    Raises:
        RefusedError: It is no mail, or has too many parts.
    """
    try:
        message = email.message_from_bytes(content, policy=email.policy.compat32)
        parts = _parts(message)
    except RecursionError as error:
        raise RefusedError(f"its parts are nested more than {MAX_DEPTH} deep") from error
    if not message.keys() or (message.get("From") is None and message.get("Subject") is None):
        raise RefusedError("it is not a mail: it says neither who sent it nor what it is about")
    parsed = Parsed([], _header(message, "Subject") or None)
    if parsed.title:
        parsed.blocks.append(Block(parsed.title, "heading", 1))
    said = [f"{name}: {value}" for name in HEADERS if (value := _header(message, name))]
    parsed.blocks.append(Block("\n".join(said)))
    texts, attached = _sorted(parts)
    for part in texts:
        parsed.blocks += _text(part)
    for number, part in enumerate(attached, 1):
        if number > MAX_ATTACHMENTS:
            parsed.left_out.append(
                f"{len(attached) - MAX_ATTACHMENTS} more attachments (the first {MAX_ATTACHMENTS} are read)"
            )
            break
        _attach(part, number, read, parsed)
    return parsed


def _parts(message: Message) -> list[tuple[Message, bool]]:
    """The leaves of a mail in order, and whether each is one of several forms of the same."""
    leaves: list[tuple[Message, bool]] = []
    waiting: list[tuple[Message, int, bool]] = [(message, 0, False)]
    while waiting:
        part, depth, is_form = waiting.pop()
        if any(len(str(value)) > MAX_HEADER for value in part.values()):
            raise RefusedError(f"a header of it has more than {MAX_HEADER:,} characters")
        if depth > MAX_DEPTH:
            raise RefusedError(f"its parts are nested more than {MAX_DEPTH} deep")
        payload = part.get_payload()
        if part.get_content_maintype() == "multipart" and isinstance(payload, list):
            forms = part.get_content_subtype() == "alternative"
            below = [found for found in reversed(payload) if isinstance(found, Message)]
            waiting += [(found, depth + 1, forms or is_form) for found in below]
        else:
            leaves.append((part, is_form))
        if len(leaves) + len(waiting) > MAX_PARTS:
            raise RefusedError(f"it has more than {MAX_PARTS:,} parts")
    return leaves


def _sorted(parts: list[tuple[Message, bool]]) -> tuple[list[Message], list[Message]]:
    """The text and the attachments. Of several forms of a text the plain one is taken."""
    is_plain = any(is_form and part.get_content_type() == "text/plain" for part, is_form in parts)
    texts, attached = [], []
    for part, is_form in parts:
        kind = part.get_content_type()
        if part.get_content_disposition() == "attachment" or part.get_filename() or kind == "message/rfc822":
            attached.append(part)
        elif kind == "text/plain" or (kind == "text/html" and not (is_form and is_plain)):
            texts.append(part)
    return texts, attached


def _header(message: Message, name: str) -> str:
    raw = str(message.get(name) or "")[: 2 * MAX_SHOWN]
    try:
        value = str(make_header(decode_header(raw)))
    except (MessageError, LookupError, ValueError):  # encoded in a way that is none
        value = raw
    return " ".join(value.split())[:MAX_SHOWN]


def _text(part: Message) -> list[Block]:
    data = _payload(part)
    charset = part.get_content_charset() or "utf-8"
    try:
        text = data.decode(charset)
    except (LookupError, UnicodeDecodeError):
        text = data.decode("utf-8", "replace")
    text = text.replace("\r\n", "\n")
    return (parse_html(text) if part.get_content_type() == "text/html" else parse_text(text)).blocks


def _payload(part: Message) -> bytes:
    payload: Any = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _attach(part: Message, number: int, read: Reader, parsed: Parsed) -> None:
    kind = part.get_content_type()
    name = " ".join((part.get_filename() or "").split()).replace("\\", "/").rpartition("/")[2][:200]
    if part.get_content_maintype() in ("image", "audio", "video") or kind in (
        "application/pkcs7-signature",
        "application/pgp-signature",
    ):
        return  # what a mail is decorated or signed with has no text, and nobody misses it
    if kind == "message/rfc822":
        payload = part.get_payload()
        inner = payload[0] if isinstance(payload, list) and payload else None
        data = inner.as_bytes() if isinstance(inner, Message) else b""
        name = name or "forwarded.eml"
    else:
        data = _payload(part)
    name = name or f"attachment {number}"
    try:
        found = read(name, kind, data)
    except RefusedError as reason:
        parsed.left_out.append(f"its attachment '{name}' was left out: {reason}")
        return
    parsed.blocks.append(Block(name, "heading", 1))
    for block in found.blocks:
        block.page = None  # a page of an attachment is no page of the mail
        block.level = min(block.level + 1, 9) if block.kind == "heading" else block.level
        parsed.blocks.append(block)
    if found.empty_pages:
        parsed.left_out.append(f"pages of its attachment '{name}' have no text that could be read")
    parsed.left_out += [f"of its attachment '{name}': {reason}" for reason in found.left_out]
    parsed.notes += [f"'{name}': {note}" for note in found.notes]

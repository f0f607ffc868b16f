"""Under which key a reply is kept: all that it depends on, and above all whose it is."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from weft.context import Context
from weft.errors import InvalidRequestError
from weft.gateway.passage import Passage
from weft.gateway.targets import Target

_encode = msgspec.json.Encoder(order="deterministic").encode

_NUMBER: Final = re.compile(r"\d+(?:[.,:]\d+)*")

_FORM: Final = frozenset({"model", "stream", "stream_options"})
"""Fields that say who answers, which the key has from the target itself, and in which form, which it has not."""


@dataclass(frozen=True, slots=True)
class Key:
    """Of one request.

    Attributes:
        exact: Digest of all that its answer depends on.
        group: Digest of the same with nothing of the question but its numbers; empty: it has none that could be compared.
        question: The last words of the user.
        tenant: Whose it is.
    """

    exact: bytes
    group: bytes
    question: str
    tenant: str


def key_of(passage: Passage, target: Target, body: Mapping[str, Any], *, build: str, corpus: int) -> Key:
    """The key of a request.

    Raises:
        InvalidRequestError: The body is nested too deeply.

    Args:
        passage: The request, as its route has made it.
        target: What answers.
        body: Of the request.
        build: What the target is made of.
        corpus: Counts the changes of the tenant's documents.
    """
    context, operation, wire = passage.context, passage.operation, passage.wire
    whose = _whose(context)
    what = [
        target.name,
        target.version,
        build,
        corpus,
        operation.name if operation is not None else "",
        # Another path may have other defaults, and the fields another meaning.
        [wire.path, wire.opea] if wire is not None else [],
    ]
    # What says in which form is asked may be read by a node all the same.
    form = _FORM - target.consumed if target.consumed is not None else _FORM
    rest = {name: value for name, value in body.items() if name not in form}
    exact = _digest([whose, what, rest])
    question, others = _question(rest)
    # Two questions that differ in a number alone are as alike as can be, and have two answers.
    numbers = sorted(_NUMBER.findall(question))
    group = _digest([whose, what, others, "alike", numbers]) if question else b""
    return Key(exact, group, question, context.tenant)


def _whose(context: Context) -> list[Any]:
    """Of the tenant, and of who may read the same documents."""
    readers = context.readers
    return [context.tenant, None if readers is None else sorted(set(readers))]


def _question(body: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The user's last words, and the body without them; empty: they are not words alone, or not the last."""
    messages = body.get("messages")
    if isinstance(messages, str):
        return messages, {**body, "messages": ""}
    if not isinstance(messages, list) or not messages or not isinstance(messages[-1], dict):
        return "", {}
    last = messages[-1]
    if last.get("role") != "user" or not isinstance(last.get("content"), str):
        return "", {}
    return last["content"], {**body, "messages": [*messages[:-1], {**last, "content": ""}]}


def _digest(parts: Any) -> bytes:
    try:
        return hashlib.sha256(_encode(parts)).digest()
    except RecursionError as error:
        raise InvalidRequestError("the body is nested too deeply") from error

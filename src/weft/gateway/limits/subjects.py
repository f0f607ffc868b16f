"""Whose use is counted: what a request has in common with the others that share its limit.

One who has shown nothing is known by address alone, under every limit by key or user: a limit that strangers could not
exceed only because nobody counts them would be none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Final, TypeAlias

from weft.gateway.passage import Passage

_MARKS: Final = frozenset("/|")
"""What separates the parts of a bucket's name."""

Subject: TypeAlias = Callable[[Passage], str]
"""Names whose use a request is."""

MAX_CHARACTERS: Final = 96
"""Of a subject in a bucket's name; a longer one is known by its digest."""


def key(passage: Passage) -> str:
    """The API key; without one the user, without a user the address."""
    shown = passage.identity.key
    return f"k:{_short(shown)}" if shown else user(passage)


def user(passage: Passage) -> str:
    """The user in their tenant; without a name the address."""
    identity = passage.identity
    if not identity.caller:
        return address(passage)
    return f"u:{_short(identity.tenant)}/{_short(identity.caller)}"


def tenant(passage: Passage) -> str:
    """The tenant."""
    return _short(passage.identity.tenant)


def route(passage: Passage) -> str:
    """The route."""
    return passage.rule.path


def model(passage: Passage) -> str:
    """What answers, with its version."""
    target = passage.target
    if target is None:
        return passage.rule.path
    return f"{target.name}@{target.version}" if target.version else target.name


def address(passage: Passage) -> str:
    """The client's address; of IPv6 the /64, for all of that is usually one customer's."""
    return "a:" + _network(passage.request.peer or "")


SUBJECTS: Final[Mapping[str, Subject]] = {
    "key": key,
    "user": user,
    "tenant": tenant,
    "route": route,
    "model": model,
    "address": address,
}
"""By the word of ``per:``."""


@lru_cache(maxsize=4096)
def _short(text: str) -> str:
    if len(text) <= MAX_CHARACTERS and text.isascii() and not _MARKS.intersection(text):
        return text
    return "#" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


@lru_cache(maxsize=4096)
def _network(peer: str) -> str:
    if ":" not in peer:
        return peer
    try:
        found = ip_address(peer.partition("%")[0])
    except ValueError:
        return _short(peer)
    if not isinstance(found, IPv6Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(IPv6Address(int(found) >> 64 << 64)) + "/64"

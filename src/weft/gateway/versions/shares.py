"""Shares of the requests: who is given which of several versions.

Each version gets a score from a hash of the subject and the version, divided by its weight, and the best score wins
(weighted rendezvous hashing). The same subject always gets the same version; when weights change, only those move who
have to: from 95 and 5 to 90 and 10, one in twenty moves, all of them to the version that grew.

Source: Thaler and Ravishankar, "Using name-based mappings to increase hit rates", 1998; the weights as in Schindelhauer
and Schomaker, "Weighted distributed hash tables", 2005.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

_WHOLE: Final = float(1 << 64)


def stable(subject: str, route: str, weights: Sequence[tuple[str, int]]) -> int:
    """Which version a subject gets: its place in ``weights``.

    Args:
        subject: Who asks; the same text gets the same version in every process.
        route: So that somebody who is early for one route is not early for all.
        weights: Version and weight; one at least is above 0.
    """
    best, chosen = math.inf, 0
    for index, (version, weight) in enumerate(weights):
        if weight > 0:
            score = _exponential(f"{route}\0{version}\0{subject}") / weight
            if score < best:
                best, chosen = score, index
    return chosen


def _exponential(text: str) -> float:
    """A number that is distributed exponentially over all texts: the least of several falls by their weights."""
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return -math.log((int.from_bytes(digest, "big") + 0.5) / _WHOLE)


def chance(weights: Sequence[tuple[str, int]], draw: random.Random) -> int:
    """Which version a request gets that nobody is known by."""
    return draw.choices(range(len(weights)), [weight for _, weight in weights])[0]

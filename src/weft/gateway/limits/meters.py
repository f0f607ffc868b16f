"""The limits of a route as the Gateway file has them, compiled: what each counts, of whom, and what is told of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal

from weft.gateway.limits.subjects import SUBJECTS, Subject
from weft.gateway.limits.terms import DAY, MONTH, PLACES
from weft.spec.gateway import LimitSpec

Kind = Literal["requests", "tokens", "cost", "concurrent"]

KINDS: Final[tuple[Kind, ...]] = ("requests", "tokens", "cost", "concurrent")

SPANS: Final[Mapping[str, int]] = {"s": 1_000, "min": 60_000, "hour": 3_600_000, "day": DAY, "month": MONTH}
"""By the unit of a rate."""

_WINDOW_S: Final[Mapping[str, int | None]] = {"s": 1, "min": 60, "hour": 3600, "day": 86_400, "month": None}
_WORDS: Final[Mapping[str, str]] = {
    "s": "a second",
    "min": "a minute",
    "hour": "an hour",
    "day": "a day",
    "month": "a month",
}
_EACH: Final[Mapping[str, str]] = {
    "key": "each key",
    "user": "each user",
    "tenant": "each tenant",
    "route": "this route",
    "model": "this model",
    "address": "each address",
}

EVERYTHING: Final = "*"
"""The scope of limits over all routes together."""

COST_UNITS: Final = 1_000_000
"""Cost is counted in millionths of the price table's currency: whole numbers, so that sums are exact in every store."""


@dataclass(frozen=True, slots=True)
class Meter:
    """One limit.

    Attributes:
        kind: What is counted.
        most: How much of it, in a span.
        span: See :class:`weft.gateway.limits.terms.Ask`.
        queue: How many may wait.
        prefix: Of the names of its buckets.
        subject: Whose use a request is.
        name: In the headers.
        policy: Its member of ``RateLimit-Policy``.
        words: For people: ``60 requests a minute for each key``.
    """

    kind: Kind
    most: int
    span: int
    queue: int
    prefix: str
    subject: Subject
    name: str
    policy: str
    words: str


def compiled(limits: Sequence[LimitSpec], scope: str) -> list[Meter]:
    """The meters of these limits, the least of those that count the same.

    Args:
        limits: As the file has them.
        scope: What they are of: a route's path, or :data:`EVERYTHING`. Names of buckets begin with it, and not with a limit's
            place in the file or its amount: changing these leaves what was used.
    """
    least: dict[str, Meter] = {}
    for limit in limits:
        meter = _meter(limit, scope)
        known = least.get(meter.prefix)
        if known is None or meter.most < known.most:
            least[meter.prefix] = meter
    return list(least.values())


def _meter(limit: LimitSpec, scope: str) -> Meter:
    per = limit.per
    subject, each = SUBJECTS[per], _EACH[per]
    whole = "all-" if scope == EVERYTHING else ""
    if limit.concurrent is not None:
        name = f"{whole}{per}-concurrent"
        return Meter(
            "concurrent",
            limit.concurrent,
            PLACES,
            limit.queue,
            f"{scope}:{name}",
            subject,
            name,
            f'"{name}";q={limit.concurrent};qu="concurrent-requests"',
            f"{limit.concurrent} requests at a time for {each}",
        )
    kind, rate = next((kind, rate) for kind in KINDS[:3] if (rate := getattr(limit, kind)) is not None)
    amount, unit = rate_of(rate)
    most = int(amount * COST_UNITS) if kind == "cost" else int(amount)
    name = f"{whole}{per}-{kind}-{unit}"
    window = _WINDOW_S[unit]
    policy = f'"{name}";q={most}'
    if window is not None:
        policy += f";w={window}"
    if kind != "requests":
        policy += f';qu="{kind}"'
    words = f"{amount:,f} {'in cost' if kind == 'cost' else kind} {_WORDS[unit]} for {each}"
    return Meter(kind, most, SPANS[unit], 0, f"{scope}:{name}", subject, name, policy, words)


def rate_of(text: str) -> tuple[Decimal, str]:
    """Amount and unit of ``60/min``."""
    amount, _, unit = text.partition("/")
    return Decimal(amount), unit

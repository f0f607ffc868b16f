"""What a reply says of the limits that its request was counted under.

``RateLimit-Policy`` and ``RateLimit`` as the IETF's draft has them (draft-ietf-httpapi-ratelimit-headers-10: a list of
quoted names with ``q`` quota, ``w`` window in seconds, ``qu`` unit; ``r`` what is left, ``t`` seconds until all is
there again), and OpenAI's ``x-ratelimit-*``, of which there is one set for requests and one for tokens: the limit that
has least left.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from weft.gateway.limits.meters import Meter
from weft.gateway.limits.terms import PLACES, Verdict


class LimitHeaders:
    """Writes the headers of one route.

    Args:
        meters: Its limits.
    """

    __slots__ = ("_meters", "_openai", "_policy")

    def __init__(self, meters: Sequence[Meter]) -> None:
        self._policy = "ratelimit-policy", ", ".join(meter.policy for meter in meters)
        self._meters = [(meter.name, meter.span) for meter in meters]
        self._openai = [
            (kind, found)
            for kind in ("requests", "tokens")
            if (found := [(n, meter.most) for n, meter in enumerate(meters) if meter.kind == kind])
        ]

    def of(self, verdict: Verdict) -> list[tuple[str, str]]:
        """The headers of a reply whose request was decided so."""
        left, reset_ms = verdict.left, verdict.reset_ms
        state = []
        for n, (name, span) in enumerate(self._meters):
            if span == PLACES:
                state.append(f'"{name}";r={left[n]}')
            else:
                state.append(f'"{name}";r={left[n]};t={-(-reset_ms[n] // 1000)}')
        found = [self._policy, ("ratelimit", ", ".join(state))]
        for kind, limits in self._openai:
            n, most = limits[0]
            for other, other_most in limits[1:]:
                if left[other] < left[n]:
                    n, most = other, other_most
            found += (
                (f"x-ratelimit-limit-{kind}", str(most)),
                (f"x-ratelimit-remaining-{kind}", str(left[n])),
                (f"x-ratelimit-reset-{kind}", duration(reset_ms[n])),
            )
        return found


def duration(ms: int) -> str:
    """A time as OpenAI writes it, whole seconds from one second on: ``20ms``, ``7s``, ``1m30s``, ``23h59m0s``."""
    return f"{ms}ms" if ms < 1000 else _seconds(-(-ms // 1000))


@lru_cache(maxsize=1024)
def _seconds(seconds: int) -> str:
    minutes, seconds = divmod(seconds, 60)
    if not minutes:
        return f"{seconds}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{seconds}s" if hours else f"{minutes}m{seconds}s"

"""Phases of the moon, after Conway's rule of thumb; good to about a day between 1900 and 2100."""

from __future__ import annotations

import datetime as dt

SYNODIC_MONTH_DAYS = 29.530588853
REFERENCE_NEW_MOON = dt.datetime(2000, 1, 6, 18, 14, tzinfo=dt.timezone.utc)

NAMES = [
    "new moon",
    "waxing crescent",
    "first quarter",
    "waxing gibbous",
    "full moon",
    "waning gibbous",
    "last quarter",
    "waning crescent",
]


class TooFarAwayError(ValueError):
    """Raised for dates before 1900 or after 2100, for which the rule is worthless."""


def age_days(when: dt.datetime) -> float:
    """Days since the last new moon, from 0 up to 29.53."""
    if not 1900 <= when.year <= 2100:
        raise TooFarAwayError(f"{when.year} is outside 1900 to 2100")
    elapsed = (when - REFERENCE_NEW_MOON).total_seconds() / 86_400
    return elapsed % SYNODIC_MONTH_DAYS


def phase_name(when: dt.datetime) -> str:
    """One of eight names; each covers an eighth of the month, centred on its instant."""
    eighth = SYNODIC_MONTH_DAYS / 8
    return NAMES[int((age_days(when) + eighth / 2) // eighth) % 8]


def is_blue_moon(when: dt.datetime) -> bool:
    """Whether a full moon on this day is the second one of its calendar month."""
    earlier = when - dt.timedelta(days=SYNODIC_MONTH_DAYS)
    return phase_name(when) == "full moon" and earlier.month == when.month

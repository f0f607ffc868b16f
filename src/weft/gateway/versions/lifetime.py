"""When a version should no longer be used, and when it no longer can: as headers, and as an error.

Source: RFC 9745, "The Deprecation HTTP Response Header Field"; RFC 8594, "The Sunset HTTP Header Field".
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime

from weft.errors import GoneError
from weft.spec.gateway import VersionSpec


@dataclass(frozen=True, slots=True)
class Lifetime:
    """Of one version.

    Attributes:
        deprecated_s, ends_s: In seconds since 1970, the beginning of the day in UTC; None: not.
        headers: What its replies say.
    """

    deprecated_s: int | None
    ends_s: int | None
    headers: tuple[tuple[str, str], ...]

    def has_ended(self, now_s: float) -> bool:
        """Whether it is answered no more."""
        return self.ends_s is not None and now_s >= self.ends_s


def lifetime(spec: VersionSpec, successor: str | None) -> Lifetime:
    """What is known of a version's life.

    Args:
        spec: The version.
        successor: The path at which the version is asked that takes its place; None: there is none.
    """
    deprecated, ends = _day(spec.deprecated), _day(spec.sunset)
    headers: list[tuple[str, str]] = []
    links: list[str] = []
    if deprecated is not None:
        headers.append(("deprecation", f"@{int(deprecated.timestamp())}"))
    if ends is not None:
        headers.append(("sunset", format_datetime(ends, usegmt=True)))
    if headers and successor is not None:
        links.append(f'<{successor}>; rel="successor-version"')
    if spec.notice is not None:
        links += [f'<{spec.notice}>; rel="{name}"; type="text/html"' for name, _ in headers]
    if links:
        headers.append(("link", ", ".join(links)))
    return Lifetime(_seconds(deprecated), _seconds(ends), tuple(headers))


def gone(target: str, spec: VersionSpec, others: list[str]) -> GoneError:
    """The error of a version that has ended."""
    return GoneError(
        f"version {spec.version} of '{target}' ended on {spec.sunset}",
        hint=f"versions: {', '.join(others)}" if others else "there is no other version",
    )


def _day(text: str | None) -> datetime | None:
    return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC) if text else None


def _seconds(moment: datetime | None) -> int | None:
    return int(moment.timestamp()) if moment is not None else None

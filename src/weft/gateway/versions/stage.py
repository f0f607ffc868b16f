"""The stage that chooses the version."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from weft.errors import GoneError, InvalidRequestError, ModelNotFoundError, nearest
from weft.gateway.limits.subjects import SUBJECTS
from weft.gateway.passage import Passage, Proceed, Reply
from weft.gateway.targets import Target
from weft.gateway.versions import shares
from weft.gateway.versions.lifetime import Lifetime, gone, lifetime
from weft.gateway.versions.numbers import newest, order
from weft.serve.application import named
from weft.spec.gateway import RouteSpec, VersionSpec

HEADER: Final = "x-weft-version"
"""Says on a request which version is wanted, and on a reply which one answered."""

MAX_KNOWN: Final = 4096
"""Subjects whose version need not be worked out again: that takes longer than all else here, and each takes some 200 bytes."""


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a route, ready to be chosen.

    Attributes:
        spec: Of the Gateway file.
        target: What answers.
        life: Until when.
        headers: Of its replies.
    """

    spec: VersionSpec
    target: Target
    life: Lifetime
    headers: tuple[tuple[str, str], ...]

    @property
    def name(self) -> str:
        """Its version."""
        return self.spec.version


def path_of(route: str, version: str) -> str:
    """The path at which one version is asked: ``/v1/chatqna/v/2.0.0``."""
    return f"{route}/v/{version}"


def versions_of(rule: RouteSpec, targets: Sequence[Target]) -> list[Version]:
    """The versions of a route, in the order of its file."""
    by_version = {target.version: target for target in targets}
    living = [spec.version for spec in rule.versions if spec.deprecated is None and spec.sunset is None]
    last = max(living, key=order, default=None)
    successor = path_of(rule.path, last) if last is not None else None
    found = []
    for spec in rule.versions:
        life = lifetime(spec, successor)
        headers = ((HEADER, spec.version), *life.headers)
        found.append(Version(spec, by_version[spec.version], life, headers))
    return found


class VersionStage:
    """Chooses the version that answers: the one that a request names, else by the weights.

    A request names a version by its path, its model name or the header; two that contradict each other are an error.

    Args:
        rule: The route.
        versions: Its versions.
        now: The clock on the wall, in seconds since 1970.
        draw: Chance, for requests of nobody.

    Attributes:
        known: The version of each subject who asked lately.
    """

    def __init__(
        self,
        rule: RouteSpec,
        versions: Sequence[Version],
        *,
        now: Callable[[], float] = time.time,
        draw: random.Random | None = None,
    ) -> None:
        self._rule, self._versions, self._now = rule, versions, now
        self._draw = draw or random.Random()  # noqa: S311 - shares traffic, and keeps no secret
        self._subject = SUBJECTS.get(rule.sticky)
        self._by_name: Mapping[str, Version] = {version.name: version for version in versions}
        self.known: dict[str, Version] = {}
        self._turn()

    async def __call__(self, passage: Passage, proceed: Proceed) -> Reply:
        """See :class:`weft.gateway.passage.Stage`."""
        wanted = self._wanted(passage)
        version = self._named(wanted) if wanted is not None else self._given(passage)
        passage.answered_by(version.target, version.headers)
        return await proceed(passage)

    def _wanted(self, passage: Passage) -> str | None:
        """The version that a request names."""
        in_path = named(passage.request).get("version")
        in_model = passage.model.partition("@")[2] or None
        in_header = passage.request.headers.get(HEADER)
        if in_header is not None:
            in_header = in_header.strip()
        said = [text for text in (in_path, in_model, in_header) if text]
        if not said:
            return None
        if len(said) > 1 and len({self._find(text) for text in said}) > 1:
            raise InvalidRequestError(
                f"the request names several versions: {', '.join(dict.fromkeys(said))}",
                hint="name one: by the path, the model's name or the header x-weft-version",
            )
        return said[0]

    def _find(self, wanted: str) -> str | None:
        """The version that is meant; of several, the highest that has not ended."""
        now_s = self._now()
        lives = [version.name for version in self._versions if not version.life.has_ended(now_s)]
        return newest(lives, wanted) or newest(self._by_name, wanted)

    def _named(self, wanted: str) -> Version:
        found = self._find(wanted)
        if found is None:
            raise self._unknown(wanted)
        version = self._by_name[found]
        if version.life.has_ended(self._now()):
            raise self._gone(version)
        return version

    def _given(self, passage: Passage) -> Version:
        """The version that whoever asks is given."""
        if self._turns_at_s is not None and self._now() >= self._turns_at_s:
            self._turn()
        if self._only is not None:
            return self._only
        if not self._shared:
            raise self._gone(max(self._versions, key=lambda version: order(version.name)))
        if self._subject is None:
            return self._shared[shares.chance(self._weights, self._draw)]
        subject = self._subject(passage)
        found = self.known.get(subject)
        if found is None:
            if len(self.known) >= MAX_KNOWN:
                self.known.clear()
            found = self._shared[shares.stable(subject, self._rule.target, self._weights)]
            self.known[subject] = found
        return found

    def _turn(self) -> None:
        """Share out the requests among the versions that have not ended, until the next one does."""
        now_s = self._now()
        self._shared = [
            version for version in self._versions if version.spec.weight and not version.life.has_ended(now_s)
        ]
        self._weights = [(version.name, version.spec.weight) for version in self._shared]
        self._only = self._shared[0] if len(self._shared) == 1 else None
        ends = [version.life.ends_s for version in self._shared if version.life.ends_s is not None]
        self._turns_at_s = min(ends, default=None)
        self.known.clear()

    def _living(self) -> list[str]:
        now_s = self._now()
        return [version.name for version in self._versions if not version.life.has_ended(now_s)]

    def _unknown(self, wanted: str) -> ModelNotFoundError:
        living = self._living()
        close = nearest(wanted, living)
        listed = f"versions: {', '.join(living)}"
        return ModelNotFoundError(
            f"there is no version '{wanted}' of '{self._rule.target}'",
            param="model",
            hint=f"did you mean '{close}'? {listed}" if close else listed,
        )

    def _gone(self, version: Version) -> GoneError:
        return gone(self._rule.target, version.spec, self._living())

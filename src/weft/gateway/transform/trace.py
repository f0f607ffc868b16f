"""A transformation step by step, for people: what each step found and what it left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from weft.errors import RequestError
from weft.gateway.transform.fields import ABSENT, found, parts_of
from weft.gateway.transform.headers import HeaderRules
from weft.gateway.transform.program import Seen, Step, Transform
from weft.http.message import Headers

GONE: Final = ABSENT


@dataclass(frozen=True, slots=True)
class Change:
    """What one step did.

    Attributes:
        step: It.
        before, after: The field's values; none where it was not there.
        error: Why it could not be done.
    """

    step: Step
    before: tuple[Any, ...]
    after: tuple[Any, ...]
    error: RequestError | None = None

    @property
    def is_change(self) -> bool:
        """Whether anything is another than before."""
        return self.before != self.after or self.step.kind == "rename"


@dataclass(frozen=True, slots=True)
class Trace:
    """What became of one body.

    Attributes:
        changes: Of each step, in order; the last may have an error.
        body: What is left; None after an error.
        error: That of the last step, or of the whole.
    """

    changes: tuple[Change, ...]
    body: Any
    error: RequestError | None = None


def trace(transform: Transform, seen: Seen) -> Trace:
    """Do what ``transform`` does, and note each step."""
    body, changes = seen.body, list[Change]()
    for step in transform.steps:
        source = parts_of(step.path)
        target = parts_of(step.detail) if step.kind == "rename" else source
        before = tuple(found(body, source))
        try:
            body = step.apply(body, seen)
        except RequestError as error:
            changes.append(Change(step, before, (), error))
            return Trace(tuple(changes), None, error)
        changes.append(
            Change(step, before, tuple(found(body, target)) if before or step.kind != "rename" else ())
        )
    try:
        transform(seen)  # which has its bounds for the whole
    except RequestError as error:
        return Trace(tuple(changes), None, error)
    return Trace(tuple(changes), body)


def header_changes(
    rules: HeaderRules, headers: Headers, seen: Seen
) -> list[tuple[str, str, str | None, str | None]]:
    """What becomes of headers: kind, name, value before, value after; None: it is not there.

    Raises: what refuses the request.
    """
    made = [("set", name, headers.get(name), value) for name, value in rules.values(seen)]
    return [*(("remove", name, headers.get(name), None) for name in rules.remove), *made]

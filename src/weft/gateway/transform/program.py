"""A transformation as steps that are done one after the other, in the one order that there is.

``set``, ``rename``, ``remove``, ``defaults``, ``clamp``. Every ``set`` reads the body as it came, so that the order in
the file does not count there either, and no expression can build on what another has made larger.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from weft.context import Identity
from weft.errors import InternalError, InvalidRequestError, PayloadTooLargeError, RequestError
from weft.expressions import ExpressionError, compile_condition
from weft.gateway.transform.fields import ABSENT, Edit, NoObjectError, edited, parts_of, removed, size_within
from weft.http.message import Headers
from weft.plan.rules import REQUEST_NAMES, compile_template, resolver
from weft.spec.gateway import TransformSpec

MAX_BYTES: Final = 32 * 1024 * 1024
"""Of a body that expressions have changed: as much as a request may have that comes in."""

HEADER_BYTES: Final = 64 * 1024
"""Of all that an expression can read beside the body: more than the server takes in a request's head."""

SYNONYMS: Final = {
    "max_tokens": "max_completion_tokens",
    "max_completion_tokens": "max_tokens",
}
"""Two names of one field in OpenAI's API: the bounds of one are those of the other."""

Kind = Literal["set", "rename", "remove", "defaults", "clamp"]


class Seen:
    """What expressions read of one request.

    Attributes:
        body: What is transformed: a request's body, a reply, an event.
        identity: Who asks.
        model: As the caller wrote it.
    """

    __slots__ = ("_headers", "_named", "body", "identity", "model")

    def __init__(self, body: Any, headers: Headers, identity: Identity, model: str) -> None:
        self.body, self.identity, self.model = body, identity, model
        self._headers = headers
        self._named: dict[str, str] | None = None

    @property
    def headers(self) -> dict[str, str]:
        """The first value of each header, by its name in lower case."""
        if self._named is None:
            named: dict[str, str] = {}
            for name, value in self._headers.items():
                named.setdefault(name, value)
            self._named = named
        return self._named


_READERS: Final[dict[str, Callable[[Seen], Any]]] = {
    "body": lambda seen: seen.body,
    "headers": lambda seen: seen.headers,
    "caller": lambda seen: seen.identity.caller,
    "tenant": lambda seen: seen.identity.tenant,
    "claims": lambda seen: seen.identity.claims,
    "roles": lambda seen: sorted(seen.identity.roles),
    "scopes": lambda seen: sorted(seen.identity.scopes),
    "model": lambda seen: seen.model,
}


Evaluate = Callable[[Seen], Any]


def evaluator(text: str) -> tuple[Evaluate, tuple[str, ...]]:
    """What evaluates an expression that has passed the check of its file, and the name that each reference begins with."""
    expression = compile_condition(text, resolve=resolver(REQUEST_NAMES), expect=None)
    return expression.bind(_READERS.__getitem__), tuple(reading.path[0] for reading in expression.refs)


def template_evaluator(text: str) -> tuple[Evaluate, tuple[str, ...]]:
    """What fills a template in that has passed the check of its file, and the name that each reference begins with."""
    parts = compile_template(text)
    texts = [part for part in parts if isinstance(part, str)]
    if len(texts) == len(parts):
        whole = "".join(texts)
        return lambda _seen: whole, ()
    roots = tuple(reading.path[0] for part in parts if not isinstance(part, str) for reading in part.refs)
    filled = [part if isinstance(part, str) else part.bind(_READERS.__getitem__) for part in parts]

    def fill(seen: Seen) -> str:
        return "".join(part if isinstance(part, str) else as_text(part(seen)) for part in filled)

    return fill, roots


def as_text(value: Any) -> str:
    """A value in a template: a text as it is, null as nothing, anything else as JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else msgspec.json.encode(value).decode()


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that is done to one field.

    Attributes:
        kind: Which key of the transformation it stands under.
        path: The field.
        detail: What the file says of it, for people.
        apply: ``(body, seen) -> body``; raises what is wrong with the body.
    """

    kind: Kind
    path: str
    detail: str
    apply: Callable[[Any, Seen], Any]


class Transform:
    """What becomes of one body.

    Args:
        spec: Has passed the check of its file.
        of: What it transforms: a request's fields are the caller's, a reply's are not.
        whole: Fields that are whole numbers: others are no values of theirs, within the bounds or not.

    Attributes:
        steps: In the order in which they are done.
        reads_values: Whether what is done depends on more than which fields there are, and their numbers.
        needles: Where only what is there can change: what JSON has in it if something of that is there. Else empty.
    """

    def __init__(
        self,
        spec: TransformSpec,
        *,
        of: Literal["request", "response"] = "request",
        whole: Collection[str] = (),
    ) -> None:
        self._of, self._whole = of, whole
        self._references = 0
        self.steps: tuple[Step, ...] = (
            *(self._set(path, condition.text, *evaluator(condition.text)) for path, condition in spec.set_.items()),
            *(self._set(path, text, *template_evaluator(text)) for path, text in spec.template.items()),
            *(self._rename(old, new) for old, new in spec.rename.items()),
            *(
                Step("remove", path, "", self._editing(path, removed, makes=False))
                for path in spec.remove
            ),
            *(
                Step("defaults", path, repr(value), self._editing(path, _default(value), makes=True))
                for path, value in spec.defaults.items()
            ),
            *(
                Step("clamp", path, f"{low} to {high}", self._editing(path, self._clamp(path, low, high), makes=True))
                for path, (low, high) in spec.clamp.items()
            ),
        )  # fmt: skip
        self.reads_values = bool(spec.set_ or spec.template)
        makes_nothing = all(step.kind in ("rename", "remove") for step in self.steps)
        self.needles = (
            tuple(b'"%b"' % step.path.rpartition(".")[2].encode() for step in self.steps)
            if makes_nothing
            else ()
        )
        self._apply = tuple(step.apply for step in self.steps)
        self._growth = 1 + self._references if self.reads_values else 0

    def __call__(self, seen: Seen, *, size: int = MAX_BYTES) -> Any:
        """The body that ``seen.body`` becomes; itself if nothing changes.

        Args:
            seen: What is transformed, and what expressions read beside it.
            size: Bytes of the body's JSON, where they are known: a small one need not be measured again.

        Raises:
            InvalidRequestError: A request's body does not fit; ``param`` names the field.
            InternalError: A reply does not fit what the file says of it.
            PayloadTooLargeError: It would become too large.
        """
        body = seen.body
        for apply in self._apply:
            body = apply(body, seen)
        # Each reference puts at most the whole body, or all headers, in once more.
        if (
            self._growth
            and (size + HEADER_BYTES) * self._growth > MAX_BYTES
            and not size_within(body, MAX_BYTES)
        ):
            raise self.too_large()
        return body

    def __bool__(self) -> bool:
        return bool(self.steps)

    def too_large(self) -> RequestError:
        """The error for what would be too large."""
        what = f"the {self._of} would have more than {MAX_BYTES // 2**20} MiB after this route's changes"
        return PayloadTooLargeError(what) if self._of == "request" else InternalError(what)

    def _misfit(self, message: str, path: str) -> RequestError:
        if self._of == "request":
            return InvalidRequestError(message, param=path)
        return InternalError(f"the reply does not fit this route's response: {message}")

    def _editing(self, path: str, edit: Edit, *, makes: bool) -> Callable[[Any, Seen], Any]:
        parts = parts_of(path)
        is_top = len(parts) == 1

        def apply(body: Any, _seen: Seen) -> Any:
            if is_top and type(body) is dict:
                return edit(body, path)
            try:
                return edited(body, parts, edit, makes=makes)
            except NoObjectError as error:
                raise self._no_object(error.path, path) from error

        return apply

    def _no_object(self, where: str, path: str) -> RequestError:
        return self._misfit(f"'{where}' is no object, and this route has '{path}' in it", where)

    def _set(self, path: str, text: str, evaluate: Evaluate, roots: Sequence[str]) -> Step:
        parts = parts_of(path)
        is_callers = bool({"body", "headers"} & set(roots))
        # A list on the way puts the value into each of its elements: how many there are, only the body says.
        self._references += (len(roots) or 1) if len(parts) == 1 else MAX_BYTES

        def apply(body: Any, seen: Seen) -> Any:
            try:
                value = evaluate(seen)
            except ExpressionError as error:
                raise self._failed(path, error, is_callers=is_callers) from error
            try:
                return edited(body, parts, lambda holder, name: {**holder, name: value}, makes=True)
            except NoObjectError as error:
                raise self._no_object(error.path, path) from error

        return Step("set", path, text, apply)

    def _failed(self, path: str, error: ExpressionError, *, is_callers: bool) -> RequestError:
        """The caller's fault where the expression reads what they sent; else the file's."""
        if self._of == "request" and is_callers:
            said = f"'{path}' is made of other fields of the request, and cannot be made of these: {error.message}"
            return InvalidRequestError(said, param=path)
        return InternalError(f"this route sets '{path}' of the {self._of}, and cannot: {error.message}")

    def _rename(self, old: str, new: str) -> Step:
        source, target = parts_of(old), parts_of(new)
        shared = 0
        while source[shared] == target[shared] and shared < min(len(source), len(target)) - 1:
            shared += 1

        def moved(holder: dict[str, Any]) -> dict[str, Any]:
            taken: list[Any] = []

            def take(inner: dict[str, Any], name: str) -> dict[str, Any]:
                if (value := inner.get(name, ABSENT)) is not ABSENT:
                    taken.append(value)
                return removed(inner, name)

            rest = edited(holder, source[shared:], take, makes=False)
            if not taken:
                return holder
            if len(taken) > 1:
                raise self._misfit(f"'{old}' is there {len(taken)} times, and '{new}' has place for one", old)
            result: dict[str, Any] = edited(
                rest, target[shared:], lambda inner, name: {**inner, name: taken[0]}, makes=True
            )
            return result

        def apply(body: Any, _seen: Seen) -> Any:
            try:
                if not shared:
                    return (
                        moved(body)
                        if isinstance(body, dict)
                        else [moved(one) if isinstance(one, dict) else one for one in body]
                    )
                return edited(
                    body, source[:shared], lambda holder, name: _within(holder, name, moved), makes=False
                )
            except NoObjectError as error:
                raise self._no_object(error.path, new) from error

        return Step("rename", old, new, apply)

    def _clamp(self, path: str, low: float, high: float) -> Edit:
        def bounded(value: Any, name: str) -> float:
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise self._misfit(f"'{name}' is a number from {low} to {high}", name)
            if isinstance(value, float) and path in self._whole and not value.is_integer():
                raise self._misfit(f"'{name}' is a whole number from {low} to {high}", name)
            return low if value < low else min(value, high)

        def clamp(holder: dict[str, Any], name: str) -> dict[str, Any]:
            value = holder.get(name)
            other = SYNONYMS.get(name, "")
            if (second := holder.get(other)) is not None:
                # Under its other name it says the same, and would else say it past the bounds.
                holder = {**holder, other: bounded(second, other)}
                if value is None:
                    return holder
            after = high if value is None else bounded(value, path)
            return holder if after is value else {**holder, name: after}

        return clamp


def _default(value: Any) -> Edit:
    def default(holder: dict[str, Any], name: str) -> dict[str, Any]:
        return {**holder, name: value} if holder.get(name) is None else holder

    return default


def _within(
    holder: dict[str, Any], name: str, edit: Callable[[dict[str, Any]], dict[str, Any]]
) -> dict[str, Any]:
    """The object with the objects under ``name`` edited."""
    inner = holder.get(name)
    if isinstance(inner, dict):
        after: Any = edit(inner)
    elif isinstance(inner, list):
        after = [edit(one) if isinstance(one, dict) else one for one in inner]
        if all(a is b for a, b in zip(after, inner, strict=True)):
            return holder
    else:
        return holder
    return holder if after is inner else {**holder, name: after}

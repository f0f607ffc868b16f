"""Templates: what a JSON value is to look like, with paths where something comes from.

==========================  ===============================================================================
a text                      a path into what is read (see :mod:`weft.components.any.paths`)
``{$value: x}``             ``x`` itself
``{$request: path}``        in a response: a path into the request that was asked
``{$each: path, ...}``      a list: for each element at the path an object of the other keys, whose paths begin there;
                            without other keys, the elements themselves
``{$each: ..., $pick: p}``  each such object is an element of the list at ``p`` in the request, with the other keys changed:
                            the one whose index is at ``$at`` in the reply's element (without it, the one in the same place)
a list, any other object    itself, with templates in it
==========================  ===============================================================================

A key whose value is not there is left out. A template is compiled once; everything that can be known to be wrong with it
is found then: the contract's side of each path, and of each object, is checked against the contract's types.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from msgspec import Struct

from weft.components.any.paths import (
    MISSING,
    UNKNOWN,
    PathError,
    Read,
    element,
    fields,
    is_struct,
    members,
    parse,
    reader,
)
from weft.errors import did_you_mean, nearest

Place = tuple[str | int, ...]

Make = Callable[[Any, Any], Any]
"""``(value, request) -> result``: what a template makes of what is read and of the request that was asked."""

_FORMS: Final = ("$value", "$request", "$each", "$pick", "$at")


class Fault(NamedTuple):
    """One thing that is wrong with a template."""

    place: Place
    message: str
    hint: str | None


class ReplyMismatchError(Exception):
    """A reply is not as its template says."""


class Compiler:
    """Compiles templates, and gathers what is wrong with them.

    Args:
        request: The type of the contract's request.
        reads_request: Whether paths are read from the request (what goes out), or from a reply (what comes back).

    Attributes:
        faults: What is wrong, in the order of the templates.
        reads: The fields of the request that some path reads.
    """

    def __init__(self, request: type[Struct], *, reads_request: bool) -> None:
        self.faults: list[Fault] = []
        self.reads: set[str] = set()
        self._request = request
        self._source = request if reads_request else UNKNOWN
        self._what = "the request" if reads_request else "the reply"
        self._is_response = not reads_request

    def template(
        self, template: Any, place: Place, *, source: Any = None, target: Any = UNKNOWN, partial: bool = False
    ) -> Make:
        """Compile one template.

        Args:
            template: As it stands in the config.
            place: Where that is.
            source: The type of what its paths are read from; None: the whole request, or reply.
            target: The type that its result must have, where the contract says.
            partial: Whether fields that the target needs may be left out: they are there already.
        """
        source = self._source if source is None else source
        if isinstance(template, str):
            return self._path(template, place, source)
        if isinstance(template, list):
            return self._list(template, place, source, target)
        if not isinstance(template, Mapping):
            return self._path(template, place, source)
        forms = [key for key in template if isinstance(key, str) and key.startswith("$")]
        for key in forms:
            if key not in _FORMS:
                self._add((*place, key), f"there is no '{key}'", did_you_mean(key, _FORMS, what="forms"))
                return _nothing
        if "$each" in forms:
            return self._each(template, place, source, target)
        if "$value" in forms and len(template) == 1:
            value = template["$value"]
            return lambda _value, _request: value
        if "$request" in forms and len(template) == 1 and self._is_response:
            return self._of_request(template["$request"], (*place, "$request"))[0]
        if forms:
            known = "$value and $request stand alone, $pick and $at beside $each"
            self._add((*place, forms[0]), f"'{forms[0]}' cannot stand here", known)
            return _nothing
        return self._object(template, place, source, target, partial=partial)

    def _add(self, place: Place, message: str, hint: str | None = None) -> None:
        self.faults.append(Fault(place, message, hint))

    def _path(self, path: Any, place: Place, source: Any) -> Make:
        try:
            read, _ = self._reader(path, source)
        except PathError as error:
            self._add(place, error.message, error.hint)
            return _nothing
        return lambda value, _request: read(value)

    def _reader(self, path: Any, source: Any) -> tuple[Read, Any]:
        read = reader(path, source, what="the request" if source is self._request else self._what)
        if source is self._request:
            steps = parse(path)
            self.reads |= {str(steps[0])} if steps else set(fields(self._request))
        return read

    def _of_request(self, path: Any, place: Place) -> tuple[Make, Any]:
        try:
            read, found = self._reader(path, self._request)
        except PathError as error:
            self._add(place, error.message, error.hint)
            return _nothing, UNKNOWN
        return (lambda _value, request: read(request)), found

    def _list(self, template: list[Any], place: Place, source: Any, target: Any) -> Make:
        inner = element(target)
        if inner is None:
            self._add(place, f"this is no list, but {_text(target)}")
            inner = UNKNOWN
        made = [
            self.template(item, (*place, index), source=source, target=inner)
            for index, item in enumerate(template)
        ]
        return lambda value, request: [item for make in made if (item := make(value, request)) is not MISSING]

    def _object(
        self, template: Mapping[str, Any], place: Place, source: Any, target: Any, *, partial: bool
    ) -> Make:
        types = self._fields(template, place, target, partial=partial)
        made = {
            name: self.template(item, (*place, name), source=source, target=types.get(name, UNKNOWN))
            for name, item in template.items()
        }

        def make(value: Any, request: Any) -> dict[str, Any]:
            return {
                name: item for name, each in made.items() if (item := each(value, request)) is not MISSING
            }

        return make

    def _fields(self, names: Iterable[str], place: Place, target: Any, *, partial: bool) -> Mapping[str, Any]:
        """The types that the values of an object must have; unknown names and missing ones are faults."""
        structs = [member for member in members(target) if is_struct(member)]
        if not structs:
            if target is not UNKNOWN and not any(_is_open(member) for member in members(target)):
                self._add(place, f"this is no object, but {_text(target)}")
            return {}
        known = {name: field for struct in structs for name, field in fields(struct).items()}
        for name in names:
            if name not in known:
                message = f"{structs[0].__name__} has no field '{name}'"
                self._add((*place, name), message, did_you_mean(name, list(known), what="fields"))
        # A misspelt name is one fault, not two: what it was meant to be is not missing as well.
        meant = {nearest(name, list(known)) for name in names if name not in known}
        absent = [n for n, field in known.items() if field.required and n not in {*names, *meant}]
        if absent and not partial:
            listed = ", ".join(f"'{name}'" for name in absent)
            self._add(place, f"{structs[0].__name__} needs {listed}", "say where it comes from")
        return {name: field.type for name, field in known.items()}

    def _each(self, template: Mapping[str, Any], place: Place, source: Any, target: Any) -> Make:
        path = template["$each"]
        rows: Read = lambda _value: MISSING  # noqa: E731 - stands in after a fault
        row: Any = UNKNOWN
        try:
            rows, found = self._reader(path, source)
        except PathError as error:
            self._add((*place, "$each"), error.message, error.hint)
        else:
            row = element(found)
            if row is None:
                self._add((*place, "$each"), f"'{path}' in {self._what} is no list")
        inner = element(target)
        if inner is None:
            self._add(place, f"this is no list, but {_text(target)}")
            inner = UNKNOWN
        row = UNKNOWN if row is None else row
        rest = {name: item for name, item in template.items() if name not in ("$each", "$pick", "$at")}
        make = (
            self.template(rest, place, source=row, target=inner, partial="$pick" in template)
            if rest or "$pick" in template
            else None
        )
        picks = self._picks(template, place)

        def build(value: Any, request: Any) -> Any:
            found = rows(value)
            if found is MISSING:
                return MISSING
            if not isinstance(found, list):
                raise ReplyMismatchError(f"'{path}' is no list")
            if make is None:
                return found
            changes = [make(item, request) for item in found]
            return changes if picks is None else picks(found, changes, request)

        return build

    def _picks(
        self, template: Mapping[str, Any], place: Place
    ) -> Callable[[list[Any], list[Any], Any], list[Any]] | None:
        if "$pick" not in template:
            if "$at" in template:
                self._add((*place, "$at"), "'$at' says which element '$pick' takes, and there is no '$pick'")
            return None
        if not self._is_response:
            self._add((*place, "$pick"), "'$pick' is for responses: it takes elements of the request")
            return None
        make, type_ = self._of_request(template["$pick"], (*place, "$pick"))
        if element(type_) is None:
            self._add((*place, "$pick"), f"'{template['$pick']}' in the request is no list")
        at = self._path(template["$at"], (*place, "$at"), UNKNOWN) if "$at" in template else None

        def pick(rows: list[Any], changes: list[Any], request: Any) -> list[Any]:
            elements = make(None, request)
            elements = [] if elements is MISSING else elements
            places = list(range(len(rows))) if at is None else [at(row, request) for row in rows]
            for index in places:
                if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < len(elements):
                    raise ReplyMismatchError(f"it names element {index!r} of {len(elements)} that were sent")
            if len(set(places)) < len(places):
                raise ReplyMismatchError("it names an element of those that were sent twice")
            return [_changed(elements[index], new) for index, new in zip(places, changes, strict=True)]

        return pick


def _nothing(_value: Any, _request: Any) -> Any:
    return MISSING


def _is_open(annotation: Any) -> bool:
    origin = getattr(annotation, "__origin__", annotation)
    return origin in (UNKNOWN, dict)


def _text(annotation: Any) -> str:
    names = [getattr(member, "__name__", str(member)) for member in members(annotation)]
    return " or ".join(names)


def _changed(value: Any, changes: Mapping[str, Any]) -> dict[str, Any]:
    """A value of the request as an object, with other values in some of its fields; the request's own is left alone."""
    if isinstance(value, dict):
        return {**value, **changes}
    return {**{name: getattr(value, field.name) for name, field in fields(type(value)).items()}, **changes}

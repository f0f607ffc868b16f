"""The type rules: nothing is coerced, everything that fits fits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Optional

import pytest
from msgspec import Meta, Raw, Struct

from weft.plan.types import UNKNOWN, Missing, assignable, element, follow, show, stream_chunk, without_streams
from weft.types import Document, Stream


class Base(Struct):
    name: str
    next: Document | None = None
    items: list[Document] = []
    raw: Raw | None = None


class Derived(Base):
    more: int = 0


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (int, int),
        (int, int | None),
        (int | None, int | None),
        (int | str, str | int | None),
        (Derived, Base),
        (list[Derived], list[Base]),
        (list[Derived], Sequence[Base]),
        (list[int], list),
        (list[int], list[int | str]),
        (dict[str, Derived], dict[str, Base]),
        (tuple[int, int], list[int]),
        (Any, int),
        (int, Any),
        (list[Any], list[str]),
        (Literal["a", "b"], str),
        (Literal["a"], Literal["a", "b"]),
        (Literal["a", 1], str | int),
        (Annotated[int, Meta(ge=1)], int),
        (int, Annotated[int, Meta(ge=1)]),
        (Optional[int], int | None),  # noqa: UP045 - the older spelling must fit too
        (Raw, Raw | None),
        (UNKNOWN, int),
        (int, UNKNOWN),
        (None, int | None),
        (Stream[Base], Stream[Base] | Base),
    ],
)
def test_fits(source: Any, target: Any) -> None:
    """A value of the source is always a value of the target."""
    assert assignable(source, target)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (int, float),
        (bool, int),
        (float, int),
        (int, str),
        (int | None, int),
        (int | str, int),
        (Base, Derived),
        (list[Base], list[Derived]),
        (list[int], list[float]),
        (list[int], int),
        (int, list[int]),
        (str, list[str]),
        (str, Sequence[str]),
        (str, Literal["a", "b"]),
        (Literal["a", "c"], Literal["a", "b"]),
        (Literal[True], Literal[1]),
        (Raw, bytes),
        (Raw, str),
        (str, Raw),
        (Base, dict[str, Any]),
        (dict[str, int], dict[str, str]),
        (Stream[Base], Base),
        (Base, Stream[Base]),
    ],
)
def test_does_not_fit(source: Any, target: Any) -> None:
    """Some value of the source is none of the target: nothing is coerced."""
    assert not assignable(source, target)


@pytest.mark.parametrize(
    ("path", "type_"),
    [
        ((), Base),
        (("name",), str),
        (("items", 0), Document),
        (("items", 2, "text"), str),
        (("next",), Document | None),
    ],
)
def test_path_is_followed(path: tuple[str | int, ...], type_: Any) -> None:
    """Fields and indices lead to the field's type."""
    assert follow(Base, path) == type_


@pytest.mark.parametrize(
    ("path", "index", "code"),
    [
        (("nam",), 0, "unknown-field"),
        (("name", "x"), 1, "unknown-field"),
        (("name", 0), 1, "unknown-field"),
        (("items", "text"), 1, "unknown-field"),
        (("next", "text"), 1, "null-ref"),
        (("raw", "x"), 1, "null-ref"),
    ],
)
def test_path_that_is_not_there(path: tuple[str | int, ...], index: int, code: str) -> None:
    """The part that is missing, or may be null, is named."""
    with pytest.raises(Missing) as caught:
        follow(Base, path)
    assert (caught.value.index, caught.value.code) == (index, code)


def test_field_of_a_union_is_the_union_of_the_fields() -> None:
    """Each alternative must have the field."""
    assert follow(Base | Derived, ("name",)) is str
    with pytest.raises(Missing):
        follow(Base | Derived, ("more",))


def test_elements_of_lists() -> None:
    """Lists have elements, other types do not."""
    assert element(list[int]) is int
    assert element(list[int] | list[str]) == int | str
    assert element(list) is Any
    assert element(str) is None
    assert element(list[int] | None) is None


def test_streams_are_taken_apart() -> None:
    """A field that takes a stream tells its chunk and what else it takes."""
    assert stream_chunk(Stream[Base] | Derived | None) is Base
    assert without_streams(Stream[Base] | Derived) is Derived
    assert without_streams(Stream[Base]) is None
    assert stream_chunk(Base) is None


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (int, "int"),
        (None | int, "int | None"),
        (list[Document], "list[Document]"),
        (dict[str, Any], "dict[str, Any]"),
        (Annotated[int, Meta(ge=1)], "int"),
        (Stream[Base] | Derived, "Stream[Base] | Derived"),
        (Literal["a", "b"], "Literal['a', 'b']"),
    ],
)
def test_types_read_as_they_are_written(annotation: Any, text: str) -> None:
    """Messages show types without module names."""
    assert show(annotation) == text

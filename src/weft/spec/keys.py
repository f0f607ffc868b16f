"""What may stand under a key: the shapes that the fields of :mod:`weft.spec.model` are declared with.

The declarations are the only table of keys. Loading checks with it, dumping writes by it, the JSON Schema and the
reference page are made from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, fields
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Text:
    """A string.

    Attributes:
        what: What it is, with its article, for messages.
        pattern: Regular expression for all of it; any text when empty.
        form: The pattern in words.
        code: The problem's code when the pattern does not fit.
    """

    what: str = "text"
    pattern: str = ""
    form: str = ""
    code: str = "bad-value"


@dataclass(frozen=True, slots=True)
class Version:
    """A version: always quoted, for 1.10 without quotes is a number and equal to 1.1."""

    pattern: str = r"[0-9]+(\.[0-9]+){0,2}(-[0-9A-Za-z.-]+)?"


@dataclass(frozen=True, slots=True)
class Number:
    """A number above zero, at most ``maximum``."""

    what: str
    maximum: float


@dataclass(frozen=True, slots=True)
class Whole:
    """An integer from ``minimum`` to ``maximum``."""

    what: str
    minimum: int
    maximum: int


@dataclass(frozen=True, slots=True)
class Flag:
    """True or false."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words."""

    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Json:
    """Any JSON value; with ``secrets``, ``{secret: NAME}`` in it is a reference to a secret."""

    secrets: bool = False


@dataclass(frozen=True, slots=True)
class Limit:
    """A number of either sign: the bound of a parameter."""


@dataclass(frozen=True, slots=True)
class Binding:
    """An input expression: a reference, ``{value: x}``, ``{first: [a, b]}`` or a list of them."""


@dataclass(frozen=True, slots=True)
class Reference:
    """``request.field``, ``node``, ``node.field`` or ``node.list[0]``."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A condition."""


@dataclass(frozen=True, slots=True)
class Chain:
    """``a >> b >> c``, or a list of such lines."""


@dataclass(frozen=True, slots=True)
class Location:
    """``local``, ``process``, a URL or ``registry:NAME``."""


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    item: Shape
    what: str


@dataclass(frozen=True, slots=True)
class Table:
    """A mapping from names to values of one shape; a :class:`Block` gets its name as ``name``."""

    key: Text
    value: Shape
    what: str


@dataclass(frozen=True, slots=True)
class Block:
    """A mapping with known keys: the fields of a dataclass of :mod:`weft.spec.model`."""

    type: type[Any]
    what: str


Shape = (
    Text
    | Version
    | Number
    | Whole
    | Flag
    | Choice
    | Json
    | Limit
    | Binding
    | Reference
    | Expression
    | Chain
    | Location
    | Items
    | Table
    | Block
)

NAME: Final = Text(
    "a name",
    r"[a-z][a-z0-9-]{0,62}",
    "lower-case letters, digits and hyphens, a letter first, at most 63",
    "bad-name",
)
"""A name that is also a valid host name, so that it can be one in Compose and Kubernetes."""

PLACED: Final = Text(
    "a service name",
    r"[a-z][a-z0-9-]{0,62}(/[a-z][a-z0-9-]{0,62})*",
    "a service, or megaservice/service for one that is nested",
    "bad-name",
)

FIELD: Final = Text(
    "a field name",
    r"[A-Za-z_][A-Za-z0-9_]*",
    "letters, digits and underscores, no digit first",
    "bad-name",
)

COMPONENT: Final = Text(
    "a component",
    r"(megaservice/)?[a-z][a-z0-9-]{0,62}|\S.*\.py:[A-Za-z_][A-Za-z0-9_]*",
    "the name of a component, megaservice/NAME or ./file.py:Class",
    "bad-name",
)

QUANTITY: Final = Text(
    "an amount of memory",
    r"[1-9][0-9]*(Ki|Mi|Gi|Ti|K|M|G|T)?",
    "a number of bytes with an optional unit, 512Mi or 4Gi",
)

ANY_TEXT: Final = Text()


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a mapping.

    Attributes:
        name: As it is written.
        doc: What it means, one or two sentences.
        required: Whether the mapping is wrong without it.
        default: What it means to leave it out.
        attribute: The field's name: an underscore behind it where Python has another meaning for the name (``from_``).
    """

    name: str
    shape: Shape
    doc: str
    required: bool
    default: Any
    attribute: str


def key(shape: Shape, doc: str) -> dict[str, Any]:
    """Metadata of a dataclass field that is a key in YAML."""
    return {"shape": shape, "doc": doc}


def keys_of(type_: type[Any]) -> dict[str, Key]:
    """The keys that a mapping which stands for ``type_`` may have, by name, in order."""
    return {key.name: key for key in _keys(type_)}


def _keys(type_: type[Any]) -> Iterator[Key]:
    declared: Field[Any]
    for declared in fields(type_):
        if "shape" in declared.metadata:
            default = declared.default
            if declared.default_factory is not MISSING:
                default = declared.default_factory()
            required = default is MISSING
            yield Key(
                declared.name.removesuffix("_"),
                declared.metadata["shape"],
                declared.metadata["doc"],
                required,
                None if required else default,
                declared.name,
            )

"""JSON Schemas of requests, as a route of a Gateway file gives them.

The dialect is 2020-12. Nothing is fetched: a ``$ref`` leads within the schema. Patterns are matched in linear time, without
look-around and back references, for the text is a stranger's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from weft.errors import MissingExtraError, WeftError
from weft.spec.gateway import RouteSpec
from weft.spec.problems import Problems

if TYPE_CHECKING:
    from jsonschema_rs import ValidationError

_ELSEWHERE: Final = re.compile(r"Resource '([^']*)' is not present in a registry")

_MASK: Final = "this"
"""Stands in messages for the value at fault, which may be long, and is the caller's."""

_PATTERN_BYTES: Final = 1024 * 1024
"""Of a compiled pattern."""

MAX_MESSAGE: Final = 300
"""Characters of the validator's words: a list of choices can be as long as it likes."""


class Misfit(NamedTuple):
    """What is wrong, and where: names and indices from the outside in."""

    path: tuple[str | int, ...]
    message: str

    @property
    def param(self) -> str:
        """The place as errors name it; empty: the whole."""
        return ".".join(map(str, self.path))


class SchemaError(WeftError):
    """A JSON Schema is none."""

    code = "schema"

    def __init__(self, misfit: Misfit) -> None:
        super().__init__(misfit.message)
        self.misfit = misfit


class RequestSchema:
    """A compiled schema; safe to share.

    Args:
        schema: As the file has it.

    Raises:
        SchemaError: It is no JSON Schema, or refers to something that is not in it.
        MissingExtraError: The validator is not installed.
    """

    def __init__(self, schema: dict[str, Any]) -> None:
        try:
            import jsonschema_rs as validators  # noqa: PLC0415 - only where a route has a schema
        except ImportError as error:
            raise MissingExtraError("gateway", package="jsonschema-rs", extra="gateway") from error
        try:
            self._validator = validators.Draft202012Validator(
                schema,
                mask=_MASK,
                offline=True,
                validate_formats=False,
                pattern_options=validators.RegexOptions(size_limit=_PATTERN_BYTES),
            )
        except ValueError as error:
            raise SchemaError(_misfit(error)) from error

    def misfit(self, value: Any) -> Misfit | None:
        """The first thing that is wrong with a value; None: nothing is."""
        if self._validator.is_valid(value):
            return None
        return next(self.misfits(value), None)

    def misfits(self, value: Any) -> Iterator[Misfit]:
        """Everything that is wrong with a value."""
        return (_misfit(error) for error in self._validator.iter_errors(value))


def _misfit(error: ValidationError | ValueError) -> Misfit:
    said: str = getattr(error, "message", str(error))
    if (elsewhere := _ELSEWHERE.match(said)) is not None:
        said = f"it refers to '{elsewhere[1]}', which is not in it, and nothing is fetched"
    if len(said) > MAX_MESSAGE:
        said = f"{said[:MAX_MESSAGE]}..."
    return Misfit(tuple(getattr(error, "instance_path", ())), said)


def check_schema(rule: RouteSpec, problems: Problems) -> None:
    """Check a route's schema, and that its examples keep to it."""
    if not rule.schema or "schema" in rule.marks.faulty:
        return
    try:
        schema = RequestSchema(rule.schema)
    except SchemaError as error:
        path = error.misfit.path
        problems.add(
            "bad-schema",
            f"this is no JSON Schema: {f'{error.misfit.param}: ' if path else ''}{error.misfit.message}",
            rule.marks.value("schema", *path),
        )
        return
    for name, example in rule.examples.items():
        for misfit in schema.misfits(example):
            problems.add(
                "bad-example",
                f"the example '{name}' does not keep to the schema: "
                f"{f'{misfit.param}: ' if misfit.path else ''}{misfit.message}",
                rule.marks.value("examples", name, *misfit.path),
            )

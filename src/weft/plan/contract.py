"""The contract that a megaservice fulfils: a family's, with the declared parameters in its request."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from weft.contracts import Contract, Form, Operation
from weft.contracts.base import invalid
from weft.plan.types import fields_of
from weft.spec.model import ParameterSpec
from weft.spec.problems import Problems

_TYPES: dict[str, Any] = {
    "int": int,
    "float": float,
    "str": str,
    "bool": bool,
    "list[int]": list[int],
    "list[float]": list[float],
    "list[str]": list[str],
    "object": dict[str, Any],
}


def own_contract(
    base: Contract, name: str, parameters: Mapping[str, ParameterSpec], problems: Problems
) -> Contract:
    """``base`` with the parameters as further fields of its primary request; faults go into ``problems``."""
    operation = base.primary
    taken = fields_of(operation.request)
    fields: list[tuple[str, Any, Any]] = []
    for parameter in parameters.values():
        if parameter.name in taken:
            problems.add(
                "shadowed-parameter",
                f"the contract '{base.name}' has a field '{parameter.name}' already",
                parameter.marks.here,
                help=f"leave the parameter out and read request.{parameter.name}, or give it another name",
            )
        elif parameter.name.isidentifier() and (field := _field(parameter, problems)) is not None:
            fields.append(field)
    if not fields:
        return base
    words = "".join(word.capitalize() for word in name.split("-"))
    request = msgspec.defstruct(
        f"{words}Request",
        fields,
        bases=(operation.request,),
        module=__name__,
        namespace={"__doc__": operation.request.__doc__},
        omit_defaults=True,
    )
    extra = msgspec.defstruct(f"{words}Parameters", fields, module=__name__)
    wide = {id(form): WideForm(form, request, extra) for form in _forms(operation)}
    return replace(
        base,
        operations=base.operations
        | {
            operation.name: replace(
                operation,
                request=request,
                forms=tuple(wide[id(form)] for form in operation.forms),
                routes=tuple(
                    replace(route, form=wide[id(route.form)]) if route.form is not None else route
                    for route in operation.routes
                ),
            )
        },
    )


def _forms(operation: Operation) -> list[Form]:
    return [*operation.forms, *(route.form for route in operation.routes if route.form is not None)]


def _field(parameter: ParameterSpec, problems: Problems) -> tuple[str, Any, Any] | None:
    """The parameter as a field of a Struct; None after a fault, most of which the loader has reported."""
    if parameter.marks.faulty or parameter.type not in _TYPES:
        return None
    type_ = _TYPES[parameter.type]
    if parameter.choices:
        if parameter.type not in ("int", "str"):
            message = f"'choices' are for int and str, and '{parameter.name}' is {parameter.type}"
            problems.add("bad-parameter", message, parameter.marks.key("choices"))
            return None
        type_ = Literal[tuple(dict.fromkeys(parameter.choices))]
    elif parameter.type in ("int", "float"):
        type_ = Annotated[type_, Meta(ge=parameter.min, le=parameter.max)]
    if parameter.description:
        type_ = Annotated[type_, Meta(description=parameter.description)]
    if parameter.default is None:
        return parameter.name, type_ | None, None
    try:
        default = msgspec.convert(parameter.default, type_)
    except msgspec.ValidationError:
        return None
    if isinstance(default, list | dict):
        return parameter.name, type_, msgspec.field(default_factory=lambda: copy.deepcopy(default))
    return parameter.name, type_, default


def widen(request: Any, type_: type[Struct]) -> Any:
    """A request of the family's type as the megaservice's own: parameters have their defaults."""
    if isinstance(request, type_):
        return request
    return type_(
        **{
            name: getattr(request, name)
            for name in request.__struct_fields__
            if name in type_.__struct_fields__
        }
    )


class WideForm:
    """A family's wire form for a request with parameters, which stand beside the form's own fields.

    Args:
        form: The family's form.
        request: The request type with the parameters.
        extra: A Struct of the parameters alone.
    """

    def __init__(self, form: Form, request: type[Struct], extra: type[Struct]) -> None:
        self.name = form.name
        self.asks, self.answers = form.asks, form.answers
        self._form = form
        # The form may keep in the request how its reply is to be written: what it decoded goes along.
        self._type = msgspec.defstruct(
            request.__name__, [("_decoded", Any, None)], bases=(request,), module=__name__
        )
        self._fields = [name for name in request.__struct_fields__ if name not in extra.__struct_fields__]
        self._extra = msgspec.json.Decoder(extra)

    def matches(self, fields: frozenset[str]) -> bool:
        """See :class:`weft.contracts.Form`."""
        return self._form.matches(fields)

    def decode(self, body: bytes) -> Any:
        """See :class:`weft.contracts.Form`."""
        decoded = self._form.decode(body)
        try:
            extra = msgspec.structs.asdict(self._extra.decode(body or b"{}"))
        except msgspec.DecodeError as error:
            raise invalid(error) from error
        return self._type(
            **{name: getattr(decoded, name) for name in self._fields}, **extra, _decoded=decoded
        )

    def encode(self, response: Any, request: Any) -> bytes:
        """See :class:`weft.contracts.Form`."""
        return self._form.encode(response, getattr(request, "_decoded", None) or request)

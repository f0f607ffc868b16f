"""The parts of a contract: operations, routes and wire forms.

A *form* is one way to write an operation's request and response on the wire: our own (the Structs as JSON),
OpenAI's, OPEA's, TEI's. A route lists the forms it speaks; :meth:`Operation.decode` picks the one whose
fields the body has, and the reply is written in the same form. Transport uses the own form, which is the first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from types import UnionType
from typing import Any, Literal, Protocol, Union, get_args, get_origin

import msgspec
from msgspec import Struct

from weft.errors import InvalidRequestError
from weft.types import Stream

_encode = msgspec.json.Encoder().encode


class Form(Protocol):
    """One way to write an operation on the wire. Stateless; shared by all requests.

    Attributes:
        name: In metrics and errors.
        asks, answers: The types of its request and its reply as they are on the wire, for descriptions; None: the own ones.
    """

    name: str
    asks: Any
    answers: Any

    def matches(self, fields: frozenset[str]) -> bool:
        """Whether a JSON object with these top-level keys is written in this form."""
        ...

    def decode(self, body: bytes) -> Any:
        """The request Struct that ``body`` stands for.

        Raises:
            InvalidRequestError: The body is not this form; ``param`` names the field.
        """
        ...

    def encode(self, response: Any, request: Any) -> bytes:
        """The reply's body, for the request that :meth:`decode` returned."""
        ...


def invalid(
    error: msgspec.DecodeError | ValueError | RecursionError, *, what: str = "the request body"
) -> InvalidRequestError:
    """Msgspec's error as the caller should read it: the message with its path, and ``param`` set."""
    text = str(error)
    path = text.rpartition(" - at `")[2].removesuffix("`") if " - at `" in text else ""
    param = path.removeprefix("$.").removeprefix("$") or None
    return InvalidRequestError(f"{what} is not valid: {text}", param=param)


class JsonForm:
    """The own form: the Struct as JSON, fields by their own names. OpenAI's where the Struct is OpenAI's."""

    asks: Any = None
    answers: Any = None

    def __init__(self, request: type[Any], *, name: str = "weft") -> None:
        self.name = name
        self._decode = _decoder(request)

    def matches(self, fields: frozenset[str]) -> bool:
        """Any object: what other forms did not claim is read as the own one."""
        return True

    def decode(self, body: bytes) -> Any:
        """See :class:`Form`. An empty body is an empty object, for operations whose fields all have defaults."""
        try:
            return self._decode(body or b"{}")
        except msgspec.DecodeError as error:
            raise invalid(error) from error

    def encode(self, response: Any, request: Any) -> bytes:
        """See :class:`Form`."""
        return _encode(response)


def _decoder(request: type[Any]) -> Callable[[bytes], Any]:
    """What reads a request from JSON.

    A field that takes a stream takes the whole response on the wire: ``Stream[ChatChunk] | ChatResponse`` is read as
    ``ChatResponse``.
    """
    wire: type[Any] = wire_type(request)  # type: ignore[arg-type]  # a class is hashable, whatever mypy says
    decode = msgspec.json.Decoder(wire).decode
    if wire is request:
        return decode
    names = request.__struct_fields__

    def decode_whole(body: bytes) -> Any:
        decoded = decode(body)
        return request(**{name: getattr(decoded, name) for name in names})

    return decode_whole


@cache
def wire_type(request: type[Any]) -> type[Any]:
    """A request as it is on the wire, where a field that takes a stream takes the whole response."""
    fields = msgspec.structs.fields(request)
    whole = {field.name: _without_stream(field.type) for field in fields}
    if all(whole[field.name] is field.type for field in fields):
        return request
    defaults: list[Any] = [
        msgspec.field(default=f.default, default_factory=f.default_factory, name=f.encode_name)  # type: ignore[call-overload]  # either may be NODEFAULT
        for f in fields
    ]
    entries = [(f.name, whole[f.name], default) for f, default in zip(fields, defaults, strict=True)]
    return msgspec.defstruct(request.__name__, entries, kw_only=True, namespace={"__doc__": request.__doc__})


def _without_stream(annotation: Any) -> Any:
    """The annotation without its stream alternatives; one that is nothing but a stream can only be null."""
    is_union = get_origin(annotation) in (Union, UnionType)
    members = get_args(annotation) if is_union else (annotation,)
    rest = [member for member in members if get_origin(member) is not Stream]
    if len(rest) == len(members):
        return annotation
    return Union[tuple(rest)] if rest else None  # noqa: UP007 - made of a variable number of types


@dataclass(frozen=True, slots=True)
class Route:
    """Where an operation answers.

    Attributes:
        path: The path, versioned.
        method: The HTTP method.
        opea: True on routes whose defaults are OPEA's (any ``model`` is ignored).
        form: The one form that this route speaks; None: whichever of the operation's forms the body has.
    """

    path: str
    method: str = "POST"
    opea: bool = False
    form: Form | None = None


@dataclass(frozen=True)
class Operation:
    """One thing that a component of a contract can be asked.

    Attributes:
        name: The component's method; the primary operation of every contract is ``invoke``.
        request: Struct type of the request.
        response: Struct type of the response.
        chunk: Struct type of a streamed chunk; None when the operation does not stream. A streaming ``invoke``
            has its stream in the component's method ``stream``.
        idempotent: Whether asking twice is the same as asking once (only then is it ever retried).
        routes: Where it answers; the first is the one that transport calls.
        forms: The wire forms beside the own one, in the order in which they are tried.
        form_fields: Fields that these forms read and that the request Struct does not have.
        collect: For a streaming operation: folds its chunks into the response.
        openai: Errors in OpenAI's form instead of problem+json.
        default: Makes the response of a component that has no such method, from its service's name; None: such a
            component cannot be asked.
    """

    name: str
    request: type[Any]
    response: type[Any]
    chunk: type[Any] | None = None
    idempotent: bool = True
    routes: tuple[Route, ...] = ()
    forms: tuple[Form, ...] = ()
    form_fields: frozenset[str] = frozenset()
    collect: Callable[[list[Any]], Any] | None = None
    openai: bool = False
    default: Callable[[str], Any] | None = None
    own: JsonForm = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "own", JsonForm(self.request, name="openai" if self.openai else "weft"))

    def decode(self, body: bytes) -> tuple[Any, Form]:
        """The request in ``body`` and the form it is written in.

        Raises:
            InvalidRequestError: It is not JSON, or no form fits.
        """
        form = self._form(body)
        return decoded(form, body), form

    def _form(self, body: bytes) -> Form:
        if self.forms:
            fields = frozenset(fields_of(body))
            for form in self.forms:
                if form.matches(fields):
                    return form
        return self.own


def decoded(form: Form, body: bytes) -> Any:
    """The request in ``body``, however deep it is nested: what goes deeper than the decoder is the caller's fault.

    Raises:
        InvalidRequestError: It is not this form.
    """
    try:
        return form.decode(body)
    except RecursionError as error:
        raise InvalidRequestError("the request body is nested too deeply to be read") from error


_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def fields_of(body: bytes | None) -> dict[str, msgspec.Raw]:
    """The fields of a JSON object, as they are written; none of what is no object: its decoder says that better."""
    try:
        return _decode_object(body) if body else {}
    except (msgspec.DecodeError, RecursionError):
        return {}


@dataclass(frozen=True)
class Contract:
    """What a family of components promises.

    Attributes:
        name: How specs name it.
        description: One sentence for people.
        operations: By name; ``invoke`` is there unless the family has no primary operation.
        protocol: The Protocol that components annotate their ``uses`` with; None for a component of no family.
        scope: Wraps an implementation so that it acts for the current caller (see ``ScopedStore``); it is given
            a function that returns tenant and readers.
    """

    name: str
    description: str
    operations: dict[str, Operation]
    protocol: type[Any] | None = None
    scope: Callable[[Any, Callable[[], tuple[str, list[str] | None]]], Any] | None = None

    @property
    def primary(self) -> Operation:
        """The operation that a node calls when it names none."""
        return self.operations.get("invoke") or next(iter(self.operations.values()))

    @property
    def streams(self) -> bool:
        """Whether the primary operation can stream."""
        return self.primary.chunk is not None

    def required(self) -> dict[str, list[str]]:
        """What both sides must agree on: ``name: type`` of the required fields of each request and reply.

        Optional fields do not count: they may come and go between releases.
        """
        return {
            f"{name}.{role}": required_fields(type_)
            for name, operation in sorted(self.operations.items())
            for role, type_ in (("request", operation.request), ("response", operation.response))
        }

    def digest(self) -> str:
        """A short hash of :meth:`required`."""
        import hashlib  # noqa: PLC0415 - only `check` and registration hash contracts

        return hashlib.sha256(msgspec.json.encode([self.name, self.required()])).hexdigest()[:16]


def required_fields(type_: type[Struct]) -> list[str]:
    """``name: type`` of each field without a default, sorted."""
    return sorted(
        f"{f.encode_name}: {_type_name(f.type)}" for f in msgspec.structs.fields(type_) if f.required
    )


def _type_name(annotation: Any) -> str:
    """A type with its parts, the same under every Python: ``list[Document]``, ``str | None``."""
    parts = get_args(annotation)
    origin = get_origin(annotation)
    if origin in (Union, UnionType):
        return " | ".join(_type_name(part) for part in parts)
    if origin is Literal:
        return f"Literal[{', '.join(repr(part) for part in parts)}]"
    if annotation is None or annotation is type(None):
        return "None"
    name = getattr(origin or annotation, "__name__", None) or str(annotation).rpartition(".")[2]
    return f"{name}[{', '.join(_type_name(part) for part in parts)}]" if parts else str(name)

"""What a component's class says of itself: contract, configuration, slots. Read from its annotations.

Nothing is asked of a component but annotations, so everything here is reading: the constructor's signature is the
config schema, a parameter annotated with a contract's Protocol is a slot for ``uses``, and the request type of
``invoke`` tells the contract. A parameter annotated ``Contract`` says that the config does: its value names one.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from msgspec import Struct

from weft.contracts import Contract, Operation, Route
from weft.errors import ComponentError
from weft.types import Stream

_STREAM_ORIGINS = (AsyncIterator, AsyncGenerator, AsyncIterable, Stream)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One configuration value of a component.

    Attributes:
        name: Its name in ``config:``.
        annotation: Its type, resolved.
        required: Whether it has no default.
        default: What it is when it is not set; None when it is required.
        doc: What the docstring's ``Args`` say of it.
        contracts: For a parameter annotated ``Contract``: those that the config may name.
    """

    name: str
    annotation: Any
    required: bool
    default: Any = None
    doc: str = ""
    contracts: Mapping[str, Contract] | None = None


@dataclass(frozen=True, slots=True)
class Slot:
    """A service that a component uses, by the name of the constructor parameter."""

    name: str
    contract: Contract
    optional: bool
    doc: str = ""


@dataclass(frozen=True, slots=True)
class ComponentInfo:
    """A component as its class describes it.

    Attributes:
        name: As specs name it: ``tei-reranker``, ``./rerank.py:Mine``, ``package.module:Class``.
        type: The class.
        contract: What it fulfils; None when that depends on its config (see :meth:`Components.contract_of`).
        operations: Names of the contract's operations that it implements.
        parameters: Its config, in the constructor's order.
        slots: The services it uses.
        exclusive: Whether only one instance may exist per installation: it owns a file, or a large model.
        unsupported: Fields of its requests that it cannot honour.
        blocking: Whether ``invoke`` is a plain function, to be run in a thread.
        streams: Whether it can be called by ``stream``.
        version: The version of the distribution it comes from; of a loose file the start of its digest.
        description: First line of its docstring.
        open_config: Whether the constructor takes any keyword.
        window: The parameter that bounds the tokens of one request, prompt and answer together; None: none does.
        asks: How often one request at most makes it ask what a slot gives it, by slot; those that are not there: unknown.
    """

    name: str
    type: type[Any]
    contract: Contract | None
    operations: frozenset[str]
    parameters: tuple[Parameter, ...]
    slots: tuple[Slot, ...]
    exclusive: bool
    unsupported: frozenset[str]
    blocking: bool
    streams: bool
    version: str
    description: str
    open_config: bool = False
    window: str | None = None
    asks: Mapping[str, int] = field(default_factory=dict)


def describe(
    name: str, cls: type[Any], contracts: Mapping[str, Contract], *, version: str = ""
) -> ComponentInfo:
    """Read a component's class.

    Raises:
        ComponentError: It has no ``invoke``, or an annotation is missing or cannot be resolved.
    """
    parameters, slots, open_config = _constructor(name, cls, contracts)
    if any(parameter.contracts is not None for parameter in parameters):
        contract, operations = None, frozenset[str]()
        streams = callable(getattr(cls, "stream", None))
    else:
        contract = _contract(name, cls, contracts)
        operations = frozenset(o for o in contract.operations if callable(getattr(cls, o, None)))
        streams = contract.streams and callable(getattr(cls, "stream", None))
    primary = contract.primary.name if contract is not None else "invoke"
    method = getattr(cls, primary, None)
    if method is None:
        raise _fault(
            name,
            cls,
            f"has no '{primary}' method",
            "write: async def invoke(self, request: YourRequest) -> YourResponse",
        )
    return ComponentInfo(
        name=name,
        type=cls,
        contract=contract,
        operations=operations,
        parameters=parameters,
        slots=slots,
        exclusive=bool(getattr(cls, "exclusive", False)),
        unsupported=frozenset(getattr(cls, "unsupported", ())),
        blocking=not inspect.iscoroutinefunction(method),
        streams=streams,
        version=version,
        description=first_line(cls.__doc__),
        open_config=open_config,
        window=getattr(cls, "window", None),
        asks=dict(getattr(cls, "asks", {})),
    )


def _fault(name: str, cls: type[Any] | None, what: str, hint: str | None = None) -> ComponentError:
    where = f" ({place(cls)})" if cls is not None else ""
    return ComponentError(f"component '{name}' {what}{where}", hint=hint)


def place(cls: type[Any]) -> str:
    """``file:line`` of a class, or its module where there is no source."""
    try:
        file, line = inspect.getsourcefile(cls), inspect.getsourcelines(cls)[1]
    except (OSError, TypeError):
        return str(cls.__module__)
    return f"{file}:{line}"


def hints(name: str, cls: type[Any], function: Any) -> dict[str, Any]:
    """The resolved annotations of a method.

    Raises:
        ComponentError: One names something that is not imported when the module runs.
    """
    try:
        return typing.get_type_hints(function, include_extras=True)
    except NameError as error:
        raise _fault(
            name,
            cls,
            f"has an annotation that cannot be read: {error}",
            "import what annotations name at the top of the module, not under 'if TYPE_CHECKING'",
        ) from error
    except (TypeError, AttributeError, SyntaxError) as error:
        raise _fault(name, cls, f"has an annotation that cannot be read: {error}") from error


def _constructor(
    name: str, cls: type[Any], contracts: Mapping[str, Contract]
) -> tuple[tuple[Parameter, ...], tuple[Slot, ...], bool]:
    if cls.__init__ is object.__init__:
        return (), (), False
    annotations = hints(name, cls, cls.__init__)
    docs = argument_docs(cls.__doc__) | argument_docs(cls.__init__.__doc__)
    protocols = {c.protocol: c for c in contracts.values() if c.protocol is not None}
    parameters: list[Parameter] = []
    slots: list[Slot] = []
    open_config = False
    for parameter in list(inspect.signature(cls).parameters.values()):
        if parameter.kind is parameter.VAR_KEYWORD:
            open_config = True
            continue
        if parameter.kind is parameter.VAR_POSITIONAL:
            continue
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise _fault(
                name, cls, f"has a positional-only parameter '{parameter.name}': config is given by name"
            )
        annotation = annotations.get(parameter.name, _MISSING)
        if annotation is _MISSING:
            raise _fault(
                name,
                cls,
                f"has a constructor parameter '{parameter.name}' without annotation",
                f"annotate it: the constructor's signature is the config schema, as in '{parameter.name}: str'",
            )
        doc = docs.get(parameter.name, "")
        members = union_members(annotation)
        used = [protocols[m] for m in members if _hashable(m) and m in protocols]
        if used:
            optional = type(None) in members or parameter.default is not parameter.empty
            slots.append(Slot(parameter.name, used[0], optional, doc))
            continue
        required = parameter.default is parameter.empty
        default = None if required else parameter.default
        named = contracts if annotation is Contract else None
        parameters.append(Parameter(parameter.name, annotation, required, default, doc, named))
    return tuple(parameters), tuple(slots), open_config


_MISSING: Any = object()


def _hashable(annotation: Any) -> bool:
    return getattr(annotation, "__hash__", None) is not None


def union_members(annotation: Any) -> tuple[Any, ...]:
    """The alternatives of ``A | B`` or ``Optional[A]``; of anything else, itself."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return typing.get_args(annotation)
    return (annotation,)


def _contract(name: str, cls: type[Any], contracts: Mapping[str, Contract]) -> Contract:
    if callable(getattr(cls, "invoke", None)):
        return _contract_of_invoke(name, cls, contracts)
    for contract in contracts.values():
        if "invoke" in contract.operations:
            continue
        fits = [
            operation.name
            for operation in contract.operations.values()
            if callable(method := getattr(cls, operation.name, None))
            and _request_type(name, cls, method) is operation.request
        ]
        if not fits:
            continue
        needed = [name for name, o in contract.operations.items() if o.default is None]
        if absent := [name for name in needed if name not in fits]:
            raise _fault(
                name,
                cls,
                f"fulfils the contract '{contract.name}' only in part: no method "
                f"{', '.join(repr(a) for a in absent)} with the contract's request",
            )
        return contract
    raise _fault(
        name,
        cls,
        "has no 'invoke' method, nor the methods of a contract",
        "write: async def invoke(self, request: YourRequest) -> YourResponse",
    )


def _request_type(name: str, cls: type[Any], method: Any) -> Any:
    """The annotation of a method's first parameter after ``self``; missing is :data:`_MISSING`."""
    parameters = [p for p in inspect.signature(method).parameters if p != "self"]
    return hints(name, cls, method).get(parameters[0], _MISSING) if parameters else _MISSING


def _contract_of_invoke(name: str, cls: type[Any], contracts: Mapping[str, Contract]) -> Contract:
    write = "write: async def invoke(self, request: YourRequest) -> YourResponse"
    request = _request_type(name, cls, cls.invoke)
    response = hints(name, cls, cls.invoke).get("return", _MISSING)
    if request is _MISSING:
        raise _fault(name, cls, "has an 'invoke' whose request is not annotated", write)
    if response is _MISSING:
        raise _fault(name, cls, "has an 'invoke' whose response is not annotated", write)
    for what, type_ in (("request", request), ("response", response)):
        if not (isinstance(type_, type) and issubclass(type_, Struct)):
            raise _fault(
                name, cls, f"has an 'invoke' whose {what} is no msgspec Struct, but {type_!r}", write
            )
    for contract in contracts.values():
        operation = contract.operations.get("invoke")
        if operation is None or operation.request is not request:
            continue
        if not issubclass(response, operation.response):
            raise _fault(
                name,
                cls,
                f"takes the request of the contract '{contract.name}' but returns {response.__name__}",
                f"the contract's response is {operation.response.__name__}",
            )
        return contract
    chunk = _chunk_type(name, cls)
    return Contract(
        name=name,
        description=first_line(cls.__doc__),
        operations={
            "invoke": Operation(
                "invoke",
                request,
                response,
                chunk=chunk,
                # Nobody but its author knows what a component of no family does when it is asked twice.
                idempotent=bool(getattr(cls, "idempotent", False)),
                routes=(Route("/v1/invoke"),),
                collect=_collect(cls, response, chunk, contracts.values()),
            )
        },
    )


def _chunk_type(name: str, cls: type[Any]) -> Any:
    stream = getattr(cls, "stream", None)
    if stream is None:
        return None
    annotation = hints(name, cls, stream).get("return", _MISSING)
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) not in _STREAM_ORIGINS or not arguments:
        raise _fault(
            name,
            cls,
            "has a 'stream' whose result is not annotated as AsyncIterator[YourChunk]",
            "write: def stream(self, request: YourRequest) -> AsyncIterator[YourChunk]",
        )
    if not (isinstance(arguments[0], type) and issubclass(arguments[0], Struct)):
        raise _fault(name, cls, f"has a 'stream' whose chunk is no msgspec Struct, but {arguments[0]!r}")
    return arguments[0]


def _collect(cls: type[Any], response: Any, chunk: Any, contracts: Iterable[Contract]) -> Any:
    """What folds its chunks: its own static ``collect``, or that of a contract with the same chunk and response."""
    if chunk is None:
        return None
    if callable(own := getattr(cls, "collect", None)):
        return own
    for contract in contracts:
        for operation in contract.operations.values():
            if operation.chunk is chunk and operation.response is response:
                return operation.collect
    return None


def first_line(docstring: str | None) -> str:
    """A docstring's promise: its first paragraph on one line."""
    if not docstring:
        return ""
    return " ".join(inspect.cleandoc(docstring).split("\n\n", 1)[0].split())


def argument_docs(docstring: str | None) -> dict[str, str]:
    """What a Google-style docstring says of each argument, on one line each."""
    if not docstring:
        return {}
    docs: dict[str, str] = {}
    names: list[str] = []
    inside = False
    for line in inspect.cleandoc(docstring).splitlines():
        indent = len(line) - len(line.lstrip())
        if not indent:
            inside = line.rstrip() in ("Args:", "Arguments:") or (inside and not line)
            continue
        head, colon, rest = line.strip().partition(":")
        if inside and indent == 4 and colon:
            names = [n.partition("(")[0].strip() for n in head.split(",")]
            docs.update(dict.fromkeys(names, rest.strip()))
        elif inside and names:
            docs.update({n: f"{docs[n]} {line.strip()}".strip() for n in names})
    return docs

"""The spec files as frozen data.

Every object has ``marks``, which says where its keys and values stand in the text; marks do not count when two specs
are compared. What a program builds has no marks, and its problems are shown without a source line.
"""

# ruff: noqa: RUF009 - _mark() and _marks() declare fields, as dataclasses.field() does

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from weft.spec import keys
from weft.spec.keys import key
from weft.spec.problems import NOWHERE, Mark

if TYPE_CHECKING:
    from weft.spec.gateway import GatewaySpec

API_VERSION: Final = "weft/v1"

RESERVED_NAMES: Final = {
    "request": "the megaservice's own request",
    "response": "the node's own response, in repeat.until",
}
"""Names that no node can have, and what they mean in references and conditions."""

Path = tuple[str | int, ...]


class Marks:
    """Where the keys and values of one object stand.

    Attributes:
        here: Where the object is named; the start of it when it has no name.
        faulty: Keys whose value is wrong and already reported: the field then holds its default, or ``""``, or None.
    """

    __slots__ = ("_keys", "_values", "faulty", "here")

    def __init__(
        self,
        here: Mark = NOWHERE,
        *,
        keys: Mapping[Path, Mark] | None = None,
        values: Mapping[Path, Mark] | None = None,
        faulty: frozenset[str] = frozenset(),
    ) -> None:
        self.here = here
        self._keys, self._values = keys or {}, values or {}
        self.faulty = faulty

    def value(self, *path: str | int) -> Mark:
        """The value at ``path`` (``"inputs", "query"``), or the nearest thing around it that has a mark."""
        return self._nearest(self._values, path)

    def key(self, *path: str | int) -> Mark:
        """The key at ``path``, or the nearest thing around it that has a mark."""
        return self._keys.get(path) or self._nearest(self._values, path)

    def _nearest(self, marks: Mapping[Path, Mark], path: Path) -> Mark:
        while path:
            if path in marks:
                return marks[path]
            path = path[:-1]
        return self.here


def _marks() -> Any:
    return field(default_factory=Marks, compare=False, repr=False)


def _mark() -> Any:
    return field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class SecretRef:
    """``{secret: NAME}`` in a config: the CLI puts the secret in when the service starts, nothing else ever has it."""

    name: str


@dataclass(frozen=True, slots=True)
class Ref:
    """A reference to the request, to a node's response or stream, or to a part of one.

    Attributes:
        head: ``request``, or the name of a node.
        path: Fields and list indices from there.
    """

    head: str
    path: Path = ()
    mark: Mark = _mark()

    def __str__(self) -> str:
        return self.head + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.path)


@dataclass(frozen=True, slots=True)
class Value:
    """``{value: x}``: a literal."""

    value: Any
    mark: Mark = _mark()


@dataclass(frozen=True, slots=True)
class First:
    """``{first: [a, b]}``: the first of them that was produced."""

    choices: tuple[Input, ...]
    mark: Mark = _mark()


@dataclass(frozen=True, slots=True)
class ListOf:
    """``[a, b]``: a list of them."""

    items: tuple[Input, ...]
    mark: Mark = _mark()


@dataclass(frozen=True, slots=True)
class Faulty:
    """An input that is wrong and already reported. Only in what :func:`weft.spec.load.read` returns with problems."""

    mark: Mark = _mark()


Input = Ref | Value | First | ListOf | Faulty


def references(expression: Input) -> Iterator[Ref]:
    """Every reference in an input expression, left to right."""
    match expression:
        case Ref():
            yield expression
        case First(inner) | ListOf(inner):
            for part in inner:
                yield from references(part)


@dataclass(frozen=True, slots=True)
class Condition:
    """The text of a condition, whose syntax has been checked; :mod:`weft.expressions` gives it its meaning.

    Attributes:
        exact: Whether columns of the text are columns of the file.
        start: Column in the file of the text's first character, where ``exact``.
    """

    text: str
    mark: Mark = _mark()
    exact: bool = field(default=False, compare=False, repr=False)
    start: int = field(default=0, compare=False, repr=False)

    def mark_at(self, column: int, end_column: int) -> Mark:
        """The mark of a part of the text (1-based columns in it); of all of it where that cannot be told."""
        if not self.exact:
            return self.mark
        return self.mark._replace(column=self.start + column - 1, end_column=self.start + end_column - 1)


@dataclass(frozen=True, slots=True)
class FlowStep:
    """A node in a flow line."""

    name: str
    mark: Mark = _mark()


@dataclass(frozen=True, slots=True)
class Flow:
    """``flow: a >> b >> c``, or several such lines: which nodes come before which, for inputs that are not bound.

    The file has what the user wrote; :mod:`weft.plan` expands it, for that needs the types of the fields.
    """

    chains: tuple[tuple[FlowStep, ...], ...]

    def before(self, name: str) -> tuple[str, ...]:
        """The nodes one step upstream of ``name``, in the order written, each once."""
        found = {
            chain[index - 1].name: None
            for chain in self.chains
            for index, step in enumerate(chain)
            if step.name == name and index
        }
        return tuple(found)

    @property
    def ends(self) -> tuple[str, ...]:
        """The nodes that no node comes after, in the order written, each once."""
        inner = {step.name for chain in self.chains for step in chain[:-1]}
        return tuple(dict.fromkeys(chain[-1].name for chain in self.chains if chain[-1].name not in inner))

    def __str__(self) -> str:
        return ", ".join(" >> ".join(step.name for step in chain) for chain in self.chains)


_CONFIG = keys.Table(keys.FIELD, keys.Json(secrets=True), "a config")
_USES = keys.Table(keys.FIELD, keys.NAME, "a mapping of constructor parameters to services")
_SECONDS = keys.Number("a number of seconds", 86_400)  # a day: longer waits are jobs, not requests


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """One configured component."""

    name: str
    component: str = field(
        metadata=key(
            keys.COMPONENT, "What it is made of: a component's name, megaservice/NAME or ./file.py:Class."
        )
    )
    config: dict[str, Any] = field(
        default_factory=dict, metadata=key(_CONFIG, "Arguments of the component's constructor.")
    )
    uses: dict[str, str] = field(
        default_factory=dict,
        metadata=key(_USES, "Services that the constructor is given, by parameter name."),
    )
    marks: Marks = _marks()


@dataclass(frozen=True, slots=True)
class ServicesSpec:
    """One document of kind Services."""

    services: dict[str, ServiceSpec] = field(
        metadata=key(
            keys.Table(keys.NAME, keys.Block(ServiceSpec, "a service"), "a mapping of names to services"),
            "The services, by name. Each is one instance, whoever uses it.",
        )
    )
    expose: tuple[str, ...] = field(
        default=(),
        metadata=key(
            keys.Items(keys.NAME, "a list of service names"),
            "Services that answer on their contract's own routes too.",
        ),
    )
    marks: Marks = _marks()


@dataclass(frozen=True, slots=True, kw_only=True)
class Each:
    """``each:`` maps a node over a list: in order, and it fails whole."""

    items: Input = field(metadata=key(keys.Binding(), "The list."))
    at_once: int = field(
        default=8,
        metadata=key(keys.Whole("a number of calls", 1, 1_000), "How many elements are worked on at a time."),
    )
    marks: Marks = _marks()
    field: str = field(
        metadata=key(keys.FIELD, "The field of the node's request that takes each element in turn.")
    )


@dataclass(frozen=True, slots=True)
class Repeat:
    """``repeat:`` runs a nested megaservice again until a condition holds."""

    until: Condition = field(
        metadata=key(keys.Expression(), "Ends the repetition when it is true; reads response.FIELD.")
    )
    at_most: int = field(metadata=key(keys.Whole("a number of runs", 1, 1_000), "How often it may run."))
    on_limit: Literal["error", "last"] = field(
        default="error",
        metadata=key(keys.Choice(("error", "last")), "After at_most runs: fail, or take the last response."),
    )
    marks: Marks = _marks()


@dataclass(frozen=True, slots=True)
class Retry:
    """``retry:`` asks again after an error; only ever an idempotent operation, and never after its first byte."""

    attempts: int = field(
        metadata=key(keys.Whole("a number of attempts", 1, 10), "How often, the first included.")
    )
    marks: Marks = _marks()


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """One step: which service is called, with which inputs, under which conditions."""

    name: str
    service: str | None = field(default=None, metadata=key(keys.NAME, "The shared service that it calls."))
    component: str | None = field(
        default=None, metadata=key(keys.COMPONENT, "A component of its own, instead of a shared service.")
    )
    config: dict[str, Any] = field(
        default_factory=dict, metadata=key(_CONFIG, "Arguments of that component's constructor.")
    )
    uses: dict[str, str] = field(
        default_factory=dict,
        metadata=key(_USES, "Services that its constructor is given, by parameter name."),
    )
    operation: str | None = field(
        default=None,
        metadata=key(keys.FIELD, "Which operation of the contract is called; the primary one if left out."),
    )
    when: Condition | None = field(
        default=None, metadata=key(keys.Expression(), "The node is skipped when this condition is false.")
    )
    inputs: dict[str, Input] = field(
        default_factory=dict,
        metadata=key(
            keys.Table(keys.FIELD, keys.Binding(), "a mapping of request fields to inputs"),
            "What each field of its request is.",
        ),
    )
    fill_from: Ref | None = field(
        default=None,
        metadata=key(
            keys.Reference(),
            "Fills every input that is not bound from the field of the same name and type, "
            "except model, stream and stream_options.",
        ),
    )
    each: Each | None = field(
        default=None, metadata=key(keys.Block(Each, "each"), "Maps the node over a list.")
    )
    repeat: Repeat | None = field(
        default=None,
        metadata=key(keys.Block(Repeat, "repeat"), "Runs a nested megaservice until a condition holds."),
    )
    observes: str | None = field(
        default=None,
        metadata=key(
            keys.NAME, "A node whose stream it gets a bounded copy of, neither delaying nor failing it."
        ),
    )
    timeout_s: float | None = field(default=None, metadata=key(_SECONDS, "Seconds that the node may take."))
    retry: Retry | None = field(
        default=None, metadata=key(keys.Block(Retry, "retry"), "Asks again after an error.")
    )
    fallback: str | None = field(
        default=None, metadata=key(keys.NAME, "The service that is called when this one has failed.")
    )
    on_error: Literal["fail", "skip"] = field(
        default="fail",
        metadata=key(keys.Choice(("fail", "skip")), "Whether its error fails the request or skips the node."),
    )
    effect: bool = field(
        default=False, metadata=key(keys.Flag(), "True: it is meant to run although nothing reads it.")
    )
    marks: Marks = _marks()


PARAMETER_TYPES: Final = ("int", "float", "str", "bool", "list[int]", "list[float]", "list[str]", "object")


@dataclass(frozen=True, slots=True)
class ParameterSpec:
    """What a caller may set beyond the contract; without a default it is null when it is not set."""

    name: str
    type: str = field(metadata=key(keys.Choice(PARAMETER_TYPES), "Its type."))
    default: Any = field(
        default=None, metadata=key(keys.Json(), "What it is when the caller does not set it.")
    )
    min: int | float | None = field(default=None, metadata=key(keys.Limit(), "The least number allowed."))
    max: int | float | None = field(default=None, metadata=key(keys.Limit(), "The greatest number allowed."))
    choices: tuple[Any, ...] = field(
        default=(), metadata=key(keys.Items(keys.Json(), "a list of values"), "The only values allowed.")
    )
    description: str = field(default="", metadata=key(keys.ANY_TEXT, "One sentence for the API reference."))
    marks: Marks = _marks()


@dataclass(frozen=True, slots=True, kw_only=True)
class MegaserviceSpec:
    """One document of kind Megaservice: a graph of nodes that fulfils a contract itself."""

    name: str = field(metadata=key(keys.NAME, "Its model name, and its route /v1/NAME."))
    version: str = field(default="0.0.0", metadata=key(keys.Version(), 'Its version, in quotes: "1.0.0".'))
    description: str = field(
        default="", metadata=key(keys.ANY_TEXT, "One sentence for people who choose it.")
    )
    contract: str | None = field(
        default=None,
        metadata=key(keys.NAME, "What it promises; the contract of its output node if left out."),
    )
    parameters: dict[str, ParameterSpec] = field(
        default_factory=dict,
        metadata=key(
            keys.Table(
                keys.FIELD, keys.Block(ParameterSpec, "a parameter"), "a mapping of names to parameters"
            ),
            "What a caller may set beyond the contract: read as request.NAME, in OpenAPI, checked.",
        ),
    )
    nodes: dict[str, NodeSpec] = field(
        metadata=key(
            keys.Table(keys.NAME, keys.Block(NodeSpec, "a node"), "a mapping of names to nodes"),
            "The steps, by name. Their order means nothing.",
        )
    )
    flow: Flow | None = field(
        default=None,
        metadata=key(
            keys.Chain(),
            "Binds inputs that are left out to the nearest node upstream with a field of that name and type, "
            "else to the request.",
        ),
    )
    output: Input | None = field(
        default=None, metadata=key(keys.Binding(), "The response; the last node of the flow if left out.")
    )
    timeout_s: float | None = field(default=None, metadata=key(_SECONDS, "Seconds that a request may take."))
    marks: Marks = _marks()


@dataclass(frozen=True, slots=True)
class At:
    """Where a service runs: ``local``, ``process``, URLs (``target``) or ``registry:NAME`` (``target``)."""

    kind: Literal["local", "process", "url", "registry"]
    target: str = ""

    @property
    def urls(self) -> tuple[str, ...]:
        """The addresses of one that runs elsewhere."""
        return tuple(self.target.split(", ")) if self.kind == "url" else ()

    def __str__(self) -> str:
        return f"registry:{self.target}" if self.kind == "registry" else self.target or self.kind


LOCAL: Final = At("local")


@dataclass(frozen=True, slots=True)
class Resources:
    """What a cluster reserves for each replica."""

    cpu: float | None = field(default=None, metadata=key(keys.Number("a number of cores", 4_096), "Cores."))
    memory: str | None = field(default=None, metadata=key(keys.QUANTITY, "Memory: 512Mi, 4Gi."))
    gpu: int | None = field(default=None, metadata=key(keys.Whole("a number of GPUs", 0, 1_024), "GPUs."))
    marks: Marks = _marks()


@dataclass(frozen=True, slots=True)
class Place:
    """Where one service runs, and what replaces its component there."""

    name: str
    at: At | None = field(
        default=None,
        metadata=key(
            keys.Location(),
            "local, process, a URL (several with commas) or registry:NAME; the default's place if left out.",
        ),
    )
    component: str | None = field(
        default=None, metadata=key(keys.COMPONENT, "Another component of the same contract.")
    )
    config: dict[str, Any] | None = field(
        default=None, metadata=key(_CONFIG, "Replaces the service's config, whole.")
    )
    uses: dict[str, str] | None = field(
        default=None, metadata=key(_USES, "Replaces what the service uses, whole.")
    )
    replicas: int | None = field(
        default=None,
        metadata=key(keys.Whole("a number of replicas", 1, 1_000), "Processes; only with at: process."),
    )
    resources: Resources | None = field(
        default=None,
        metadata=key(keys.Block(Resources, "resources"), "What each process needs; only with at: process."),
    )
    contract: str | None = field(
        default=None, metadata=key(keys.NAME, "What the remote service fulfils, where no registry says it.")
    )
    marks: Marks = _marks()


@dataclass(frozen=True, slots=True)
class DefaultPlace:
    """Where the services run that the placement does not name."""

    at: At = field(default=LOCAL, metadata=key(keys.Location(), "local or process."))
    marks: Marks = _marks()


@dataclass(frozen=True, slots=True)
class PlacementSpec:
    """Where each service runs: all documents of kind Placement together."""

    services: dict[str, Place] = field(
        default_factory=dict,
        metadata=key(
            keys.Table(keys.PLACED, keys.Block(Place, "a place"), "a mapping of services to places"),
            "Where a service runs, by its name; megaservice/service for a nested one.",
        ),
    )
    default: DefaultPlace = field(
        default_factory=DefaultPlace,
        metadata=key(keys.Block(DefaultPlace, "a default"), "Where all other services run."),
    )
    marks: Marks = _marks()

    def at(self, service: str) -> At:
        """Where a service runs."""
        place = self.services.get(service)
        return place.at if place is not None and place.at is not None else self.default.at


@dataclass(frozen=True, slots=True)
class Spec:
    """Everything that the files say.

    Attributes:
        services: The shared services.
        expose: Names of services that answer on their contract's routes.
        expose_marks: Where each of these names stands.
        placement: The merged placement; everything local when there is none.
        gateway: The front door; None is the one that every megaservice has without one.
        served: Behind a Gateway whose routes name other files: target of a route to the megaservices that answer it,
            a version each, in the order of the file (see :mod:`weft.spec.merge`).
        sources: File name to text, for showing problems.
    """

    services: dict[str, ServiceSpec] = field(default_factory=dict)
    expose: tuple[str, ...] = ()
    megaservices: dict[str, MegaserviceSpec] = field(default_factory=dict)
    placement: PlacementSpec = field(default_factory=PlacementSpec)
    gateway: GatewaySpec | None = None
    served: dict[str, tuple[str, ...]] = field(default_factory=dict)
    expose_marks: tuple[Mark, ...] = field(default=(), compare=False, repr=False)
    sources: dict[str, str] = field(default_factory=dict, compare=False, repr=False)

"""One megaservice while it is checked: its request, its nodes, and what references in it mean."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from weft.contracts import Contract, Operation
from weft.errors import did_you_mean
from weft.plan.model import Plan
from weft.plan.services import Service, plain
from weft.plan.types import UNKNOWN, Missing, follow, list_of, show
from weft.registry.components import ignored_fields
from weft.spec.model import Input, MegaserviceSpec, NodeSpec, Ref
from weft.spec.problems import Problems

REQUEST = "request"

Origin = Literal["inputs", "flow", "fill_from", "observes"]


@dataclass(frozen=True, slots=True)
class Bound:
    """What one field of a node's request is, and by which rule."""

    expression: Input
    origin: Origin


@dataclass(slots=True)
class Step:
    """A node while it is checked. None where a fault left a thing unknown."""

    spec: NodeSpec
    service: Service | None = None
    contract: Contract | None = None
    operation: Operation | None = None
    nested: Plan | None = None
    inputs: dict[str, Bound] = field(default_factory=dict)
    items: Input | None = None
    """What ``each`` maps over."""
    slot: int = 0

    @property
    def name(self) -> str:
        """The node's name."""
        return self.spec.name

    @property
    def response(self) -> Any:
        """The type of one response."""
        return self.operation.response if self.operation is not None else UNKNOWN

    @property
    def value(self) -> Any:
        """The type of what the node leaves in its slot when it is called whole."""
        return list_of(self.response) if self.spec.each is not None else self.response

    @property
    def may_skip(self) -> bool:
        """Whether the node may leave no value."""
        return self.spec.when is not None or self.spec.on_error == "skip" or "when" in self.spec.marks.faulty

    @property
    def streams(self) -> bool:
        """Whether the node can be called by ``stream``."""
        if self.operation is None or self.operation.chunk is None or self.service is None:
            return False
        if self.spec.each is not None or self.spec.repeat is not None:
            return False
        if self.service.nested is not None:
            return self.nested is not None and self.nested.streamed is not None
        return self.service.info is not None and self.service.info.streams

    def unsupported(self) -> frozenset[str]:
        """Fields of its request that it does nothing with."""
        if self.nested is not None:
            return frozenset(self.nested.operation.request.__struct_fields__) - self.nested.consumed
        if self.service is not None and self.service.info is not None:
            return ignored_fields(self.service.info, plain(self.service.config))
        return frozenset()


@dataclass(slots=True)
class Scope:
    """A megaservice while it is checked.

    Attributes:
        spec: What was written.
        problems: Where faults go.
        steps: The nodes by name.
        request: Type of its request: the contract's, with the parameters.
        contract: What it fulfils.
        key: Its name among all megaservices of the spec.
    """

    spec: MegaserviceSpec
    problems: Problems
    steps: dict[str, Step]
    request: Any = UNKNOWN
    contract: Contract | None = None
    key: str = ""

    def names(self) -> str:
        """The nodes, as a hint lists them."""
        return ", ".join(self.steps)

    def type_of(self, ref: Ref, *, report: bool = True) -> Any:
        """The type of what a reference names; :data:`UNKNOWN` after a fault, which is reported.

        Args:
            ref: The reference.
            report: False where the same reference is looked at again.
        """
        if ref.head == REQUEST:
            root = self.request
        elif ref.head in self.steps:
            step = self.steps[ref.head]
            root = step.value
            if step.spec.each is not None and ref.path and isinstance(ref.path[0], str):
                return self._mapped(step, ref, report=report)
        else:
            if report:
                self._unknown(ref)
            return UNKNOWN
        try:
            return follow(root, ref.path)
        except Missing as missing:
            if report:
                self._missing(ref, root, missing)
            return UNKNOWN

    def _mapped(self, step: Step, ref: Ref, *, report: bool) -> Any:
        """``node.field`` of a node with ``each``: the list of that field."""
        cut = next((i for i, part in enumerate(ref.path) if isinstance(part, int)), len(ref.path))
        try:
            item = follow(step.response, ref.path[:cut])
            return follow(list_of(item), ref.path[cut:])
        except Missing as missing:
            if report:
                self._missing(ref, step.response, missing)
            return UNKNOWN

    def _unknown(self, ref: Ref) -> None:
        names = [*self.steps]
        close = did_you_mean(ref.head, names, what="nodes")
        if close.startswith("did you mean '"):
            head, rest = close.removeprefix("did you mean '").split("'?", 1)
            close = f"did you mean '{Ref(head, ref.path)}'?{rest}"
        elif ref.head in self.request_fields():
            close = f"did you mean 'request.{ref}'? {close}"
        self.problems.add("unknown-ref", f"'{ref}' names no node in this megaservice", ref.mark, help=close)

    def request_fields(self) -> list[str]:
        """Names of the request's fields; none while the contract is unknown."""
        return list(self.request.__struct_fields__) if self.request is not UNKNOWN else []

    def _missing(self, ref: Ref, root: Any, missing: Missing) -> None:
        before = Ref(ref.head, ref.path[: missing.index])
        what = self.describe(before, root)
        message = f"{what} {missing.reason}"
        hint = None
        if missing.choices:
            hint = did_you_mean(str(ref.path[missing.index]), missing.choices, what="fields")
        elif missing.code == "null-ref":
            message = f"'{ref}' cannot be read: '{before}' may be null"
        self.problems.add(missing.code, message, ref.mark, help=hint)

    def describe(self, ref: Ref, root: Any) -> str:
        """A reference with its type, as the subject of a sentence."""
        if not ref.path:
            if ref.head == REQUEST:
                return "the request"
            return f"the response of '{ref.head}' ({show(root)})"
        return f"'{ref}'"

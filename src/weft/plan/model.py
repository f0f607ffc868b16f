"""The plan: a checked graph as pure data.

A run keeps its values in a list. Slot 0 is the request; slot *i* belongs to node *i* and holds :data:`PENDING`,
then its response (or its live stream), or :data:`SKIPPED`. What a node does with these slots is compiled into
closures when the plan is made, so that running it looks nothing up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, Literal

from weft.contracts import Contract, Operation


class Absent(Enum):
    """Why a slot holds no value."""

    PENDING = "pending"
    SKIPPED = "skipped"


PENDING: Final = Absent.PENDING
SKIPPED: Final = Absent.SKIPPED

Values = list[Any]
Getter = Callable[[Values], Any]
"""Reads a value out of the slots; :data:`SKIPPED` when what it refers to was skipped."""


@dataclass(frozen=True, slots=True)
class Each:
    """Map a node over a list: ``field`` of its request takes each element in turn."""

    items: Getter
    field: str
    at_once: int = 8


@dataclass(frozen=True, slots=True)
class Repeat:
    """Run a node again, its response's fields fed into the same-named fields of its next request.

    Attributes:
        until: Reads the response (slot 0 of a list of its own); true ends the repetition.
        carry: Names of the fields that response and request share.
    """

    until: Getter
    at_most: int
    on_limit: Literal["error", "last"]
    carry: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PlanNode:
    """One step, compiled.

    Attributes:
        slot: Its place in the values, from 1, in an order in which every node comes after what it needs.
        name: Its name in the megaservice.
        service: Key of the service it calls.
        component: The component behind that service, for messages.
        operation: What it asks; ``method`` is the name of the coroutine method.
        needs: Slots that must not be PENDING before it starts.
        build: Makes its request from the values. With ``each``, the field that takes the elements is None in it.
        when: False skips it; None always runs.
        stream: Whether this variant calls ``stream`` and leaves a live stream in the slot.
        collects: Slots whose stream must be collected before ``build`` reads them (their reader takes no stream).
        observes: Slot of a stream of which it gets a bounded copy.
        retries: Attempts after the first; only ever above 0 for an idempotent operation.
        fallback: Key of the service to call when this one has failed.
        effect: Runs although nothing reads it.
    """

    slot: int
    name: str
    service: str
    component: str
    operation: Operation
    needs: tuple[int, ...]
    build: Callable[[Values], Any]
    when: Getter | None = None
    stream: bool = False
    collects: tuple[int, ...] = ()
    observes: int | None = None
    on_error: Literal["fail", "skip"] = "fail"
    each: Each | None = None
    repeat: Repeat | None = None
    timeout_s: float | None = None
    retries: int = 0
    fallback: str | None = None
    effect: bool = False

    @property
    def method(self) -> str:
        """The component's method that this variant calls."""
        return "stream" if self.stream else self.operation.name


@dataclass(frozen=True, slots=True)
class Variant:
    """The graph for ``stream: true`` or for ``stream: false``."""

    stream: bool
    nodes: tuple[PlanNode, ...]
    output: Getter
    output_slot: int | None
    """The slot that *is* the response or the stream; None when the output is a part of one, or one of several."""
    output_needs: tuple[int, ...] = ()
    """Slots that must not be PENDING before ``output`` is read."""
    output_collects: tuple[int, ...] = ()
    """Slots whose stream must be collected before ``output`` is read."""


@dataclass(frozen=True, slots=True)
class ModelCall:
    """Calls of one model for one request.

    Attributes:
        service: The model's key.
        model: Its name in the service's config; empty: it has none there.
        times: How many at most.
        window: Tokens that the model takes, prompt and answer together; None: unknown.
        own_prompt: Whether its prompt is nothing but the messages of the megaservice's own request.
        own_length: Whether the request says how long an answer may be.
        own_answers: Whether the request says how many answers there are.
        length: Tokens of an answer, where the spec says so.
        answers: How many, where the spec says so.
    """

    service: str
    model: str = ""
    times: int = 1
    window: int | None = None
    own_prompt: bool = False
    own_length: bool = False
    own_answers: bool = False
    length: int | None = None
    answers: int = 1


@dataclass(frozen=True, slots=True)
class Spending:
    """The calls of a graph.

    Attributes:
        calls: All that it may make.
        unbounded: Why nobody can say how many there are; empty: ``calls`` are all.
    """

    calls: tuple[ModelCall, ...] = ()
    unbounded: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """A megaservice, checked and compiled. Pure data: no I/O, no clients, no secrets.

    Attributes:
        key: Its name among all megaservices: versions of one have the same ``name``, and each a key of its own.
        contract: What it fulfils; its request type has the declared parameters as further fields.
        services: Keys of the services it needs, in the order in which they can be started.
        consumed: Fields of the request that something in the graph reads.
        explanation: What ``weft check --explain`` prints.
        spending: What one request may make models do.
    """

    name: str
    version: str
    description: str
    contract: Contract
    whole: Variant
    streamed: Variant | None
    services: tuple[str, ...]
    consumed: frozenset[str]
    timeout_s: float | None
    explanation: str = ""
    spending: Spending = field(default_factory=Spending)
    key: str = ""

    @property
    def operation(self) -> Operation:
        """The megaservice's own primary operation."""
        return self.contract.primary

"""Which nodes stream: once for a whole reply, once for a streamed one.

A node is called by ``stream`` when its service streams and its reader takes a stream, or when it is the output of the
streamed variant; everything else is called by ``invoke``. In the whole variant only those nodes stream whose reader
takes nothing but a stream. A stream has one reader, unless its readers cannot run together or observe it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from weft.plan.scope import Scope, Step
from weft.plan.types import fields_of, stream_chunk, without_streams
from weft.spec.model import First, Input, Ref, references
from weft.spec.problems import Mark

OUTPUT = ""
"""Stands for the megaservice's own reply among the readers of a node; no node has this name."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One reader of a node.

    Attributes:
        reader: The reading node, or :data:`OUTPUT`.
        live: Whether it can take the node's stream as it comes.
        only_live: Whether it can take nothing else.
        mark: Where it says so.
    """

    reader: str
    live: bool
    only_live: bool
    mark: Mark


@dataclass(frozen=True, slots=True)
class Streams:
    """What streams in one variant.

    Attributes:
        live: Nodes that are called by ``stream``.
        collects: Reader to the live nodes of which it needs the whole response.
        is_possible: False for a streamed variant whose output does not stream.
    """

    live: frozenset[str]
    collects: Mapping[str, tuple[str, ...]]
    is_possible: bool


Readers = Mapping[str, list[Reading]]
"""Node to its readers."""


def readers(
    scope: Scope, output: Input, conditions: Mapping[str, frozenset[str]]
) -> dict[str, list[Reading]]:
    """Who reads what, observers left out.

    Args:
        scope: The megaservice; its bindings have passed the checks.
        output: What is replied.
        conditions: Node to the nodes that its condition, ``each`` or ``repeat`` reads.
    """
    found: dict[str, list[Reading]] = {name: [] for name in scope.steps}
    for step in scope.steps.values():
        for head, (live, only_live, mark) in _read_by(scope, step, conditions[step.name]).items():
            if head != step.spec.observes:
                found[head].append(Reading(step.name, live, only_live, mark))
    chunk = scope.contract.primary.chunk if scope.contract is not None else None
    for ref in references(output):
        if ref.head not in found:
            continue
        step = scope.steps[ref.head]
        live = not ref.path and step.streams and step.operation is not None and step.operation.chunk is chunk
        found[ref.head].append(Reading(OUTPUT, live, only_live=False, mark=ref.mark))
    return found


def _read_by(scope: Scope, step: Step, in_conditions: frozenset[str]) -> dict[str, tuple[bool, bool, Mark]]:
    """The nodes that a node reads; live only if all that it reads of one is the stream."""
    found: dict[str, tuple[bool, bool, Mark]] = {}

    def add(head: str, *, live: bool, only_live: bool, mark: Mark) -> None:
        before = found.get(head)
        if before is not None:
            live, only_live, mark = live and before[0], only_live or before[1], before[2]
        if head in scope.steps:
            found[head] = live, only_live, mark

    fields = fields_of(step.operation.request) if step.operation is not None else {}
    for name, bound in step.inputs.items():
        chunk = stream_chunk(fields[name].type)
        for ref, whole in _reads(bound.expression):
            source = scope.steps.get(ref.head)
            live = (
                whole
                and chunk is not None
                and source is not None
                and source.streams
                and source.operation is not None
                and source.operation.chunk is chunk
            )
            only_live = live and without_streams(fields[name].type) is None
            add(ref.head, live=live, only_live=only_live, mark=ref.mark)
    for head in in_conditions:
        add(head, live=False, only_live=False, mark=step.spec.marks.here)
    return found


def _reads(expression: Input, *, nested: bool = False) -> Iterator[tuple[Ref, bool]]:
    """References, and whether each hands on the node's own value."""
    match expression:
        case Ref():
            yield expression, not expression.path and not nested
        case First(choices):
            for choice in choices:
                yield from _reads(choice, nested=nested)
        case _:
            for ref in references(expression):
                yield ref, False


def find_streams(scope: Scope, output: Input, found: Readers, *, streamed: bool) -> Streams:
    """Say what streams in a variant; what cannot be is reported."""
    live: set[str] = set()
    for name, readings in found.items():
        step = scope.steps[name]
        if not step.streams:
            continue
        wanted = [r for r in readings if r.live and (r.only_live or streamed)]
        if wanted:
            live.add(name)
            _one_reader(scope, step, readings)
            _not_remote(scope, step, wanted)
    collects: dict[str, list[str]] = {}
    for name in live:
        for reading in found[name]:
            if not reading.live:
                collects.setdefault(reading.reader, []).append(name)
                _collectable(scope, scope.steps[name], reading)
    heads = {ref.head for ref in references(output)}
    is_possible = not streamed or (
        bool(heads) and all(any(r.reader == OUTPUT and r.live for r in found.get(head, ())) for head in heads)
    )
    return Streams(frozenset(live), {k: tuple(v) for k, v in collects.items()}, is_possible)


def _one_reader(scope: Scope, step: Step, readings: list[Reading]) -> None:
    for index, one in enumerate(readings):
        for other in readings[index + 1 :]:
            if one.reader == other.reader or _exclusive(scope, one.reader, other.reader):
                continue
            first, second = sorted((one, other), key=lambda r: r.mark)
            names = " and ".join(
                "the output" if r.reader == OUTPUT else f"'{r.reader}'" for r in (first, second)
            )
            watcher = second.reader or first.reader
            scope.problems.add(
                "shared-stream",
                f"the stream of '{step.name}' has two readers that can run together: {names}",
                second.mark,
                help=f"let one of them watch: 'observes: {step.name}' in node '{watcher}'",
            )
            return


def _exclusive(scope: Scope, one: str, other: str) -> bool:
    """Whether two readers never run in the same request, as far as their conditions tell."""
    if OUTPUT in (one, other):
        return False
    first, second = scope.steps[one].spec.when, scope.steps[other].spec.when
    if first is None or second is None:
        return False
    return _negated(first.text) == _plain(second.text) or _negated(second.text) == _plain(first.text)


def _plain(text: str) -> str:
    text = "".join(text.split())
    while text.startswith("(") and text.endswith(")") and _balanced(text[1:-1]):
        text = text[1:-1]
    return text


def _negated(text: str) -> str | None:
    text = _plain(text)
    return _plain(text[1:]) if text.startswith("!") and _is_one(text[1:]) else None


def _is_one(text: str) -> bool:
    """Whether a ``!`` before the text negates all of it."""
    if text.startswith("("):
        return text.endswith(")") and _balanced(text[1:-1])
    return not any(sign in text for sign in ("&&", "||", "?", "=", "<", ">", " in "))


def _balanced(text: str) -> bool:
    depth = 0
    for character in text:
        depth += (character == "(") - (character == ")")
        if depth < 0:
            return False
    return depth == 0


def _not_remote(scope: Scope, step: Step, wanted: list[Reading]) -> None:
    for reading in wanted:
        if reading.reader == OUTPUT:
            continue
        service = scope.steps[reading.reader].service
        if service is not None and service.is_remote:
            scope.problems.add(
                "stream",
                f"the stream of '{step.name}' cannot go into node '{reading.reader}': its service '{service.key}' "
                f"runs elsewhere ({service.at}), and streams are not sent to other processes",
                reading.mark,
                help=f"place '{service.key}' at: local",
            )


def _collectable(scope: Scope, step: Step, reading: Reading) -> None:
    if step.operation is not None and step.operation.collect is None:
        who = f"'{reading.reader}'" if reading.reader else "the output"
        scope.problems.add(
            "stream",
            f"{who} needs the whole response of '{step.name}', and its chunks cannot be put together",
            reading.mark,
            help=f"give the component of '{step.name}' a static method collect(chunks) -> response",
        )

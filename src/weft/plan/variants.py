"""Which nodes stream: once for a whole reply, once for a streamed one.

A node is called by ``stream`` when its service streams and its reader takes a stream, or when it is the output of the
streamed variant; everything else is called by ``invoke``. In the whole variant only those nodes stream whose reader
takes nothing but a stream. A stream has one reader, unless its readers cannot run together or observe it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

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
        unless: Nodes whose value it takes instead, where they have one (``first``).
        observes: Whether it only watches.
    """

    reader: str
    live: bool
    only_live: bool
    mark: Mark
    unless: frozenset[str] = frozenset()
    observes: bool = False


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
    """Who reads what.

    Args:
        scope: The megaservice; its bindings have passed the checks.
        output: What is replied.
        conditions: Node to the nodes that its condition or ``each`` reads.
    """
    found: dict[str, list[Reading]] = {name: [] for name in scope.steps}
    for step in scope.steps.values():
        for head, reading in _read_by(scope, step, conditions[step.name]).items():
            found[head].append(reading)
    chunk = scope.contract.primary.chunk if scope.contract is not None else None
    for ref, whole, unless in _reads(output):
        if ref.head in found:
            live = whole and _gives(scope.steps[ref.head], chunk)
            found[ref.head].append(Reading(OUTPUT, live, only_live=False, mark=ref.mark, unless=unless))
    return found


def _gives(step: Step, chunk: Any) -> bool:
    """Whether a node can give a stream of these chunks."""
    return chunk is not None and step.streams and step.operation is not None and step.operation.chunk is chunk


def _read_by(scope: Scope, step: Step, in_conditions: frozenset[str]) -> dict[str, Reading]:
    """The nodes that a node reads; live only if all that it reads of one is the stream."""
    found: dict[str, Reading] = {}

    def add(reading: Reading, head: str) -> None:
        before = found.get(head)
        if before is not None:
            reading = replace(
                before,
                live=before.live and reading.live,
                only_live=before.only_live or reading.only_live,
                unless=before.unless & reading.unless,
            )
        if head in scope.steps:
            found[head] = replace(reading, observes=head == step.spec.observes)

    fields = fields_of(step.operation.request) if step.operation is not None else {}
    for name, bound in step.inputs.items():
        chunk = stream_chunk(fields[name].type)
        for ref, whole, unless in _reads(bound.expression):
            gives = whole and ref.head in scope.steps and _gives(scope.steps[ref.head], chunk)
            only = gives and without_streams(fields[name].type) is None
            add(
                Reading(step.name, gives and (only or not _asks_again(step)), only, ref.mark, unless),
                ref.head,
            )
    for head in in_conditions:
        add(Reading(step.name, live=False, only_live=False, mark=step.spec.marks.value("when")), head)
    return found


def _asks_again(step: Step) -> bool:
    """Whether a node may be called more than once for one request: then a stream would be gone the second time."""
    spec = step.spec
    retries = spec.retry is not None and spec.retry.attempts > 1
    return spec.each is not None or spec.repeat is not None or retries or spec.fallback is not None


def _reads(
    expression: Input, unless: frozenset[str] = frozenset()
) -> Iterator[tuple[Ref, bool, frozenset[str]]]:
    """References, whether each hands on the node's own value, and the nodes that are preferred to it."""
    match expression:
        case Ref():
            yield expression, not expression.path, unless
        case First(choices):
            for choice in choices:
                yield from _reads(choice, unless)
                unless |= {ref.head for ref in references(choice)}
        case _:
            for ref in references(expression):
                yield ref, False, unless


def find_streams(scope: Scope, output: Input, found: Readers, *, streamed: bool) -> Streams:
    """Say what streams in a variant; what cannot be is reported."""
    heads = {ref.head for ref in references(output)}
    if streamed and not (
        heads and all(any(r.reader == OUTPUT and r.live for r in found.get(h, ())) for h in heads)
    ):
        return Streams(frozenset(), {}, is_possible=False)
    live: set[str] = set()
    for name, readings in found.items():
        step = scope.steps[name]
        if not step.streams:
            continue
        wanted = [r for r in readings if r.live and not r.observes and (r.only_live or streamed)]
        if wanted:
            live.add(name)
            _one_reader(scope, step, [r for r in readings if not r.observes])
            for reading in wanted:
                _not_remote(scope, step, reading)
                _not_twice(scope, step, reading)
    collects: dict[str, list[str]] = {}
    for name in sorted(live):
        for reading in found[name]:
            if not reading.live:
                collects.setdefault(reading.reader, []).append(name)
                _collectable(scope, scope.steps[name], reading)
    return Streams(frozenset(live), {k: tuple(v) for k, v in collects.items()}, is_possible=True)


def _one_reader(scope: Scope, step: Step, readings: list[Reading]) -> None:
    for index, one in enumerate(readings):
        for other in readings[index + 1 :]:
            if one.reader == other.reader or _exclusive(scope, one, other):
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


def _exclusive(scope: Scope, one: Reading, other: Reading) -> bool:
    """Whether two readers never read in the same request, as far as the spec tells."""
    for reading, preferred in ((one, other.reader), (other, one.reader)):
        # What is preferred has read the stream when it is there; when its condition was false it has read nothing.
        if preferred in reading.unless and scope.steps[preferred].spec.on_error == "fail":
            return True
    if OUTPUT in (one.reader, other.reader):
        return False
    first, second = scope.steps[one.reader].spec.when, scope.steps[other.reader].spec.when
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


def _not_remote(scope: Scope, step: Step, reading: Reading) -> None:
    service = scope.steps[reading.reader].service if reading.reader != OUTPUT else None
    if service is not None and service.is_remote:
        scope.problems.add(
            "stream",
            f"the stream of '{step.name}' cannot go into node '{reading.reader}': its service '{service.key}' "
            f"runs elsewhere ({service.at}), and streams are not sent to other processes",
            reading.mark,
            help=f"place '{service.key}' at: local",
        )


def _not_twice(scope: Scope, step: Step, reading: Reading) -> None:
    if reading.reader != OUTPUT and _asks_again(scope.steps[reading.reader]):
        scope.problems.add(
            "stream",
            f"node '{reading.reader}' may be called more than once, and the stream of '{step.name}' can be read once",
            reading.mark,
            help="leave out 'each', 'repeat', 'retry' and 'fallback', or let the input take the whole response too",
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

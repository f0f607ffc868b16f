"""A variant of a plan as the order of work: what is awaited inline, what runs together, what runs in the background.

Nodes come in an order in which each comes after what it needs. A node that needs everything before it and that everything
after it needs is alone when it runs, whatever the timing: it is awaited inline. The nodes between two of these form a
*block*, inside which each starts as soon as what it needs is there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from weft.plan import PlanNode, Variant

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Block(Generic[S]):
    """Nodes that may run together.

    Attributes:
        starts: Those that need nothing within the block.
        waits: Slot to how many nodes of the block it needs.
        next: Slot to the nodes of the block that need it.
    """

    steps: tuple[S, ...]
    starts: tuple[S, ...]
    waits: dict[int, int]
    next: dict[int, tuple[S, ...]]


@dataclass(frozen=True, slots=True)
class Program(Generic[S]):
    """The order of work.

    Attributes:
        work: Nodes to await inline, and blocks, in order.
        aside: Whether some of the work is not needed for the output: a streamed reply begins without waiting for it.
        background: Observers that nothing reads: they neither delay nor fail the request.
    """

    work: tuple[S | Block[S], ...]
    aside: bool
    background: tuple[S, ...]


def schedule(variant: Variant, make: Callable[[PlanNode], S]) -> Program[S]:
    """Work out the order.

    Args:
        variant: The graph.
        make: Turns a node into what the runner runs.
    """
    read = {slot for node in variant.nodes for slot in node.needs}
    read.update(_output_slots(variant))
    background = [n for n in variant.nodes if n.observes is not None and n.slot not in read]
    behind = {node.slot for node in background}
    nodes = [node for node in variant.nodes if node.slot not in behind]
    above = _ancestors(nodes)
    steps = {node.slot: make(node) for node in variant.nodes}
    work: list[S | Block[S]] = []
    together: list[PlanNode] = []
    for index, node in enumerate(nodes):
        before, after = nodes[:index], nodes[index + 1 :]
        alone = all(other.slot in above[node.slot] for other in before) and all(
            node.slot in above[other.slot] for other in after
        )
        if not alone:
            together.append(node)
            continue
        if together:
            work.append(_block(together, steps))
            together = []
        work.append(steps[node.slot])
    if together:
        work.append(_block(together, steps))
    needed = set(_output_slots(variant))
    for slot in list(needed):
        needed |= above.get(slot, set())
    return Program(
        tuple(work), any(node.slot not in needed for node in nodes), tuple(steps[n.slot] for n in background)
    )


def _output_slots(variant: Variant) -> set[int]:
    slots = set(variant.output_needs)
    if variant.output_slot:
        slots.add(variant.output_slot)
    return slots or {node.slot for node in variant.nodes}


def _ancestors(nodes: Sequence[PlanNode]) -> dict[int, set[int]]:
    above: dict[int, set[int]] = {}
    for node in nodes:
        found: set[int] = set()
        for slot in node.needs:
            if slot:
                found.add(slot)
                found |= above.get(slot, set())
        above[node.slot] = found
    return above


def _block(nodes: Sequence[PlanNode], steps: dict[int, S]) -> Block[S]:
    inside = {node.slot for node in nodes}
    waits = {node.slot: len(inside.intersection(node.needs)) for node in nodes}
    return Block(
        steps=tuple(steps[node.slot] for node in nodes),
        starts=tuple(steps[node.slot] for node in nodes if not waits[node.slot]),
        waits={slot: number for slot, number in waits.items() if number},
        next={
            node.slot: tuple(steps[other.slot] for other in nodes if node.slot in other.needs)
            for node in nodes
            if any(node.slot in other.needs for other in nodes)
        },
    )

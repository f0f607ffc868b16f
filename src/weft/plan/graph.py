"""What needs what: order, circles, nodes that nothing needs, levels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

Edges = Mapping[str, Iterable[str]]
"""A name to the names that it needs."""


def find_cycles(edges: Edges) -> list[list[str]]:
    """Circles in the order in which they are met, each once: ``[a, b]`` for a that needs b that needs a."""
    done: set[str] = set()
    found: list[list[str]] = []
    for root in edges:
        # An explicit stack: a chain of services may be longer than Python's.
        path: list[str] = []
        todo = [(root, iter(edges[root]))] if root not in done else []
        path += [root] if todo else []
        while todo:
            name, rest = todo[-1]
            for needed in rest:
                if needed in path:
                    found.append(path[path.index(needed) :])
                elif needed not in done and needed in edges:
                    path.append(needed)
                    todo.append((needed, iter(edges[needed])))
                    break
            else:
                done.add(name)
                path.pop()
                todo.pop()
    return found


def in_order(edges: Edges) -> list[str]:
    """The names, each after what it needs, else in the order given; there must be no circle."""
    order: dict[str, None] = {}
    todo = [iter([*edges])]
    waiting: list[str] = []
    while todo:
        for name in todo[-1]:
            if name in order or name not in edges:
                continue
            waiting.append(name)
            todo.append(iter(edges[name]))
            break
        else:
            todo.pop()
            if waiting:
                order[waiting.pop()] = None
    return list(order)


def reachable(edges: Edges, roots: Iterable[str]) -> set[str]:
    """The roots and all that they need."""
    found: set[str] = set()
    todo = list(roots)
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += edges.get(name, ())
    return found


def levels(edges: Edges) -> dict[str, int]:
    """For each name how many steps it is from what needs nothing: nodes of one level can run at the same time."""
    found: dict[str, int] = {}
    for name in in_order(edges):
        found[name] = 1 + max((found[needed] for needed in edges[name] if needed in found), default=0)
    return found

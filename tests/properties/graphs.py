"""Random graphs of scripted components, and what they must answer, worked out in a few lines without any of the runner."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from runkit import Ask, call_text

BOUNDED = settings(derandomize=True, deadline=None, database=None, max_examples=100)
"""The same examples on every run, however slow the machine is."""


@dataclass
class Node:
    """One node; its inputs name earlier nodes.

    Attributes:
        choices: Where its text comes from: the first of these that is there, else ``literal``, else the request.
        listed: Nodes whose texts make a list.
        mapped: Nodes over whose texts it is mapped.
        when: It runs when the request's count is at least this.
        fails: It fails, and is skipped for that.
        turns: Turns of the loop that it takes.
    """

    name: str
    choices: list[str] = field(default_factory=list)
    literal: str | None = None
    listed: list[str] = field(default_factory=list)
    mapped: list[str] = field(default_factory=list)
    when: int | None = None
    fails: bool = False
    turns: int = 0

    @property
    def may_skip(self) -> bool:
        return self.when is not None or self.fails

    @property
    def needs(self) -> set[str]:
        return {*self.choices, *self.listed, *self.mapped}


@dataclass
class Graph:
    """Nodes in an order in which each comes after what it needs; the last one is the output."""

    nodes: list[Node]
    count: int

    def spec(self, order: list[int] | None = None) -> str:
        """The spec, its nodes declared in ``order``."""
        by_name = {node.name: node for node in self.nodes}
        read = set().union(*(node.needs for node in self.nodes))
        nodes: dict[str, Any] = {}
        for index in order or range(len(self.nodes)):
            node = self.nodes[index]
            config: dict[str, Any] = {"turns": node.turns}
            if node.fails:
                config["fails"] = "service"
            said: dict[str, Any] = {"component": "say", "config": config, "inputs": {}}
            if node.mapped:
                said["each"] = {"field": "text", "items": [_ref(by_name[name]) for name in node.mapped]}
            else:
                choices: list[Any] = [f"{name}.text" for name in node.choices]
                choices += [{"value": node.literal}] if node.literal is not None else ["request.text"]
                said["inputs"]["text"] = {"first": choices} if len(choices) > 1 else choices[0]
            if node.listed:
                said["inputs"]["texts"] = [_ref(by_name[name]) for name in node.listed]
            if node.when is not None:
                said["when"] = f"request.count >= {node.when}"
            if node.fails:
                said["on_error"] = "skip"
            if node.name not in read and node is not self.nodes[-1]:
                said["effect"] = True
            nodes[node.name] = said
        head = {"apiVersion": "weft/v1", "kind": "Megaservice", "name": "main", "contract": "say"}
        return json.dumps(head | {"nodes": nodes, "output": self.nodes[-1].name})

    def expected(self) -> tuple[str, dict[str, list[str]]]:
        """The answer, and what each node is asked."""
        texts: dict[str, str | None] = {}
        calls: dict[str, list[str]] = {}
        for node in self.nodes:
            texts[node.name], calls[node.name] = None, []
            if node.when is not None and self.count < node.when:
                continue
            listed = [texts[name] or "nothing" for name in node.listed]
            mapped = [texts[name] or "nothing" for name in node.mapped]
            there = [text for name in node.choices if (text := texts[name]) is not None]
            asked = mapped or [*there, node.literal if node.literal is not None else "hi"][:1]
            calls[node.name] = [call_text(node.name, Ask(text, texts=listed)) for text in asked]
            if not node.fails:
                texts[node.name] = calls[node.name][0]
        return texts[self.nodes[-1].name] or "", calls


def _ref(node: Node) -> Any:
    text = f"{node.name}[0].text" if node.mapped else f"{node.name}.text"
    return {"first": [text, {"value": "nothing"}]} if node.may_skip else text


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Graphs of one to seven nodes."""
    nodes: list[Node] = []
    size = draw(st.integers(1, 7))
    for index in range(size):
        before = [node.name for node in nodes]
        plain = [node.name for node in nodes if not node.mapped]
        some = st.lists(st.sampled_from(before), unique=True, max_size=3) if before else st.just([])
        node = Node(f"n{index}", turns=draw(st.integers(0, 3)), listed=draw(some))
        if before and index < size - 1 and draw(st.integers(0, 4)) == 0:
            node.mapped = draw(st.lists(st.sampled_from(before), min_size=1, max_size=3))
        elif plain:
            node.choices = draw(st.lists(st.sampled_from(plain), unique=True, max_size=3))
            # All but the last choice are worth writing only where they may be skipped; the plan takes any.
            node.literal = draw(st.sampled_from([None, "words"]))
        if index < size - 1:
            node.when = draw(st.sampled_from([None, None, 1, 2]))
            node.fails = draw(st.integers(0, 5)) == 0
        nodes.append(node)
    return Graph(nodes, draw(st.integers(0, 2)))

"""What a service or a megaservice is, whatever it is called: equal texts are interchangeable."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from weft.spec.model import DefaultPlace, Marks, NodeSpec, Place, PlacementSpec, Spec
from weft.spec.plain import plain_block

NESTED: Final = "megaservice/"

CIRCLE: Final = "circle"
"""Stands for what is being looked at already: the compiler says what is wrong with it."""


def nested_name(component: str | None) -> str | None:
    """The megaservice that ``component: megaservice/NAME`` names."""
    if component is None or not component.startswith(NESTED):
        return None
    return component.removeprefix(NESTED)


def has_default(placement: PlacementSpec) -> bool:
    """Whether a placement says where the services run that it does not name."""
    return placement.default != DefaultPlace() or bool(placement.default.marks.here.line)


class Likeness:
    """Looks at the things of one spec.

    Component, config, where it runs, and, of everything that it uses, the same: names do not count, and neither do
    comments or the order of keys.
    """

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._services: dict[str, str] = {}
        self._megaservices: dict[str, str] = {}

    def of_service(self, name: str) -> str:
        """Of a shared service; of a name that is none, the name."""
        if name not in self._spec.services:
            return f"unknown {name}"
        if name not in self._services:
            self._services[name] = CIRCLE
            service = self._spec.services[name]
            data = self._of(service, service.marks)
            self._services[name] = _digest(data, self._place(name), self._default(name))
        return self._services[name]

    def of_megaservice(self, name: str) -> str:
        """Of a megaservice: its name and version count, and each of its nodes."""
        if name not in self._spec.megaservices:
            return f"unknown {name}"
        if name not in self._megaservices:
            self._megaservices[name] = CIRCLE
            spec = self._spec.megaservices[name]
            nodes = {node.name: self._node(name, node) for node in spec.nodes.values()}
            data = plain_block(spec) | {"nodes": nodes}
            self._megaservices[name] = _digest(data)
        return self._megaservices[name]

    def _node(self, megaservice: str, node: NodeSpec) -> Any:
        data = self._of(node, node.marks)
        for key in ("service", "fallback"):
            if key in data:
                data[key] = self.of_service(data[key])
        places = [self._place(f"{megaservice}/{node.name}")]
        places += [self._place(node.name)] if node.name not in self._spec.services else []
        return [data, places if node.component is not None else None]

    def _of(self, thing: Any, marks: Marks) -> dict[str, Any]:
        """What is written of a service, node or place."""
        data = plain_block(thing)
        if uses := data.get("uses"):
            data["uses"] = {slot: self.of_service(name) for slot, name in uses.items()}
        component = data.get("component")
        if (nested := nested_name(component)) is not None:
            data["component"] = self.of_megaservice(nested)
        elif isinstance(component, str) and ":" in component and marks.here.line:
            # A component in a file is relative to the file that names it.
            path, _, name = component.rpartition(":")
            data["component"] = f"{(Path(marks.here.file).parent / path).resolve()}:{name}"
        return data

    def _place(self, name: str) -> Any:
        place: Place | None = self._spec.placement.services.get(name)
        return self._of(place, place.marks) if place is not None else None

    def _default(self, name: str) -> Any:
        place, default = self._spec.placement.services.get(name), self._spec.placement.default
        if (place is not None and place.at is not None) or not has_default(self._spec.placement):
            return None
        return str(default.at)


def _digest(*data: Any) -> str:
    text = json.dumps(data, sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return str(value)

"""What no single key shows: keys that contradict each other, and names that must be there or must not."""

from __future__ import annotations

from typing import Any, Final

from weft.errors import did_you_mean
from weft.spec.fronts import GATEWAY_CHECKS
from weft.spec.model import (
    RESERVED_NAMES,
    MegaserviceSpec,
    NodeSpec,
    ParameterSpec,
    Place,
    PlacementSpec,
    ServicesSpec,
)
from weft.spec.problems import Problems
from weft.spec.reader import Check


def _services(spec: ServicesSpec, problems: Problems) -> None:
    for index, name in enumerate(spec.expose):
        if name in spec.expose[:index]:
            problems.add("duplicate-name", f"'{name}' is exposed twice", spec.marks.value("expose", index))


def _node(node: NodeSpec, problems: Problems) -> None:
    marks = node.marks
    if node.name in RESERVED_NAMES:
        message = f"'{node.name}' is {RESERVED_NAMES[node.name]}: no node can have this name"
        problems.add("reserved-name", message, marks.here)
    if node.service is not None and node.component is not None:
        problems.add(
            "conflicting-keys",
            f"node '{node.name}' has a service and a component: one of them",
            marks.key("component"),
            help="service: NAME calls a shared service, component: NAME makes one of the node's own",
        )
    elif node.service is None and node.component is None and not marks.faulty & {"service", "component"}:
        problems.add(
            "missing-key",
            f"node '{node.name}' needs the key 'service' or 'component'",
            marks.here,
            help="service: NAME calls a shared service, component: NAME makes one of the node's own",
        )
    elif node.service is not None:
        for key in ("config", "uses"):
            if getattr(node, key):
                problems.add(
                    "conflicting-keys",
                    f"'{key}' belongs to a component, and node '{node.name}' calls the service '{node.service}'",
                    marks.key(key),
                    help=f"write it under services: {node.service}, or name a component instead of the service",
                )
    if node.each is not None and node.repeat is not None:
        problems.add("conflicting-keys", "a node has 'each' or 'repeat', not both", marks.key("repeat"))


def _megaservice(spec: MegaserviceSpec, problems: Problems) -> None:
    if not spec.nodes and "nodes" not in spec.marks.faulty:
        problems.add("bad-value", "a megaservice has at least one node", spec.marks.value("nodes"))
    for node in spec.nodes.values():
        if node.observes is not None and (node.observes not in spec.nodes or node.observes == node.name):
            others = [name for name in spec.nodes if name != node.name]
            problems.add(
                "unknown-node",
                f"'{node.observes}' is no other node of this megaservice",
                node.marks.value("observes"),
                help=did_you_mean(node.observes, others, what="nodes"),
            )
    if spec.flow is not None:
        for step in (step for chain in spec.flow.chains for step in chain):
            if step.name not in spec.nodes:
                hint = did_you_mean(step.name, list(spec.nodes), what="nodes")
                problems.add(
                    "unknown-node", f"'{step.name}' is no node of this megaservice", step.mark, help=hint
                )
    _output(spec, problems)


def _output(spec: MegaserviceSpec, problems: Problems) -> None:
    if spec.output is not None or spec.marks.faulty & {"output", "flow"}:
        return
    ends = spec.flow.ends if spec.flow is not None else ()
    if len(ends) == 1:
        return
    message = "the megaservice needs the key 'output'"
    if ends:
        message += f": its flow ends in {', '.join(ends)}"
    problems.add(
        "missing-key", message, spec.marks.here, help="output: NODE, the node whose response is the answer"
    )


_PYTHON_TYPES: Final[dict[str, tuple[type[Any], ...]]] = {
    "int": (int,),
    "float": (int, float),
    "str": (str,),
    "bool": (bool,),
    "object": (dict,),
}


def _is_of(value: Any, type_: str) -> bool:
    """Whether a JSON value is of a parameter type; an integer also stands for a float, as in JSON."""
    if type_.startswith("list["):
        return isinstance(value, list) and all(_is_of(item, type_[5:-1]) for item in value)
    if isinstance(value, bool):
        return type_ == "bool"
    return isinstance(value, _PYTHON_TYPES[type_])


def _parameter(spec: ParameterSpec, problems: Problems) -> None:
    marks, type_ = spec.marks, spec.type
    if "type" in marks.faulty:
        return
    is_number = type_ in ("int", "float")
    low, high = spec.min, spec.max
    for key, limit in (("min", low), ("max", high)):
        if limit is not None and not is_number:
            message = f"'{key}' is for numbers, and '{spec.name}' is of type {type_}"
            problems.add("conflicting-keys", message, marks.key(key))
            low = high = None
    if low is not None and high is not None and low > high:
        problems.add("bad-value", f"'min' is {low}, above 'max', which is {high}", marks.value("min"))
        low = high = None
    values = [(("choices", index), choice) for index, choice in enumerate(spec.choices)]
    for path, value in [(("default",), spec.default), *values]:
        if value is None and path == ("default",):
            continue
        if not _is_of(value, type_):
            problems.add("wrong-type", f"this is not of the parameter's type, {type_}", marks.value(*path))
        elif is_number and ((low is not None and value < low) or (high is not None and value > high)):
            problems.add("bad-value", f"{value} is outside of min and max", marks.value(*path))
        elif (
            path == ("default",)
            and spec.choices
            and "choices" not in marks.faulty
            and value not in spec.choices
        ):
            problems.add("bad-value", "the default is not one of the choices", marks.value(*path))


def _place(place: Place, problems: Problems) -> None:
    is_remote = place.at is not None and place.at.kind in ("url", "registry")
    for key in ("component", "config", "uses"):
        if is_remote and getattr(place, key) is not None:
            problems.add(
                "conflicting-keys",
                f"'{key}' is for a service that is started here, and '{place.name}' is at {place.at}",
                place.marks.key(key),
                help="a server of another kind is called through a component for it, such as openai-chat",
            )
    if place.contract is not None and not is_remote:
        message = "'contract' is for a remote service: at: URL or at: registry:NAME"
        problems.add("conflicting-keys", message, place.marks.key("contract"))


def check_placement(placement: PlacementSpec, problems: Problems) -> None:
    """Check the merged placement: what goes only with a process, given the default."""
    default = placement.default
    if default.at.kind not in ("local", "process"):
        mark = default.marks.value("at")
        problems.add("bad-value", "the default is local or process: a URL is of one service", mark)
    for place in placement.services.values():
        at = placement.at(place.name)
        if at.kind == "process" or "at" in place.marks.faulty:
            continue
        for key in ("replicas", "resources"):
            if getattr(place, key) is not None:
                message = f"'{key}' goes only with at: process, and '{place.name}' is at {at}"
                problems.add("conflicting-keys", message, place.marks.key(key), help="add at: process")


CHECKS: Final[dict[type[Any], Check]] = {
    ServicesSpec: _services,
    NodeSpec: _node,
    MegaserviceSpec: _megaservice,
    ParameterSpec: _parameter,
    Place: _place,
    **GATEWAY_CHECKS,
}
"""Run on each object as it is read."""

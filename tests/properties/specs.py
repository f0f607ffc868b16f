"""Random specs, made from the table of keys: a key that is added to the model is in them at once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from weft.spec import keys
from weft.spec.model import (
    PARAMETER_TYPES,
    RESERVED_NAMES,
    At,
    Condition,
    First,
    Flow,
    FlowStep,
    ListOf,
    MegaserviceSpec,
    NodeSpec,
    ParameterSpec,
    Place,
    PlacementSpec,
    Ref,
    SecretRef,
    ServicesSpec,
    Spec,
    Value,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NUMBER = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBER | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=3,
).filter(lambda value: "'secret'" not in repr(value))
NAMES = st.sampled_from(["a", "b2", "long-name", "no", "null", "n", "true", "x-1", "e5", "y"])
FIELDS = st.sampled_from(["a", "B", "_c", "no", "None", "true", "x1", "e5", "Null", "long_name"])
WORDS: dict[str, st.SearchStrategy[str]] = {
    keys.NAME.pattern: NAMES,
    keys.FIELD.pattern: FIELDS,
    keys.PLACED.pattern: st.lists(NAMES, min_size=1, max_size=2).map("/".join),
    keys.COMPONENT.pattern: st.sampled_from(["comp", "megaservice/m", "./my file.py:Mine", "sub/#x.py:_C"]),
    keys.QUANTITY.pattern: st.sampled_from(["1", "512Mi", "4G"]),
}
"""Some words that fit each pattern, those among them that YAML takes for something else."""
CONDITIONS = st.sampled_from(
    ["a.b > 1", "size(request.messages) == 2 && !has(x.y)", "a.b in ['p', \"q\"]", "r.done ? true : false"]
)
REFS = st.builds(
    Ref, NAMES | st.just("request"), st.lists(FIELDS | st.integers(0, 99), max_size=3).map(tuple)
)
INPUTS = st.recursive(
    REFS | st.builds(Value, JSON),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3).map(lambda items: First(tuple(items)))
        | st.lists(inner, max_size=3).map(lambda items: ListOf(tuple(items)))
    ),
    max_leaves=4,
)
PLACES = st.sampled_from(
    [
        At("local"),
        At("process"),
        At("url", "http://host:80/x"),
        At("url", "http://a:1, https://b/c,d"),
        At("registry", "some-name"),
    ]
)


def values(shape: keys.Shape) -> st.SearchStrategy[Any]:
    """What may stand under a key of this shape."""
    match shape:
        case keys.Text(_, pattern):
            return WORDS[pattern] if pattern else TEXT
        case keys.Version():
            return st.sampled_from(["1", "1.10", "0.0.1-rc.1"])
        case keys.Number(_, maximum):
            return st.floats(0, maximum, exclude_min=True) | st.integers(1, int(maximum))
        case keys.Whole(_, minimum, maximum):
            return st.integers(minimum, maximum)
        case keys.Flag():
            return st.booleans()
        case keys.Choice(words):
            return st.sampled_from(words)
        case keys.Json(secrets):
            return JSON | st.builds(SecretRef, st.sampled_from(["KEY", "a.b-c"])) if secrets else JSON
        case keys.Limit():
            return NUMBER
        case keys.Binding():
            return INPUTS
        case keys.Reference():
            return REFS
        case keys.Expression():
            return CONDITIONS.map(Condition)
        case keys.Location():
            return PLACES
        case keys.Items(item):
            return st.lists(values(item), max_size=3).map(tuple)
        case keys.Table(key, keys.Block(type_)):
            return tables(values(key), type_)
        case keys.Table(key, inner):
            return st.dictionaries(values(key), values(inner), max_size=2)
        case keys.Block(type_):
            return blocks(type_)
    return st.none()  # a chain: it names nodes, and is made with them


@st.composite
def tables(draw: st.DrawFn, names: st.SearchStrategy[str], type_: type[Any]) -> dict[str, Any]:
    """A mapping of names to objects that have their name."""
    return {
        name: replace(draw(blocks(type_, name=name)), name=name)
        for name in draw(st.lists(names, unique=True, max_size=2))
    }


@st.composite
def blocks(draw: st.DrawFn, type_: type[Any], **given: Any) -> Any:
    """An object of the model, some of its keys at their defaults, its keys not contradicting each other."""
    made = dict(given)
    for key in keys.keys_of(type_).values():
        if key.name not in made and (key.required or draw(st.booleans())):
            value = draw(values(key.shape))
            if value is not None or key.required:
                made[key.name] = value
    fix = _FIXES.get(type_)
    return type_(**(fix(draw, made) if fix is not None else made))


# What the checks of single objects ask for (weft.spec.checks), made true.


def _node(draw: st.DrawFn, made: dict[str, Any]) -> dict[str, Any]:
    made.pop("observes", None)
    if "service" in made or "component" not in made:
        for key in ("component", "config", "uses"):
            made.pop(key, None)
        made.setdefault("service", draw(NAMES))
    if "each" in made:
        made.pop("repeat", None)
    return made


def _parameter(draw: st.DrawFn, made: dict[str, Any]) -> dict[str, Any]:
    made["type"] = draw(st.sampled_from(PARAMETER_TYPES))
    for key in ("min", "max", "choices", "default"):
        made.pop(key, None)
    if made["type"] == "int" and draw(st.booleans()):
        low, value, high = sorted(draw(st.lists(st.integers(-99, 99), min_size=3, max_size=3)))
        made |= {"min": low, "default": value, "max": high}
    if made["type"] == "str" and draw(st.booleans()):
        made["choices"] = tuple(draw(st.lists(TEXT, min_size=1, max_size=3)))
        made["default"] = made["choices"][0]
    return made


def _place(draw: st.DrawFn, made: dict[str, Any]) -> dict[str, Any]:
    at = made.setdefault("at", draw(PLACES))
    drop = ("component", "config", "uses") if at.kind in ("url", "registry") else ("contract",)
    for key in (*drop, *(("replicas", "resources") if at.kind != "process" else ())):
        made.pop(key, None)
    return made


def _services(draw: st.DrawFn, made: dict[str, Any]) -> dict[str, Any]:
    return made | {"expose": tuple(dict.fromkeys(made.get("expose", ())))}


def _megaservice(draw: st.DrawFn, made: dict[str, Any]) -> dict[str, Any]:
    nodes = made["nodes"] = {k: n for k, n in made["nodes"].items() if k not in RESERVED_NAMES}
    if not nodes:
        nodes["a"] = NodeSpec("a", service="s")
    names = list(nodes)
    if len(names) > 1 and draw(st.booleans()):
        nodes[names[0]] = replace(nodes[names[0]], observes=names[1])
    if draw(st.booleans()):
        made["flow"] = Flow((tuple(FlowStep(name) for name in names),))
    if "flow" not in made:
        made.setdefault("output", draw(INPUTS))
    return made


_FIXES: dict[type[Any], Any] = {
    NodeSpec: _node,
    ParameterSpec: _parameter,
    Place: _place,
    ServicesSpec: _services,
    MegaserviceSpec: _megaservice,
}


@st.composite
def specs(draw: st.DrawFn) -> Spec:
    """Whole specs."""
    services = draw(blocks(ServicesSpec))
    placement = draw(blocks(PlacementSpec))
    if placement.default.at.kind not in ("local", "process"):
        placement = replace(placement, default=replace(placement.default, at=At("process")))
    return Spec(
        services=services.services,
        expose=services.expose,
        megaservices=draw(tables(NAMES, MegaserviceSpec)),
        placement=placement,
    )

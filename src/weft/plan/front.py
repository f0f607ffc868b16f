"""A Gateway file against what it serves: targets that are there, expressions that make sense, fields that exist.

What a route puts into a request must be something that its target reads, of the right type: found when the file is
loaded, and not by the first caller.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from msgspec import Struct

from weft.contracts import Operation
from weft.contracts.base import wire_type
from weft.errors import ComponentError, did_you_mean
from weft.expressions.types import DYN, STRING, ListType, MapType, Type, may_equal, with_article
from weft.expressions.types import of as type_of
from weft.plan.model import Plan
from weft.plan.rules import (
    HEADER_NAMES,
    REQUEST_NAMES,
    ROLE_NAMES,
    TemplateError,
    compile_rule,
    compile_template,
)
from weft.plan.schemas import check_schema
from weft.plan.services import Placed, plain
from weft.registry.components import Components, ignored_fields
from weft.registry.describe import union_members
from weft.spec.gateway import GatewaySpec, RouteSpec, TransformSpec
from weft.spec.model import Marks, Spec
from weft.spec.problems import Problems

ADDRESSING = frozenset({"model", "stream", "stream_options", "user", "metadata"})
"""Fields that the gateway itself reads, or that ask for nothing, whatever the target."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a target can be asked.

    Attributes:
        name: The target's.
        types: Every field of its requests, with its type; ``Any`` for those of foreign forms.
        read: Those of them that something reads.
        defaults: Values that ask for nothing, although nothing reads the field.
    """

    name: str
    types: Mapping[str, Any]
    read: frozenset[str]
    defaults: Mapping[str, Any]


def check_front(
    spec: Spec,
    plans: Mapping[str, Plan],
    placed: Mapping[str, Placed],
    components: Components,
    problems: Problems,
) -> None:
    """Check the Gateway document of a spec, if it has one; what is wrong goes into ``problems``.

    Targets that are not there are not reported here.
    """
    front = spec.gateway
    if front is None:
        return
    for rule in front.routes:
        check_schema(rule, problems)
        _check_embedder(rule, placed, components, problems)
        keys = spec.served.get(rule.target, (rule.target,))
        known = [asked for key in keys if (asked := _asked(rule, key, plans, placed, components)) is not None]
        for asked in known:
            check_route(rule, asked, problems)
        if not known:
            check_route(rule, None, problems)
    _check_fallbacks(front, spec, plans, placed, problems)
    if front.auth is not None:
        for role, condition in front.auth.roles.items():
            compile_rule(condition, problems, what=f"the condition of role '{role}'", names=ROLE_NAMES)


def _check_embedder(
    rule: RouteSpec, placed: Mapping[str, Placed], components: Components, problems: Problems
) -> None:
    """Check that what a route's cache compares questions with is there, and makes vectors."""
    cache = rule.cache
    if cache is None or cache.embedder is None:
        return
    able = [key for key, service in sorted(placed.items()) if _embeds(service, components)]
    if cache.embedder not in able:
        is_there = cache.embedder in placed
        problems.add(
            "wrong-contract" if is_there else "unknown-service",
            f"'{cache.embedder}' makes no vectors" if is_there else f"there is no service '{cache.embedder}'",
            cache.marks.value("embedder"),
            help=did_you_mean(cache.embedder, able, what="embedders"),
        )


def _embeds(service: Placed, components: Components) -> bool:
    if service.megaservice is not None:
        return False
    try:
        info = components.get(service.component, folder=service.folder)
        return components.contract_of(info, service.config).name == "embedding"
    except ComponentError:
        return False  # reported where the service is


def _check_fallbacks(
    front: GatewaySpec,
    spec: Spec,
    plans: Mapping[str, Plan],
    placed: Mapping[str, Placed],
    problems: Problems,
) -> None:
    """Check that what stands in for a target is asked the same things; of upstreams nobody knows."""
    contracts: dict[str, str] = {}
    for rule in front.routes:
        key = next(iter(spec.served.get(rule.target, (rule.target,))), rule.target)
        if rule.megaservice is not None and key in plans:
            contracts[rule.target] = plans[key].contract.name
        elif rule.service is not None and rule.service in placed:
            contracts[rule.target] = placed[rule.service].contract
    for rule in front.routes:
        if rule.backends is None or (own := contracts.get(rule.target)) is None:
            continue
        for index, name in enumerate(rule.backends.fallback):
            if (other := contracts.get(name)) is not None and other != own:
                problems.add(
                    "wrong-contract",
                    f"'{name}' is of the contract '{other}', and '{rule.target}' of '{own}'",
                    rule.backends.marks.value("fallback", index),
                    help="what stands in is asked the same request",
                )


def check_route(rule: RouteSpec, asked: Asked | None, problems: Problems) -> None:
    """Check what a route does with requests and replies.

    Args:
        rule: The route.
        asked: What its target, or a version of it, can be asked; None: that is not known, as of an upstream.
        problems: Takes what is wrong.
    """
    if rule.request is not None:
        _check_expressions(rule.request, asked, problems)
        if asked is not None:
            _check_fields(rule.request, asked, problems)
    if rule.response is not None:
        _check_expressions(rule.response, None, problems)
    if rule.load is not None and rule.load.priority is not None:
        compile_rule(rule.load.priority, problems, what="the priority")


def whole_fields(
    rule: RouteSpec,
    keys: Iterable[str],
    plans: Mapping[str, Plan],
    placed: Mapping[str, Placed],
    components: Components,
) -> frozenset[str]:
    """The clamped fields of a route's requests that are whole numbers.

    Args:
        rule: The route.
        keys: Of what answers it.
        plans: Of the spec.
        placed: Of the spec.
        components: What is installed.
    """
    if rule.request is None:
        return frozenset()
    found: set[str] = set()
    for key in keys:
        asked = _asked(rule, key, plans, placed, components)
        if asked is None:
            continue
        for path in rule.request.clamp:
            kinds = set(type_of(_type_at(asked, path)))
            if "int" in kinds and not kinds & {"double", "dyn"}:
                found.add(path)
    return frozenset(found)


def asked_of(plan: Plan) -> Asked:
    """What a megaservice can be asked."""
    return _of_operations(plan.name, [plan.operation], plan.consumed)


def _asked(
    rule: RouteSpec,
    key: str,
    plans: Mapping[str, Plan],
    placed: Mapping[str, Placed],
    components: Components,
) -> Asked | None:
    if rule.service is None:
        return asked_of(plans[key]) if rule.megaservice is not None and key in plans else None
    service = placed.get(key)
    if service is None:
        return None
    if service.megaservice is not None:
        return asked_of(plans[service.megaservice]) if service.megaservice in plans else None
    try:
        info = components.get(service.component, folder=service.folder)
    except ComponentError:
        return None  # which is reported where the services are checked
    operations = list(components.contract_of(info, service.config).operations.values())
    asked = _of_operations(service.key, operations, None)
    return replace(asked, read=asked.read - ignored_fields(info, plain(service.config)))


def _of_operations(name: str, operations: list[Operation], consumed: frozenset[str] | None) -> Asked:
    types: dict[str, Any] = {}
    defaults: dict[str, Any] = {}
    foreign: set[str] = set()
    for operation in operations:
        types.update(dict.fromkeys(operation.form_fields, Any))
        types.update({f.name: f.type for f in msgspec.structs.fields(_wire(operation.request))})
        defaults.update(getattr(operation.request, "defaults", {}))
        foreign |= operation.form_fields
    read = frozenset(types) if consumed is None else consumed
    return Asked(name, types, read | foreign | ADDRESSING, defaults)


def _wire(request: type[Any]) -> type[Any]:
    return wire_type(request)  # type: ignore[arg-type]  # a class is hashable, whatever mypy says


# Expressions and templates.


def _check_expressions(spec: TransformSpec, asked: Asked | None, problems: Problems) -> None:
    for path, condition in spec.set_.items():
        expression = compile_rule(condition, problems, what=f"what sets '{path}'", expect=None)
        if expression is None:
            continue
        expected = type_of(_type_at(asked, path)) if asked is not None else DYN
        if (
            expected
            and not may_equal(expression.value, expected)
            and not _is_object(expression.value, expected)
        ):
            problems.add(
                "type-mismatch",
                f"'{path}' is {with_article(expected)}, and this is {with_article(expression.value)}",
                spec.marks.value("set", path),
            )
    _check_templates(spec.template, spec.marks, "template", REQUEST_NAMES, problems)
    for path in spec.template:
        wanted = type_of(_type_at(asked, path)) if asked is not None else DYN
        if not may_equal(wanted, STRING):
            problems.add(
                "type-mismatch",
                f"'{path}' is {with_article(wanted)}, and a template makes a string",
                spec.marks.value("template", path),
            )
    if spec.headers is not None:
        _check_templates(spec.headers.set_, spec.headers.marks, "set", HEADER_NAMES, problems)


def _check_templates(
    templates: Mapping[str, str], marks: Marks, key: str, names: Mapping[str, Any], problems: Problems
) -> None:
    for name, text in templates.items():
        try:
            compile_template(text, names=names)
        except TemplateError as error:
            message = f"the template of '{name}': {error.message}"
            problems.add("bad-condition", message, marks.value(key, name), help=error.hint)


def _is_object(value: Type, expected: Type) -> bool:
    """A map may stand for an object with known fields: what is in it, the caller's request shows."""
    for left in value:
        for right in expected:
            if isinstance(left, MapType) and isinstance(right, type):
                return True
            if (
                isinstance(left, ListType)
                and isinstance(right, ListType)
                and _is_object(left.item, right.item)
            ):
                return True
    return False


# Fields.


def _check_fields(spec: TransformSpec, asked: Asked, problems: Problems) -> None:
    for key, written, path, value in _given(spec):
        mark = spec.marks.value(key, written) if key == "rename" else spec.marks.key(key, written)
        name = path.partition(".")[0]
        if name not in asked.types and name not in ADDRESSING:
            problems.add(
                "unknown-field",
                f"the request of '{asked.name}' has no field '{name}'",
                mark,
                help=did_you_mean(name, sorted(asked.types), what="fields"),
            )
        elif name not in asked.read and not (name in asked.defaults and asked.defaults[name] == value):
            problems.add(
                "unknown-field",
                f"nothing in '{asked.name}' reads '{name}': requests that have it are refused",
                mark,
                help=f"fields that are read: {', '.join(sorted(asked.read & set(asked.types)))}",
            )
        elif key in ("defaults", "clamp"):
            _check_values(spec, key, path, asked, problems)


def _given(spec: TransformSpec) -> Iterator[tuple[str, str, str, Any]]:
    """What a request has after the transformation: key, what is written there, the field, and its value if it is known."""
    for key, paths in (("set", spec.set_), ("template", spec.template)):
        for path in paths:
            if path not in spec.rename:  # else it is only there until it is renamed
                yield key, path, path, None
    for old, new in spec.rename.items():
        yield "rename", old, new, None
    for path, value in spec.defaults.items():
        yield "defaults", path, path, value
    for path, bounds in spec.clamp.items():
        yield "clamp", path, path, bounds[-1] if bounds else None


def _check_values(spec: TransformSpec, key: str, path: str, asked: Asked, problems: Problems) -> None:
    """What the route puts in has to be a value that the field may have."""
    wanted = _type_at(asked, path)
    values = (
        [(("defaults", path), spec.defaults[path])]
        if key == "defaults"
        else [(("clamp", path, index), bound) for index, bound in enumerate(spec.clamp[path])]
    )
    for place, value in values:
        try:
            msgspec.convert(value, wanted, strict=True)
        except msgspec.ValidationError as error:
            said = str(error).partition(" - at ")[0]
            problems.add(
                "type-mismatch",
                f"'{path}' cannot be {msgspec.json.encode(value).decode()}: {said[:1].lower()}{said[1:]}",
                spec.marks.value(*place),
            )


def _type_at(asked: Asked, path: str) -> Any:
    """The type of a field; any, where it is not known."""
    first, *rest = path.split(".")
    found = asked.types.get(first)
    for name in rest:
        structs = [m for m in _members(found) if isinstance(m, type) and issubclass(m, Struct)]
        fields = {f.name: f.type for struct in structs for f in msgspec.structs.fields(struct)}
        found = fields.get(name)
    return Any if found is None else found


def _members(annotation: Any) -> Iterator[Any]:
    return iter(union_members(annotation)) if annotation is not None else iter(())

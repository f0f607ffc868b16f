"""What no single key shows: keys that contradict each other, and names that must be there or must not."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

from weft.errors import did_you_mean
from weft.spec.changes import check_headers, check_transform
from weft.spec.gateway import (
    AuthSpec,
    GatewaySpec,
    HeadersSpec,
    LimitSpec,
    ListenSpec,
    OidcSpec,
    PriceSpec,
    RouteSpec,
    TransformSpec,
)
from weft.spec.model import (
    RESERVED_NAMES,
    MegaserviceSpec,
    NodeSpec,
    ParameterSpec,
    Place,
    PlacementSpec,
    SecretRef,
    ServicesSpec,
)
from weft.spec.problems import Problems
from weft.spec.reader import Check

LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
"""Where a provider of identities may speak plain HTTP."""

CALLBACK_PATH: Final = "/login/callback"
"""Where a provider sends people back to."""


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


def _one_of(thing: Any, names: tuple[str, ...], what: str, problems: Problems, *, least: int = 1) -> None:
    """Report where not exactly one of these keys is set (or, with ``least`` 0, at most one)."""
    marks = thing.marks
    present = [name for name in names if getattr(thing, name) is not None]
    if len(present) > 1:
        problems.add(
            "conflicting-keys",
            f"{what} has one of {', '.join(names)}, and this has {' and '.join(present)}",
            marks.key(present[1]),
        )
    elif len(present) < least and not marks.faulty & set(names):
        problems.add("missing-key", f"{what} needs one of the keys {', '.join(names)}", marks.here)


def _listen(spec: ListenSpec, problems: Problems) -> None:
    _one_of(spec, ("http", "https", "grpc"), "a listener", problems)
    if spec.https is not None and spec.tls is None and "tls" not in spec.marks.faulty:
        problems.add(
            "missing-key", "https needs the key 'tls'", spec.marks.here, help="tls: {cert: FILE, key: FILE}"
        )
    if spec.http is not None and spec.tls is not None:
        problems.add(
            "conflicting-keys", "'tls' goes with https or grpc", spec.marks.key("tls"), help="write https"
        )


def _limit(spec: LimitSpec, problems: Problems) -> None:
    _one_of(spec, ("requests", "tokens", "cost", "concurrent"), "a limit", problems)
    if spec.queue and spec.concurrent is None:
        problems.add("conflicting-keys", "'queue' goes with 'concurrent'", spec.marks.key("queue"))
    for name in ("requests", "tokens", "cost"):
        rate = getattr(spec, name)
        if rate is None or name in spec.marks.faulty:
            continue
        amount, _, unit = rate.partition("/")
        if float(amount) == 0 or (name != "cost" and "." in amount):
            problems.add(
                "bad-value",
                f"'{rate}' allows no whole number of {name}" if name != "cost" else f"'{rate}' allows nothing",
                spec.marks.value(name),
                help=f"{name}: 30/min instead of 0.5/s" if unit == "s" and float(amount) else None,
            )


def _route(spec: RouteSpec, problems: Problems) -> None:
    marks = spec.marks
    _one_of(spec, ("megaservice", "service", "upstream"), "a route", problems)
    if spec.versions and spec.from_ is not None:
        problems.add(
            "conflicting-keys", "each version has its own 'from': the route has none", marks.key("from")
        )
    if spec.versions and spec.megaservice is None and "megaservice" not in marks.faulty:
        problems.add("conflicting-keys", "versions are of a megaservice", marks.key("versions"))
    seen: dict[str, Any] = {}
    for version in spec.versions:
        if version.version in seen:
            message = f"version {version.version} is declared twice"
            problems.add("duplicate-name", message, version.marks.value("version"))
        seen[version.version] = version
        if not version.from_ and "from" not in version.marks.faulty:
            problems.add(
                "missing-key",
                "a version needs the key 'from'",
                version.marks.here,
                help="from: FILE, the spec of this version",
            )
        if version.deprecated and version.sunset and version.sunset < version.deprecated:
            problems.add("bad-value", "it ends before it is deprecated", version.marks.value("sunset"))
    if spec.versions and not any(version.weight for version in spec.versions):
        problems.add("bad-value", "one version at least has a weight above 0", marks.key("versions"))
    if spec.methods and spec.upstream is None:
        problems.add("conflicting-keys", "'methods' goes with 'upstream'", marks.key("methods"))
    if spec.cache is not None and (spec.cache.semantic is None) != (spec.cache.embedder is None):
        problems.add(
            "missing-key",
            "'semantic' and 'embedder' go together",
            spec.cache.marks.here,
            help="cache: {semantic: 0.95, embedder: SERVICE}",
        )


def _auth(spec: AuthSpec, problems: Problems) -> None:
    if not (spec.keys_ or spec.accounts or spec.oidc or spec.certificates or spec.anonymous):
        problems.add(
            "missing-key",
            "nobody could call: auth needs keys, accounts, oidc, certificates or anonymous",
            spec.marks.here,
            help="auth: {keys: true}",
        )
    if spec.certificate_tenant is not None and not spec.certificates:
        problems.add(
            "missing-key",
            "'certificate_tenant' goes with 'certificates'",
            spec.marks.value("certificate_tenant"),
        )


def is_trustworthy(url: str) -> bool:
    """Whether what is at this address can be believed: it is reached over TLS, or on this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return False
    return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and host in LOOPBACK))


def _oidc(spec: OidcSpec, problems: Problems) -> None:
    for name, url in (("issuer", spec.issuer), ("callback", spec.callback)):
        if url is None or name in spec.marks.faulty:
            continue
        if not is_trustworthy(url):
            problems.add(
                "bad-value",
                f"'{name}' needs https: whoever is on the way could let in anybody",
                spec.marks.value(name),
                help="plain http is for a provider on this machine; for an authority of your own, set SSL_CERT_FILE",
            )
        elif name == "callback" and urlsplit(url).path != CALLBACK_PATH:
            problems.add(
                "bad-value", f"people come back to {CALLBACK_PATH}, at the root", spec.marks.value("callback")
            )
    if isinstance(spec.client_secret, SecretRef | None):
        return
    problems.add(
        "bad-value",
        "'client_secret' is written into the file: it belongs in one of its own, or in the environment",
        spec.marks.here,  # not its own line, which the report would show
        help="client_secret: {secret: NAME}",
    )


def _price(spec: PriceSpec, problems: Problems) -> None:
    for name in ("input", "output"):
        if name not in spec.marks.faulty and getattr(spec, name) < 0:
            problems.add("bad-value", f"'{name}' is no price: it is below 0", spec.marks.value(name))


def _gateway(spec: GatewaySpec, problems: Problems) -> None:
    if not spec.routes and "routes" not in spec.marks.faulty:
        problems.add("bad-value", "a gateway has at least one route", spec.marks.value("routes"))
    paths: dict[str, Any] = {}
    targets: dict[str, Any] = {}
    for route in spec.routes:
        if (first := paths.setdefault(route.path, route)) is not route:
            problems.add(
                "duplicate-name",
                f"the path {route.path} is routed twice",
                route.marks.value("path"),
                notes=[f"first routed at {first.marks.value('path')}"],
            )
        elif (first := targets.setdefault(route.target, route)) is not route:
            problems.add(
                "duplicate-name",
                f"two routes lead to '{route.target}', and what holds for it stands in one",
                route.marks.here,
                notes=[f"first routed at {first.marks.here}"],
            )
    roles = set(spec.auth.roles) if spec.auth is not None else set()
    for route in spec.routes:
        for index, role in enumerate(route.roles):
            if role not in roles:
                problems.add(
                    "unknown-ref",
                    f"'{role}' is no role of this gateway",
                    route.marks.value("roles", index),
                    help=did_you_mean(role, sorted(roles), what="roles")
                    if roles
                    else "auth: {roles: {NAME: CONDITION}}",
                )


CHECKS: Final[dict[type[Any], Check]] = {
    ServicesSpec: _services,
    NodeSpec: _node,
    MegaserviceSpec: _megaservice,
    ParameterSpec: _parameter,
    Place: _place,
    ListenSpec: _listen,
    LimitSpec: _limit,
    TransformSpec: check_transform,
    HeadersSpec: check_headers,
    RouteSpec: _route,
    AuthSpec: _auth,
    OidcSpec: _oidc,
    PriceSpec: _price,
    GatewaySpec: _gateway,
}
"""Run on each object as it is read."""

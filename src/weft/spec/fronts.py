"""What no single key of a Gateway file shows: keys that contradict each other, paths and names that are taken."""

from __future__ import annotations

import re
from datetime import date
from typing import Any, Final
from urllib.parse import urlsplit

from weft.errors import did_you_mean
from weft.spec.backends import check_fallbacks, check_upstream, check_upstream_path
from weft.spec.changes import check_headers, check_transform
from weft.spec.gateway import (
    AuthSpec,
    CorsSpec,
    GatewaySpec,
    HeadersSpec,
    LimitSpec,
    ListenSpec,
    OidcSpec,
    PriceSpec,
    RouteSpec,
    TransformSpec,
    UpstreamSpec,
    VersionSpec,
)
from weft.spec.model import SecretRef
from weft.spec.problems import Problems
from weft.spec.reader import Check

LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
"""Where a provider of identities may speak plain HTTP."""

CALLBACK_PATH: Final = "/login/callback"
"""Where a provider sends people back to."""

MAX_PORT: Final = 65_535

RESERVED_PATHS: Final = frozenset(
    {
        "/", "/docs", "/health", "/login", "/mcp", "/metrics", "/openapi.json", "/v1/accounts", "/v1/audit",
        "/v1/health_check", "/v1/keys", "/v1/messages", "/v1/models", "/v1/responses",
    }
)  # fmt: skip
"""Paths at which a gateway answers itself."""

RESERVED_FOLDERS: Final = (
    "/health/", "/login/", "/static/", "/v1/accounts/", "/v1/audit/", "/v1/keys/", "/v1/messages/", "/v1/models/",
    "/v1/registry/", "/v1/responses/", "/weft/",
)  # fmt: skip
"""Below these, too."""


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
    for name in ("http", "https", "grpc"):
        address = getattr(spec, name)
        if address and name not in spec.marks.faulty and int(address.rpartition(":")[2]) > MAX_PORT:
            problems.add("bad-value", f"a port is at most {MAX_PORT}", spec.marks.value(name))
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
                f"'{rate}' allows no whole number of {name}"
                if name != "cost"
                else f"'{rate}' allows nothing",
                spec.marks.value(name),
                help=f"{name}: 30/min instead of 0.5/s" if unit == "s" and float(amount) else None,
            )


def _route(spec: RouteSpec, problems: Problems) -> None:
    marks = spec.marks
    _one_of(spec, ("megaservice", "service", "upstream"), "a route", problems)
    if spec.path in RESERVED_PATHS or spec.path.startswith(RESERVED_FOLDERS):
        problems.add("reserved-name", f"{spec.path} is a path of the gateway's own", marks.value("path"))
    names = re.findall(r"[{]([^{}]*)[}]", spec.path)
    if spec.path.count("{") != len(names) or spec.path.count("}") != len(names) or "" in names:
        problems.add(
            "bad-value", f"the braces of {spec.path} do not fit", marks.value("path"), help="/v1/files/{name}"
        )
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
    if spec.versions and not any(version.weight for version in spec.versions):
        problems.add("bad-value", "one version at least has a weight above 0", marks.key("versions"))
    check_upstream_path(spec, problems)
    if spec.methods and spec.upstream is None:
        problems.add("conflicting-keys", "'methods' goes with 'upstream'", marks.key("methods"))
    if (
        spec.cache is not None
        and (spec.cache.semantic is None) != (spec.cache.embedder is None)
        and not spec.cache.marks.faulty & {"semantic", "embedder"}
    ):
        problems.add(
            "missing-key",
            "'semantic' and 'embedder' go together",
            spec.cache.marks.here,
            help="cache: {semantic: 0.95, embedder: SERVICE}",
        )
    if spec.cache is not None and spec.upstream is not None:
        problems.add(
            "conflicting-keys",
            "'cache' is for megaservices and services: what an upstream's replies depend on is not known here",
            marks.key("cache"),
        )


def _version(spec: VersionSpec, problems: Problems) -> None:
    marks = spec.marks
    if not spec.from_ and "from" not in marks.faulty:
        problems.add(
            "missing-key",
            "a version needs the key 'from'",
            marks.here,
            help="from: FILE, the spec of this version",
        )
    days: dict[str, date] = {}
    for key in ("deprecated", "sunset"):
        text = getattr(spec, key)
        if text is None or key in marks.faulty:
            continue
        try:
            days[key] = date.fromisoformat(text)
        except ValueError:
            problems.add("bad-value", f"there is no day {text}", marks.value(key))
    if len(days) == 2 and days["sunset"] < days["deprecated"]:
        problems.add("bad-value", "it ends before it is deprecated", marks.value("sunset"))


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
                help="upstreams can be given names: upstream: {name: NAME}"
                if route.upstream is not None
                else None,
                notes=[f"first routed at {first.marks.here}"],
            )
    check_fallbacks(spec, problems)
    if spec.auth is not None and (spec.auth.keys_ or spec.auth.accounts):
        return  # keys and accounts are given roles by any name
    roles = {"admin", *spec.auth.roles} if spec.auth is not None else set()
    for route in spec.routes:
        for index, role in enumerate(route.roles):
            if role not in roles:
                problems.add(
                    "unknown-role",
                    f"'{role}' is no role of this gateway",
                    route.marks.value("roles", index),
                    help=did_you_mean(role, sorted(roles), what="roles")
                    if len(roles) > 1
                    else "auth: {roles: {NAME: CONDITION}}",
                )


def is_origin(text: str) -> bool:
    """Whether it is scheme, host and perhaps port, as browsers write origins."""
    try:
        parts = urlsplit(text)
        port = parts.port  # which raises for one that is none
    except ValueError:
        return False
    return bool(parts.hostname) and port != 0 and not parts.path and not set(text) & set("?#@")


def _cors(spec: CorsSpec, problems: Problems) -> None:
    for index, origin in enumerate(spec.origins):
        if not is_origin(origin):
            problems.add(
                "bad-value",
                f"'{origin}' is no origin: that is scheme, host and port",
                spec.marks.value("origins", index),
                help="https://chat.example",
            )


GATEWAY_CHECKS: Final[dict[type[Any], Check]] = {
    ListenSpec: _listen,
    LimitSpec: _limit,
    TransformSpec: check_transform,
    HeadersSpec: check_headers,
    RouteSpec: _route,
    UpstreamSpec: check_upstream,
    VersionSpec: _version,
    AuthSpec: _auth,
    OidcSpec: _oidc,
    PriceSpec: _price,
    CorsSpec: _cors,
    GatewaySpec: _gateway,
}
"""Run on each object as it is read."""

"""What no single key says of upstreams and of what stands in for them: addresses, headers, fallbacks that are there."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

from weft.errors import did_you_mean
from weft.spec.gateway import GatewaySpec, RouteSpec, UpstreamSpec
from weft.spec.model import SecretRef
from weft.spec.problems import Problems

CONNECTION_HEADERS: Final = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers that belong to one connection: each side writes its own."""

_NAMES = re.compile(r"\{([^{}]*)\}").findall


def check_upstream(spec: UpstreamSpec, problems: Problems) -> None:
    """Check one upstream."""
    marks = spec.marks
    if not spec.urls and "urls" not in marks.faulty:
        problems.add("bad-value", "an upstream has at least one address", marks.value("urls"))
    for index, url in enumerate(spec.urls):
        if (wrong := _wrong_with(url)) is not None:
            problems.add("bad-value", f"'{url}' {wrong}", marks.value("urls", index))
    for key, names in (("headers", list(spec.headers)), ("forward", list(spec.forward))):
        for index, name in enumerate(names):
            if name.lower() in CONNECTION_HEADERS:
                where = marks.value(key, index) if key == "forward" else marks.key(key)
                problems.add(
                    "bad-value", f"'{name}' belongs to one connection: each side writes its own", where
                )
    if spec.api_key is None:
        return
    if not isinstance(spec.api_key, SecretRef) and "api_key" not in marks.faulty:
        problems.add(
            "bad-value",
            "'api_key' is written into the file: it belongs in one of its own, or in the environment",
            marks.here,  # not its own line, which the report would show
            help="api_key: {secret: NAME}",
        )
    if any(name.lower() == "authorization" for name in spec.headers):
        problems.add(
            "conflicting-keys",
            "'api_key' is sent as the header Authorization, which 'headers' sets, too",
            marks.key("api_key"),
        )


def check_upstream_path(spec: RouteSpec, problems: Problems) -> None:
    """Check that a route's path has every segment that its upstream's path names."""
    if spec.upstream is None or spec.upstream.path is None:
        return
    known = _NAMES(spec.path)
    for name in _NAMES(spec.upstream.path):
        if name not in known:
            problems.add(
                "bad-value",
                f"'{{{name}}}' is no segment of the route's path",
                spec.upstream.marks.value("path"),
                help=did_you_mean(name, known, what="segments"),
            )


def check_fallbacks(spec: GatewaySpec, problems: Problems) -> None:
    """Check that what a route falls back to is another route's target."""
    targets = {route.target: route for route in spec.routes}
    for route in spec.routes:
        if route.backends is None:
            continue
        for index, name in enumerate(route.backends.fallback):
            where = route.backends.marks.value("fallback", index)
            other = targets.get(name)
            if other is None:
                others = [target for target in targets if target != route.target]
                problems.add(
                    "unknown-route",
                    f"no route leads to '{name}'",
                    where,
                    help=did_you_mean(name, others, what="targets of other routes"),
                )
            elif other is route:
                problems.add("unknown-route", f"'{name}' cannot stand in for itself", where)
            elif other.upstream is not None and "{" in (other.upstream.path or other.path):
                problems.add(
                    "bad-value",
                    f"'{name}' cannot stand in: its path has segments that only its own route knows",
                    where,
                )


def _wrong_with(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        return f"is no address: {error}"
    if not host:
        return "names no host"
    if parts.username is not None:
        return "has a user name in it: send that in a header"
    if parts.query or parts.fragment:
        return "has a query or a fragment: only a path may follow the host"
    return None

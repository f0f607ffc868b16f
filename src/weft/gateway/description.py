"""What the API's description says of a Gateway file: who may call, how much, which versions, and how requests are changed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final

from weft.gateway.targets import Target
from weft.gateway.transform.described import described, described_reply
from weft.serve.application import Application
from weft.serve.openapi import ANYTHING
from weft.serve.routing import Route, RouteDoc
from weft.spec.gateway import GatewaySpec, LimitSpec, RouteSpec

_FAILURES: Final = {
    400: "What was sent cannot be served as it is; the error says what is wrong with it.",
    401: "Nothing, or nothing valid, was shown.",
    403: "The caller may not do this.",
    404: "Nothing here has that name.",
    410: "This version has ended.",
    429: "More than is allowed, or than can be served now.",
    503: "What it takes is not there now.",
}
_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})
_UNITS: Final = {"s": "second", "min": "minute", "hour": "hour", "day": "day", "month": "month"}
_RETRY: Final = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}
_LIMIT_HEADERS: Final = {
    "RateLimit-Policy": {"description": "The limits that hold.", "schema": {"type": "string"}},
    "RateLimit": {
        "description": "What is left of them, and when they are whole again.",
        "schema": {"type": "string"},
    },
}
_LIFE_HEADERS: Final = {
    "Deprecation": {
        "description": "Since when this version should not be used.",
        "schema": {"type": "string"},
    },
    "Sunset": {"description": "When it ends.", "schema": {"type": "string"}},
}


def describe(app: Application, spec: GatewaySpec, targets: Iterable[Target]) -> None:
    """Let the documentation of every route that is there say what the Gateway file adds to it."""
    if spec.description:
        app.description = spec.description
    app.schemes = schemes(spec)
    app.lets_anonymous = spec.auth is not None and spec.auth.anonymous
    by_path, besides = _rules_by_path(spec, targets)
    for path in app.router.paths():
        for route in path.methods.values():
            rules = by_path.get(path.name, [])
            doc = _described(route, rules, spec)
            if len(rules) == 1 and not doc.hidden:
                doc = _asked(doc, rules[0], path.name, is_primary=path.name not in besides)
                if rules[0].upstream is not None:
                    doc = _foreign(doc, route.method)
            route.doc = doc


def schemes(spec: GatewaySpec) -> dict[str, dict[str, Any]]:
    """OpenAPI's security schemes for what the file takes."""
    auth = spec.auth
    found: dict[str, dict[str, Any]] = {}
    if auth is None:
        return found
    if auth.keys_:
        found["key"] = {
            "type": "http",
            "scheme": "bearer",
            "description": "An API key, as `weft keys` makes it.",
        }
        found["key_header"] = {"type": "apiKey", "in": "header", "name": "x-api-key"}
    if auth.oidc is not None:
        found["oidc"] = {
            "type": "openIdConnect",
            "openIdConnectUrl": f"{auth.oidc.issuer.rstrip('/')}/.well-known/openid-configuration",
        }
    if auth.certificates:
        found["certificate"] = {"type": "mutualTLS"}
    return found


def _rules_by_path(
    spec: GatewaySpec, targets: Iterable[Target]
) -> tuple[dict[str, list[RouteSpec]], set[str]]:
    """Which routes of the file a path leads to; and the paths that lead to other operations than the primary one."""
    rules = {rule.target: rule for rule in spec.routes}
    found: dict[str, list[RouteSpec]] = {}
    besides: set[str] = set()
    for rule in spec.routes:
        for path in (rule.path, f"{rule.path}/{{version}}"):
            found.setdefault(path, []).append(rule)
    for target in targets:
        if target.name not in rules:
            continue
        for operation in target.operations.values():
            for route in operation.routes:
                known = found.setdefault(route.path, [])
                if rules[target.name] not in known:
                    known.append(rules[target.name])
                if operation.name != target.operation.name:
                    besides.add(route.path)
    return found, besides


def _described(route: Route, rules: list[RouteSpec], spec: GatewaySpec) -> RouteDoc:
    doc = route.doc
    if doc.hidden:
        return doc
    failures = dict(doc.failures)
    extras = dict(doc.extras)
    words = [doc.description] if doc.description else []
    if spec.auth is not None and not route.is_open:
        failures.update(_failures(401, 403))
        if route.needs:
            extras["x-weft-roles"] = [route.needs]
    if not rules:
        return replace(doc, failures=failures, extras=extras)
    failures.update(_failures(400, 404, 503))
    limits = [*spec.limits, *(limit for rule in rules for limit in rule.limits)]
    headers = dict(doc.headers)
    if limits:
        failures[429] = {"description": _FAILURES[429], "headers": _RETRY | _LIMIT_HEADERS}
        headers |= _LIMIT_HEADERS
    elif any(rule.load is not None for rule in rules):
        failures[429] = {"description": _FAILURES[429], "headers": _RETRY}
    if any(version.sunset for rule in rules for version in rule.versions):
        failures.update(_failures(410))
    if any(version.deprecated or version.sunset for rule in rules for version in rule.versions):
        headers |= _LIFE_HEADERS
    for rule in rules:
        words += _said(rule, names=len(rules) > 1)
    if spec.limits:
        words.append(f"Over all routes: {limits_in_words(spec.limits)}.")
    extras |= _extras(rules, spec)
    return replace(doc, description="\n\n".join(words), failures=failures, extras=extras, headers=headers)


def _failures(*statuses: int) -> dict[int, dict[str, Any]]:
    return {status: {"description": _FAILURES[status]} for status in statuses}


def _asked(doc: RouteDoc, rule: RouteSpec, path: str, *, is_primary: bool) -> RouteDoc:
    """What a request looks like to its caller."""
    is_own = path in (rule.path, f"{rule.path}/{{version}}")
    if is_own and rule.description:
        doc = replace(doc, summary=rule.description)
    if rule.examples and is_primary and (is_own or doc.request is not None):
        doc = replace(doc, examples=dict(rule.examples))
    if (response := rule.response) is not None:
        doc = replace(doc, adapt_reply=lambda schema, parts: described_reply(schema, parts, response))
    if rule.schema and is_primary:
        return replace(doc, schema=dict(rule.schema), adapt=None)
    request = rule.request
    if request is None or doc.request is None:
        return doc
    before = doc.adapt

    def adapt(schema: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
        return described(before(schema, components) if before else schema, components, request)

    return replace(doc, adapt=adapt)


def _foreign(doc: RouteDoc, method: str) -> RouteDoc:
    """What is known of an upstream's route: nothing of its bodies but what the file says."""
    schema = doc.schema or ({"description": "What the other server reads."} if method in _WITH_BODY else None)
    return replace(doc, schema=schema, content_type=ANYTHING)


def _said(rule: RouteSpec, *, names: bool) -> list[str]:
    """What holds on a route, in sentences; with its target's name where others answer there too."""
    said: list[str] = []
    of = f" of `{rule.target}`" if names else ""
    if rule.roles:
        said.append(f"Callers{of} need the role {' or '.join(f'`{role}`' for role in rule.roles)}.")
    if rule.limits:
        said.append(f"Limits{of}: {limits_in_words(rule.limits)}.")
    if rule.versions:
        listed = ", ".join(f"`{rule.target}@{version.version}`" for version in rule.versions)
        said.append(f"Versions{of}: {listed}.")
        for version in rule.versions:
            said += _life(rule, version.version, version.deprecated, version.sunset)
    return said


def _life(rule: RouteSpec, version: str, deprecated: str | None, sunset: str | None) -> list[str]:
    said = [f"should not be used since {deprecated}"] if deprecated else []
    said += [f"ends on {sunset}"] if sunset else []
    return [f"`{rule.target}@{version}` {' and '.join(said)}."] if said else []


def limits_in_words(limits: Iterable[LimitSpec]) -> str:
    """``60 requests a minute for each key; 64 at a time on the route, and 256 waiting``."""
    return "; ".join(_limit(limit) for limit in limits)


def _limit(limit: LimitSpec) -> str:
    whom = "in all" if limit.per == "route" else f"for each {limit.per}"
    if limit.concurrent is not None:
        waiting = f", and {limit.queue} waiting" if limit.queue else ""
        return f"{limit.concurrent} at a time {whom}{waiting}"
    for name in ("requests", "tokens", "cost"):
        rate = getattr(limit, name)
        if rate is not None:
            amount, _, unit = rate.partition("/")
            what = "in money" if name == "cost" else name
            article = "an" if unit == "hour" else "a"
            return f"{amount} {what} {article} {_UNITS[unit]} {whom}"
    return "none"


def _extras(rules: list[RouteSpec], spec: GatewaySpec) -> dict[str, Any]:
    found: dict[str, Any] = {}
    limits = [_plain(limit) for limit in spec.limits]
    limits += [
        _plain(limit) | ({"model": rule.target} if len(rules) > 1 else {})
        for rule in rules
        for limit in rule.limits
    ]
    if limits:
        found["x-weft-limits"] = limits
    if len(rules) == 1 and rules[0].roles:
        found["x-weft-roles"] = list(rules[0].roles)
    versions = [
        {"model": f"{rule.target}@{version.version}", "weight": version.weight}
        | ({"deprecated": version.deprecated} if version.deprecated else {})
        | ({"sunset": version.sunset} if version.sunset else {})
        for rule in rules
        for version in rule.versions
    ]
    if versions:
        found["x-weft-versions"] = versions
    return found


def _plain(limit: LimitSpec) -> dict[str, Any]:
    kinds = ("requests", "tokens", "cost", "concurrent")
    found: dict[str, Any] = {"per": limit.per}
    found |= {kind: getattr(limit, kind) for kind in kinds if getattr(limit, kind) is not None}
    return found | ({"queue": limit.queue} if limit.queue else {})

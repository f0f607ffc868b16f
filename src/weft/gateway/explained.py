"""What a gateway would do with one request, without a gateway: who may ask, which version, what is changed, what counts."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from weft.context import Context, Identity
from weft.errors import RequestError, UsageError
from weft.gateway.access.authenticator import may
from weft.gateway.access.roles import Roles
from weft.gateway.description import limits_in_words
from weft.gateway.limits.subjects import SUBJECTS
from weft.gateway.passage import Passage
from weft.gateway.transform.headers import HeaderRules
from weft.gateway.transform.program import Seen, Transform
from weft.gateway.transform.trace import Trace, header_changes, trace
from weft.gateway.versions import shares
from weft.gateway.versions.numbers import newest
from weft.http.message import Headers, Request
from weft.plan.schemas import RequestSchema
from weft.serve.application import Era, Exchange
from weft.spec.gateway import GatewaySpec, RouteSpec

HeaderChange = tuple[str, str, str | None, str | None]


@dataclass(slots=True)
class Explained:
    """What would become of a request, and of a reply to it.

    Attributes:
        rule: The route that it would go through.
        identity: Who asks, with the roles that the rules give.
        access: Why they may, or may not.
        is_admitted: Whether they may.
        version: Which version would answer; empty: there is only one.
        shares: Each version, and its share in a hundred.
        misfit: What the route's schema has against it; None: it has no schema.
        request: How the body is changed; None: it is not.
        headers: How the headers are changed.
        response: How the reply's body is changed; None: it is not, or there is no reply to look at.
        limits: What counts, in words.
        error: What refuses the request.
    """

    rule: RouteSpec
    identity: Identity
    access: str = ""
    is_admitted: bool = True
    version: str = ""
    shares: list[tuple[str, float]] = field(default_factory=list)
    misfit: str | None = None
    request: Trace | None = None
    headers: list[HeaderChange] = field(default_factory=list)
    response: Trace | None = None
    limits: list[str] = field(default_factory=list)
    error: str | None = None


def explain(
    spec: GatewaySpec,
    body: dict[str, Any],
    *,
    headers: list[tuple[str, str]],
    identity: Identity,
    route: str | None = None,
    reply: Any = None,
    whole_of: Callable[[RouteSpec], Collection[str]] = lambda _rule: (),
) -> Explained:
    """Go through what a route would do, in the order in which it does it; where it refuses, the rest is left out.

    Args:
        spec: The Gateway file.
        body: Of the request.
        headers: Of the request.
        identity: Who asks.
        route: The route's path; None: the one that the body's ``model`` leads to.
        reply: What the target answers, to see what becomes of that; None: nothing is said of it.
        whole_of: Gives a route's fields that are whole numbers.

    Raises:
        UsageError: No route is meant.
    """
    rule = _rule(spec, body, route)
    if spec.auth is not None:
        identity = Roles(spec.auth.roles).complete(identity)
    told = Explained(rule, identity)
    told.is_admitted, told.access = _access(spec, rule, identity)
    told.limits = [limits_in_words([limit]) for limit in (*rule.limits, *spec.limits)]
    if not told.is_admitted:
        return told
    given = Headers([(name.lower().encode(), value.encode("utf-8")) for name, value in headers])
    model = body.get("model")
    seen = Seen(body, given, identity, model if isinstance(model, str) else "")
    _choose(told, rule, seen)
    if told.error is None:
        _change(told, seen, reply, whole_of(rule))
    return told


def _rule(spec: GatewaySpec, body: dict[str, Any], route: str | None) -> RouteSpec:
    paths = ", ".join(rule.path for rule in spec.routes)
    if route is not None:
        found = [rule for rule in spec.routes if rule.path == route]
        if not found:
            raise UsageError(f"there is no route {route}", hint=f"routes: {paths}")
        return found[0]
    model = body.get("model")
    name = model.partition("@")[0] if isinstance(model, str) else ""
    found = [rule for rule in spec.routes if rule.target == name] if name else list(spec.routes)
    if len(found) == 1:
        return found[0]
    said = f"no route leads to the model '{name}'" if name else "the request names no model"
    raise UsageError(
        f"{said}, and there are {len(spec.routes)} routes", hint=f"say which: --route PATH; routes: {paths}"
    )


def _access(spec: GatewaySpec, rule: RouteSpec, identity: Identity) -> tuple[bool, str]:
    if spec.auth is None:
        return True, "no auth: the access token and loopback hold"
    if not identity.caller and not spec.auth.anonymous:
        return False, "401: one who shows nothing is not let in"
    if not rule.roles:
        return True, "the route is for every caller"
    had = [role for role in rule.roles if may(identity, role)]
    if had:
        return True, f"let in by the role {had[0]}"
    return False, f"{403 if identity.caller else 401}: the route needs the role {' or '.join(rule.roles)}"


def _choose(told: Explained, rule: RouteSpec, seen: Seen) -> None:
    if not rule.versions:
        return
    weights = [(version.version, version.weight) for version in rule.versions]
    total = sum(weight for _, weight in weights)
    told.shares = [(name, 100 * weight / total) for name, weight in weights]
    wanted = seen.model.partition("@")[2] or seen.headers.get("x-weft-version", "").strip()
    if wanted:
        told.version = newest([name for name, _ in weights], wanted) or ""
        if not told.version:
            told.error = f"404: there is no version '{wanted}' of '{rule.target}'"
        return
    subject_of = SUBJECTS.get(rule.sticky)
    if subject_of is not None and seen.identity.caller:
        told.version = weights[shares.stable(subject_of(_passage(rule, seen)), rule.target, weights)][0]


def _passage(rule: RouteSpec, seen: Seen) -> Passage:
    context = Context()
    context.identify(seen.identity)
    request = Request("POST", rule.path, rule.path, "", Headers([]))
    request.scope = Exchange(context, 0.0, Era())
    return Passage(request, context, rule, model=seen.model)


def _change(told: Explained, seen: Seen, reply: Any, whole: Collection[str]) -> None:
    rule = told.rule
    if rule.schema:
        misfit = RequestSchema(rule.schema).misfit(seen.body)
        told.misfit = (
            "" if misfit is None else f"{misfit.param}: {misfit.message}" if misfit.path else misfit.message
        )
        if misfit is not None:
            told.error = f"400: the request does not keep to this route's schema: {told.misfit}"
            return
    try:
        if rule.request is not None:
            told.request = trace(Transform(rule.request, whole=whole), seen)
            if told.request.error is not None:
                raise told.request.error
            told.headers = header_changes(HeaderRules(rule.request.headers), _raw(seen), seen)
        if rule.response is not None and reply is not None:
            after = Seen(reply, _raw(seen), seen.identity, seen.model)
            told.response = trace(Transform(rule.response, of="response"), after)
            if told.response.error is not None:
                raise told.response.error
    except RequestError as error:
        told.error = f"{error.status}: {error.message}"


def _raw(seen: Seen) -> Headers:
    return Headers(
        [(name.encode(), value.encode("latin-1", "replace")) for name, value in seen.headers.items()]
    )

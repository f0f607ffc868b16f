"""Checks limits by tokens and cost: what a request may use must be known before it runs, and have a price."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from weft.plan.model import ModelCall, Plan, Spending
from weft.plan.spending import LENGTHS
from weft.spec.gateway import GatewaySpec, LimitSpec, RouteSpec
from weft.spec.model import Spec
from weft.spec.problems import Problems

OPEN_LENGTH: Final = "nothing bounds the length of the answers"

_RESERVE: Final = "reserve: N, the tokens that one request may use; calls of models beyond it fail"
_CLAMP: Final = (
    "request: {clamp: {max_tokens: [1, 2048]}}, or reserve: N, the tokens that one request may use"
)


def check_limits(
    spec: Spec, problems: Problems, plans: Mapping[str, Plan], spending: Mapping[str, Spending]
) -> None:
    """Report routes whose requests have no bound or no price, where a limit needs it."""
    gateway = spec.gateway
    if gateway is None:
        return
    for route in gateway.routes:
        for limit in (*route.limits, *gateway.limits):
            if limit.tokens is None and limit.cost is None:
                continue
            found = list(_spending(spec, route, plans, spending))
            if route.reserve is None and (why := _unbounded(route, found)):
                what = "tokens" if limit.tokens is not None else "cost"
                problems.add(
                    "no-bound",
                    f"nobody can say how many tokens a request may use, and a limit counts {what}: {why}",
                    route.marks.value("path"),
                    help=_CLAMP if why.startswith(OPEN_LENGTH) else _RESERVE,
                    notes=[f"the limit is at {limit.marks.here}"],
                )
                break
        for limit in (*route.limits, *gateway.limits):
            if limit.cost is not None:
                _check_price(spec, route, limit, list(_spending(spec, route, plans, spending)), problems)
                break


def _spending(
    spec: Spec, route: RouteSpec, plans: Mapping[str, Plan], spending: Mapping[str, Spending]
) -> Iterator[Spending]:
    if route.megaservice is not None:
        for key in spec.served.get(route.megaservice, (route.megaservice,)):
            if key in plans:
                yield plans[key].spending
    elif route.service is not None and route.service in spending:
        yield spending[route.service]


def _unbounded(route: RouteSpec, found: list[Spending]) -> str:
    """Why a route's requests have no bound; empty: they have one."""
    says_length = says_length_of(route)
    if route.upstream is not None:
        return "" if says_length else f"{OPEN_LENGTH} of a foreign server"
    for spending in found:
        if spending.unbounded:
            return spending.unbounded
        for call in spending.calls:
            if why := _call_unbounded(call, says_length=says_length):
                return why
    return ""


def _call_unbounded(call: ModelCall, *, says_length: bool) -> str:
    if call.window is not None:
        return ""
    if not call.own_prompt:
        return f"the prompts of '{call.service}' are made by the graph, and its window is not known"
    if call.length is None and not (call.own_length and says_length):
        return f"{OPEN_LENGTH} of '{call.service}'"
    return ""


def says_length_of(route: RouteSpec) -> bool:
    """Whether every request of a route, as it is after its transformation, bounds the length of an answer."""
    request = route.request
    if request is None:
        return False
    return any(name in request.clamp or isinstance(request.defaults.get(name), int) for name in LENGTHS)


def _check_price(
    spec: Spec, route: RouteSpec, limit: LimitSpec, found: list[Spending], problems: Problems
) -> None:
    gateway = spec.gateway
    assert gateway is not None  # it has the limit
    if route.target in gateway.prices:
        return
    calls = [call for spending in found for call in spending.calls]
    missing = [call.service for call in calls if price_name(gateway, call) is None]
    if calls and not missing:
        return
    wanted = missing[0] if missing else route.target
    problems.add(
        "no-price",
        f"a limit counts what the requests of this route cost, and nothing says what '{wanted}' costs",
        limit.marks.value("cost"),
        help=f"prices: {{{wanted}: {{input: 0.10, output: 0.40}}}}, for a million tokens",
    )


def price_name(gateway: GatewaySpec, call: ModelCall) -> str | None:
    """Under which name the price table has a model: its service's, or its own."""
    return next((name for name in (call.service, call.model) if name in gateway.prices), None)

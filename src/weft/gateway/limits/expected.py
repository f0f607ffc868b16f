"""What a request may come to use, before it runs, and what it did use, after.

Before: an upper bound, made of what the plan says of each call of a model (see :mod:`weft.plan.spending`) and what the
request says: a prompt has at most as many tokens as its JSON has bytes, an answer ``max_tokens``, both together the
model's window. Without such a bound, the route's ``reserve``. For a megaservice the bound is enforced: its run takes
every call of a model out of a :class:`weft.run.spending.Budget`.

After: what the backends reported. Of a call whose cost nobody knows, because the client left or the stream broke, the
bound is charged; of one that was refused before any model worked, nothing. Tokens that are no model's (of embedders on
the way) count as far as the reservation covers them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import ceil
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Struct

from weft.contracts.chat import ChatRequest
from weft.errors import InvalidRequestError, ReserveError
from weft.gateway.limits.meters import COST_UNITS
from weft.gateway.passage import Passage
from weft.plan import ModelCall, Plans, Spending, price_name
from weft.run.spending import (
    BUDGET,
    TEMPLATE_TOKENS,
    Budget,
    call_bound,
    may_have_used,
    prompt_bound,
    tokens_of,
)
from weft.spec.gateway import GatewaySpec, PriceSpec, RouteSpec
from weft.types import Usage

MOST: Final = 1 << 40
"""Amounts are cut to this: what anybody asks for beyond is refused as well, and every store can count it exactly."""


class _Asked(Struct):
    """What of a body says how much may be used; what is no number is the contract's to refuse."""

    max_tokens: Any = None
    max_completion_tokens: Any = None
    n: Any = None


_decode_asked = msgspec.json.Decoder(_Asked).decode
_decode_chat = msgspec.json.Decoder(ChatRequest).decode
_NOTHING: Final = _Asked()


class Amounts(NamedTuple):
    """What a request may use, or has used: None is all that it may."""

    tokens: int | None
    cost: int | None


class Expected:
    """One request's use of models, before and after.

    Attributes:
        tokens, cost: At most.
    """

    __slots__ = ("_budget", "_model", "_prices", "_refused", "cost", "tokens")

    def __init__(self, tokens: int, cost: int, prices: Prices, model: str, budget: Budget | None) -> None:
        self.tokens, self.cost = min(tokens, MOST), min(cost, MOST)
        self._prices, self._model, self._budget = prices, model, budget
        self._refused: BaseException | None = None

    def refused(self, error: BaseException) -> None:
        """No reply came."""
        self._refused = error

    def used(self, usage: Usage | None, status: int) -> Amounts:
        """What it came to use."""
        if self._budget is not None:
            return self._spent(self._budget, usage)
        if usage is not None:
            answer = max(usage.completion_tokens, usage.total_tokens - usage.prompt_tokens)
            cost = self._prices.cost(self._model, usage.prompt_tokens, answer)
            return Amounts(tokens_of(usage), cost)
        if not self._model:
            return Amounts(0, 0)  # what is no model and reports nothing used nothing
        error = self._refused
        was_refused = not may_have_used(error) if error is not None else 400 <= status < 499
        return Amounts(0, 0) if was_refused else Amounts(None, None)

    def _spent(self, budget: Budget, usage: Usage | None) -> Amounts:
        tokens = cost = 0
        for spent in budget.end(self._refused):
            tokens += spent.tokens
            cost += self._prices.cost(spent.service, spent.prompt, spent.answer)
        if usage is not None:
            beside = min(tokens_of(usage), self.tokens) - tokens
            if beside > 0:
                tokens += beside
                cost = max(cost, min(self.cost, cost + self._prices.dearest(beside)))
        return Amounts(tokens, cost)


class Prices:
    """What tokens cost on one route, in units of :data:`weft.gateway.limits.meters.COST_UNITS`.

    Args:
        by_service: The price of each model behind the route.
        all: The route's own price, which goes before those.
    """

    __slots__ = ("_all", "_by_service", "_dearest", "_has_none")

    def __init__(self, by_service: Mapping[str, PriceSpec], all: PriceSpec | None) -> None:
        self._by_service, self._all = by_service, all
        known = [all] if all is not None else list(by_service.values())
        self._has_none = not known
        self._dearest = max((max(price.input, price.output) for price in known), default=0.0)

    def cost(self, service: str, prompt: int, answer: int) -> int:
        """What these tokens of a model cost, rounded up."""
        if self._has_none:
            return 0
        price = self._all or self._by_service.get(service)
        if price is None:
            return self.dearest(prompt + answer)
        return _units(prompt * price.input + answer * price.output)

    def dearest(self, tokens: int) -> int:
        """What so many tokens cost at most."""
        return _units(tokens * self._dearest)


def _units(amount: float) -> int:
    """Tokens times the price of a million of them, in units, rounded up; what is not exact in floats is no reason to."""
    return ceil(round(amount * COST_UNITS / 1_000_000, 6))


class Expecting:
    """Knows what the requests of one route may use.

    Args:
        gateway: The file.
        rule: The route.
        plans: What runs now.
    """

    def __init__(self, gateway: GatewaySpec, rule: RouteSpec, plans: Callable[[], Plans]) -> None:
        self._gateway, self._rule, self._plans = gateway, rule, plans
        self._foreign: dict[str, Prices] = {}
        self._known: Plans | None = None
        self._graphs: dict[tuple[str, str], tuple[Spending, Prices, dict[str, int]]] = {}

    def __call__(self, passage: Passage) -> Expected:
        """What a request may use.

        Raises:
            ReserveError: More than the route reserves for one request.
            InvalidRequestError: It says nothing that bounds it.
        """
        target = passage.target
        if target is None:
            return self._upstream(passage)
        plans = self._plans()
        if plans is not self._known:
            self._known, self._graphs = plans, {}
        name = target.name, target.version
        found = self._graphs.get(name)
        if found is None:
            found = self._graphs[name] = self._graph(plans, *name)
        spending, prices, windows = found
        if self._rule.megaservice is None and not spending.unbounded:
            if not spending.calls:
                return self._other(passage, prices)
            if len(spending.calls) == 1 and spending.calls[0].own_prompt:
                call = spending.calls[0]
                return self._call(passage, call.window, prices, call.service)
        return self._run(passage, spending, prices, windows)

    def _graph(self, plans: Plans, name: str, version: str) -> tuple[Spending, Prices, dict[str, int]]:
        if self._rule.megaservice is None:
            spending = plans.spending.get(name, Spending())
        else:
            spending = next(
                plan.spending for plan in plans.values() if (plan.name, plan.version) == (name, version)
            )
        table = self._gateway.prices
        by_service = {
            call.service: table[found]
            for call in spending.calls
            if (found := price_name(self._gateway, call)) is not None
        }
        own = table.get(f"{name}@{version}") or table.get(name)
        windows = {call.service: call.window for call in spending.calls if call.window is not None}
        return spending, Prices(by_service, own), windows

    # A megaservice, or a component that asks the models that it uses.

    def _run(self, passage: Passage, spending: Spending, prices: Prices, windows: dict[str, int]) -> Expected:
        reserve = self._rule.reserve
        bound = None if spending.unbounded else self._bound(passage, spending.calls)
        if bound is None:
            bound = reserve
        elif reserve is not None:
            bound = min(bound, reserve)
        if bound is None:
            raise _says_nothing()
        budget = Budget(bound, windows)
        context = passage.context
        if context.values is None:
            context.values = {}
        context.values[BUDGET] = budget
        return Expected(bound, prices.dearest(bound), prices, "", budget)

    def _bound(self, passage: Passage, calls: tuple[ModelCall, ...]) -> int | None:
        """Tokens of all calls of a graph; None: a call has no bound."""
        asked = _asked(passage)
        total = 0
        for call in calls:
            length = _length(asked) if call.own_length else call.length
            prompt = _prompt(passage) if call.own_prompt else call.window
            if call.window is not None:
                length = call.window if length is None else length
                prompt = call.window if prompt is None else min(prompt, call.window)
            if length is None or prompt is None:
                return None
            answers = _answers(asked) if call.own_answers else call.answers
            total += call.times * call_bound(prompt, length, answers, call.window)
        return total

    # A service that is one model, or none.

    def _other(self, passage: Passage, prices: Prices) -> Expected:
        """What counts tokens and is no chat model, such as an embedder, or counts none."""
        target = passage.target
        assert target is not None  # asked of those that have one
        counts = "usage" in target.operation.response.__struct_fields__
        bound = _prompt(passage) if counts else 0
        return Expected(bound, prices.dearest(bound), prices, target.name if counts else "", None)

    def _call(self, passage: Passage, window: int | None, prices: Prices, model: str) -> Expected:
        asked, reserve = _asked(passage), self._rule.reserve
        prompt, length, answers = _prompt(passage), _length(asked), _answers(asked)
        if window is not None:
            prompt = min(prompt, window)
        if length is None and reserve is not None:
            length = (reserve - prompt) // answers
            if window is not None:
                length = min(length, window)
            if length >= 1:
                passage.replace({**passage.body(), "max_tokens": length})
        elif length is None:
            length = window
        if length is None:
            raise _says_nothing()
        length = max(1, length if window is None else min(length, window))
        tokens = call_bound(prompt, length, answers, window)
        if reserve is not None and tokens > reserve:
            raise ReserveError(
                f"this request may use {tokens:,} tokens, and the route reserves {reserve:,} for each",
                hint="shorten the messages, or ask for fewer max_tokens",
            )
        return Expected(tokens, prices.cost(model, prompt, length * answers), prices, model, None)

    def _upstream(self, passage: Passage) -> Expected:
        table, target = self._gateway.prices, self._rule.target
        # Without prices it is the same whichever model is asked, and need not be read.
        model = passage.body().get("model") if table and passage.has_json else None
        named = model if isinstance(model, str) and model in table else target
        prices = self._foreign.get(named)
        if prices is None:
            prices = self._foreign[named] = Prices({}, table.get(named))
        return self._call(passage, None, prices, target)


def _says_nothing() -> InvalidRequestError:
    return InvalidRequestError(
        "this route counts tokens, and nothing bounds the length of the answer: say max_tokens",
        param="max_tokens",
    )


def _asked(passage: Passage) -> _Asked:
    body = passage.request.body
    if not body or not passage.has_json:
        return _NOTHING
    try:
        return _decode_asked(body)
    except (ValueError, RecursionError):
        return _NOTHING  # it is no JSON: whoever reads it says so, and nothing is used


def _length(asked: _Asked) -> int | None:
    for value in (asked.max_completion_tokens, asked.max_tokens):
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
        if value is not None:
            return 1  # no length: the request is refused when it is read
    return None


def _answers(asked: _Asked) -> int:
    n = asked.n
    return min(n, 128) if isinstance(n, int) and not isinstance(n, bool) and n > 0 else 1


def _prompt(passage: Passage) -> int:
    """Tokens of the prompt at most: no tokenizer makes more than one of a byte; media count by the piece."""
    body = passage.request.body or b""
    # Parts of it may be no text, or be written so that they do not look like it.
    if b'"image_url"' in body or b'"input_audio"' in body or b'"file"' in body or b"\\u" in body:
        try:
            return prompt_bound(_decode_chat(body))
        except (ValueError, RecursionError):
            pass  # no chat request: what it is written in bounds it
    return len(body) + TEMPLATE_TOKENS

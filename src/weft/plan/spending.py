"""What a megaservice can make models do for one request: every call that its graph may make, and what bounds each.

A limit by tokens reserves this before the request runs. Nodes that call a chat model, what components ask of models that
they use (as often as they say), nested megaservices, ``repeat`` at its ``at_most``, and fallbacks beside what they stand
in for: all of it at once, for nobody knows beforehand which of it will happen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from weft.plan.model import ModelCall, Spending
from weft.plan.scope import REQUEST, Scope, Step
from weft.plan.services import Service, Services
from weft.spec.model import Input, ListOf, Ref, Value

CHAT: Final = "chat"
"""The contract of models."""

LENGTHS: Final = ("max_completion_tokens", "max_tokens")
"""The fields of a request that bound an answer, the one that counts first."""


class _UnboundedError(Exception):
    """Nobody can say how many calls there are."""


def spending_of(scope: Scope, services: Services) -> Spending:
    """What one request to a megaservice may make models do."""
    calls: list[ModelCall] = []
    try:
        for step in scope.steps.values():
            calls += _of_step(step, services)
    except _UnboundedError as error:
        return Spending(unbounded=str(error))
    return Spending(tuple(calls))


def of_service(service: Service, services: Services) -> Spending:
    """What one request to a service may make models do: itself, if it is one, and what it uses."""
    own = []
    if is_model(service, services):
        own.append(replace(_call(service), own_prompt=True, own_length=True, own_answers=True))
    try:
        return Spending((*own, *_of_service(service, services)))
    except _UnboundedError as error:
        return Spending(unbounded=str(error))


def _of_step(step: Step, services: Services) -> Iterator[ModelCall]:
    service = step.service
    if service is None:
        return
    found = list(_of_node(step, service, services))
    fallback = services.by_key.get(step.spec.fallback) if step.spec.fallback is not None else None
    if fallback is not None:
        found += _of_node(step, fallback, services)
    if not found:
        return
    times = 1
    if step.spec.repeat is not None:
        times = step.spec.repeat.at_most
    if step.spec.each is not None:
        items = step.spec.each.items
        if not isinstance(items, ListOf):
            raise _UnboundedError(f"node '{step.name}' asks a model for each element of a list of any length")
        times = len(items.items)
    for call in found:
        yield replace(call, times=call.times * times)


def _of_node(step: Step, service: Service, services: Services) -> Iterator[ModelCall]:
    inputs = {name: bound.expression for name, bound in step.inputs.items()}
    if step.nested is not None and service is step.service:
        nested = step.nested.spending
        if nested.unbounded:
            raise _UnboundedError(f"{nested.unbounded} (in the megaservice of node '{step.name}')")
        for call in nested.calls:
            yield _within(step.name, call, inputs)
        return
    if is_model(service, services):
        length, own_length = _length(inputs)
        yield replace(
            _call(service),
            own_prompt=_is_own(inputs.get("messages"), "messages") and not _others(inputs),
            own_length=own_length,
            own_answers=_is_own(inputs.get("n"), "n"),
            length=length,
            answers=_answers(step.name, inputs),
        )
    yield from _of_service(service, services)


def _of_service(service: Service, services: Services) -> Iterator[ModelCall]:
    """What a component asks of what it uses."""
    for slot, key in service.uses.items():
        used = services.by_key.get(key)
        if used is None:
            continue
        if used.nested is not None and used.contract is not None and used.contract.name == CHAT:
            raise _UnboundedError(f"service '{service.key}' uses the megaservice '{used.nested}'")
        own = [_call(used)] if is_model(used, services) else []
        found = [*own, *_of_service(used, services)]
        if not found:
            continue
        times = service.info.asks.get(slot) if service.info is not None else None
        if times is None:
            raise _UnboundedError(
                f"component '{service.component}' does not say how often it asks its '{slot}'"
            )
        for call in found:
            if times:
                yield replace(call, times=call.times * times)


def _within(node: str, call: ModelCall, inputs: Mapping[str, Input]) -> ModelCall:
    """A call of a nested megaservice, whose request is a node's inputs."""
    length, own_length = _length(inputs)
    return replace(
        call,
        own_prompt=call.own_prompt and _is_own(inputs.get("messages"), "messages"),
        own_length=call.own_length and own_length,
        length=call.length if not call.own_length else length,
        own_answers=call.own_answers and _is_own(inputs.get("n"), "n"),
        answers=call.answers if not call.own_answers else _answers(node, inputs),
    )


def is_model(service: Service, services: Services) -> bool:
    """Whether it is a chat model: it answers chats, and asks nobody else that does."""
    if service.contract is None or service.contract.name != CHAT or service.nested is not None:
        return False
    used = (services.by_key.get(key) for key in service.uses.values())
    return not any(
        other is not None and other.contract is not None and other.contract.name == CHAT for other in used
    )


def _call(service: Service) -> ModelCall:
    model = service.config.get("model")
    return ModelCall(service.key, model if isinstance(model, str) else "", window=window_of(service))


def window_of(service: Service) -> int | None:
    """Tokens that a model takes, where its config says so."""
    info = service.info
    if info is None or info.window is None:
        return None
    default = next((p.default for p in info.parameters if p.name == info.window), None)
    found: Any = service.config.get(info.window, default)
    return found if isinstance(found, int) and not isinstance(found, bool) and found > 0 else None


def _length(inputs: Mapping[str, Input]) -> tuple[int | None, bool]:
    """The bound of an answer, and whether the request says it."""
    given = [inputs[name] for name in LENGTHS if name in inputs]
    if given and all(_is_own(value, name) for name in LENGTHS if (value := inputs.get(name)) is not None):
        return None, True
    if len(given) == 1:
        return _number(given[0]), False
    return None, False


def _answers(node: str, inputs: Mapping[str, Input]) -> int:
    """How many answers a node asks for, where the request does not say."""
    value = inputs.get("n")
    if value is None or _is_own(value, "n"):
        return 1
    found = _number(value)
    if found is None:
        raise _UnboundedError(f"node '{node}' asks for a number of answers that is known only when it runs")
    return found


def _number(value: Input | None) -> int | None:
    found = value.value if isinstance(value, Value) else None
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def _is_own(value: Input | None, field: str) -> bool:
    return isinstance(value, Ref) and value.head == REQUEST and value.path == (field,)


def _others(inputs: Mapping[str, Input]) -> set[str]:
    """Inputs that go into a prompt and are not the request's own."""
    return {
        name for name in ("tools", "response_format") if name in inputs and not _is_own(inputs[name], name)
    }

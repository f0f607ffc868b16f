"""What every contract promises: section 8.1 of the specification."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any, Final

import msgspec

from weft.contracts import Contract
from weft.errors import RequestError
from weft.testing.promises.base import Broken, Promise, Promises, Subject, expect, is_callers_fault, shown

EVERY: Final[Promises[Subject]] = Promises()

SETTLE_TURNS: Final = 50
"""Turns of the event loop that a cancelled task is given to end; one that waits for nothing needs two."""

SETTLE_S: Final = 10.0
"""Seconds for one that waits for a thread's step to end, on a machine under load."""


@EVERY("8.1.1")
async def replies_are_typed(subject: Subject) -> None:
    """A reply must have every required field of its contract, and every field must have its type."""
    await subject.ask(_sample(subject))


@EVERY("8.1.2")
async def asking_again_is_the_same(subject: Subject) -> None:
    """An operation that its contract calls idempotent must give the same reply to the same request, as long as what it
    works on has not changed."""
    first = _plain(await subject.ask(_sample(subject)))
    second = _plain(await subject.ask(_sample(subject)))
    expect(first == second, f"first {shown(first)}, then {shown(second)}")


@EVERY("8.1.3")
async def requests_do_not_mix(subject: Subject) -> None:
    """Requests at the same time must not change each other's replies; one that is too many must be refused with 429."""
    requests = subject.family.samples()
    alone = [_plain(await subject.ask(request)) for request in requests]
    is_repeatable = subject.contract.primary.idempotent
    together = await subject.at_once(subject.family.samples() * (2 if is_repeatable else 1))
    expect(any(reply is not None for reply in together), "every request was refused with 429")
    if not is_repeatable:
        return  # two answers of a model may differ; that each is one was seen
    for expected, reply in zip(alone * 2, together, strict=True):
        if reply is not None:
            expect(
                _plain(reply) == expected, f"alone {shown(expected)}, beside others {shown(_plain(reply))}"
            )


@EVERY("8.1.4")
async def a_request_stays_as_it_is(subject: Subject) -> None:
    """A component must not change a request, nor anything in it: in one process, other nodes hold the same objects."""
    subject.component()
    for request in subject.family.samples():
        before = shown_whole(request)
        await subject.ask(request)
        after = shown_whole(request)
        expect(before == after, f"the request became {shown(request)}")


@EVERY("8.1.5")
async def who_leaves_leaves_nothing(subject: Subject) -> None:
    """When the caller goes away, the work on its request must end, and the next request must be served as ever."""
    instance = subject.component() if subject.instance is not None else None
    await subject.ask(_sample(subject))
    before = asyncio.all_tasks()
    for turns in (0, 1, 3, 10):
        await _leave(subject, turns)
    if instance is not None:
        await _settled(before)
    await subject.ask(_sample(subject))


async def _leave(subject: Subject, turns: int) -> None:
    """Ask, and leave after so many turns of the event loop."""
    task = asyncio.create_task(subject.transport.call(subject.contract.primary.name, _sample(subject)))
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        return
    except RequestError as error:
        if not is_callers_fault(error) and error.status != 429:
            raise Broken(f"{error.status} {error.code}: {error}") from error
    except Exception as error:  # someone else's code: whatever it raises is named, with its cause
        raise Broken(f"cancelled, it raised {type(error).__name__}: {error}") from error


async def _settled(before: set[asyncio.Task[Any]]) -> None:
    left = asyncio.all_tasks() - before
    for _ in range(SETTLE_TURNS):
        left = asyncio.all_tasks() - before
        if not left:
            return
        await asyncio.sleep(0)
    # A thread may hold one up: it ends when the thread's step does.
    _, pending = await asyncio.wait(left, timeout=SETTLE_S)
    names = ", ".join(sorted(task.get_name() for task in pending))
    expect(not pending, f"tasks that still run: {names}")


@EVERY("8.1.6")
async def a_started_component_is_ready(subject: Subject) -> None:
    """When `start` has returned, `ready`, where a component has it, must say yes."""
    ready = getattr(subject.component(), "ready", None)
    if ready is None:
        return
    answer = ready()
    answer = await answer if inspect.isawaitable(answer) else answer
    expect(answer is True, f"it says {answer!r}")


def promises_of(contract: Contract, *, in_process: bool) -> list[Promise[Subject]]:
    """Those that apply to a contract, where the component is in this process or is not."""
    left_out = set[str]()
    if not contract.primary.idempotent:
        left_out |= {asking_again_is_the_same.name}
    if not in_process:
        left_out |= {a_request_stays_as_it_is.name, a_started_component_is_ready.name}
    return [promise for promise in EVERY if promise.name not in left_out]


def _sample(subject: Subject) -> Any:
    return subject.family.samples()[0]


def _plain(reply: Any) -> Any:
    """A reply as plain data, numbers rounded: batches may change the last digits of a model's numbers."""
    return _rounded(msgspec.json.decode(msgspec.json.encode(reply)))


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, list):
        return [_rounded(part) for part in value]
    if isinstance(value, dict):
        return {name: _rounded(part) for name, part in value.items()}
    return value


def shown_whole(value: Any) -> bytes:
    """All of a value, to see whether it changed."""
    return msgspec.json.encode(value)

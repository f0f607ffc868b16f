"""Fuzzes what a Gateway file does: its loader, expressions, and the transformation of requests, replies and events.

    python tests/fuzz/fuzz_gateway.py --seconds 600 [--seed 1]

- An expression, good or broken, compiles or is refused with its column; a compiled one gives a JSON value or an error, the
  same each time, and leaves what it reads as it was.
- A transformation gives a body that keeps what its file says, or refuses the request; done again it changes nothing more
  (but for what it sets and renames), and step by step it is the same. Events come out the same however they are cut.
- A file loads or is refused with its problems, each within the file; what loads is the same when it is written and read again.

Ends with 1 when something was found; each finding is printed with the seed that makes it again.
"""

from __future__ import annotations

import argparse
import copy
import random
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import fuzz_values as make
import msgspec
from fuzz_http import CASE_LIMIT_S, Outcome
from fuzz_messages import cuts
from fuzz_targets import Finding

from weft.context import Identity
from weft.errors import BackendReplyError, RequestError, SpecError
from weft.expressions import ExpressionError, compile_condition
from weft.gateway.transform.events import EventChanges
from weft.gateway.transform.fields import found, parts_of
from weft.gateway.transform.program import MAX_BYTES, SYNONYMS, Seen, Transform
from weft.gateway.transform.trace import trace
from weft.http.message import Headers
from weft.plan import check
from weft.plan.front import check_route
from weft.plan.rules import REQUEST_NAMES, resolver
from weft.registry.components import Components
from weft.spec.changes import check_transform
from weft.spec.dump import to_yaml
from weft.spec.gateway import RouteSpec, TransformSpec
from weft.spec.load import loads
from weft.spec.problems import Problems

TARGETS = ("expression", "expression", "transformation", "events", "loader")

CALLER = Identity(caller="ann", tenant="red", roles=frozenset({"staff"}), claims={"groups": ["staff"]})
HEADERS = Headers([(b"host", b"x"), (b"x-team", b"red")])


def _seen(body: Any) -> Seen:
    return Seen(body, HEADERS, CALLER, "talk@1")


def _values(body: Any) -> dict[str, Any]:
    return {
        "body": body, "headers": {"host": "x"}, "caller": "ann", "tenant": "red", "claims": {"groups": ["staff"]},
        "roles": ["staff"], "scopes": [], "model": "talk",
    }  # fmt: skip


def expression(rng: random.Random) -> None:
    """One expression over one body."""
    text = make.expression(rng)
    if rng.random() < 0.5:
        text = make.broken(text, make.PIECES, rng)
    try:
        compiled = compile_condition(text, resolve=resolver(REQUEST_NAMES), expect=None)
    except ExpressionError as error:
        if not 1 <= error.column <= error.end_column <= len(text) + 2:
            raise Finding(f"{text!r}: columns {error.column} to {error.end_column}") from error
        return
    body = make.body(rng)
    before = copy.deepcopy(body)
    results = []
    for _ in range(2):
        try:
            results.append(compiled.evaluate(_values(body)))
        except ExpressionError as error:
            results.append(error.message)
    if repr(results[0]) != repr(results[1]):
        raise Finding(f"{text!r}: twice, {results!r}")
    if repr(body) != repr(before):
        raise Finding(f"{text!r} changed what it read: {before!r}")
    msgspec.json.encode(results[0])


def _sound(rng: random.Random) -> TransformSpec | None:
    """A transformation that passes the checks of a file."""
    spec = make.transformation(rng)
    problems = Problems()
    check_transform(spec, problems)
    check_route(RouteSpec(path="/v1/x", megaservice="x", request=spec), None, problems)
    return None if problems.has_errors else spec


def transformation(rng: random.Random) -> None:
    """One transformation of one body."""
    spec = _sound(rng)
    if spec is None:
        return
    body = make.body(rng)
    before = copy.deepcopy(body)
    of = rng.choice(("request", "response"))
    transform = Transform(spec, of=of)
    steps = trace(transform, _seen(body))
    try:
        after = transform(_seen(body), size=rng.choice((len(msgspec.json.encode(body)), MAX_BYTES)))
    except RequestError as error:
        if steps.error is None or steps.error.message != error.message:
            raise Finding(f"{spec!r} on {before!r}: {error} at once, {steps.error} step by step") from error
        return
    finally:
        if repr(body) != repr(before):
            raise Finding(f"{spec!r} changed the body itself: {before!r}")
    if repr(steps.body) != repr(after):
        raise Finding(f"{spec!r} on {before!r}: {after!r} at once, {steps.body!r} step by step")
    msgspec.json.encode(after)
    _keeps(spec, after, before)
    puts_back = any(path.startswith(f"{name}.") for path in spec.remove for name in spec.defaults)
    if not (spec.set_ or spec.template or spec.rename or puts_back):
        again = transform(_seen(after))
        if _sorted(again) != _sorted(after):
            raise Finding(f"{spec!r} on {before!r}: {after!r}, and once more {again!r}")


def _meets_list(value: Any, parts: tuple[str, ...]) -> bool:
    """Whether a path leads through a list, which may be empty, or have nothing in it that has fields."""
    return any(isinstance(one, list) for at in range(len(parts)) for one in found(value, parts[:at]))


def _is_synonym(path: str, after: Any) -> bool:
    """Whether the field is there under its other name, which then is bounded in its place."""
    *outer, name = parts_of(path)
    return name in SYNONYMS and bool(found(after, (*outer, SYNONYMS[name])))


def _sorted(value: Any) -> bytes:
    return msgspec.json.encode(value, order="sorted")


def _keeps(spec: TransformSpec, after: Any, before: Any) -> None:
    """What is removed is gone, what is bounded is within its bounds, what has a default is there."""
    made = {*spec.defaults, *spec.clamp}
    for path in spec.remove:
        inside = any(f"{other}.".startswith(f"{path}.") or path.startswith(f"{other}.") for other in made)
        if not inside and found(after, parts_of(path)):
            raise Finding(f"{spec!r} on {before!r}: '{path}' is still in {after!r}")
    for path in made:
        if (
            not found(after, parts_of(path))
            and not _meets_list(after, parts_of(path))
            and not _is_synonym(path, after)
        ):
            raise Finding(f"{spec!r} on {before!r}: '{path}' is not in {after!r}")
    for path, (low, high) in spec.clamp.items():
        for path_of in (
            path,
            ".".join((*parts_of(path)[:-1], SYNONYMS.get(parts_of(path)[-1], parts_of(path)[-1]))),
        ):
            for number in found(after, parts_of(path_of)):
                if number is not None and not low <= number <= high:
                    raise Finding(f"{spec!r} on {before!r}: {path_of} is {number}")


def events(rng: random.Random) -> None:
    """One stream, whole, byte by byte and in pieces."""
    spec = _sound(rng)
    if spec is None:
        return
    transform = Transform(spec, of="response")
    parts = make.events(rng)
    data = b"".join(parts)
    outcomes = []
    for pieces in ([data], [data[i : i + 1] for i in range(len(data))], cuts(data, rng), parts):
        changes = EventChanges(transform, lambda body, size: transform(_seen(body), size=size))
        try:
            outcomes.append(b"".join(changes.pass_on(piece) for piece in pieces if piece))
        except (RequestError, BackendReplyError) as error:
            outcomes.append(str(error).encode())
    if len(set(outcomes)) != 1:
        raise Finding(f"{spec!r} on {parts!r}: cut otherwise, {outcomes!r}")


def loader(rng: random.Random, files: list[str], components: Components) -> None:
    """One Gateway file."""
    text = rng.choice(files)
    if rng.random() < 0.95:
        text = make.broken(text, make.YAML, rng)
    try:
        spec = loads(text, "front.yaml")
    except SpecError as error:
        lines = len(text.splitlines()) + 1
        for problem in error.problems:
            if not problem.message or problem.mark.line > lines:
                raise Finding(f"{problem!r} in {text!r}") from error
        return
    again = loads(to_yaml(spec), "again.yaml")
    if again != spec:
        raise Finding(f"written and read again, it is another: {text!r}")
    try:
        check(spec, components)
    except SpecError as error:
        if not str(error):
            raise Finding(f"refused without a word: {text!r}") from error


def _too_long(_number: int, _frame: object) -> None:
    raise Finding(f"took more than {CASE_LIMIT_S} s")


def _one(seed: int, outcome: Outcome, files: list[str], components: Components) -> None:
    rng = random.Random(seed)
    target = rng.choice(TARGETS)
    try:
        if target == "loader":
            loader(rng, files, components)
        else:
            {"expression": expression, "transformation": transformation, "events": events}[target](rng)
        outcome.executions[target] += 1
    except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
        kind = str(error) if isinstance(error, Finding) else "".join(traceback.format_exception(error)[-4:])
        outcome.findings.append(f"seed {seed}, {target}: {kind:.3000}")


def fuzz(
    *, seed: int = 1, seconds: float | None = None, cases: int | None = None, max_findings: int = 20
) -> Outcome:
    """Run for a time, a number of cases or of findings; the cases depend on the seed alone."""
    outcome, files, components = Outcome(), make.gateway_files(), Components()
    started, number = time.monotonic(), 0
    has_alarm = hasattr(signal, "setitimer")
    if has_alarm:
        before = signal.signal(signal.SIGALRM, _too_long)
    try:
        while (seconds is None or time.monotonic() - started < seconds) and (cases is None or number < cases):
            if has_alarm:
                signal.setitimer(signal.ITIMER_REAL, CASE_LIMIT_S)
            _one(seed + number, outcome, files, components)
            number += 1
            if len(outcome.findings) >= max_findings:
                break
    finally:
        if has_alarm:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
    return outcome


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", type=int, help="stop after so many, whatever the time")
    arguments = parser.parse_args()
    outcome = fuzz(seed=arguments.seed, seconds=arguments.seconds, cases=arguments.cases)
    for finding in outcome.findings:
        sys.stdout.write(f"{finding}\n")
    counts = ", ".join(f"{name} {count:,}" for name, count in sorted(outcome.executions.items()))
    sys.stdout.write(
        f"{outcome.executions.total():,} executions ({counts}), {len(outcome.findings)} findings\n"
    )
    return 1 if outcome.findings else 0


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    sys.exit(main())

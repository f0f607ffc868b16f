"""The stage that lets a route's requests in one place at a time, and the one that gives each its time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from weft.errors import OverloadedError, RequestError, UnavailableError
from weft.gateway.beginning import begin
from weft.gateway.load.admission import Admission, Place
from weft.gateway.load.concurrency import Adaptive, Fixed
from weft.gateway.load.meters import LoadMeters
from weft.gateway.passage import Passage, Proceed, Reply
from weft.gateway.transform.program import Seen, evaluator
from weft.http.message import StreamResponse
from weft.observe.journal import CANCELLED, FAILED, OK, STARTED, Journal
from weft.observe.metrics import Metrics
from weft.spec.gateway import LoadSpec, RouteSpec
from weft.transport.clock import Clock

QUEUE = "queue"
"""What the journal calls the time in which a request waits for its place."""


class LoadStage:
    """Lets requests of one route in, as many at a time as can be served.

    Args:
        rule: The route; it has ``load:``.
        clock: Time.
        metrics, journal: Of the process.
        processes: Gateway processes that share what the file says.
        lasting: Where the places of each route outlive this stage: when the file is read again, and says the same of them,
            who has a place still counts.

    Attributes:
        admission: The places.
    """

    def __init__(
        self,
        rule: RouteSpec,
        *,
        clock: Clock,
        metrics: Metrics,
        journal: Journal,
        processes: int = 1,
        lasting: dict[str, tuple[LoadSpec, int, Admission]] | None = None,
    ) -> None:
        spec = rule.load or LoadSpec()
        lasting = {} if lasting is None else lasting
        self._name, self._journal, self._clock = rule.target, journal, clock
        self._is_adaptive = spec.concurrent is None
        self._is_high = _priority(spec)
        self._meters = LoadMeters(metrics, rule.target, has_priorities=spec.priority is not None)
        known = lasting.get(rule.target)
        if known is None or known[:2] != (spec, processes):
            admission = Admission(
                Adaptive() if spec.concurrent is None else Fixed(max(1, -(-spec.concurrent // processes))),
                queue=spec.queue,
                queue_s=spec.queue_s,
                clock=clock,
                on_refused=self._meters.refused,
            )
            known = lasting[rule.target] = spec, processes, admission
        self.admission = known[2]
        self._meters.watch(self.admission)

    async def __call__(self, passage: Passage, proceed: Proceed) -> Reply:
        """See :class:`weft.gateway.passage.Stage`.

        Raises:
            OverloadedError: There is no place in time.
        """
        is_high = self._is_high(passage)
        place = self.admission.enter(is_high=is_high) or await self._waited(passage, is_high=is_high)
        passage.on_end(place.ended)
        try:
            reply = await proceed(passage)
            if self._is_adaptive and isinstance(reply, StreamResponse):
                await begin(reply)
        except RequestError as error:
            if self._is_adaptive:
                place.measured(
                    was_refused=isinstance(error, OverloadedError | UnavailableError), is_good=False
                )
            place.leave()  # whoever is asked instead does not need it
            raise
        if self._is_adaptive:
            place.measured(was_refused=reply.status in (429, 503), is_good=reply.status < 500)
        if not isinstance(reply, StreamResponse):
            place.leave()
        return reply

    async def _waited(self, passage: Passage, *, is_high: bool) -> Place:
        """A place after waiting, and the wait written down."""
        context, journal, now = passage.context, self._journal, self._clock.now_ns
        run = context.run = context.run or journal.new_run()
        step = journal.new_step()
        where = QUEUE, self._name, 0, 0
        journal.record((run, step, context.step, STARTED, *where, now(), None))
        try:
            place = await self.admission.wait(is_high=is_high, left_s=context.time_left_s())
        except RequestError as error:
            journal.record((run, step, context.step, FAILED, *where, now(), error.code))
            raise
        except BaseException:
            journal.record((run, step, context.step, CANCELLED, *where, now(), None))
            raise
        journal.record((run, step, context.step, OK, *where, now(), None))
        self._meters.waited(place.waited_s, is_high=is_high)
        return place


class TimeStage:
    """Gives each request of one route its time: what comes later is not worked for."""

    def __init__(self, rule: RouteSpec) -> None:
        assert rule.timeout_s is not None  # a route without a limit has no such stage
        self._timeout_s = rule.timeout_s

    def __call__(self, passage: Passage, proceed: Proceed) -> Awaitable[Reply]:
        """See :class:`weft.gateway.passage.Stage`."""
        passage.context.shorten(self._timeout_s)
        return proceed(passage)


def _priority(spec: LoadSpec) -> Callable[[Passage], bool]:
    """Whether a request's priority is high; it is low where its condition cannot be evaluated."""
    if spec.priority is None:
        return lambda _passage: False
    evaluate, roots = evaluator(spec.priority.text)

    def is_high(passage: Passage) -> bool:
        try:
            body = passage.body() if "body" in roots and passage.has_json else {}
            return evaluate(Seen(body, passage.request.headers, passage.identity, passage.model)) is True
        except RequestError:
            return False
        except Exception:  # noqa: BLE001 - whatever an expression meets in a caller's body: a rule that fails gives nothing
            return False

    return is_high

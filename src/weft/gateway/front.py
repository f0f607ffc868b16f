"""The front door: what a Gateway file lets in, and through which stages each request goes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from weft.context import Context, Identity
from weft.contracts import Operation, Route
from weft.gateway.access.stage import AccessStage
from weft.gateway.passage import Passage, Proceed, Reply, Stage, through
from weft.gateway.targets import Target
from weft.http.message import Request
from weft.serve.routing import RouteHandler
from weft.spec.gateway import GatewaySpec, RouteSpec

AnswerOf = Callable[[Target], RouteHandler]
"""What answers one operation of a target in the forms of one of the contract's routes."""

StagesOf = Callable[[RouteSpec], Sequence[Stage]]
"""The stages of a route, the outermost first."""


class Front:
    """The routes of a Gateway file.

    Args:
        spec: The file.
        stages: Makes a route's stages, once.
    """

    def __init__(self, spec: GatewaySpec, stages: StagesOf) -> None:
        self.spec = spec
        self._rules = {rule.target: rule for rule in spec.routes}
        self._stages = {rule.target: tuple(stages(rule)) for rule in spec.routes}

    def admits(self, target: str) -> bool:
        """Whether a route leads to the target of this name; all others are not exposed."""
        return target in self._rules

    def rule(self, target: str) -> RouteSpec:
        """The route that leads to the target of this name."""
        return self._rules[target]

    def stages(self, target: str) -> Sequence[Stage]:
        """The stages of the route that leads to the target of this name."""
        return self._stages[target]

    def lets_in(self, target: str, identity: Identity) -> bool:
        """Whether a caller may have the route that leads to the target of this name."""
        return all(stage.admits(identity) for stage in self._stages[target] if isinstance(stage, AccessStage))

    def admit(self, target: str, request: Request, identity: Identity) -> None:
        """Let a caller have what costs the target nothing.

        Raises:
            UnauthorizedError, ForbiddenError: As for a request to the route.
        """
        for stage in self._stages[target]:
            if isinstance(stage, AccessStage):
                stage.admit(request, identity)

    def guarded(
        self, target: Target, operation: Operation, wire: Route, answer_of: AnswerOf, *, model: str = ""
    ) -> Guarded:
        """What answers requests for ``target``: its route's stages, and then the target that they chose."""
        rule = self._rules[target.name]
        return Guarded(rule, self._stages[target.name], target, operation, wire, answer_of, model=model)


class Guarded:
    """The handler of one operation of one route's target, on one of the paths that lead there."""

    __slots__ = ("_answer_of", "_answers", "_enter", "_model", "_operation", "_rule", "_target", "_wire")

    def __init__(
        self,
        rule: RouteSpec,
        stages: Sequence[Stage],
        target: Target,
        operation: Operation,
        wire: Route,
        answer_of: AnswerOf,
        *,
        model: str,
    ) -> None:
        self._rule, self._target, self._operation, self._wire = rule, target, operation, wire
        self._answer_of, self._model = answer_of, model
        self._answers: dict[Target, RouteHandler] = {}
        self._enter: Proceed = through(stages, self._answer)

    def __call__(self, request: Request, context: Context) -> Awaitable[Reply]:
        """See :data:`weft.serve.routing.RouteHandler`."""
        return self._enter(
            Passage(
                request,
                context,
                self._rule,
                target=self._target,
                operation=self._operation,
                wire=self._wire,
                model=self._model,
                answer=self._answer,
            )
        )

    def _answer(self, passage: Passage) -> Awaitable[Reply]:
        target = passage.target
        assert target is not None  # no stage takes it away
        answer = self._answers.get(target)
        if answer is None:
            answer = self._answers[target] = self._answer_of(target)
        return answer(passage.request, passage.context)

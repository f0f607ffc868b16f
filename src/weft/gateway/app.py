"""The gateway application: megaservices and exposed services behind OpenAI's, OPEA's and the contracts' routes."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any, Final

import msgspec
from msgspec import Struct

from weft.context import Context
from weft.contracts import Operation, Route
from weft.contracts.base import fields_of
from weft.errors import ModelNotFoundError, did_you_mean
from weft.gateway import examples, journal, opea
from weft.gateway.front import Front
from weft.gateway.passage import Passage, Reply
from weft.gateway.protocols.anthropic import Anthropic
from weft.gateway.protocols.mcp import Mcp
from weft.gateway.protocols.responses import BOUNDS as RESPONSES
from weft.gateway.protocols.responses import Responses
from weft.gateway.protocols.shelf import Shelves
from weft.gateway.readable import narrowed, opea_chat
from weft.gateway.targets import Target, Targets
from weft.gateway.versions.stage import path_of
from weft.http.message import Request, Response, StreamResponse
from weft.serve.application import Application, RouteDoc, named
from weft.serve.operations import MAX_JSON_BYTES, Answer, add_route, formed, operation_summary
from weft.serve.routing import RouteHandler
from weft.serve.streams import stream_reply

MAX_REMEMBERED: Final = 1024
"""Spellings of model names of one route that need not be looked up again."""


class ModelVersion(Struct, omit_defaults=True):
    """One of several versions of a model name.

    Attributes:
        id: What ``model`` may say to have this one.
        deprecated, sunset: Since when it should not be used, and when it ends.
    """

    id: str
    version: str
    deprecated: str | None = None
    sunset: str | None = None


class ModelEntry(Struct):
    """A name that can be asked.

    Attributes:
        id: What ``model`` may say.
        created: When this gateway was started, in seconds since 1970.
        contract: What it can be asked.
        path: Where.
        version: Of a megaservice; empty for a service.
        versions: All that can be asked, where there are several.
    """

    id: str
    created: int
    contract: str
    path: str
    version: str = ""
    versions: list[ModelVersion] = []
    owned_by: str = "weft"
    object: str = "model"


class ModelList(Struct):
    """All of them."""

    data: list[ModelEntry]
    object: str = "list"


class Gateway:
    """Routes requests to targets by contract, model name and path.

    Args:
        app: Where the routes go.
        targets: Megaservices, then exposed services, in the order of declaration.
        front: The Gateway file's routes: only what they lead to is served, through their stages. None: everything is.
        shelves: Where what callers come back to is kept; in this process if left out.
    """

    def __init__(
        self,
        app: Application,
        targets: Iterable[Target],
        front: Front | None = None,
        shelves: Shelves | None = None,
    ) -> None:
        self._shelves = shelves or Shelves()
        self._app, self.front = app, front
        self.journal = app.journal
        self._created = int(time.time())
        self._by_model: dict[str, _ByModel] = {}
        by_contract: dict[str, list[Target]] = {}
        for target in targets:
            if front is not None and not front.admits(target.name):
                continue
            by_contract.setdefault(target.contract.name, []).append(target)
        self._targets = {contract: Targets(found) for contract, found in by_contract.items()}

    def targets(self, contract: str) -> Targets:
        """What can be asked of a contract, by model name."""
        return self._targets.get(contract) or Targets(())

    def megaservices(self) -> list[Target]:
        """The megaservices that can be asked, each once, in the order of declaration."""
        found = [targets.get(target.name) for targets in self._targets.values() for target in targets]
        return [target for target in dict.fromkeys(found) if target.version]

    def door(self, target: Target) -> RouteHandler:
        """What answers a target's primary operation in its own form, through everything that its route says."""
        route = Route(f"/v1/{target.name}")

        def answer_of(target: Target) -> RouteHandler:
            return self.answer(target, target.operation, route)

        if self.front is None:
            return answer_of(target)
        return self.front.guarded(target, target.operation, route, answer_of)

    def stand_in(self, target: Target) -> Callable[[Passage], Awaitable[Reply]]:
        """What answers for a target a request that was for another: as that was asked, if this can be asked so."""
        front = self.front
        assert front is not None  # only its routes name others
        handlers: dict[tuple[str, str], RouteHandler] = {}

        def ask(passage: Passage) -> Awaitable[Reply]:
            asked, wire = passage.operation, passage.wire
            operation = target.operations.get(asked.name) if asked is not None else None
            if operation is None or wire is None:
                operation = target.operation
                wire = operation.routes[0] if operation.routes else Route(f"/v1/{target.name}")
            known = operation.name, wire.path
            if known not in handlers:
                handlers[known] = front.guarded(
                    target, operation, wire, lambda target: self.answer(target, operation, wire)
                )
            return handlers[known](passage.request, passage.context)

        return ask

    def path_of(self, name: str, operation: str = "") -> tuple[str, bool]:
        """Where an operation of a target answers in its contract's own form, and whether the body's model names it there.

        Raises:
            ModelNotFoundError: There is no such target, or it has no such operation.
        """
        found = [target for targets in self._targets.values() if (target := targets.find(name)) is not None]
        if not found:
            names = [known for targets in self._targets.values() for known in targets.names()]
            hint = did_you_mean(name, names, what="targets")
            raise ModelNotFoundError(f"there is no target '{name}' here", param="target", hint=hint)
        target = found[0]
        wanted = target.operations.get(operation) if operation else target.operation
        if wanted is None:
            hint = did_you_mean(operation, list(target.operations), what="operations")
            raise ModelNotFoundError(f"'{name}' has no operation '{operation}'", param="operation", hint=hint)
        own = next((route for route in wanted.routes if route.method == "POST"), None)
        if own is not None:
            return own.path, True
        return self.front.rule(target.name).path if self.front is not None else f"/v1/{target.name}", False

    def ask(self, contract: str, request: Request, context: Context) -> Awaitable[Reply]:
        """Ask a contract's primary operation as its own route does, through everything that its target's route says.

        For other protocols, which translate what they are sent into that operation's own form, and the reply back.

        Args:
            contract: Its name.
            request: Its body is the operation's, and names the model; its scope is that of the request that came in.
            context: Who asks.

        Raises:
            ModelNotFoundError: Nothing here fulfils the contract, or has that name.
        """
        answer = self._by_model.get(contract)
        if answer is None:
            raise ModelNotFoundError(
                "nothing here answers this route",
                hint=f"no megaservice or exposed service fulfils the contract {contract}",
            )
        return answer(request, context)

    def add_routes(self) -> None:
        """Serve every contract's routes, and each megaservice at ``/v1/<name>``."""
        for targets in self._targets.values():
            self._add_contract(targets)
        for targets in self._targets.values():
            for target in dict.fromkeys(targets.get(target.name) for target in targets):
                if self.front is not None:
                    self._add_named(target, self.front.rule(target.name).path)
                elif target.version:
                    self._add_named(target, f"/v1/{target.name}")
        Anthropic(self).add_routes(self._app)
        Responses(self, self._shelves.shelf("responses", RESPONSES)).add_routes(self._app)
        Mcp(self, self._app).add_routes()
        models = RouteDoc(summary="The model names that can be asked.", response=ModelList, tags=("models",))
        self._app.route("GET", "/v1/models", self._list, errors="openai", doc=models, needs="")
        names = [target.name for targets in self._targets.values() for target in targets]
        model = RouteDoc(
            summary="One model name.",
            response=ModelEntry,
            tags=("models",),
            named={"model": names[0]} if names else {},
        )
        self._app.route("GET", "/v1/models/{model}", self._show, errors="openai", doc=model, needs="")

    def _add_contract(self, targets: Targets) -> None:
        operations = {name: operation for target in targets for name, operation in target.operations.items()}
        for operation in operations.values():
            able = Targets(target for target in targets if operation.name in target.operations)
            first = next(iter(able))
            for route in operation.routes:
                doc = RouteDoc(
                    summary=operation_summary(first.contract, operation),
                    request=operation.request,
                    response=operation.response,
                    chunk=operation.chunk,
                    tags=(first.contract.name,),
                    opea=route.opea,
                    examples=examples.of_route(route.path, first.name),
                )
                if operation.openai and not route.opea:
                    doc = replace(doc, adapt=partial(narrowed, able))
                answer = _ByModel(self, able, operation, route)
                if operation is first.contract.primary:
                    self._by_model.setdefault(first.contract.name, answer)
                add_route(self._app, operation, route, answer, doc)

    def _add_named(self, target: Target, path: str) -> None:
        if path in self._app.router.exact:
            return  # its contract's own route has that name already
        summary = target.description or f"The megaservice {target.name}."
        doc = RouteDoc(
            summary=summary,
            request=target.operation.request,
            response=target.operation.response,
            chunk=target.operation.chunk,
            tags=(target.name,),
            opea=True,
            examples=examples.of_contract(target.contract.name),
        )
        route = Route(path, opea=True)
        doc = formed(doc, target.operation, route)
        if target.contract.name == "chat":
            doc = replace(doc, adapt=opea_chat)

        def answer_of(target: Target) -> RouteHandler:
            if target.contract.name == "chat":
                return _OpeaChat(self, target)
            return self.answer(target, target.operation, route)

        handler = answer_of(target)
        if self.front is not None:
            handler = self.front.guarded(target, target.operation, route, answer_of)
        self._app.route("POST", path, handler, doc=doc, max_body_bytes=MAX_JSON_BYTES, needs="")
        if self.front is not None and (versions := self.front.rule(target.name).versions):
            one = replace(doc, summary=f"One version. {summary}", named={"version": versions[-1].version})
            versioned = path_of(path, "{version}")
            self._app.route("POST", versioned, handler, doc=one, max_body_bytes=MAX_JSON_BYTES, needs="")

    def answer(self, target: Target, operation: Operation, route: Route) -> Answer:
        """What answers ``operation`` of ``target``, in the forms of ``route``."""
        own = target.operations[operation.name]
        return Answer(self._app, own, route, call=target.call, stream=target.stream, place=target.place)

    # Models.

    async def _list(self, request: Request, context: Context) -> Response:
        return _json(
            ModelList(
                [
                    entry
                    for targets in self._targets.values()
                    for entry in self._entries(targets)
                    if self._shows(entry.id, context)
                ]
            )
        )

    async def _show(self, request: Request, context: Context) -> Response:
        wanted = named(request).get("model", "")
        names: list[str] = []
        for targets in self._targets.values():
            names += [name for name in targets.names() if self._shows(name, context)]
            if (found := targets.find(wanted)) is not None and self._shows(found.name, context):
                return _json(msgspec.structs.replace(self._entry(found), id=wanted))
            if (base := wanted.partition("@")[0]) in names and base in targets.names():
                targets.get(wanted)  # raises, with the versions that there are
        raise ModelNotFoundError(
            f"there is no model '{wanted}' here",
            param="model",
            hint=did_you_mean(wanted, names, what="models"),
        )

    def _shows(self, name: str, context: Context) -> bool:
        """Whether a caller is told of a model: only of those that they may ask."""
        return self.front is None or self.front.lets_in(name, context.identity)

    def _entries(self, targets: Targets) -> list[ModelEntry]:
        return [self._entry(targets.get(name)) for name in targets.names()]

    def _entry(self, target: Target) -> ModelEntry:
        path = target.operation.routes[0].path if target.operation.routes else f"/v1/{target.name}"
        rule = self.front.rule(target.name) if self.front is not None else None
        versions = [
            ModelVersion(f"{target.name}@{one.version}", one.version, one.deprecated, one.sunset)
            for one in (rule.versions if rule is not None else ())
        ]
        return ModelEntry(
            target.name,
            self._created,
            target.contract.name,
            path,
            version=target.version,
            versions=versions,
        )


class _ByModel:
    """The handler of a contract's route: the body's ``model`` says which target answers."""

    __slots__ = ("_answers", "_checked", "_gateway", "_operation", "_route", "_targets")

    def __init__(self, gateway: Gateway, targets: Targets, operation: Operation, route: Route) -> None:
        self._gateway, self._targets, self._operation, self._route = gateway, targets, operation, route
        self._checked = operation.openai and not route.opea
        self._answers: dict[bytes, tuple[Target, RouteHandler]] = {}

    def __call__(self, request: Request, context: Context) -> Awaitable[Response | StreamResponse]:
        fields = fields_of(request.body)
        named = fields.get("model")
        written = b"" if named is None else bytes(named)
        target, answer = self._answers.get(written) or self._find(written)
        if self._gateway.front is None and self._checked and not target.readable.issuperset(fields):
            target.check_fields(fields)
        if journal.is_wanted(request) and (kept := self._gateway.journal) is not None:
            return journal.journalled(answer, request, context, kept)
        return answer(request, context)

    def _find(self, written: bytes) -> tuple[Target, RouteHandler]:
        """What answers to a ``model`` as the body has it: a JSON value, or nothing."""
        model = msgspec.json.decode(written) if written else None
        if not isinstance(model, str):
            model = ""  # if it is no string, the decoder of the request says better what is wrong
        if self._route.opea or not self._operation.openai:
            # OPEA's clients send any model; a family with one service needs none.
            target = self._targets.find(model) or next(iter(self._targets))
        else:
            target = self._targets.get(model)
        found = target, self._handler(target, model)
        is_known = model in self._targets.all_names() or not model
        # Only names that exist are remembered, and not in all the ways in which JSON can write one.
        if is_known and len(self._answers) < MAX_REMEMBERED:
            self._answers[written] = found
        return found

    def _handler(self, target: Target, model: str) -> RouteHandler:
        front = self._gateway.front
        if front is None:
            return self._gateway.answer(target, self._operation, self._route)

        def answer_of(target: Target) -> RouteHandler:
            answer = self._gateway.answer(target, self._operation, self._route)
            return partial(_checked, target, answer) if self._checked else answer

        return front.guarded(target, self._operation, self._route, answer_of, model=model)


def _checked(
    target: Target, answer: Answer, request: Request, context: Context
) -> Awaitable[Response | StreamResponse]:
    """Behind the stages, which may have taken away what nothing reads."""
    fields = fields_of(request.body)
    if not target.readable.issuperset(fields):
        target.check_fields(fields)
    return answer(request, context)


class _OpeaChat:
    """A chat megaservice on its own route, in OPEA's form."""

    def __init__(self, gateway: Gateway, target: Target) -> None:
        self._app, self._target = gateway._app, target  # noqa: SLF001 - two halves of one thing
        self._answer = gateway.answer(target, target.operation, Route(f"/v1/{target.name}", opea=True))
        consumed = target.consumed
        known = frozenset(target.operation.request.__struct_fields__)
        self._consumed = consumed if consumed is not None else known - target.unsupported

    async def __call__(self, request: Request, context: Context) -> Response | StreamResponse:
        consumed = self._target.consumed if self._target.consumed is not None else self._consumed
        asked, ignored = opea.decode(request.body or b"", self._target.operation.request, consumed)
        headers = (("x-weft-ignored", opea.told(ignored)),) if ignored else ()
        openai = opea.wants_openai(request.query, request.headers.get("accept"))
        if asked.stream and not openai and self._target.stream is not None:
            chunks = self._target.stream(self._target.operation.name, asked)
            reply: Response | StreamResponse = stream_reply(
                _closing(opea.events(chunks, context), chunks),
                log=self._app.log,
                context=context,
                place=self._target.place,
            )
        else:
            reply = await self._answer.reply(asked, self._target.operation.own, context)
        reply.headers = (*reply.headers, *headers)
        return reply


async def _closing(events: AsyncIterator[bytes], chunks: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    try:
        async for event in events:
            yield event
    finally:
        if (aclose := getattr(chunks, "aclose", None)) is not None:
            await aclose()


def _json(value: object) -> Response:
    return Response(200, (), msgspec.json.encode(value))

"""``/v1/gateway``: what a gateway serves, and changing that while it does. All of it needs the role ``admin``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct

from weft.context import Context, Identity
from weft.errors import ConflictError, InvalidRequestError, SpecError
from weft.gateway.versions.reporting import Recorder
from weft.gateway.versions.rollout import Change, Rollout, Step
from weft.gateway.versions.rollouts import State
from weft.gateway.versions.weights import ALL
from weft.http.message import Request, Response
from weft.serve.application import Application, RouteDoc
from weft.serve.renewal import Reloads, ReloadStatus
from weft.spec.gateway import RouteSpec
from weft.spec.model import Spec

T = TypeVar("T")

PATH: Final = "/v1/gateway"
MAX_BODY_BYTES: Final = 65_536

_encode = msgspec.json.Encoder().encode


class VersionState(Struct, omit_defaults=True):
    """One version as it is served.

    Attributes:
        version: Its number.
        weight: Its share of the requests that name no version.
        mirror: Of how many of a hundred requests it gets a copy.
        deprecated, sunset: Since when it should not be used, and when it ends.
    """

    version: str
    weight: int
    mirror: int = 0
    deprecated: str | None = None
    sunset: str | None = None


class RouteState(Struct, omit_defaults=True):
    """One route as it is served.

    Attributes:
        path, target: Where it answers, and what.
        versions: Of the target; none: it has but one.
        earlier: The weights that its versions had before, the latest last.
    """

    path: str
    target: str
    versions: list[VersionState] = []
    earlier: list[State] = []


class GatewayState(Struct):
    """What a gateway serves.

    Attributes:
        name: Of the gateway.
        file: In which it stands.
        reload: Whether that file says what runs.
        routes: As they are served now.
    """

    name: str
    file: str
    reload: ReloadStatus
    routes: list[RouteState]


class Promotion(Struct, forbid_unknown_fields=True):
    """Which version of a route is to get how much.

    Attributes:
        route: Its target or its path.
        version: Whole, or a leading part.
        weight: Of a hundred requests that name no version; the others share out the rest as they do now.
    """

    route: str
    version: str
    weight: int = ALL


class Return(Struct, forbid_unknown_fields=True):
    """The route whose last promotion is taken back.

    Attributes:
        route: Its target or its path.
    """

    route: str


def rollout_routes(app: Application, spec: Spec, reloads: Reloads, recorder: Recorder, folder: Path) -> None:
    """Show what is served, take in the files, promote a version and go back.

    Args:
        app: Where the routes go.
        spec: What is served.
        reloads: Takes in the files.
        recorder: Writes the audit log.
        folder: The data folder.
    """
    gateway = spec.gateway
    if gateway is None:
        return
    rollout = Rollout(Path(gateway.marks.here.file), folder)
    editing = app.once("rollout", asyncio.Lock)
    whole = _Whole()
    app.on_stop.append(whole.stop)

    async def show(request: Request, context: Context) -> Response:
        def states() -> list[RouteState]:
            return [_state(rule, rollout) for rule in gateway.routes]

        routes = await asyncio.to_thread(states)
        return _json(GatewayState(gateway.name, str(rollout.file.path), reloads.status, routes))

    async def reload(request: Request, context: Context) -> Response:
        status = await whole(reloads.reload())
        if status.error:
            raise ConflictError(f"not reloaded, what ran before goes on: {status.error}")
        return _json(status)

    async def changed(event: str, by: Identity, change: Callable[[], Step]) -> Response:
        return await whole(make(event, by, change))

    async def make(event: str, by: Identity, change: Callable[[], Step]) -> Response:
        """Change the file, and take it in; if that fails, it is as it was."""
        async with editing:
            before = await asyncio.to_thread(rollout.file.text)
            status = await reloads.reload()
            if status.drifted:
                # What else was changed would be taken in with it, or would keep it out.
                raise ConflictError(
                    f"the Gateway file says something that does not run: {status.error}",
                    hint="mend it, then: weft gateway reload",
                )
            try:
                step = await asyncio.to_thread(change)
            except SpecError as error:
                raise ConflictError(str(error)) from error
            if step.change.before != step.change.after:
                status = await reloads.reload()
                if status.error:
                    await asyncio.to_thread(rollout.file.write, before)
                    await reloads.reload()
                    raise ConflictError(f"the new weights could not be taken in: {status.error}")
            await asyncio.to_thread(step.keep)
            await recorder.record(event, by, msgspec.to_builtins(step.change))
            return _json(step.change)

    async def promote(request: Request, context: Context) -> Response:
        asked = _decoded(request, Promotion)
        by = context.identity
        return await changed(
            "version.promoted",
            by,
            lambda: rollout.promote(asked.route, asked.version, asked.weight, by=by.caller),
        )

    async def rollback(request: Request, context: Context) -> Response:
        asked = _decoded(request, Return)
        return await changed("version.rolled-back", context.identity, lambda: rollout.rollback(asked.route))

    _add(app, _examples(gateway.routes), show=show, reload=reload, promote=promote, rollback=rollback)


class _Whole:
    """Does work to its end, whether or not who has asked for it is still there: half a change is worse than one unseen."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    async def __call__(self, work: Coroutine[Any, Any, T]) -> T:
        task = asyncio.get_running_loop().create_task(work, name="gateway")
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return await asyncio.shield(task)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # told to who has asked, if they are still there

    async def stop(self) -> None:
        """Wait for what is under way."""
        if self._tasks:
            await asyncio.wait(self._tasks)


def _add(app: Application, examples: dict[str, Any], **handlers: Any) -> None:
    tags = ("gateway",)
    app.route(
        "GET",
        PATH,
        handlers["show"],
        doc=RouteDoc(
            summary="What this gateway serves, and whether its file says so.",
            response=GatewayState,
            tags=tags,
        ),
    )
    app.route(
        "POST",
        f"{PATH}/reload",
        handlers["reload"],
        doc=RouteDoc(summary="Take in what the files say now.", response=ReloadStatus, tags=tags),
    )
    for name, summary, request in (
        ("promote", "Have a version of a route get a share of its requests.", Promotion),
        ("rollback", "Go back to the weights that a route had before its last promotion.", Return),
    ):
        app.route(
            "POST",
            f"{PATH}/{name}",
            handlers[name],
            doc=RouteDoc(
                summary=summary,
                request=request,
                response=Change,
                tags=tags,
                examples={"request": examples[name]} if name in examples else {},
            ),
            max_body_bytes=MAX_BODY_BYTES,
        )


def _examples(routes: tuple[RouteSpec, ...]) -> dict[str, Any]:
    for rule in routes:
        if rule.versions:
            return {
                "promote": Promotion(rule.target, rule.versions[-1].version, 10),
                "rollback": Return(rule.target),
            }
    return {}


def _state(rule: RouteSpec, rollout: Rollout) -> RouteState:
    versions = [
        VersionState(one.version, one.weight, one.mirror, one.deprecated, one.sunset) for one in rule.versions
    ]
    earlier = rollout.rollouts.states(rule.target) if versions else []
    return RouteState(rule.path, rule.target, versions, earlier)


def _decoded(request: Request, type_: Any) -> Any:
    try:
        return msgspec.json.decode(request.body or b"{}", type=type_)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidRequestError(str(error)) from error


def _json(value: object) -> Response:
    return Response(200, (), _encode(value))

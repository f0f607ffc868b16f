"""The routes of the models: which one each service has, what could take its place, and the switch, without a restart.

What is asked for is found out first (the server is asked, the file is fetched), then prepared in every process that takes
part, then written down for the next start, and only then made. What goes wrong on the way leaves everything as it was.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from weft.context import Context
from weft.contracts.chat import ChatDescription
from weft.contracts.manifest import Manifest, difference, of_search
from weft.errors import (
    ConflictError,
    ForbiddenError,
    InvalidRequestError,
    ModelError,
    NotFoundError,
    RequestError,
    ServiceError,
    WeftError,
    did_you_mean,
)
from weft.gateway import chosen as keeping
from weft.gateway import offers, reference
from weft.gateway.chosen import Choice
from weft.gateway.live import is_this_machine
from weft.gateway.siblings import UNDER_WAY, Siblings, Switch, Switches, whatever_happens
from weft.gateway.switch import Choosing, Switcher
from weft.host import Host, HttpClient
from weft.http.message import Request, Response
from weft.megaservice import Services
from weft.models import ModelStore, Progress
from weft.plan import Placed
from weft.plan.services import plain
from weft.registry.components import Components
from weft.serve.application import Application, RouteDoc, named
from weft.serve.uploads import prefers_async
from weft.spec.model import Spec
from weft.types import Empty

PATH: Final = "/v1/models/choices"

KINDS: Final = {"llama-cpp": "gguf", "onnx-embedder": "onnx-embedder"}
"""Components that load a model file, and of what kind."""

DESCRIBE_TIMEOUT_S: Final = 1.0
"""What a service knows of its model it says at once; one that does not is listed without."""

LOOK_AGE_S: Final = 5.0
"""How long what was found on this machine holds: the page may ask for the list each second while it waits."""

MAX_BODY_BYTES: Final = 65_536


class ServiceModel(Struct):
    """A service, and the model that it has now.

    Attributes:
        name: The service.
        contract: What it does: ``chat`` or ``embedding``.
        component: What runs the model, or asks the server that does.
        model: Its name there.
        server: Where it is asked; empty: the model runs in this installation.
        parameters: Its number of weights; null: not known.
        context_window: Tokens of prompt and answer together; null: not known.
        default_model: What the spec says: back to it with DELETE.
        is_default: Whether it is that.
        fixed: Why it cannot be switched here; empty: it can.
        switch: The last switch; null: there was none since the start.
    """

    name: str
    contract: str
    component: str
    model: str
    server: str
    parameters: int | None
    context_window: int | None
    default_model: str
    is_default: bool
    fixed: str = ""
    switch: Switch | None = None


class ModelChoices(Struct):
    """Which models there are, and which there could be.

    Attributes:
        services: Those that have a model.
        offers: What could take a model's place on this machine, the likeliest first.
        free_memory_bytes: What a model could take now; null: not known.
    """

    services: list[ServiceModel]
    offers: list[offers.Offer]
    free_memory_bytes: int | None


class WantedModel(Struct):
    """A model to switch to.

    Attributes:
        model: A URL (``http://127.0.0.1:11434#qwen3:8b``), a path, a name of the catalogue, ``hf:owner/name/file.gguf`` or
            ``owner/name:Q4_K_M``; ``default``: what the spec says.
        service: Whose place it takes; may be left out where only one service fits.
        contract: ``chat``, unless ``embedding`` is said; read where no service is named.
        key: For the server. It is kept for the next start where only this installation's user can read it, and never
            shown again.
    """

    model: str
    service: str = ""
    contract: Literal["chat", "embedding"] = "chat"
    key: str | None = None

    def __repr__(self) -> str:
        return f"WantedModel({self.model!r}, {self.service!r})"


class Choices:
    """Serves the routes and sees to the switches of one gateway process.

    Args:
        choosing: The spec as it runs.
        services: Of this process.
        switcher: Makes the switch in this process.
        components: What is installed.
        models: Model files.
        host: Gives clients whose addresses are guarded.
        progress: How far fetching each model is.
        folder: The data folder.
        siblings: The other processes of the installation.
    """

    def __init__(
        self,
        choosing: Choosing,
        services: Services,
        switcher: Switcher,
        *,
        components: Components,
        models: ModelStore,
        host: Host,
        progress: Mapping[str, Progress],
        folder: Path,
        siblings: Siblings,
    ) -> None:
        self._choosing, self._services, self._switcher = choosing, services, switcher
        self._components, self._models, self._host = components, models, host
        self._progress, self._folder, self._siblings = progress, folder, siblings
        self._has_token = False
        self._switches: dict[str, Switch] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._fetched: dict[str, str] = {}
        self._looked: asyncio.Task[list[offers.Offer]] | None = None
        self._looked_at_s = 0.0
        self._decode = msgspec.json.Decoder(WantedModel).decode

    def add_routes(self, app: Application) -> None:
        """Serve :data:`PATH`."""
        self._has_token = app.access.token is not None or app.authenticator is not None
        tags = ("models",)
        listing = RouteDoc(
            summary="Which model each service has, and what could take its place on this machine.",
            response=ModelChoices,
            tags=tags,
        )
        app.route("GET", PATH, self._list, doc=listing)
        choosing = RouteDoc(
            summary="Have a service use another model, without a restart.",
            description="The new one is started beside the old one and asked once; then the next request goes to it, "
            "and the old one is closed when the requests under way have ended. A failure leaves the old one serving. "
            "With `Prefer: respond-async` the reply comes at once (202), and the list says how far it is.",
            request=WantedModel,
            response=ServiceModel,
            tags=tags,
            examples={"a server on this machine": WantedModel("http://127.0.0.1:11434#qwen3:8b")},
        )
        app.route("POST", PATH, self._choose, doc=choosing, max_body_bytes=MAX_BODY_BYTES)
        back = RouteDoc(
            summary="Go back to the model of the spec; while a switch is under way, give that up instead.",
            response=ServiceModel,
            tags=tags,
            named={"service": "llm"},
        )
        app.route("DELETE", f"{PATH}/{{service}}", self._back, doc=back)
        app.on_stop.append(self.stop)

    @property
    def is_busy(self) -> bool:
        """Whether this process sees to a switch."""
        return bool(self._tasks)

    async def stop(self) -> None:
        """Give up what is under way."""
        for service in list(self._tasks):
            await self.cancel(service)
        if self._looked is not None and not self._looked.done():
            self._looked.cancel()
            await asyncio.wait((self._looked,))

    # Routes.

    async def _list(self, request: Request, context: Context) -> Response:
        self._check_caller(request)
        known = [self.switches(), *await self._siblings.look()]
        found = await asyncio.gather(*(self._shown(key, known) for key in self._keys()))
        free = offers.free_memory()
        return _json(200, ModelChoices(list(found), await self._offers(free), free))

    async def _choose(self, request: Request, context: Context) -> Response:
        self._check_caller(request)
        try:
            wanted = self._decode(await request.read(MAX_BODY_BYTES))
        except (msgspec.DecodeError, RecursionError) as error:
            raise InvalidRequestError(
                f"a choice is {{model, service, key}}: {error}", param="model"
            ) from None  # the body may hold a key, and is shown nowhere
        service = self._service(wanted)
        task = self._start(service, wanted.model, wanted.key or None)
        if prefers_async(request):
            task.add_done_callback(_look_at_failure)
            return _json(202, await self._shown(service), [("preference-applied", "respond-async")])
        await self._end_of(task)
        return _json(200, await self._shown(service))

    async def _back(self, request: Request, context: Context) -> Response:
        self._check_caller(request)
        service = named(request).get("service", "")
        if service not in self._keys():
            hint = did_you_mean(service, self._keys(), what="services with a model")
            raise NotFoundError(f"there is no service '{service}' with a model", hint=hint)
        known = [self.switches(), *await self._siblings.look()]
        last = _last(known, service)
        if last is not None and last.state in UNDER_WAY:
            await self.cancel(service)
            await self._siblings.cancel(service)
        elif service in self._choosing.chosen.services:
            await self._end_of(self._start(service, reference.DEFAULT, None))
        return _json(200, await self._shown(service))

    def _check_caller(self, request: Request) -> None:
        """As for registering services: the token has been asked for by now, or the request is from this machine.

        Raises:
            ForbiddenError: The request is from elsewhere.
        """
        if not self._has_token and not is_this_machine(request.peer):
            raise ForbiddenError(
                "models are chosen from this machine, or with the access token",
                hint="start the gateway with --host, which makes a token, and send it",
            )

    # What there is.

    def _keys(self) -> list[str]:
        """The services that have a model."""
        placed = self._choosing.plans.placed
        return [
            key
            for key, entry in placed.items()
            if entry.contract in reference.KINDS
            and entry.megaservice is None
            and key in self._choosing.base.services
        ]

    def _service(self, wanted: WantedModel) -> str:
        keys = self._keys()
        if wanted.service:
            if wanted.service not in keys:
                raise InvalidRequestError(
                    f"there is no service '{wanted.service}' with a model",
                    param="service",
                    hint=did_you_mean(wanted.service, keys, what="services with a model"),
                )
            found = wanted.service
        else:
            fitting = [key for key in keys if self._choosing.plans.placed[key].contract == wanted.contract]
            if len(fitting) != 1:
                listed = ", ".join(fitting)
                raise InvalidRequestError(
                    f"{len(fitting)} services fulfil the contract '{wanted.contract}'"
                    + (f": {listed}" if listed else ""),
                    param="service",
                    hint="name the one that is meant" if fitting else None,
                )
            found = fitting[0]
        if reason := self._fixed(found):
            raise InvalidRequestError(
                f"the model of '{found}' cannot be switched here: {reason}", param="service"
            )
        return found

    def _fixed(self, key: str) -> str:
        at = self._choosing.plans.placed[key].at
        return f"it runs elsewhere ({at}); switch it there" if at.kind in ("url", "registry") else ""

    async def _shown(self, key: str, known: Sequence[Switches] | None = None) -> ServiceModel:
        placed = self._choosing.plans.placed[key]
        config = plain(placed.config)
        described = await self._described(placed)
        url = config.get("url")
        return ServiceModel(
            key,
            placed.contract,
            placed.component,
            described.model or str(config.get("model") or self._default_of(placed.component, "model")),
            url if isinstance(url, str) else "",
            described.parameters,
            described.context_window,
            self._default_model(key),
            is_default=key not in self._choosing.chosen.services,
            fixed=self._fixed(key),
            switch=_last([self.switches()] if known is None else known, key),
        )

    async def _described(self, placed: Placed) -> ChatDescription:
        transport = self._services.transports.get(placed.key)
        if transport is None or "describe" not in transport.contract.operations:
            return ChatDescription()
        try:
            async with asyncio.timeout(DESCRIBE_TIMEOUT_S):
                said = await transport.call("describe", Empty())
        except (RequestError, TimeoutError):
            return ChatDescription()  # what its config says is shown
        if isinstance(said, ChatDescription):
            return said
        return ChatDescription(getattr(said, "model", ""))

    def _default_model(self, key: str) -> str:
        component, config = _in_spec(self._choosing.base, key)
        where = config.get("url")
        model = str(config.get("model") or self._default_of(component, "model"))
        return f"{where}#{model}" if isinstance(where, str) else model

    def _default_of(self, component: str, parameter: str) -> Any:
        try:
            info = self._components.get(component)
        except WeftError:
            return ""  # a file beside the spec: what it has there is not known
        return next((p.default or "" for p in info.parameters if p.name == parameter), "")

    def switches(self) -> Switches:
        """The switches that this process sees to, or saw to last."""
        for key, switch in self._switches.items():
            progress = self._progress.get(self._fetched.get(key, switch.model))
            if switch.state == "fetching" and progress is not None and progress.phase == "download":
                switch.done_bytes, switch.total_bytes = progress.done_bytes, progress.total_bytes
        return self._switches

    async def _offers(self, free: int | None) -> list[offers.Offer]:
        now_s = asyncio.get_running_loop().time()
        if self._looked is None or (self._looked.done() and now_s - self._looked_at_s > LOOK_AGE_S):
            self._looked_at_s = now_s
            self._looked = asyncio.create_task(offers.served(self._look), name="look for models")
        served = await asyncio.shield(self._looked)
        here = offers.on_disk(self._models.list(), free)
        return [*served, *here, *offers.on_hub({offer.model for offer in here}, free)]

    def _look(self, url: str) -> HttpClient:
        return self._host.http(url, timeout_s=offers.LOOK_TIMEOUT_S)

    # Switching.

    def _start(self, service: str, model: str, key: str | None) -> asyncio.Task[None]:
        busy = next(iter(self._tasks), None)
        if busy is not None:
            raise ConflictError(
                f"the model of '{busy}' is being switched to {self._switches[busy].model}",
                hint=f"wait for it, or give it up: DELETE {PATH}/{busy}",
            )
        self._switches[service] = Switch(model, "asking", int(time.time()))
        task = self._tasks[service] = asyncio.create_task(
            self._run(service, model, key), name=f"switch {service}"
        )
        return task

    async def _run(self, service: str, model: str, key: str | None) -> None:
        switch = self._switches[service]
        try:
            choice = await self._choice(service, model, key, switch)
            switch.state = "starting"
            await self._prepare(service, choice, key)
            # From here on nothing waits but for the siblings, who have everything ready.
            self._switcher.commit()
            switch.state = "done"
            await whatever_happens(self._siblings.commit(service))
        except asyncio.CancelledError:
            switch.state = "cancelled" if switch.state != "done" else "done"
            raise
        except Exception as error:
            failure = _for_people(error, key)
            switch.state, switch.error = "failed", str(failure)
            if failure is error:
                raise
            raise failure from None  # what it was made of may hold the key
        finally:
            self._tasks.pop(service, None)

    async def _choice(self, service: str, model: str, key: str | None, switch: Switch) -> Choice | None:
        if model.strip() == reference.DEFAULT:
            return None
        contract = self._choosing.plans.placed[service].contract
        if model.startswith(("http://", "https://")) and model.partition("#")[0].endswith((".gguf", ".onnx")):
            self._check_cached(model)
        asking = reference.Asking(
            self._ask,
            self._models,
            key,
            keeping.secret_name(service),
            "send it as 'key' beside the model; weft models use takes it from WEFT_LLM_KEY or --key-file",
        )
        found = await reference.find(model, contract, asking)
        config = dict(found.config)
        if found.component in KINDS:
            switch.state = "fetching"
            self._fetched[service] = str(config["model"])
            await self._models.resolve(str(config["model"]), kind=KINDS[found.component])
            component, spec_config = _in_spec(self._choosing.base, service)
            if component == found.component:
                config = plain(spec_config) | config  # its context, its slots, ...
        return Choice(model, found.component, config)

    def _check_cached(self, model: str) -> None:
        """A file's URL may lead anywhere: it is taken from the operator only, who has fetched it then."""
        if not any(status.name == model and status.state == "ready" for status in self._models.list()):
            raise InvalidRequestError(
                "a model file is not fetched from a URL that a request names",
                param="model",
                hint=f"fetch it on the command line first: weft models pull '{model}'; or name it on the hub",
            )

    def _ask(self, url: str, headers: Mapping[str, str]) -> HttpClient:
        return self._host.http(url, timeout_s=reference.ASK_TIMEOUT_S, headers=headers)

    async def _prepare(self, service: str, choice: Choice | None, key: str | None) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                own = group.create_task(self._switcher.prepare(service, choice, key))
                others = group.create_task(self._siblings.prepare(service, choice, key))
            for manifest in [*filter(None, (own.result(),)), *others.result()]:
                await self._check_stores(service, manifest)
            after = keeping.with_choice(self._choosing.chosen, service, choice, key)
            await asyncio.to_thread(keeping.write, self._folder, after)
        except BaseException as error:
            await whatever_happens(self._abandon(service))
            if isinstance(error, BaseExceptionGroup):
                raise error.exceptions[0] from None
            raise

    async def _check_stores(self, service: str, manifest: Manifest) -> None:
        """Refuse an embedder whose vectors do not go with those that are there already.

        Raises:
            ConflictError: They do not.
            ServiceError: A store cannot be asked.
        """
        placed = self._choosing.plans.placed
        stores = {
            key
            for entry in placed.values()
            if service in entry.uses.values()
            for key in entry.uses.values()
            if placed[key].contract == "store"
        }
        for key in sorted(stores):
            described = await self._services.transports[key].call("describe", Empty())
            for kept in described.manifests:
                if (told := difference(kept, of_search(manifest))) is not None:
                    raise ConflictError(
                        f"the documents in the store '{key}' were made with {told}: they could not be found any more",
                        param="model",
                        hint="put the embedder into the spec or a placement, stop Weft, and build the index anew: weft reindex SPEC",
                    )

    async def _abandon(self, service: str) -> None:
        await self._switcher.abandon()
        await self._siblings.abandon(service)

    async def _end_of(self, task: asyncio.Task[None]) -> None:
        """Wait for a switch; whoever asked and goes away gives it up."""
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise ConflictError("the switch was given up") from None
            task.cancel()
            await asyncio.wait((task,))
            raise

    async def cancel(self, service: str) -> None:
        """Give up a switch that this process sees to."""
        task = self._tasks.get(service)
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))


def _last(known: Sequence[Switches], service: str) -> Switch | None:
    """The one switch of a service that is under way, else the one that was begun last, whichever process sees to it."""
    found = [switches[service] for switches in known if service in switches]
    return max(found, key=lambda switch: (switch.state in UNDER_WAY, switch.started), default=None)


def _in_spec(spec: Spec, key: str) -> tuple[str, Mapping[str, Any]]:
    """A service's component and config as the files say."""
    place = spec.placement.services.get(key)
    declared = spec.services[key]
    if place is None:
        return declared.component, declared.config
    if place.component is not None:
        return place.component, place.config or {}
    return declared.component, place.config if place.config is not None else declared.config


def _for_people(error: Exception, key: str | None) -> Exception:
    """The error as the caller may see it: a request's, and without the key, which a server may have quoted."""
    if isinstance(error, RequestError) and not (key and key in str(error)):
        return error
    if not isinstance(error, WeftError):
        return error
    text = str(error).replace(key, "***") if key else str(error)
    if isinstance(error, ServiceError):
        return ServiceError(text)
    if isinstance(error, RequestError | ModelError):
        return InvalidRequestError(text, param="model")
    return ServiceError(text)


def _look_at_failure(task: asyncio.Task[None]) -> None:
    """What went wrong is in the list; nobody awaits the task."""
    if not task.cancelled():
        task.exception()


def _json(status: int, value: object, headers: list[tuple[str, str]] | None = None) -> Response:
    return Response(status, headers or [], msgspec.json.encode(value), "application/json")

"""What ``weft up`` and ``weft serve`` start, in this process or, as plain data, in others."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

from weft.cli.models import store
from weft.cli.settings import Settings, from_environment
from weft.cli.specs import examples
from weft.errors import SpecError, StateError
from weft.gateway import build
from weft.gateway import chosen as keeping
from weft.gateway.chosen import Choice, Chosen
from weft.gateway.limits import build as limits
from weft.models import Progress
from weft.plan import Plans, check
from weft.plan.identity import identities
from weft.registry.components import Components
from weft.serve.access import Access
from weft.serve.application import Application
from weft.serve.doors import Door
from weft.serve.host import usable_cpus
from weft.serve.hosts import HostSettings
from weft.serve.log import Log
from weft.serve.renewal import Reloads
from weft.serve.worker import Worker
from weft.spec.gateway import DrainSpec, secrets_of
from weft.spec.model import SecretRef, Spec
from weft.spec.sources import load_whole
from weft.transport.signing import SERVICE_KEY

if TYPE_CHECKING:
    from weft.serve.household import ProcessSpec
    from weft.serve.renewal import Renewal
    from weft.serve.supervisor import Supervisor

MODEL_KINDS: Final = {"llama-cpp": "gguf", "onnx-embedder": "onnx-embedder"}
"""Components that run a model in their own process, and what kind of model."""

ASSEMBLY: Final = "assembly"
"""What a gateway process keeps of what it serves, for what takes its place."""

FOREVER_S: Final = 10 * 365 * 86_400.0
"""Ten years: a timer with no end, for what takes only numbers."""


class Running(Struct):
    """One installation as plain data: it is sent to each of its processes.

    Attributes:
        files: Spec and placement files.
        split, workers: As on the command line.
        host: What components may use.
        secrets: Those that the spec names, by name.
        places: What the command line puts in the place of a service's component, by the service's name.
        token: Access token of the gateway; None asks for none.
        hosts: Names under which the gateway may be reached.
        service: The service that a process runs; empty is the gateway.
        texts: What the files said when they were read, those that a Gateway file names included, by the files' names:
            every process of an installation runs the same, whatever becomes of the files meanwhile.
    """

    files: list[str]
    split: bool
    workers: int
    host: HostSettings
    secrets: dict[str, str]
    places: dict[str, Choice] = {}
    token: str | None = None
    hosts: list[str] = []
    service: str = ""
    texts: dict[str, str] = {}

    def spec(self) -> Spec:
        """What the files say, and the command line in their place."""
        found = load_whole(*self.files, examples=examples(), kept=self.texts or None)
        return keeping.applied(found, self.places)

    def drain(self) -> DrainSpec | None:
        """How the Gateway file has the processes end; None: as the defaults are."""
        front = self.spec().gateway
        return front.drain if front is not None else None

    def chosen(self) -> Chosen:
        """What was chosen while an earlier process ran; what the command line says goes before it."""
        found = keeping.read(Path(self.host.data_dir))
        return Chosen(
            {name: choice for name, choice in found.services.items() if name not in self.places},
            found.secrets,
        )

    def load(self) -> Plans:
        """Read and check everything.

        Raises:
            SpecError: Something is wrong.
        """
        return self.compile(self.spec(), self.chosen())

    def compile(self, spec: Spec, found: Chosen) -> Plans:
        """Check a spec with what was chosen in its place.

        Raises:
            SpecError: Something in the files is wrong.
            StateError: What was chosen does not fit the spec any more.
        """
        chosen = keeping.applied(spec, found.services)
        try:
            plans = self.check(chosen)
            if self.workers > 1 and found.services:
                # What the spec gives a process of its own keeps it, so that there is a place to go back to.
                before = self.check(spec).placed
                own = {
                    key: before[key].at
                    for key in found.services.keys() & before.keys()
                    if before[key].at.kind == "process" and plans.placed[key].at.kind == "local"
                }
                plans = self.check(keeping.pinned(chosen, own)) if own else plans
        except SpecError as error:
            if not found.services:
                raise
            self.check(spec)  # raises what is wrong with the files themselves
            listed = ", ".join(f"'{name}' ({choice.model})" for name, choice in found.services.items())
            raise StateError(
                f"what was chosen for {listed} while Weft ran does not fit the spec any more:\n{error}",
                hint="go back to the spec's own models: weft up SPEC --llm default --embed default",
            ) from error
        return plans

    def check(self, spec: Spec) -> Plans:
        """Check a spec as this installation runs it.

        Raises:
            SpecError: Something is wrong.
        """
        return check(spec, Components(), split=self.split, workers=self.workers)

    def find_secrets(self, plans: Plans, settings: Settings) -> dict[str, str]:
        """The secrets that the configs name; what is not set is said when the service starts."""
        names = {name for placed in plans.placed.values() for name in _secret_names(placed.config)}
        names.add(SERVICE_KEY)
        if (front := self.spec().gateway) is not None:
            names.update(secrets_of(front))
        return {name: value for name in sorted(names) if (value := settings.secret(name)) is not None}

    def fetch_models(self, plans: Plans, on_progress: Callable[[Progress], None]) -> None:
        """Have the models of local services in the cache before anything starts.

        Raises:
            DiskSpaceError: They do not fit; nothing was downloaded.
            ModelError: One cannot be had.
        """
        wanted = wanted_models(plans)

        async def fetch() -> None:
            async with store(from_environment(), on_progress=on_progress) as models:
                models.ensure_space([name for name, _ in wanted])
                for name, kind in wanted:
                    await models.resolve(name, kind=kind)

        if wanted:
            asyncio.run(fetch())

    def assembly(
        self,
        worker: Worker | None = None,
        spec: Spec | None = None,
        *,
        before: build.Assembly | None = None,
    ) -> build.Assembly:
        """What one process needs.

        Args:
            worker: The process; None: it is the only one.
            spec: What runs, where it comes from no file.
            before: What runs in this process, whose place this is to take.

        Raises: as :meth:`compile`.
        """
        Path(self.host.data_dir).mkdir(parents=True, exist_ok=True)
        found = self.chosen() if spec is None else Chosen()
        spec = spec if spec is not None else self.spec()
        return build.Assembly(
            spec,
            self.compile(spec, found),
            Components(),
            chosen=found,
            check=self.check,
            settings=self.host,
            secret=self.secrets.get,
            log=worker.log if worker else Log(name="weft"),
            endpoints=worker.endpoints if worker else None,
            signing_key=worker.signing_key if worker else b"",
            before=before,
        )

    def gateway(
        self,
        assembly: build.Assembly,
        worker: Worker | None = None,
        reloads: Reloads | None = None,
    ) -> Application:
        """The gateway: of an installation that is one process, or as one of its processes."""
        front = assembly.spec.gateway
        access = Access(self.token, hosts=self.hosts)
        if front is not None:
            cors, hosts = front.cors, [*self.hosts, *front.hosts]
            access = Access(
                self.token, hosts=hosts, origins=cors.origins, headers=cors.headers, max_age_s=cors.max_age_s
            )
        if worker is None:
            return build.gateway(assembly, access, reloads=reloads)
        return build.gateway(assembly, access, process=worker.name, peers=worker.peers, reloads=reloads)


def _secret_names(value: Any) -> list[str]:
    if isinstance(value, SecretRef):
        return [value.name]
    if isinstance(value, dict):
        return [name for item in value.values() for name in _secret_names(item)]
    if isinstance(value, list | tuple):
        return [name for item in value for name in _secret_names(item)]
    return []


def host_settings(settings: Settings, data: Path, *, offline: bool = False) -> HostSettings:
    """The settings that components may know of."""
    return HostSettings(
        cache_dir=str(settings.cache_dir),
        data_dir=str(data),
        proxies=dict(settings.proxies),
        no_proxy=list(settings.no_proxy),
        ca_file=settings.ca_file,
        hub_url=settings.hub_url,
        hub_token=settings.hub_token,
        pip=dict(settings.pip),
        offline=offline,
    )


async def make(arguments: Any, worker: Worker) -> Application:
    """The application of one process of the supervisor's: the gateway, or one service."""
    running = msgspec.convert(arguments, Running)
    if not running.service:
        # Compiling takes tens of milliseconds, and loads components' code: not on a loop that serves.
        assembly = await asyncio.to_thread(running.assembly, worker, before=worker.kept.get(ASSEMBLY))
        worker.left[ASSEMBLY] = assembly
        return running.gateway(assembly, worker, worker.reloads)
    if running.service == limits.PROCESS:
        return limits.counting(Path(running.host.data_dir), worker.signing_key, worker.log)
    return build.service(running.assembly(worker), running.service, Access(hosts=["*"]))


def run_processes(
    running: Running,
    plans: Plans,
    doors: Sequence[Door],
    *,
    on_listening: Callable[[int], object],
    on_ready: Callable[[], object],
    renewal: Callable[[Supervisor], Renewal[Any]] | None = None,
) -> int:
    """Run an installation of several processes until it is told to stop; returns the exit status."""
    from weft.serve.supervisor import SupervisorOptions, run_supervised

    # A service that is not this installation's own may come whenever it likes.
    waits = any(placed.at.kind in ("url", "registry") for placed in plans.placed.values())
    options = SupervisorOptions(on_listening=on_listening, on_ready=on_ready, renewal=renewal)
    if (drain := running.drain()) is not None:
        options.drain_timeout_s, options.drain_delay_s = drain.timeout_s, drain.delay_s
    if waits:
        options.ready_timeout_s = FOREVER_S
    return run_supervised(process_specs(running, plans), doors, options=options)


def process_specs(running: Running, plans: Plans) -> list[ProcessSpec]:
    """The processes of an installation: one for each service that has its own, and the gateways."""
    from weft.serve.household import ProcessSpec

    factory = f"{__name__}:make"
    own = [placed for placed in plans.placed.values() if placed.at.kind == "process"]
    names = {placed.key for placed in own}
    shares = cpu_shares(plans, usable_cpus())
    known = identities(plans.placed, secret=running.secrets.get)
    specs = []
    for placed in own:
        share = msgspec.structs.replace(running.host, cpu_count=shares[placed.key])
        arguments = msgspec.to_builtins(msgspec.structs.replace(running, service=placed.key, host=share))
        needs = tuple(key for key in placed.uses.values() if key in names)
        specs.append(
            ProcessSpec(
                name=placed.key,
                factory=factory,
                arguments=arguments,
                replicas=placed.replicas,
                needs=needs,
                identity=known[placed.key] or "",
            )
        )
    if limits.needs_process(running.spec().gateway, running.workers):
        arguments = msgspec.to_builtins(msgspec.structs.replace(running, service=limits.PROCESS, secrets={}))
        # It goes on whatever the files say next: what it has counted must not be forgotten.
        specs.append(
            ProcessSpec(name=limits.PROCESS, factory=factory, arguments=arguments, identity=limits.PROCESS)
        )
        names.add(limits.PROCESS)
    specs.append(
        ProcessSpec(
            name="gateway",
            factory=factory,
            arguments=msgspec.to_builtins(running),
            replicas=running.workers,
            needs=tuple(names),
            public=True,
        )
    )
    return specs


def wanted_models(plans: Plans) -> list[tuple[str, str]]:
    """Name and kind of each model that a service of this installation runs itself."""
    wanted = []
    for placed in plans.placed.values():
        kind = MODEL_KINDS.get(placed.component)
        if kind is not None and placed.at.kind in ("local", "process"):
            default = {"gguf": "smollm2-135m-instruct"}.get(kind, "all-minilm-l6-v2")
            wanted.append((str(placed.config.get("model", default)), kind))
    return wanted


def cpu_shares(plans: Plans, cpus: int) -> dict[str, int | None]:
    """Processors for each service that runs in a process of its own; None: as many as it likes.

    A local model uses all that it may, and two that each use all of them hinder each other: they share, and a chat
    model, which works for seconds where an embedder works for milliseconds, gets twice as much. What the placement
    says under ``resources`` holds.
    """
    own = [placed for placed in plans.placed.values() if placed.at.kind == "process"]
    weights = {
        placed.key: (2 if placed.contract == "chat" else 1) * placed.replicas
        for placed in own
        if placed.component in MODEL_KINDS
    }
    shares: dict[str, int | None] = {}
    for placed in own:
        wanted = placed.resources.cpu if placed.resources is not None else None
        if wanted is not None:
            shares[placed.key] = max(1, math.ceil(wanted))
        elif placed.key in weights:
            share = cpus * weights[placed.key] / sum(weights.values()) / placed.replicas
            shares[placed.key] = max(1, round(share))
        else:
            shares[placed.key] = None
    return shares

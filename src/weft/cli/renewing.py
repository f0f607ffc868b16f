"""What the files of an installation say anew, and having it served: in one process, or by a supervisor."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from weft.cli.reload import watched
from weft.cli.running import Running, process_specs
from weft.cli.settings import Settings
from weft.errors import UsageError
from weft.models import Progress
from weft.plan import Plans
from weft.plan.identity import identities
from weft.serve.application import Application
from weft.serve.doors import Door, is_closed
from weft.serve.log import Log
from weft.serve.renewal import Renewal
from weft.serve.serving import Serving, run_single
from weft.serve.succession import Succession
from weft.spec.gateway import GatewaySpec
from weft.spec.model import Spec

if TYPE_CHECKING:
    from weft.gateway.assembly import Assembly
    from weft.serve.supervisor import Supervisor

DIGEST_DIGITS: Final = 12


@dataclass(frozen=True, slots=True)
class Reading:
    """What the files said at one moment; implements :class:`weft.serve.renewal.Edition`.

    Attributes:
        running: With the texts.
        plans: Compiled of them.
    """

    running: Running
    plans: Plans
    digest: str
    notes: tuple[str, ...] = ()


class Reader:
    """Reads what the files of an installation say.

    Args:
        first: The installation as it was started; its texts are what ran first.
        plans: Compiled of them.
        doors: Where it listens.
        settings: Where secrets come from.
        keys: Secrets that the command line has given.
        watches: Whether the files are looked at.
        offline: Whether models are taken from the cache only.
    """

    def __init__(
        self,
        first: Running,
        plans: Plans,
        doors: Sequence[Door],
        *,
        settings: Settings,
        keys: Mapping[str, str],
        watches: bool,
        offline: bool,
    ) -> None:
        self.watches = watches
        self._settings, self._keys, self._offline = settings, keys, offline
        self._token, self._is_closed = first.token, is_closed(doors)
        spec = first.spec()
        assert spec.gateway is not None  # nothing else is taken in while it runs
        self._began = spec.gateway
        self.first = Reading(first, plans, _digest(first, spec, plans))

    def read(self) -> Reading:
        """Read and compile what the files say now; models that are new are fetched.

        Raises:
            SpecError: They are not valid.
            WeftError: What they say cannot run here.
        """
        running = msgspec.structs.replace(self.first.running, texts={})
        spec = running.spec()
        if spec.gateway is None:
            raise UsageError(
                "the file declares no gateway any more", hint="that takes a restart: weft up SPEC"
            )
        running.texts = dict(spec.sources)
        plans = running.load()
        running.secrets = running.find_secrets(plans, self._settings) | dict(self._keys)
        running.token = self._token_for(spec.gateway)
        if not self._offline:
            running.fetch_models(plans, _silent)
        return Reading(running, plans, _digest(running, spec, plans), self._notes(spec.gateway))

    def files(self, reading: Reading) -> list[Path]:
        """The files to look at."""
        return watched(list(reading.running.texts), reading.plans)

    def _token_for(self, front: GatewaySpec) -> str | None:
        if self._is_closed or front.auth is not None:
            return None
        if self._token is None:
            raise UsageError(
                "without 'auth' this address, which others reach, asks for an access token, and none was made at the start",
                hint="that takes a restart: weft up SPEC",
            )
        return self._token

    def _notes(self, front: GatewaySpec) -> tuple[str, ...]:
        before = self._began
        names = [name for name in ("listen", "drain") if getattr(front, name) != getattr(before, name)]
        notes = [f"'{name}' has changed, which takes a restart: it is as it was" for name in names]
        if _counted(front) != _counted(before):
            notes.append("'state' has changed: where limits are counted takes a restart")
        return tuple(notes)


def _counted(front: GatewaySpec) -> object:
    return front.state.redis, front.state.on_store_down, front.state.gateways


def _digest(running: Running, spec: Spec, plans: Plans) -> str:
    """The same for what runs the same: comments and the order of keys do not count."""
    known = identities(plans.placed, secret=running.secrets.get)
    text = repr((spec, sorted(known.items(), key=str), sorted(running.secrets.items()), running.token))
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_DIGITS]


def _silent(_progress: Progress) -> None:
    """The log says that it is reloading; a bar would run through it."""


class Alone:
    """An installation of one process, which takes in what its files say.

    Args:
        reader: Reads them.

    Attributes:
        assembly: Of what runs.
        renewal: Takes the files in.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.assembly = reader.first.running.assembly()
        self._succession: Succession | None = None
        self.renewal = Renewal(
            reader.first,
            read=reader.read,
            take=self._take,
            files=reader.files,
            log=Log(name="weft"),
            watches=reader.watches,
        )

    def files(self) -> list[Path]:
        """The files to look at, of what runs."""
        return self._reader.files(self._reader.first)

    def application(self) -> Application:
        """What is served first."""
        return self._reader.first.running.gateway(self.assembly, reloads=self.renewal)

    def run(
        self,
        doors: Sequence[Door],
        *,
        on_started: Callable[[], object],
        on_ready: Callable[[], object],
    ) -> int:
        """Serve until it is told to stop; the exit status."""
        options: dict[str, Any] = {}
        if (drain := self._reader.first.running.drain()) is not None:
            options = {"drain_timeout_s": drain.timeout_s, "drain_delay_s": drain.delay_s}
        return run_single(
            self.application(),
            doors,
            on_started=on_started,
            on_ready=on_ready,
            on_serving=self.begin,
            **options,
        )

    def begin(self, serving: Serving) -> Callable[[], Awaitable[object]]:
        """Take in what the files say from now on; what this gives ends that."""
        self._succession = Succession(serving)
        self.renewal.begin()
        return self.renewal.stop

    async def _take(self, reading: Reading) -> None:
        assert self._succession is not None  # nothing is taken in before it serves
        made: list[Assembly] = []

        own = [placed.key for placed in reading.plans.placed.values() if placed.at.kind == "process"]
        if own:
            raise UsageError(
                f"{', '.join(own)}: a service with a process of its own, in an installation that is one process",
                hint="that takes a restart: weft up SPEC",
            )

        async def make() -> Application:
            made.append(await _assembled(reading.running, self.assembly))
            return reading.running.gateway(made[0], reloads=self.renewal)

        await self._succession.prepare(make)
        self._succession.commit()
        self.assembly = made[0]


async def _assembled(running: Running, before: Assembly) -> Assembly:
    # Compiling takes tens of milliseconds, and loads components' code: not on a loop that serves.
    return await asyncio.to_thread(running.assembly, before=before)


def supervised(reader: Reader) -> Callable[[Supervisor], Renewal[Reading]]:
    """Has a supervisor take in what the files say."""

    def renewal(supervisor: Supervisor) -> Renewal[Reading]:
        async def take(reading: Reading) -> None:
            await supervisor.replace(process_specs(reading.running, reading.plans))

        found = Renewal(
            reader.first,
            read=reader.read,
            take=take,
            files=reader.files,
            log=supervisor.log,
            watches=reader.watches,
        )
        found.listeners.append(supervisor.inform)
        return found

    return renewal

"""``weft up``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from weft.cli import placing
from weft.cli.ports import PORTS
from weft.errors import PortTakenError, UsageError

if TYPE_CHECKING:
    from weft.plan import Plans
    from weft.serve.doors import Door
    from weft.spec.gateway import GatewaySpec

PORT = 8080
EVERYWHERE = ("", "0.0.0.0", "::")  # noqa: S104 - compared, not bound


@click.command("up")
@click.argument("spec", default="chatqna")
@click.option(
    "--port",
    type=PORTS,
    metavar="INTEGER",
    help="Port to listen on; taken: exit status 9.  [default: 8080, or the next free one]",
)
@click.option(
    "--host",
    help="Address to listen on; wider than loopback asks for a token.  [default: 127.0.0.1]",
)
@click.option(
    "--allow-host", multiple=True, metavar="NAME", help="A name that this server may be reached under."
)
@click.option(
    "--placement",
    type=click.Path(path_type=Path),
    help="Where each service runs, and what replaces it there.",
)
@click.option("--split", is_flag=True, help="Run each service in a process of its own.")
@click.option(
    "--workers",
    default=1,
    show_default=True,
    type=click.IntRange(1, 64),
    help="Gateway processes on the one port.",
)
@click.option("--data", type=click.Path(path_type=Path), help="Folder for documents and state.")
@placing.options
@click.option("--reload", is_flag=True, help="Start again when a spec or a component's file has changed.")
@click.option("--ends-with-stdin", is_flag=True, hidden=True)
@click.option("--offline", is_flag=True, help="Take models from the cache only.")
def command(**options: Any) -> None:
    """Start a megaservice and its gateway. SPEC is a file, or the name of a packaged example; chatqna if not given.

    Ctrl-C drains what is in flight and ends everything that was started; a second one ends it at once.
    """
    sys.exit(_up(**options))


def _up(
    *,
    spec: str,
    port: int | None,
    host: str | None,
    allow_host: tuple[str, ...],
    placement: Path | None,
    data: Path | None,
    workers: int,
    split: bool,
    reload: bool,
    ends_with_stdin: bool,
    offline: bool,
    llm: tuple[str, ...],
    embed: tuple[str, ...],
    store: tuple[str, ...],
    llm_key_file: Path | None,
    embed_key_file: Path | None,
    store_key_file: Path | None,
    allow_model_host: tuple[str, ...],
) -> int:
    from weft.cli import desk, renewing
    from weft.cli import reload as reloading
    from weft.cli.announce import Announcement
    from weft.cli.progress import ProgressBars
    from weft.cli.running import Running, host_settings, run_processes
    from weft.cli.settings import from_environment
    from weft.cli.specs import find
    from weft.gateway.listeners import grpc_doors
    from weft.serve.access import new_token
    from weft.serve.descriptors import allow_many
    from weft.serve.doors import is_closed
    from weft.serve.serving import run_single

    if ends_with_stdin:
        reloading.ends_with_stdin()
    allow_many()
    settings = from_environment()
    path = find(spec)
    running = Running(
        files=[str(path.resolve()), *([str(placement.resolve())] if placement else [])],
        split=split,
        workers=workers,
        host=host_settings(settings, data or settings.data_dir / path.stem, offline=offline),
        secrets={},
        hosts=list(allow_host),
    )
    running.host.hosts = list(allow_model_host)
    asked = placing.Asked(
        {"llm": llm, "embed": embed, "store": store},
        {"llm": llm_key_file, "embed": embed_key_file, "store": store_key_file},
    )
    keys = placing.place(running, asked, settings)
    if not reload:
        # All processes run what is read now, whatever becomes of the files.
        running.texts = dict(running.spec().sources)
    plans = running.load()
    running.secrets = running.find_secrets(plans, settings) | keys
    front = running.spec().gateway
    doors = _doors(front, host, port)
    # Reached from everywhere, it is also called by this machine's own name, which no stranger's page has.
    running.hosts += [_address(door.host) for door in doors if door.host in EVERYWHERE]
    has_rules = front is not None and front.auth is not None
    closed = is_closed([*doors, *(grpc_doors(front) if front is not None else [])])
    token = None if closed or has_rules else settings.access_token or new_token()
    running.token = token
    if reload:
        again = [
            "up", *_flags(path, placement, split=split, workers=workers), *(["--port", str(doors[0].port), "--host", doors[0].host] if front is None or host or port else []),
            "--ends-with-stdin", *(["--data", str(data)] if data else []), *(["--offline"] if offline else []),
            *(part for name in allow_host for part in ("--allow-host", name)),
            *(part for name in allow_model_host for part in ("--allow-model-host", name)), *asked.flags(),
        ]  # fmt: skip
        return reloading.Reload(
            again,
            ["check", *_flags(path, placement, split=split, workers=workers)],
            lambda: reloading.watched(list(running.spec().sources), running.load()),
            settings.for_child(access_token=token),
        ).run()
    if not offline:
        with ProgressBars() as bars:
            running.fetch_models(plans, bars.update)
    reader = None
    if front is not None:
        reader = renewing.Reader(
            running,
            plans,
            doors,
            settings=settings,
            keys=keys,
            watches=not ends_with_stdin,  # else whoever has started this process looks at them
            offline=offline,
        )
    name = next(iter(plans.values())).name if plans else path.stem
    said = Announcement(
        name,
        _base(_shown(doors)),
        token,
        _example(plans, front),
        nearby=_nearby(doors),
        asks_for_key=has_rules,
        begin=desk.how_to_begin(front, spec, Path(running.host.data_dir), data, running.secrets.get),
    )
    if split or workers > 1 or any(placed.at.kind == "process" for placed in plans.placed.values()):
        renewal = renewing.supervised(reader) if reader is not None else None
        return run_processes(
            running, plans, doors, on_listening=said.started, on_ready=said.ready, renewal=renewal
        )
    if reader is not None:
        return renewing.Alone(reader).run(doors, on_started=said.started, on_ready=said.ready)
    app = running.gateway(running.assembly())
    return run_single(app, doors, on_started=said.started, on_ready=said.ready)


def _flags(path: Path, placement: Path | None, *, split: bool, workers: int) -> list[str]:
    """What both ``weft up`` and ``weft check`` take."""
    placed = ["--placement", str(placement)] if placement else []
    return [str(path), *placed, *(["--split"] if split else []), "--workers", str(workers)]


def _doors(front: GatewaySpec | None, host: str | None, port: int | None) -> list[Door]:
    """Where it listens: what the command line says, else the Gateway file.

    Raises:
        PortTakenError: A port that was asked for is taken; nothing has been fetched or started.
    """
    from weft.gateway.listeners import grpc_doors, http_doors
    from weft.serve import ports
    from weft.serve.doors import Door

    named = host is not None or port is not None
    found = http_doors(front) if front is not None and not named else []
    if front is not None:
        # Those for gRPC hold whatever the command line says; its library would say less clearly that one is taken.
        try:
            for listener in ports.bind_all([*found, *grpc_doors(front)]):
                listener.close()
        except PortTakenError as error:
            hint = f"end what listens there, or change 'listen' of the Gateway file ({front.marks.here.file})"
            raise PortTakenError(error.message, hint=hint) from error
    if front is None or not front.listen or named:
        if front is not None and front.listen:
            click.echo(
                "--host and --port take the place of the Gateway file's 'listen', TLS included.", err=True
            )
        asked = host if host is not None else "127.0.0.1"
        return [Door(asked, _port(asked, port))]
    if not found:
        raise UsageError(
            "a gateway listens on HTTP too: its health, its page and its metrics are there",
            hint='listen: [{http: "127.0.0.1:8080"}, ...]',
        )
    return found


def _shown(doors: Sequence[Door]) -> Door:
    """The address to show: one that the request shown beside it gets through to, which has no client certificate."""
    return next(
        (d for d in doors if d.tls is None or not d.tls.client_ca or not d.tls.is_client_required), doors[0]
    )


def _base(door: Door) -> str:
    """A door's address for people."""
    return f"{door.scheme}://{'localhost' if door.is_loopback else _address(door.host)}:{door.port}"


def _nearby(doors: Sequence[Door]) -> str:
    """The address of a door that this process can ask without a certificate; empty: there is none."""
    for door in doors:
        if door.tls is None:
            return f"http://127.0.0.1:{door.port}" if door.host in EVERYWHERE else _base(door)
    return ""


def _port(host: str, port: int | None) -> int:
    """The port that was asked for, else the first free one; whoever has the usual one is named.

    Raises:
        PortTakenError: The port that was asked for is taken; nothing has been fetched or started.
    """
    from weft.serve import ports

    if port is not None:
        ports.bind(host, port).close()
        return port
    free = ports.next_free(host, PORT)
    if free != PORT:
        holder = ports.holder(PORT)
        click.echo(f"Port {PORT} is taken{f' by {holder}' if holder else ''}; using {free}.", err=True)
    return free


def _address(host: str) -> str:
    """What another machine may call this one; where it listens on every address, by its name."""
    import socket

    if host in EVERYWHERE:
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host


def _example(plans: Plans, front: GatewaySpec | None) -> tuple[str, str]:
    """A request that the first megaservice, else the first upstream, can be asked: its path, and its JSON."""
    from weft.gateway import examples

    plan = next(iter(plans.values()), None)
    if plan is None:
        for rule in front.routes if front is not None else ():
            if rule.upstream is not None and "{" not in rule.path and "POST" in (rule.methods or ("POST",)):
                shown = (
                    rule.examples or examples.of_route(rule.upstream.path or rule.path, "MODEL") or {"": {}}
                )
                return rule.path, msgspec.json.encode(next(iter(shown.values()))).decode()
        return "/v1/models", "{}"
    paths = [route.path for route in plan.operation.routes] or [f"/v1/{plan.name}"]
    found = examples.of_route(paths[0], plan.name)
    return paths[0], msgspec.json.encode(next(iter(found.values()), {})).decode()

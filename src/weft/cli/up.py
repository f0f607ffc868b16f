"""``weft up``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

PORT = 8080
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@click.command("up")
@click.argument("spec", default="chatqna")
@click.option(
    "--port", type=int, help="Port to listen on; taken: exit status 9.  [default: 8080, or the next free one]"
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; wider than loopback asks for a token.",
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
@click.option("--offline", is_flag=True, help="Take models from the cache only.")
def command(**options: Any) -> None:
    """Start a megaservice and its gateway. SPEC is a file, or the name of a packaged example.

    Ctrl-C drains what is in flight and ends everything that was started; a second one ends it at once.
    """
    sys.exit(_up(**options))


def _up(
    *,
    spec: str,
    port: int | None,
    host: str,
    allow_host: tuple[str, ...],
    placement: Path | None,
    data: Path | None,
    workers: int,
    split: bool,
    offline: bool,
) -> int:
    from weft.cli.progress import ProgressBars
    from weft.cli.running import Running, host_settings
    from weft.cli.settings import from_environment
    from weft.cli.specs import find
    from weft.serve import ports
    from weft.serve.access import Access, new_token

    settings = from_environment()
    path = find(spec)
    folder = data or settings.data_dir / path.stem
    running = Running(
        files=[str(path.resolve()), *([str(placement.resolve())] if placement else [])],
        split=split,
        workers=workers,
        host=host_settings(settings, folder, offline=offline),
        secrets={},
    )
    plans = running.load()
    running.secrets = running.find_secrets(plans, settings)
    token = None
    if host not in LOOPBACK:
        token = settings.access_token or new_token()
    running.token, running.hosts = token, list(allow_host)
    wanted = PORT if port is None else port
    if port is None:
        free = ports.next_free(host, wanted)
        if free != wanted:
            holder = ports.holder(wanted)
            by = f" by {holder}" if holder else ""
            click.echo(f"Port {wanted} is taken{by}; using {free}.", err=True)
            wanted = free
    if not offline:
        with ProgressBars() as bars:
            running.fetch_models(plans, bars.update)
    name = next(iter(plans.values())).name if plans else path.stem

    def on_ready() -> None:
        base = f"http://{'localhost' if host in LOOPBACK else host}:{wanted}"
        header = f" -H 'authorization: Bearer {token}'" if token else ""
        click.echo(f"\n{name} is ready: {base}{f'/?token={token}' if token else ''}\n")
        click.echo(
            f"curl -s {base}/v1/chat/completions -H 'content-type: application/json'{header} \\\n"
            f'  -d \'{{"model": "{name}", "messages": [{{"role": "user", "content": "What is Weft?"}}]}}\'\n'
        )

    if split or workers > 1 or any(placed.at.kind == "process" for placed in plans.placed.values()):
        from weft.cli.running import run_processes

        return run_processes(running, plans, host, wanted, on_ready)
    from weft.serve.serving import run_single

    return run_single(
        running.gateway(plans, Access(token, hosts=allow_host)), host, wanted, on_ready=on_ready
    )

"""``weft serve``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
import msgspec

from weft.cli.ports import PORTS
from weft.errors import UsageError


@click.command("serve")
@click.argument("component")
@click.option("--port", type=PORTS, metavar="INTEGER", required=True, help="Port to listen on.")
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address; wider than loopback asks for a token."
)
@click.option(
    "--allow-host", multiple=True, metavar="NAME", help="A name that this server may be reached under."
)
@click.option("--config", default="{}", metavar="JSON", help="The component's settings.")
@click.option("--data", type=click.Path(path_type=Path), help="Folder for its data.")
def command(**options: Any) -> None:
    """Run one COMPONENT as a microservice, on its contract's own routes.

    With the secret WEFT_SERVICE_KEY set, here and where the gateway runs, only that gateway is answered, and each request
    is its caller's.

    \b
    weft serve onnx-embedder --port 6000
    """
    sys.exit(_serve(**options))


def _serve(
    *,
    component: str,
    port: int,
    host: str,
    allow_host: tuple[str, ...],
    config: str,
    data: Path | None,
) -> int:
    from weft.cli.progress import ProgressBars
    from weft.cli.running import Running, host_settings
    from weft.cli.settings import from_environment
    from weft.gateway import build
    from weft.plan import check
    from weft.registry.components import Components
    from weft.serve import ports
    from weft.serve.access import Access, new_token
    from weft.serve.descriptors import allow_many
    from weft.serve.doors import LOOPBACK, Door
    from weft.serve.serving import run_single
    from weft.spec.load import loads
    from weft.transport.signing import SERVICE_KEY

    ports.bind(host, port).close()  # taken: said before a model is fetched
    allow_many()
    settings = from_environment()
    info = Components().get(component, folder=Path.cwd())
    # A name without a folder: files beside it are files of the current folder.
    spec = loads(_spec(component, config, info), file="weft serve")
    plans = check(spec, Components())
    running = Running([], False, 1, host_settings(settings, data or settings.data_dir / "serve"), {})
    running.secrets = running.find_secrets(plans, settings)
    with ProgressBars() as bars:
        running.fetch_models(plans, bars.update)
    is_signed = SERVICE_KEY in running.secrets
    token = None if host in LOOPBACK or is_signed else settings.access_token or new_token()
    app = build.service(running.assembly(spec=spec), "service", Access(token, hosts=allow_host))

    def on_ready() -> None:
        asks = f"  token: {token}" if token else "  for those who have the service key" if is_signed else ""
        click.echo(f"{component} is ready: http://{host}:{port}{asks}")

    return run_single(app, [Door(host, port)], on_ready=on_ready)


def _spec(component: str, config: str, info: Any) -> str:
    """The spec of one service."""
    try:
        settings = msgspec.json.decode(config, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise UsageError(f"--config is not a JSON object: {error}") from error
    service: dict[str, Any] = {"component": component, "config": settings, "uses": {}}
    slots = {slot.name: slot for slot in info.slots}
    if any(not slot.optional for slot in slots.values()):
        needed = ", ".join(slots) or "none"
        raise UsageError(
            f"'{component}' uses other services ({needed}), which one microservice alone does not have",
            hint="run it in a spec with a placement: weft up SPEC --split",
        )
    document = {
        "apiVersion": "weft/v1",
        "kind": "Services",
        "services": {"service": service},
        "expose": ["service"],
    }
    return msgspec.json.encode(document).decode()

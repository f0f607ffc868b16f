"""What ``weft up`` says once it runs: where to go, and what is missing where it has to wait."""

from __future__ import annotations

import asyncio
import json

import click

from weft.errors import RequestError
from weft.http.client import Client

WAIT_S = 2.0
"""A gateway that is not ready by then waits for something that may take long: that is said."""


class Announcement:
    """Says that a gateway is ready, or what it waits for.

    Args:
        name: Of the megaservice.
        base: Its address for people.
        token: Its access token; None: it asks for none.
        example: A request to copy, as JSON, and its path.
        nearby: Its address for this process; empty: there is none without a certificate.
        asks_for_key: Whether a request needs an API key or a token of its caller's.
        begin: What is to be done before anybody can ask; empty: nothing.
    """

    def __init__(
        self,
        name: str,
        base: str,
        token: str | None,
        example: tuple[str, str],
        *,
        nearby: str,
        asks_for_key: bool = False,
        begin: str = "",
    ) -> None:
        self._name, self._base, self._token = name, base, token
        self._shown, self._begin = token or ("YOUR_KEY" if asks_for_key else None), begin
        self._nearby = nearby
        self._path, self._body = example
        self._later: asyncio.TimerHandle | None = None
        self._asking: asyncio.Task[None] | None = None

    def started(self, port: int = 0) -> None:
        """It answers; if it is not ready soon, say why."""
        loop = asyncio.get_running_loop()
        self._later = loop.call_later(WAIT_S, self._wait)

    def _wait(self) -> None:
        self._asking = asyncio.get_running_loop().create_task(self._say_what_is_missing())

    async def _say_what_is_missing(self) -> None:
        if not self._nearby:
            click.echo(
                f"\n{self._name} is up at {self._base} and not ready yet: see {self._base}/health/ready"
            )
            return
        client = Client()
        try:
            reply = await client.endpoint(self._nearby, timeout_s=10).request("GET", "/health/ready")
        except RequestError as error:
            click.echo(f"\n{self._name} is up at {self._base} and not ready yet: {error}")
            return
        finally:
            await client.aclose()
        states = json.loads(reply.body).get("services", {})
        missing = {name: state.get("reason") for name, state in states.items() if not state["ready"]}
        if missing:
            click.echo(f"\n{self._name} is up at {self._base} and waits for:")
            for service, reason in missing.items():
                click.echo(f"  {service}: {reason}")

    def ready(self) -> None:
        """Everything is there."""
        if self._later is not None:
            self._later.cancel()
        header = f" \\\n  -H 'Authorization: Bearer {self._shown}'" if self._shown else ""
        click.echo(
            f"\n{self._name} is ready: {self._base}{f'/?token={self._token}' if self._token else ''}\n"
        )
        click.echo(
            f"curl -s {self._base}{self._path} \\\n"
            f"  -H 'Content-Type: application/json'{header} \\\n"
            f"  -d '{self._body}'\n"
        )
        if self._begin:
            click.echo(self._begin)

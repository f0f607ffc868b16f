"""``weft call``."""

from __future__ import annotations

import sys

import click
import msgspec

from weft.cli.remote import RemoteError, check, gateway, run, said, url_option
from weft.errors import UsageError


@click.command("call")
@click.argument("name")
@click.argument("json_text", metavar="JSON")
@url_option
def command(name: str, json_text: str, url: str | None) -> None:
    """Send JSON to NAME and print the JSON that comes back, or the events where JSON asks for a stream.

    NAME is a megaservice or an exposed service (GET /v1/models lists them), or a path that begins with a
    slash. JSON '-' is read from standard input.

    \b
    weft call embedder '{"input": "hello"}'
    weft call /v1/retrieval '{"query": "What is Weft?", "k": 2}'
    """
    text = sys.stdin.read() if json_text == "-" else json_text
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise UsageError(
            f"that is not JSON: {error}", hint='quote it for the shell: \'{"input": "hello"}\''
        ) from error
    click.echo(run(_call(name, value, url)))


async def _call(name: str, value: object, url: str | None) -> str:
    async with gateway(url) as server:
        path = name
        if not name.startswith("/"):
            models = check(await server.request("GET", "/v1/models"))["data"]
            known = {model["id"]: model.get("path", "/v1/chat/completions") for model in models}
            path = known.get(name, f"/v1/{name}")
            if name in known and isinstance(value, dict):
                value = (
                    {"model": name, "stream": False} | value
                    if path.startswith("/v1/chat")
                    else {"model": name} | value
                )
        reply = await server.request(
            "POST", path, msgspec.json.encode(value), headers=[("content-type", "application/json")]
        )
        if reply.status < 400 and reply.headers.get("content-type", "").startswith("text/event-stream"):
            return _whole_stream(reply.body.decode())
        return msgspec.json.format(msgspec.json.encode(check(reply)), indent=2).decode()


def _whole_stream(text: str) -> str:
    """The events as they came; one that tells of an error is the command's error, after what came before it."""
    for line in text.splitlines():
        if line.startswith('data: {"error"'):
            click.echo(text.rstrip())
            raise RemoteError(
                said(msgspec.json.decode(line.removeprefix("data: "))) or "the stream broke off"
            )
    return text.rstrip()

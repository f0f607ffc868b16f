"""``weft ask``."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from weft.cli.remote import RemoteError, check, gateway, run, said, url_option
from weft.http.sse import events


@click.command("ask")
@click.argument("question", nargs=-1, required=True)
@click.option("--model", default="", help="Which megaservice.  [default: the only one there is]")
@click.option("--json", "as_json", is_flag=True, help="Print the whole reply as JSON, not streamed.")
@url_option
def command(question: tuple[str, ...], model: str, *, as_json: bool, url: str | None) -> None:
    """Ask a running megaservice; the answer is printed as it comes, its sources below it.

    \b
    weft ask Who wrote the report?
    """
    request: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": " ".join(question)}]}
    run(_ask_json(request, url) if as_json else _ask(request, url))


async def _ask_json(request: dict[str, Any], url: str | None) -> None:
    async with gateway(url) as server:
        reply = await server.request(
            "POST",
            "/v1/chat/completions",
            msgspec.json.encode(await _named(server, request)),
            headers=[("content-type", "application/json")],
        )
        click.echo(msgspec.json.format(msgspec.json.encode(check(reply)), indent=2))


async def _named(server: Any, request: dict[str, Any]) -> dict[str, Any]:
    """The request with the only chat model there is, when none was named."""
    if request["model"]:
        return request
    models = check(await server.request("GET", "/v1/models"))["data"]
    chats = [model["id"] for model in models if model.get("contract", "chat") == "chat"]
    if len(chats) != 1:
        raise RemoteError(
            "say which model to ask with --model",
            hint=f"models: {', '.join(chats)}" if chats else "there are none",
        )
    return request | {"model": chats[0]}


async def _ask(request: dict[str, Any], url: str | None) -> None:
    async with gateway(url) as server:
        body = msgspec.json.encode(await _named(server, request) | {"stream": True})
        reply = await server.stream(
            "POST", "/v1/chat/completions", body, headers=[("content-type", "application/json")]
        )
        sources: list[dict[str, Any]] = []
        ended = False
        async with reply:
            if reply.status >= 400:
                content = b"".join([block async for block in reply.body])
                raise RemoteError(said(msgspec.json.decode(content)) or f"the server answered {reply.status}")
            async for data in events(reply.body):
                if data == b"[DONE]":
                    ended = True
                    break
                chunk = msgspec.json.decode(data)
                if "error" in chunk:
                    click.echo()
                    raise RemoteError(said(chunk) or "the answer broke off")
                for choice in chunk.get("choices", []):
                    click.echo(choice["delta"].get("content") or "", nl=False)
                    sources += choice["delta"].get("annotations") or []
        click.echo()
        if not ended:
            raise RemoteError("the answer was cut short: the server closed the connection")
        for number, source in enumerate(sources, 1):
            page = f", page {source['page']}" if source.get("page") else ""
            title = source.get("title") or source.get("source") or "document"
            click.secho(f"[{source.get('marker', number)}] {title}{page}", dim=True)

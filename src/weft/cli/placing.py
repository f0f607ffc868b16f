"""What ``--llm``, ``--embed`` and ``--store`` put in the place of a service's component."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit, urlunsplit

import click

from weft.errors import InvalidRequestError, UsageError, did_you_mean

if TYPE_CHECKING:
    from weft.cli.running import Running
    from weft.cli.settings import Settings
    from weft.gateway.chosen import Choice
    from weft.host import HttpClient
    from weft.plan import Plans
    from weft.spec.model import Spec

CONTRACTS: Final = {"llm": "chat", "embed": "embedding", "store": "store"}
"""Option to the contract of the service that it is for."""

_NAMED = re.compile(r"([a-z][a-z0-9-]*)=(.+)", re.DOTALL)


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options; a command gets them as ``llm``, ``embed``, ``store`` and their key files."""
    path = click.Path(path_type=Path, exists=True, dir_okay=False)
    added = (
        click.option(
            "--llm",
            multiple=True,
            metavar="MODEL",
            help="The chat model: a server's URL (#MODEL if it has several), a GGUF file, hf:OWNER/NAME/FILE, OWNER/NAME of "
            "the hub, a name of 'weft models list'; default: the spec's. SERVICE=MODEL where there are several.",
        ),
        click.option(
            "--embed",
            multiple=True,
            metavar="MODEL",
            help="The embedding model: likewise; tei+http://... is a TEI server.",
        ),
        click.option(
            "--store",
            multiple=True,
            metavar="PLACE",
            help="The documents' store: postgresql://..., a Qdrant server's URL, or a folder.",
        ),
        click.option(
            "--llm-key-file", type=path, help="The key for the server of --llm; else $WEFT_LLM_KEY."
        ),
        click.option("--embed-key-file", type=path, help="Likewise; else $WEFT_EMBED_KEY."),
        click.option("--store-key-file", type=path, help="Its key or password; else $WEFT_STORE_KEY."),
        click.option(
            "--allow-model-host",
            multiple=True,
            metavar="NAME",
            help="A host outside of your networks at which models may be asked that are chosen while it runs.",
        ),
    )
    for option in reversed(added):
        command = option(command)
    return command


@dataclass(frozen=True)
class Asked:
    """What the options say.

    Attributes:
        models: Option to its values.
        key_files: Option to the file with its key.
    """

    models: Mapping[str, Sequence[str]] = field(default_factory=dict)
    key_files: Mapping[str, Path | None] = field(default_factory=dict)

    def flags(self) -> list[str]:
        """The options as they are written on a command line."""
        found = [
            part for name, values in self.models.items() for value in values for part in (f"--{name}", value)
        ]
        for name, path in self.key_files.items():
            found += [f"--{name}-key-file", str(path)] if path is not None else []
        return found

    def key(self, option: str, settings: Settings) -> str | None:
        """The key for an option's server: from its file, else from the secrets."""
        if (path := self.key_files.get(option)) is not None:
            return path.read_text().strip() or None
        return settings.secret(secret_name(option))


def secret_name(option: str) -> str:
    """``WEFT_LLM_KEY``, ...: the name of an option's key among the secrets."""
    return f"WEFT_{option.upper()}_KEY"


def place(running: Running, asked: Asked, settings: Settings) -> dict[str, str]:
    """Put into ``running`` what was asked for; returns the secrets that it needs.

    ``default`` also forgets what was chosen while an earlier process ran.

    Raises:
        UsageError: It is not known which service is meant, or what is meant by a value.
        ModelError: The hub cannot be asked.
    """
    secrets: dict[str, str] = {}
    spec = running.spec()
    plans = running.check(spec) if any(asked.models.values()) else None
    for option, values in asked.models.items():
        for value in values:
            assert plans is not None  # something was asked for
            service, reference = _service(spec, plans, option, value)
            if reference == "default":
                _forget(running, service)
                continue
            key = asked.key(option, settings)
            choice, found = _choice(running, option, reference, key)
            running.places[service] = choice
            secrets |= found
    return secrets


def _service(spec: Spec, plans: Plans, option: str, value: str) -> tuple[str, str]:
    """The service that is meant, and the model."""
    contract = CONTRACTS[option]
    fitting = [
        key
        for key, placed in plans.placed.items()
        if placed.contract == contract and placed.megaservice is None and key in spec.services
    ]
    match = _NAMED.fullmatch(value)
    if match is not None and match[1] in fitting:
        return match[1], match[2]
    if match is not None and match[1] in spec.services:
        contract_of = plans.placed[match[1]].contract
        raise UsageError(
            f"--{option} {value}: '{match[1]}' is of the contract '{contract_of}', and this is for '{contract}'",
            hint=f"services of that contract: {', '.join(fitting) or 'none'}",
        )
    if match is not None and match[2].startswith(("http://", "https://", "hf:", "/", "postgresql://")):
        hint = did_you_mean(match[1], fitting, what=f"services of the contract '{contract}'")
        raise UsageError(f"--{option} {value}: there is no service '{match[1]}'", hint=hint)
    if not fitting:
        raise UsageError(f"--{option}: no service of this spec is of the contract '{contract}'")
    if len(fitting) > 1:
        raise UsageError(
            f"--{option} could be for {len(fitting)} services: {', '.join(fitting)}",
            hint=f"say which: --{option} {fitting[0]}={value}",
        )
    return fitting[0], value


def _choice(running: Running, option: str, reference: str, key: str | None) -> tuple[Choice, dict[str, str]]:
    from weft.gateway.chosen import Choice

    if option == "store":
        return _store(reference, key)
    secret = secret_name(option)
    try:
        found = asyncio.run(_find(running, option, reference, key, secret))
    except InvalidRequestError as error:
        raise UsageError(f"--{option} {reference}: {error.message}", hint=error.hint) from error
    used = "api_key" in found.config
    return Choice(reference, found.component, dict(found.config)), ({secret: key} if used and key else {})


async def _find(running: Running, option: str, reference: str, key: str | None, secret: str) -> Any:
    from weft.gateway import reference as references
    from weft.observe.metrics import Metrics
    from weft.serve.hosts import Hosts
    from weft.serve.log import Log

    hosts = Hosts(running.host, metrics=Metrics(), log=Log(name="weft"))
    host = hosts.host("models")

    def http(url: str, headers: Mapping[str, str]) -> HttpClient:
        hosts.egress.name(url)  # the command line is the operator's own word
        return host.http(url, timeout_s=references.ASK_TIMEOUT_S, headers=headers)

    how = f"put it into {secret}, or into a file that --{option}-key-file names"
    try:
        return await references.find(
            reference, CONTRACTS[option], references.Asking(http, hosts.models, key, secret, how)
        )
    finally:
        await hosts.aclose()


def _store(reference: str, key: str | None) -> tuple[Choice, dict[str, str]]:
    """A store; a password is a secret wherever it was written."""
    from weft.gateway.chosen import Choice
    from weft.gateway.reference import store

    try:
        found = store(reference)
    except InvalidRequestError as error:
        raise UsageError(f"--store: {error.message}", hint=error.hint) from error
    if found.component == "qdrant-edge":
        return Choice(reference, found.component, {"path": str(Path(reference).expanduser().resolve())}), {}
    if found.component == "pgvector":
        parts = urlsplit(reference)
        if key and parts.password is None:
            user, _, server = parts.netloc.rpartition("@")
            parts = parts._replace(netloc=f"{user or 'postgres'}:{quote(key, safe='')}@{server}")
        if parts.password is not None:
            shown = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="")
            secret = "WEFT_STORE_URL"  # noqa: S105 - its name
            return Choice(urlunsplit(shown), found.component, {"url": {"secret": secret}}), {
                secret: urlunsplit(parts)
            }
        return Choice(reference, found.component, dict(found.config)), {}
    if not key:
        return Choice(reference, found.component, dict(found.config)), {}
    secret = secret_name("store")
    return Choice(reference, found.component, {**found.config, "api_key": {"secret": secret}}), {secret: key}


def _forget(running: Running, service: str) -> None:
    """What was chosen for a service while an earlier process ran is chosen no more."""
    from weft.gateway import chosen

    folder = Path(running.host.data_dir)
    known = chosen.read(folder)
    if service in known.services:
        chosen.write(folder, chosen.with_choice(known, service, None, None))
        click.echo(
            f"'{service}' is what the spec says again, and no longer {known.services[service].model}.",
            err=True,
        )

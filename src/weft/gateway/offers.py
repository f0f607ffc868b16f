"""What a better model could be on this machine: servers that run here, files that are here, and sizes that would fit.

Only loopback addresses are asked, and nothing is fetched.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

from msgspec import Struct

from weft.errors import RequestError
from weft.gateway.reference import OllamaDetails, OllamaTags, ServedModel, number_of
from weft.host import HttpClient
from weft.models import ModelStatus
from weft.models.catalogue import GGUF
from weft.models.suggestions import memory_for, suggestions

LOOK_TIMEOUT_S: Final = 1.0
"""A server on this machine lists its models in milliseconds; somebody waits in front of the page."""

MAX_SERVED: Final = 100
"""Models of one server that are listed: more than anybody reads."""

KNOWN_PORTS: Final = (
    (1234, "LM Studio"),
    (1337, "Jan"),
    (4891, "GPT4All"),
    (5001, "KoboldCpp"),
    (8000, "vLLM"),
    (8080, "llama-server"),
    (8081, "a server"),
    (30000, "SGLang"),
)
"""Where servers that speak OpenAI's API usually are, and which one it then usually is."""

SLOW_BYTES: Final = 6_000_000_000
"""All of a model is read for each token: above this size a processor with two channels of memory says two words a second."""

OLLAMA: Final = "http://127.0.0.1:11434"

_EMBEDS = re.compile(r"embed|minilm|(?:^|[/_-])(?:bge|gte|e5)[-_]", re.IGNORECASE)


class Offer(Struct):
    """Something that a service could use.

    Attributes:
        model: What to send to use it.
        name: For people.
        contract: Of the services that it is for: ``chat`` or ``embedding``.
        source: ``server``: one on this machine; ``file``: it is in the cache; ``catalogue``, ``hub``: it would be fetched.
        where: The server, or the hub's page.
        parameters: Its number of weights, if known.
        download_bytes: What fetching it takes; 0: nothing, null: not known.
        memory_bytes: What it takes to run it in this process, about; null: it runs elsewhere, or is not known.
        fits: Whether that is free now.
        licence: Its name, if known; read it on ``licence_url`` before use.
    """

    model: str
    name: str
    contract: str
    source: Literal["server", "file", "catalogue", "hub"]
    where: str = ""
    parameters: int | None = None
    download_bytes: int | None = None
    memory_bytes: int | None = None
    fits: bool = True
    licence: str | None = None
    licence_url: str | None = None
    description: str = ""


class _Models(Struct):
    data: list[ServedModel]


async def served(http: Callable[[str], HttpClient], *, ollama: str = OLLAMA) -> list[Offer]:
    """The models of the servers that run on this machine; those of Weft itself are left out.

    Args:
        http: Gives a client for an address.
        ollama: Where Ollama is.
    """
    found = await asyncio.gather(
        _ollama(http, ollama),
        *(_openai(http, f"http://127.0.0.1:{port}", name) for port, name in KNOWN_PORTS),
    )
    return [offer for offers in found for offer in offers]


async def _ollama(http: Callable[[str], HttpClient], url: str) -> list[Offer]:
    try:
        tags: OllamaTags = await http(url).get_json("/api/tags", type=OllamaTags)
    except RequestError:
        return []  # nobody is there, which is what was to be found out
    offers = []
    for entry in tags.models[:MAX_SERVED]:
        details = entry.details or OllamaDetails()
        embeds = "bert" in details.family or _EMBEDS.search(entry.name) is not None
        said = ", ".join(filter(None, (details.parameter_size, details.quantization_level)))
        offers.append(
            Offer(
                f"{url}#{entry.name}",
                entry.name,
                "embedding" if embeds else "chat",
                "server",
                where=f"Ollama at {url}",
                parameters=number_of(details.parameter_size),
                download_bytes=0,
                description=said,
            )
        )
    return offers


async def _openai(http: Callable[[str], HttpClient], url: str, name: str) -> list[Offer]:
    try:
        models: _Models = await http(url).get_json("/v1/models", type=_Models)
    except RequestError:
        return []  # nobody is there, or somebody who does not speak this API
    return [
        Offer(
            f"{url}#{entry.id}",
            entry.id,
            "embedding" if _EMBEDS.search(entry.id) else "chat",
            "server",
            where=f"{name} at {url}",
            parameters=entry.facts().get("parameters"),
            download_bytes=0,
        )
        for entry in models.data[:MAX_SERVED]
        if entry.owned_by != "weft"
    ]


def on_disk(statuses: list[ModelStatus], free_bytes: int | None) -> list[Offer]:
    """The models of the catalogue, and whatever else is in the cache."""
    return [
        _with_memory(
            Offer(
                status.name,
                status.name.rpartition("/")[2] if status.name.startswith("hf:") else status.name,
                "chat" if status.kind == GGUF else "embedding",
                "file" if status.state == "ready" else "catalogue",
                download_bytes=0 if status.state == "ready" else status.download_bytes,
                licence=status.licence,
                licence_url=status.licence_url,
                description=status.description,
            ),
            memory_for(size) if (size := status.disk_bytes or status.download_bytes) else None,
            free_bytes,
        )
        for status in statuses
        if status.state != "newer"
    ]


def on_hub(there: set[str], free_bytes: int | None) -> list[Offer]:
    """Well-known chat models of the hub that are not here, the best first that a processor can use, the large ones last."""
    offers = [
        _with_memory(
            Offer(
                found.model,
                found.name,
                "chat",
                "hub",
                where=found.page,
                parameters=found.parameters,
                download_bytes=found.size,
                licence=found.licence,
                licence_url=found.page,
            ),
            found.memory_bytes,
            free_bytes,
        )
        for found in suggestions()
        if found.model not in there
    ]
    fitting = [offer for offer in offers if offer.fits and (offer.download_bytes or 0) <= SLOW_BYTES]
    return [*reversed(fitting), *(offer for offer in offers if offer not in fitting)]


def _with_memory(offer: Offer, memory_bytes: int | None, free_bytes: int | None) -> Offer:
    offer.memory_bytes = memory_bytes
    offer.fits = memory_bytes is None or free_bytes is None or memory_bytes <= free_bytes
    return offer


def free_memory() -> int | None:
    """Bytes that a new model could take now, within the limits of this process's control group; None: not known."""
    found = [_linux_available(), *_group_limits()]
    if sys.platform == "darwin":
        found.append(
            os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
        )  # the half: what is free is not told
    known = [value for value in found if value is not None]
    return max(0, min(known)) if known else None


def _linux_available() -> int | None:
    try:
        text = Path("/proc/meminfo").read_text()
    except OSError:
        return None
    found = re.search(r"^MemAvailable:\s+(\d+) kB$", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def _group_limits() -> list[int]:
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
        files = re.search(
            r"^inactive_file (\d+)$", Path("/sys/fs/cgroup/memory.stat").read_text(), re.MULTILINE
        )
    except (OSError, ValueError):
        return []
    # What is read from disk counts as used until it is needed for something else.
    return [int(limit) - used + (int(files[1]) if files else 0)] if limit.isdecimal() else []

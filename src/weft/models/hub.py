"""Which file of a hub repository is meant where only the repository was named."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote

import msgspec
from msgspec import Struct

from weft.errors import ModelError, ModelUnavailableError, WeftError, did_you_mean
from weft.http.client import StreamReply
from weft.models.fetch import Sources
from weft.models.web import Web

PREFERRED: Final = ("Q4_K_M", "Q4_K_S", "Q4_0", "Q5_K_M", "Q4_1", "Q5_0", "Q6_K", "Q8_0", "Q3_K_M", "Q2_K")
"""Quantisations in the order in which they are taken: four bits a weight lose little and are read twice as fast as eight."""

MAX_LIST_BYTES: Final = 4 << 20
"""A repository's list of files; the longest have some thousand entries of 200 bytes."""

_QUANTISATION = re.compile(r"(?:^|[-._/])((?:I?Q\d(?:_[0-9A-Z]+)*)|B?F16|F32)(?=[-._/])", re.IGNORECASE)
_SHARD = re.compile(r"-(\d{5})-of-\d{5}\.gguf$")


class _Entry(Struct):
    path: str
    type: str = "file"
    size: int = 0


_decode = msgspec.json.Decoder(list[_Entry]).decode


def quantisation_of(path: str) -> str | None:
    """The quantisation that a GGUF file's name states, in upper case."""
    found = _QUANTISATION.findall(path)
    return str(found[-1]).upper() if found else None


async def choose_gguf(web: Web, sources: Sources, repository: str, quantisation: str | None) -> str:
    """The reference of the one GGUF file of a repository that is meant.

    Args:
        web: The way out.
        sources: Where the hub is.
        repository: ``owner/name``, perhaps with ``@revision``.
        quantisation: ``Q4_K_M``, say; None takes the first of :data:`PREFERRED` that is there.

    Raises:
        ModelUnavailableError: The hub cannot be asked.
        ModelError: There is no such file; those that there are are listed.
    """
    name, _, revision = repository.partition("@")
    by_quantisation: dict[str, str] = {}
    for entry in await _files(web, sources, name, revision or "main"):
        shard = _SHARD.search(entry.path)
        is_part = shard is not None and shard[1] != "00001"
        if entry.path.endswith(".gguf") and not is_part and "mmproj" not in entry.path.lower():
            by_quantisation.setdefault(quantisation_of(entry.path) or entry.path, entry.path)
    if not by_quantisation:
        raise ModelError(
            f"the hub's repository {name} has no GGUF file", hint="look for one whose name ends in -GGUF"
        )
    if quantisation is None:
        chosen = next((q for q in PREFERRED if q in by_quantisation), min(by_quantisation))
    elif quantisation.upper() in by_quantisation:
        chosen = quantisation.upper()
    else:
        known = sorted(by_quantisation)
        hint = did_you_mean(quantisation.upper(), known, what="what it has")
        raise ModelError(f"the hub's repository {name} has no quantisation '{quantisation}'", hint=hint)
    return f"hf:{name}/{by_quantisation[chosen]}{f'@{revision}' if revision else ''}"


async def _files(web: Web, sources: Sources, name: str, revision: str) -> list[_Entry]:
    if sources.offline:
        raise ModelUnavailableError(
            f"working offline, the hub cannot be asked which files {name} has",
            hint=f"name the file: hf:{name}/FILE.gguf",
        )
    url = f"{sources.hub_url.rstrip('/')}/api/models/{name}/tree/{quote(revision, safe='')}?recursive=true"
    headers = {"accept": "application/json"}
    if sources.hub_token:
        headers["authorization"] = f"Bearer {sources.hub_token}"
    try:
        async with web.get(url, headers) as (_, reply):
            return _decode(await _list(reply, name))
    except msgspec.DecodeError as error:
        raise ModelUnavailableError(f"the hub's list of files of {name} cannot be read: {error}") from error
    except ModelError:
        raise
    except WeftError as error:
        raise ModelUnavailableError(
            f"the hub cannot be asked which files {name} has: {error.message}",
            hint=f"name a file that is in the cache already (weft models list): hf:{name}/FILE.gguf",
        ) from error


async def _list(reply: StreamReply, name: str) -> bytes:
    if reply.status in (401, 404):  # the hub says 401 for what is not there, too
        raise ModelError(
            f"the hub has no repository {name} (it answered {reply.status})",
            hint="look at its name; one that is not public needs HF_TOKEN",
        )
    if reply.status != 200:
        raise ModelUnavailableError(f"the hub answered {reply.status} when it was asked for {name}")
    body = bytearray()
    async for block in reply.body:
        body += block
        if len(body) > MAX_LIST_BYTES:
            raise ModelUnavailableError(f"the hub's list of files of {name} has no end")
    return bytes(body)

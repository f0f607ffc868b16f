"""A route's cache, made of what the Gateway file says and of what this process has."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from weft.contracts.embedding import EmbeddingRequest, EmbeddingResponse
from weft.errors import UnavailableError
from weft.gateway.cache.corpus import Corpus
from weft.gateway.cache.entries import Entries
from weft.gateway.cache.stage import CacheStage, Embed
from weft.plan.services import plain
from weft.types import floats

if TYPE_CHECKING:
    from weft.gateway.assembly import Assembly
    from weft.gateway.targets import Target
    from weft.spec.gateway import CacheSpec, RouteSpec


def cache_of(assembly: Assembly, rule: RouteSpec) -> CacheStage | None:
    """The stage that answers from what was answered before; None: the route has no cache."""
    spec = rule.cache
    if spec is None:
        return None
    return CacheStage(
        rule,
        _entries(assembly, rule.target, spec),
        corpus=corpus_of(assembly),
        build_of=lambda target: target.build_id or _digest(assembly, target),
        embed=_embed(assembly, spec.embedder) if spec.embedder is not None else None,
        metrics=assembly.metrics,
        log=assembly.log,
    )


def corpus_of(assembly: Assembly) -> Corpus:
    """Counts the changes of documents; the same after a reload."""
    found = assembly.lasting.get("corpus")
    if not isinstance(found, Corpus):
        found = assembly.lasting["corpus"] = Corpus(assembly.log)
    return found


def _entries(assembly: Assembly, name: str, spec: CacheSpec) -> Entries:
    """What is kept, which outlives a reload that leaves the cache's own keys as they are."""
    known = assembly.lasting.get(f"cache {name}")
    if known is not None and known[0] == spec:
        entries: Entries = known[1]
        return entries
    entries = Entries(spec.max_entries, spec.max_bytes, spec.ttl_s)
    assembly.lasting[f"cache {name}"] = (spec, entries)
    return entries


def _embed(assembly: Assembly, service: str) -> Embed:
    async def embed(text: str) -> Sequence[float]:
        running = assembly.running
        transport = running.transports.get(service) if running is not None else None
        if transport is None:
            raise UnavailableError(f"the service '{service}' is not running")
        response: EmbeddingResponse = await transport.call("invoke", EmbeddingRequest([text]))
        return floats(response.embeddings[0])

    return embed


def _digest(assembly: Assembly, target: Target) -> str:
    """What a service is made of, where no build says it."""
    placed = assembly.plans.placed.get(target.name)
    if placed is None:
        return target.component
    made_of = [placed.component, placed.version, str(placed.at), plain(placed.config)]
    return hashlib.sha256(msgspec.json.encode(made_of, enc_hook=str, order="deterministic")).hexdigest()

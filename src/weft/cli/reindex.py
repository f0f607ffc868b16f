"""``weft reindex``."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import click
import msgspec

from weft.cli import opened
from weft.contracts.archive import Archive, Draft, KeptCollection, KeptFile, Snapshot
from weft.contracts.embedding import EmbeddingDescription, EmbeddingRequest
from weft.contracts.manifest import Manifest, difference, manifest_of
from weft.errors import BackendReplyError, ConflictError
from weft.types import Document, Empty

BATCH = 32
"""Passages that are embedded in one call: nobody waits beside them."""

ROUNDS = 10
"""How often documents may have changed while they were being made anew, before it is given up."""


@click.command("reindex")
@click.argument("spec", default="chatqna")
@opened.options
@click.option("--force", is_flag=True, help="Also where nothing has changed.")
def command(spec: str, *, force: bool, **options: Any) -> None:
    """Make the index anew: the documents that are in, with the embedder and the passages' size that the spec has now.

    It is built beside the one that is there, which stays in use until the new one is complete; then the new one takes its
    place at once. Stopped in the middle, it leaves the old one as it was; run again, it goes on where it stopped.

    A store in a folder is opened by one process: stop the server first. With PostgreSQL it may go on; restart it afterwards.
    """
    house = opened.house(spec, **options)
    asyncio.run(_reindex(house, force=force))


async def _reindex(house: opened.House, *, force: bool) -> None:
    async with house.opened() as store:
        placed, maker = store.maker()
        key = next(key for key in placed.uses.values() if house.plans.placed[key].contract == "embedding")
        async with store.embedder(key) as embedder:
            known: EmbeddingDescription = await embedder.call("describe", Empty())

            async def embed(texts: list[str]) -> list[Any]:
                reply = await embedder.call("invoke", EmbeddingRequest(texts))
                if len(reply.embeddings) != len(texts):
                    raise BackendReplyError(
                        f"the embedder gave {len(reply.embeddings)} vectors for {len(texts)} texts"
                    )
                return list(reply.embeddings)

            manifest = manifest_of(known, chunker=getattr(maker, "chunker", ""))
            work = Remaking(maker, known, manifest, embed, force=force)
            click.echo(await work.run(store.archive))


class Remaking:
    """Making a store's content anew.

    Args:
        maker: The component that takes documents in; it knows how they are cut, and what of a passage is embedded.
        known: What the embedder says of itself.
        manifest: What the new content is made with.
        embed: Gives a vector for each text.
        force: Whether it is made anew even if nothing has changed.
        say: Told how far it is.
    """

    def __init__(
        self,
        maker: Any,
        known: EmbeddingDescription,
        manifest: Manifest,
        embed: Callable[[list[str]], Awaitable[list[Any]]],
        *,
        force: bool = False,
        say: Callable[[str], object] = lambda line: click.echo(line, err=True),
    ) -> None:
        self._maker, self._known, self._manifest, self._embed = maker, known, manifest, embed
        self._force, self._say = force, say

    async def run(self, archive: Archive) -> str:
        """Do it; what has been done, in words.

        Raises:
            ConflictError: Documents changed all the time.
        """
        async with archive.snapshot() as snapshot:
            collections = await snapshot.collections()
            if not collections:
                return "there are no documents"
            if not self._force and not any(self._differs(one) for one in collections):
                return "the index is made with this embedder and these passages already; --force makes it anew all the same"
        whole = msgspec.json.encode(self._manifest, order="sorted")
        draft = await archive.draft(f"reindex {hashlib.sha256(whole).hexdigest()}")
        try:
            for _ in range(ROUNDS):
                async with archive.snapshot() as snapshot:
                    files = await self._fill(snapshot, draft)
                if await draft.publish(files):
                    return f"the new index is in place: {len(files)} documents"
                self._say("documents have changed meanwhile: making those anew")
        finally:
            await draft.aclose()
        raise ConflictError(
            "documents changed again each time that the new index was complete; the old one is as it was",
            hint="run it again when no documents are being put in; it goes on where it stopped",
        )

    def _differs(self, collection: KeptCollection) -> bool:
        return collection.manifest is None or difference(collection.manifest, self._manifest) is not None

    async def _fill(self, snapshot: Snapshot, draft: Draft) -> Sequence[KeptFile]:
        """Put into the draft what it lacks, and take out what is not there any more."""
        files = await snapshot.files()
        done = {file.version for file in await draft.files()}
        current = {file.version for file in files}
        for file in await draft.files():
            if file.version not in current:
                await draft.drop(file)
        collections = {(c.tenant, c.name): c for c in await snapshot.collections()}
        if done & current:
            self._say(f"going on: {len(done & current)} of {len(files)} documents are done")
        for number, file in enumerate(files, 1):
            if file.version in done:
                continue
            before = collections[file.tenant, file.collection].manifest
            await self._remake(snapshot, draft, file, before)
            self._say(f"[{number}/{len(files)}] {file.name or 'passages of no file'}")
        for collection in collections.values():
            await draft.declare(KeptCollection(collection.tenant, collection.name, self._manifest))
        return files

    async def _remake(
        self, snapshot: Snapshot, draft: Draft, file: KeptFile, before: Manifest | None
    ) -> None:
        recut = getattr(self._maker, "recut", None)
        cut = before.chunker if before is not None else ""
        if recut is not None and cut and cut != self._manifest.chunker:
            # All of one document: where a passage ends depends on what comes before it.
            documents = [document async for batch in snapshot.passages(file) for document in batch]
            await self._put(draft, file, recut(documents, self._known))
        else:
            async for batch in snapshot.passages(file):
                await self._put(draft, file, batch)
        await draft.finish(file)

    async def _put(self, draft: Draft, file: KeptFile, documents: Sequence[Document]) -> None:
        text_of = getattr(self._maker, "embedded", lambda document: document.text)
        for first in range(0, len(documents), BATCH):
            batch = documents[first : first + BATCH]
            vectors = await self._embed([text_of(document) for document in batch])
            for document, vector in zip(batch, vectors, strict=True):
                document.embedding = vector
            await draft.add(file, batch)

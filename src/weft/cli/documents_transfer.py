"""``weft documents export``, ``import``, ``backup`` and ``restore``."""

from __future__ import annotations

import asyncio
import secrets
from typing import IO, Any

import click

from weft.cli import opened
from weft.cli.documents_file import (
    CollectionLine,
    EndLine,
    FileLine,
    PassageLine,
    kept_collection,
    lines,
    read,
    reading,
    writing,
    written,
)
from weft.contracts.archive import Archive, KeptFile
from weft.contracts.manifest import Manifest
from weft.contracts.store import Store, UpsertRequest
from weft.errors import StateError, UsageError
from weft.types import Document

BATCH = 200
"""Passages that are put in at once where it need not be a whole file."""

MAX_FILE_PASSAGES = 200_000
"""Passages of one document: what goes in as a whole is in memory as a whole."""


@click.command("export")
@click.argument("file")
@click.argument("spec", default="chatqna")
@click.option("--collection", help="Only this collection; 'default' is the one without a name.")
@click.option("--tenant", help="Only this tenant's.")
@opened.options
def export_command(
    file: str, spec: str, *, collection: str | None, tenant: str | None, **options: Any
) -> None:
    """Write documents, as passages with their vectors, into a file of JSON lines.

    FILE ends in .gz: it is packed. - is the standard output. The server may go on serving. What only some may read is in
    the file as well: keep it as you keep the store.
    """
    house = opened.house(spec, **options)
    asyncio.run(_write(house, file, tenant=tenant, collection=_name(collection)))


@click.command("backup")
@click.argument("file")
@click.argument("spec", default="chatqna")
@opened.options
def backup_command(file: str, spec: str, **options: Any) -> None:
    """Write everything that a store has, of every tenant, into a file, as it is at one moment. The server may go on serving.

    FILE ends in .gz: it is packed. 'weft documents restore' puts it back.
    """
    house = opened.house(spec, **options)
    asyncio.run(_write(house, file, tenant=None, collection=None))


@click.command("import")
@click.argument("file")
@click.argument("spec", default="chatqna")
@opened.options
def import_command(file: str, spec: str, **options: Any) -> None:
    """Put exported documents in, beside those that are there; a document of the same name is replaced.

    Each goes in as a whole. Stopped in the middle, it may be run again. A collection that was made with another embedder is
    refused.
    """
    house = opened.house(spec, **options)
    asyncio.run(_import(house, file))


@click.command("restore")
@click.argument("file")
@click.argument("spec", default="chatqna")
@click.option("--replace", is_flag=True, help="Also where there are documents, which are gone then.")
@opened.options
def restore_command(file: str, spec: str, *, replace: bool, **options: Any) -> None:
    """Put a backup in the place of everything that a store has, at once.

    Stopped in the middle, it leaves what was there.
    """
    house = opened.house(spec, **options)
    asyncio.run(_restore(house, file, replace=replace))


COMMANDS = (export_command, import_command, backup_command, restore_command)


def _name(collection: str | None) -> str | None:
    return "" if collection == "default" else collection


async def _write(house: opened.House, path: str, *, tenant: str | None, collection: str | None) -> None:
    async with house.opened(only_read=True) as store:
        with writing(path) as target:
            end = await write(store.archive, target, tenant=tenant, collection=collection)
    click.echo(f"{end.files} documents, {end.passages:,} passages", err=True)


async def write(
    archive: Archive, target: IO[bytes], *, tenant: str | None = None, collection: str | None = None
) -> EndLine:
    """Write a store's content, line by line."""
    end = EndLine(0, 0)
    async with archive.snapshot() as snapshot:
        async for line in lines(snapshot, tenant=tenant, collection=collection):
            target.write(written(line))
            if isinstance(line, EndLine):
                end = line
    return end


async def _import(house: opened.House, path: str) -> None:
    async with house.opened() as store:
        with reading(path) as source:
            end = await take_in(store.component, source, path)
    click.echo(f"{end.files} documents, {end.passages:,} passages are in", err=True)


async def take_in(store: Store, source: IO[bytes], name: str) -> EndLine:
    """Put the documents of a file in, one after the other.

    Raises:
        StateError: It is no such file.
        ConflictError: A collection was made with something else.
    """
    manifests: dict[tuple[str, str], Manifest | None] = {}
    documents: list[Document] = []
    end = EndLine(0, 0)
    for line in read(source, name):
        match line:
            case CollectionLine():
                manifests[line.tenant, line.name] = line.manifest
            case PassageLine():
                documents.append(line.document)
                if len(documents) > MAX_FILE_PASSAGES:
                    raise StateError(f"{name}: '{line.file}' has more than {MAX_FILE_PASSAGES:,} passages")
            case FileLine():
                _complete(name, line, len(documents))
                await store.upsert(
                    UpsertRequest(
                        documents,
                        line.name,
                        line.digest,
                        replace=True,
                        manifest=manifests.get((line.tenant, line.collection)),
                        collection=line.collection,
                        tenant=line.tenant,
                    )
                )
                documents = []
            case EndLine():
                end = line
    return end


async def _restore(house: opened.House, path: str, *, replace: bool) -> None:
    async with house.opened() as store:
        async with store.archive.snapshot() as snapshot:
            there = await snapshot.files()
        if there and not replace:
            raise UsageError(
                f"the store has {len(there)} documents, which would be gone",
                hint="--replace puts the backup in their place; 'weft documents backup' keeps them before",
            )
        with reading(path) as source:
            end = await restore(store.archive, source, path)
    click.echo(
        f"{end.files} documents, {end.passages:,} passages are in the place of what was there", err=True
    )


async def restore(archive: Archive, source: IO[bytes], name: str) -> EndLine:
    """Put the content of a file in the place of a store's, at once.

    Raises:
        StateError: It is no such file, or not whole; the store is as it was.
    """
    # A purpose of its own: what one that was stopped has left may be of another file.
    draft = await archive.draft(f"restore {secrets.token_hex(8)}")
    end = EndLine(0, 0)
    try:
        batch: list[Document] = []
        count = 0
        for line in read(source, name):
            match line:
                case CollectionLine():
                    await draft.declare(kept_collection(line))
                case PassageLine():
                    batch.append(line.document)
                    count += 1
                    if len(batch) == BATCH:
                        await draft.add(KeptFile(line.tenant, line.collection, line.file), batch)
                        batch = []
                case FileLine():
                    _complete(name, line, count)
                    await draft.add(line.kept(), batch)
                    await draft.finish(line.kept())
                    batch, count = [], 0
                case EndLine():
                    end = line
        await draft.publish()
    except BaseException:
        await draft.discard()
        raise
    finally:
        await draft.aclose()
    return end


def _complete(name: str, line: FileLine, count: int) -> None:
    if count != line.chunks:
        raise StateError(f"{name}: '{line.name}' has {count} of its {line.chunks} passages")

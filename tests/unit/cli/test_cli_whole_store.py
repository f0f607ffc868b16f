"""``weft reindex`` and ``weft documents export | import | backup | restore``, as a person meets them."""

from __future__ import annotations

import asyncio
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ragkit import SmallHost
from weft.cli.main import group
from weft.cli.running import Running, host_settings
from weft.cli.settings import from_environment
from weft.components.store.qdrant_edge import QdrantEdge
from weft.contracts.manifest import Manifest
from weft.contracts.store import ListRequest, ReadRequest, UpsertRequest
from weft.errors import StateError
from weft.types import Document, vector

EMBEDDER = """
from weft.contracts.embedding import EmbeddingDescription, EmbeddingRequest, EmbeddingResponse
from weft.types import Empty, vector

class Letters:
    '''Vectors of how often each letter comes.'''

    def __init__(self, size: int = 26) -> None:
        self.size = size

    async def invoke(self, request: EmbeddingRequest) -> EmbeddingResponse:
        return EmbeddingResponse([vector(self.counts(text)) for text in request.texts], f"letters-{self.size}")

    def counts(self, text: str) -> list[float]:
        return [0.01 + text.count(chr(97 + n)) for n in range(self.size)]

    async def describe(self, request: Empty) -> EmbeddingDescription:
        return EmbeddingDescription(f"letters-{self.size}", dimensions=self.size, normalised=False)
"""

SPEC = """
apiVersion: weft/v1
kind: Services
services:
  embedder: {{component: "./letters.py:Letters", config: {{size: {size}}}}}
  store: {{component: qdrant-edge}}
  retriever: {{component: hybrid-retriever, uses: {{store: store, embedder: embedder}}}}
  documents: {{component: document-ingest, uses: {{store: store, embedder: embedder}}}}
expose: [documents]
---
apiVersion: weft/v1
kind: Megaservice
name: find
version: "1"
contract: retriever
nodes:
  retrieve: {{service: retriever, inputs: {{query: request.query}}}}
output: retrieve
"""

MADE = Manifest("letters-26", None, 26, normalised=False, chunker="1000 characters, 100 repeated")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two specs that differ in the embedder, and a store with two documents."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "letters.py").write_text(EMBEDDER)
    (tmp_path / "old.yaml").write_text(SPEC.format(size=26))
    (tmp_path / "new.yaml").write_text(SPEC.format(size=30))

    async def fill(store: QdrantEdge) -> None:
        for name, readers in (("a.txt", None), ("b.txt", ["staff"])):
            document = Document(f"About {name}.", name, readers=readers, embedding=vector([1.0] * 26))
            await store.upsert(UpsertRequest([document], name, "d", manifest=MADE, tenant="default"))

    with_store(tmp_path, fill)
    return tmp_path


def with_store(folder: Path, work: Any) -> Any:
    """Do something with the store itself, as the server that holds it would."""

    async def run() -> Any:
        host, store = SmallHost(folder / "data"), QdrantEdge()
        await store.start(host)
        try:
            return await work(store)
        finally:
            await store.aclose()
            host.close()

    return asyncio.run(run())


def weft(*words: str, spec: str = "old.yaml") -> Result:
    return CliRunner().invoke(group, [*words, spec, "--data", "data"])


async def names(store: QdrantEdge) -> list[str]:
    return [file.name for file in (await store.list(ListRequest(tenant="default"))).files]


def test_export_and_backup_work_beside_a_server_that_holds_the_store(folder: Path) -> None:
    """What is put in afterwards is not in them; packed and plain have the same lines; ``-`` is the standard output."""

    async def serve(store: QdrantEdge) -> tuple[Result, Result, Result]:
        backed_up = await asyncio.to_thread(weft, "documents", "backup", "all.jsonl.gz")
        exported = await asyncio.to_thread(weft, "documents", "export", "-")
        refused = await asyncio.to_thread(weft, "documents", "import", "all.jsonl.gz")
        return backed_up, exported, refused

    backed_up, exported, refused = with_store(folder, serve)
    assert backed_up.exit_code == 0, backed_up.output
    assert "2 documents, 2 passages" in backed_up.output
    lines = gzip.decompress((folder / "all.jsonl.gz").read_bytes()).splitlines()
    assert [line.decode() for line in lines] == exported.stdout.splitlines()
    kinds = [json.loads(line)["kind"] for line in lines]
    assert kinds == ["weft-documents", "collection", "passage", "file", "passage", "file", "end"]
    assert isinstance(refused.exception, StateError)
    assert "in use by another process" in str(refused.exception)


def test_restore_asks_before_it_replaces(folder: Path) -> None:
    """Where there are documents it says how many would be gone; told to, it puts the backup in their place."""
    assert weft("documents", "backup", "all.jsonl").exit_code == 0
    with_store(folder, lambda store: store.upsert(UpsertRequest([], "c.txt", tenant="default")))
    refused = weft("documents", "restore", "all.jsonl")
    assert "the store has 3 documents, which would be gone" in str(refused.exception)
    assert weft("documents", "restore", "all.jsonl", "--replace").exit_code == 0
    assert with_store(folder, names) == ["a.txt", "b.txt"]


def test_import_adds(folder: Path) -> None:
    """Documents of other names stay."""
    assert weft("documents", "export", "all.jsonl").exit_code == 0
    text = (folder / "all.jsonl").read_text().replace("a.txt", "z.txt").replace("b.txt", "y.txt")
    (folder / "more.jsonl").write_text(text)
    assert weft("documents", "import", "more.jsonl").exit_code == 0
    assert with_store(folder, names) == ["a.txt", "b.txt", "y.txt", "z.txt"]


def load(spec: str) -> None:
    """Start the services of a spec, as ``weft up`` does."""

    async def start() -> None:
        settings = from_environment()
        running = Running(
            [spec], split=False, workers=1, host=host_settings(settings, Path("data")), secrets={}
        )
        assembly = running.assembly()
        services = assembly.services()
        try:
            await services.start()
            await services.aclose()
        finally:
            await assembly.hosts.aclose()

    asyncio.run(start())


def test_another_embedder_is_refused_at_load_and_mended_by_the_command_that_is_said(folder: Path) -> None:
    """The old spec loads, the new one does not and says ``weft reindex``; after that it is the other way round."""
    load("old.yaml")
    with pytest.raises(StateError, match="made with the embedder 'letters-26', the embedder is now 'letters-30'") as refused:  # fmt: skip
        load("new.yaml")
    assert "weft reindex" in (refused.value.hint or "")
    done = weft("reindex", spec="new.yaml")
    assert done.exit_code == 0, done.output
    assert "the new index is in place: 2 documents" in done.output
    load("new.yaml")
    with pytest.raises(StateError, match="weft reindex"):
        load("old.yaml")
    assert "already" in weft("reindex", spec="new.yaml").output

    async def read(store: QdrantEdge) -> list[str]:
        request = ReadRequest("b.txt", tenant="default", readers=["staff"])
        return [document.text for document in (await store.read(request)).documents]

    assert with_store(folder, read) == ["About b.txt."]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("documents", "import", "nothing.jsonl"), "there is no file 'nothing.jsonl'"),
        (("documents", "export", "nowhere/x.jsonl"), "there is no folder 'nowhere'"),
        (("documents", "restore", "old.yaml", "--replace"), "old.yaml:1: this is no line of documents"),
    ],
)
def test_what_cannot_be_is_said(folder: Path, words: tuple[str, ...], said: str) -> None:
    """A file or folder that is not there, or that is something else."""
    assert said in str(weft(*words).exception)
    assert with_store(folder, names) == ["a.txt", "b.txt"]
    assert not list(folder.glob("*.part"))

"""What changes while answers are kept: documents, versions, what a target is made of; and how much is kept at most."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from accesskit import bearer, made
from frontkit import FrontRig
from protocolkit import SPEAKER, SPOKEN, delta, model_of, usage
from weft.context import Context, current
from weft.contracts.dataprep import IngestRequest, JobRequest
from weft.errors import UnavailableError
from weft.gateway.cache.corpus import Corpus
from weft.gateway.cache.entries import MAX_ALIKE, Entries, Entry

DOCUMENTS = '''\
from weft.contracts.dataprep import (
    DeleteRequest,
    DeleteResponse,
    GetRequest,
    GetResponse,
    IndicesRequest,
    IndicesResponse,
    IngestRequest,
    IngestResponse,
)


class Documents:
    """Takes everything, keeps nothing."""

    async def ingest(self, request: IngestRequest) -> IngestResponse:
        return IngestResponse([])

    async def delete(self, request: DeleteRequest) -> DeleteResponse:
        return DeleteResponse(True)

    async def get(self, request: GetRequest) -> GetResponse:
        return GetResponse([])

    async def indices(self, request: IndicesRequest) -> IndicesResponse:
        return IndicesResponse([])
'''

FILE = SPOKEN.replace(
    "config: {chunks: CHUNKS}}\n",
    'config: {chunks: CHUNKS}}\n  files: {component: "./documents.py:Documents"}\n',
)
ROUTES = """\
---
apiVersion: weft/v1
kind: Gateway
name: front
routes:
  - {path: /v1/greet, megaservice: talk, cache: {}}
  - {path: /v1/documents, service: files}
"""
SAID = [delta(content="Thirty."), delta("stop"), usage(7, 2)]
ASKED = {"model": "talk", "messages": [{"role": "user", "content": "How many days?"}]}


async def start(rig: FrontRig, auth: str = "") -> None:
    (rig.folder / "chat.py").write_text(SPEAKER)
    (rig.folder / "documents.py").write_text(DOCUMENTS)
    await rig.gateway(FILE.replace("CHUNKS", json.dumps(json.dumps(SAID))) + ROUTES + auth)


async def post(rig: FrontRig, path: str, body: Any, headers: dict[str, str] | None = None) -> httpx.Response:
    async with httpx.AsyncClient(base_url=rig.url, timeout=20) as client:
        reply = await client.post(path, json=body, headers=headers)
    assert reply.status_code == 200, reply.text
    return reply


async def outcome(rig: FrontRig, headers: dict[str, str] | None = None) -> str:
    """What the cache did with the question."""
    return (await post(rig, "/v1/chat/completions", ASKED, headers)).headers["x-weft-cache"]


@pytest.mark.parametrize(
    ("path", "body"),
    [("/v1/dataprep/ingest", {"files": []}), ("/v1/dataprep/delete", {"file_path": "handbook.txt"})],
    ids=["ingested", "deleted"],
)
async def test_after_a_document_changed_answers_are_asked_for_anew(
    rig: FrontRig, path: str, body: dict[str, Any]
) -> None:
    """What was kept before a document was ingested or deleted here is not told after it."""
    await start(rig)
    assert [await outcome(rig), await outcome(rig)] == ["miss", "hit"]
    await post(rig, path, body)
    assert [await outcome(rig), await outcome(rig)] == ["miss", "hit"]
    assert len(model_of(rig).seen) == 2


async def test_a_tenants_documents_are_their_own(rig: FrontRig) -> None:
    """Another tenant's change leaves what is kept."""
    anna, eve = [bearer(await made(rig, name, tenant=name)) for name in ("anna", "eve")]
    await start(rig, "auth: {keys: true}\n")
    assert await outcome(rig, anna) == "miss"
    await post(rig, "/v1/dataprep/delete", {"file_path": "handbook.txt"}, eve)
    assert await outcome(rig, anna) == "hit"
    await post(rig, "/v1/dataprep/delete", {"file_path": "handbook.txt"}, anna)
    assert await outcome(rig, anna) == "miss"


class _Job:
    def __init__(self, state: str, revision: int) -> None:
        self.id, self.state, self.revision = "j", state, revision


async def test_a_job_is_followed_to_its_end() -> None:
    """Documents that go in after the reply count when they do: until the job is done nothing from before is told."""
    current.set(Context(tenant="a"))
    steps: asyncio.Queue[_Job] = asyncio.Queue()
    asked: list[JobRequest] = []

    async def call(operation: str, request: Any) -> Any:
        if operation == "ingest":
            return type("Reply", (), {"job": _Job("waiting", 1)})
        asked.append(request)
        return await steps.get()

    corpus = Corpus()
    await corpus.noting(call)("ingest", IngestRequest([]))
    seen = [corpus.of("a")]
    for job in (_Job("running", 2), _Job("done", 3)):
        await steps.put(job)
        for _ in range(5):
            await asyncio.sleep(0)
        seen.append(corpus.of("a"))
    assert seen == sorted(set(seen))
    assert [request.since for request in asked] == [0, 2]
    assert corpus.of("b") == 0


async def test_a_change_that_fails_counts_as_one() -> None:
    """Half of it may have happened."""
    current.set(Context(tenant="a"))
    corpus = Corpus()

    async def call(operation: str, request: Any) -> Any:
        raise UnavailableError("gone")

    with pytest.raises(UnavailableError):
        await corpus.noting(call)("delete", None)
    assert corpus.of("a") > 0


async def test_what_only_reads_changes_nothing() -> None:
    """Lists and jobs that are looked at leave what is kept."""
    current.set(Context(tenant="a"))
    corpus = Corpus()

    async def call(operation: str, request: Any) -> Any:
        return None

    for operation in ("get", "indices", "jobs", "job", "document"):
        await corpus.noting(call)(operation, None)
    assert corpus.of("a") == 0


async def test_each_version_has_its_own_answers(rig: FrontRig) -> None:
    """An answer of one version is not told for another, nor one from before a version was made anew."""
    (rig.folder / "chat.py").write_text(SPEAKER)
    text = SPOKEN.replace("CHUNKS", json.dumps(json.dumps(SAID)))
    (rig.folder / "two.yaml").write_text(text.replace('"1.0.0"', '"2.0.0"'))
    (rig.folder / "one.yaml").write_text(text)
    versions = "[{version: '1.0.0', from: one.yaml}, {version: '2.0.0', from: two.yaml}]"
    await rig.gateway(
        "apiVersion: weft/v1\nkind: Gateway\nname: front\nroutes:\n"
        f"  - {{path: /v1/greet, megaservice: talk, versions: {versions}, cache: {{}}}}\n"
    )
    outcomes = []
    for model in ("talk@1", "talk@2", "talk@1.0.0", "talk@2.0"):
        outcomes.append(
            (await post(rig, "/v1/chat/completions", ASKED | {"model": model})).headers["x-weft-cache"]
        )
    assert outcomes == ["miss", "miss", "hit", "hit"]


# How much is kept.


class Clock:
    """Seconds, as the test says."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def entries(clock: Clock, **bounds: Any) -> Entries:
    return Entries(**({"max_entries": 4, "max_bytes": 1000, "ttl_s": 10} | bounds), clock=clock)


def entry(body: bytes = b"x", tenant: str = "a", **fields: Any) -> Entry:
    return Entry(body, 0.0, tenant, **fields)


def test_an_entry_is_kept_so_long() -> None:
    """When its time is up it is gone, with its bytes."""
    clock = Clock()
    kept = entries(clock)
    kept.put(b"k", entry())
    clock.now = 9.9
    assert kept.get(b"k") is not None
    clock.now = 10
    assert kept.get(b"k") is None
    assert (len(kept), kept.size) == (0, 0)


def test_what_nobody_asked_for_longest_goes_first() -> None:
    """Beyond the number of entries, and beyond the bytes; what is more than half of all is not kept."""
    kept = entries(Clock())
    for key in (b"1", b"2", b"3", b"4"):
        kept.put(key, entry(tenant=key.decode()))
    assert kept.get(b"1") is not None
    kept.put(b"5", entry(tenant="5"))
    assert [key for key in (b"1", b"2", b"3", b"4", b"5") if kept.get(key)] == [b"1", b"3", b"4", b"5"]
    kept.put(b"6", entry(b"x" * 500, tenant="6"))
    kept.put(b"7", entry(b"x" * 500, tenant="7"))
    assert (kept.size <= 1000, kept.get(b"7") is not None) == (True, True)
    kept.put(b"8", entry(b"x" * 501))
    assert kept.get(b"8") is None


def test_a_tenant_that_keeps_much_displaces_its_own() -> None:
    """Who fills the cache cannot empty it of another's answers."""
    kept = entries(Clock())
    kept.put(b"quiet", entry(tenant="b"))
    for number in range(20):
        kept.put(b"%d" % number, entry(tenant="a"))
    assert kept.get(b"quiet") is not None
    assert len(kept) == 4


def test_likeness_is_looked_for_in_one_group() -> None:
    """The most alike of the group that is alike enough; of another group, none; of vectors of another length, none."""
    kept = entries(Clock())
    kept.put(b"x", entry(b"x", group=b"g", vector=[1.0, 0.0]))
    kept.put(b"y", entry(b"y", group=b"g", vector=[0.6, 0.8]))
    kept.put(b"z", entry(b"z", group=b"h", vector=[0.0, 1.0]))
    found = kept.near(b"g", [0.8, 0.6], 0.5)
    assert found is not None
    assert found.body == b"y"
    assert kept.near(b"g", [0.0, 1.0], 0.9) is None
    assert kept.near(b"g", [0.0, 1.0, 0.0], 0.1) is None
    assert kept.near(b"none", [0.0, 1.0], 0.1) is None


def test_a_group_is_bounded() -> None:
    """A look at all of it has to stay short: the newest questions stay."""
    kept = entries(Clock(), max_entries=10_000, max_bytes=1 << 30)
    for number in range(MAX_ALIKE + 5):
        kept.put(b"%d" % number, entry(group=b"g", vector=[1.0]))
    assert len(kept) == MAX_ALIKE
    assert kept.get(b"4") is None
    assert kept.get(b"5") is not None

"""Taking documents in: every file is accounted for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

import pytest
from pdfs import pdf

from ingestkit import Kit, started
from weft.components.dataprep.ingest import DocumentIngest
from weft.components.dataprep.names import safe_name
from weft.contracts.dataprep import DeleteRequest, GetRequest, IndicesRequest, IngestRequest
from weft.errors import ComponentError, InvalidRequestError, NotFoundError, ServiceError, UnreachableError
from weft.types import Upload


@pytest.fixture
async def kit(tmp_path: Path) -> AsyncIterator[Kit]:
    """An ingest component over an empty store."""
    async with started(tmp_path) as kit:
        yield kit


async def test_every_uploaded_file_is_ingested(kit: Kit) -> None:
    """All files of one upload are in and found, not only the last."""
    assert await kit.take(
        ("a.txt", b"Apples are red."), ("b.md", b"# Bananas\n\nBananas are yellow."),
        ("c.html", b"<p>Cherries are dark."), ("d.pdf", pdf("Dates are brown.")),
    ) == [(name, "ingested", None) for name in ("a.txt", "b.md", "c.html", "d.pdf")]  # fmt: skip
    for word, name in (("apples", "a.txt"), ("bananas", "b.md"), ("cherries", "c.html"), ("dates", "d.pdf")):
        assert (await kit.find(word))[0].source == name


async def test_a_passage_says_where_it_is_from(kit: Kit) -> None:
    """Title, source, page, place in the text and heading come with each passage."""
    await kit.take(("guide.md", b"# Guide\n\n## Install\n\nRun the installer twice."))
    (passage,) = await kit.find("installer")
    assert (passage.title, passage.source, passage.metadata["heading"]) == (
        "Guide",
        "guide.md",
        "Guide > Install",
    )
    assert passage.text.endswith("Run the installer twice.")
    assert (passage.start, passage.end, passage.trusted) == (0, len(passage.text), False)
    await kit.take(("p.pdf", pdf("Nothing.", "A needle.")))
    assert (await kit.find("needle"))[0].page == 2


async def test_headings_are_embedded_with_their_text(kit: Kit) -> None:
    """The vector of a passage knows the headings above it."""
    await kit.take(("guide.md", b"# Guide\n\nThe first part."))
    assert kit.embedder.calls[-1] == ["Guide\nGuide\n\nThe first part."]


async def test_same_name_and_content_is_unchanged(kit: Kit) -> None:
    """A file that is in already costs nothing."""
    await kit.take(("a.txt", b"Apples."))
    calls = len(kit.embedder.calls)
    assert await kit.take(("a.txt", b"Apples.")) == [("a.txt", "unchanged", None)]
    assert len(kit.embedder.calls) == calls


async def test_same_name_and_other_content_is_refused_unless_replace(kit: Kit) -> None:
    """The old version stays until replacing is asked for, then only the new one is found."""
    await kit.take(("a.txt", b"Apples are red."))
    ((_, outcome, reason),) = await kit.take(("a.txt", b"Pears are green."))
    assert outcome == "refused"
    assert "replace=true" in (reason or "")
    assert [d.text for d in await kit.find("apples pears", k=9)] == ["Apples are red."]
    assert await kit.take(("a.txt", b"Pears are green."), replace=True) == [("a.txt", "ingested", None)]
    assert [d.text for d in await kit.find("apples pears", k=9)] == ["Pears are green."]


async def test_a_refused_file_holds_up_no_other(kit: Kit) -> None:
    """Each outcome has its reason, the others stay in, and the reply says 400."""
    uploads = [Upload("a.txt", b"Apples."), Upload("b.exe", b"MZ"), Upload("c.txt", b"Cherries.")]
    reply = await kit.documents.ingest(IngestRequest(uploads))
    assert [file.outcome for file in reply.files] == ["ingested", "refused", "ingested"]
    assert reply.status == 400
    assert reply.message.startswith("1 of 3 refused: 'b.exe': '.exe' files are not read; supported are")
    assert {file.name for file in (await kit.documents.get(GetRequest())).files} == {"a.txt", "c.txt"}


async def test_a_page_without_text_makes_it_partly(kit: Kit) -> None:
    """The pages that could not be read are named."""
    ((_, outcome, reason),) = await kit.take(("a.pdf", pdf("One.", "", "", "Four.", "", "Six.")))
    assert outcome == "partly"
    assert (reason or "").startswith("no text could be read of pages 2-3, 5")


async def test_twins_in_one_upload(kit: Kit) -> None:
    """The same file twice is one document; another one of the same name is refused, never lost in silence."""
    outcomes = await kit.take(("a.txt", b"Apples."), ("a.txt", b"Apples."), ("a.txt", b"Pears."))
    assert [outcome for _, outcome, _ in outcomes] == ["ingested", "unchanged", "refused"]
    outcomes = await kit.take(("x.bin", b"x"), ("x.bin", b"x"))
    assert [outcome for _, outcome, _ in outcomes] == ["refused", "refused"]


async def test_the_answer_is_the_same_however_files_are_chunked(kit: Kit) -> None:
    """Chunk size and overlap of the request are used."""
    text = " ".join(f"Sentence number {n} about plums." for n in range(40)).encode()
    reply = await kit.documents.ingest(
        IngestRequest([Upload("a.txt", text)], chunk_size=200, chunk_overlap=0)
    )
    assert reply.files[0].chunks > 5
    assert max(len(d.text) for d in await kit.find("plums", k=50)) <= 200


@pytest.mark.parametrize(
    "fields",
    [{}, {"chunk_size": 50}, {"chunk_overlap": 900}, {"chunk_overlap": -1}, {"links": ["http://x"] * 1001}],
)
async def test_a_request_that_cannot_be_is_refused(kit: Kit, fields: dict[str, Any]) -> None:
    """Nothing at all, too much at once, and sizes out of bounds are the caller's error."""
    files = [Upload("a.txt", b"x")] if fields else []
    with pytest.raises(InvalidRequestError):
        await kit.documents.ingest(IngestRequest(files, **fields))


async def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    """The bound is in the reason."""
    async with started(tmp_path, max_file_bytes=10) as kit:
        ((_, outcome, reason),) = await kit.take(("a.txt", b"12345678901"))
    assert (outcome, reason) == ("refused", "it has 11 bytes; at most 10 are taken")


async def test_a_spooled_upload_is_read_and_nothing_else(kit: Kit, tmp_path: Path) -> None:
    """A path is opened only inside the server's own uploads folder."""
    spool = tmp_path / "uploads"
    spool.mkdir()
    (spool / "1").write_bytes(b"Apples.")
    (tmp_path / "secret.txt").write_bytes(b"Secret.")
    (spool / "link").symlink_to(tmp_path / "secret.txt")
    uploads = [
        Upload("a.txt", path=str(spool / "1")), Upload("b.txt", path=str(tmp_path / "secret.txt")),
        Upload("c.txt", path=str(spool / ".." / "secret.txt")), Upload("d.txt", path=str(spool / "link")),
    ]  # fmt: skip
    reply = await kit.documents.ingest(IngestRequest(uploads))
    assert [file.outcome for file in reply.files] == ["ingested", "refused", "refused", "refused"]


async def test_a_reader_that_dies_refuses_its_file(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash, a timeout or too much memory is that file's reason."""

    async def killed(*_: object, **__: object) -> None:
        raise ServiceError("it took longer than 120 s")

    monkeypatch.setattr(kit.host, "isolated", killed)
    assert await kit.take(("a.txt", b"x")) == [
        ("a.txt", "refused", "it could not be read: it took longer than 120 s")
    ]


async def test_an_embedder_that_fails_is_an_error_and_nothing_is_half_in(kit: Kit) -> None:
    """The request fails with the embedder's own error, and no passage of the file is in."""

    async def fail(*_: object) -> None:
        raise ServiceError("no embedder")

    kit.embedder.invoke = fail
    with pytest.raises(ServiceError, match="no embedder"):
        await kit.take(("a.txt", b"Apples."), ("b.txt", b"Bananas."))
    assert (await kit.documents.get(GetRequest())).files == []


async def test_list_delete_and_collections(kit: Kit) -> None:
    """Files are listed with their passages, deleted by name or all, in each collection apart."""
    await kit.take(("a.txt", b"Apples."), ("b.txt", b"Bananas."))
    await kit.take(("c.txt", b"Cherries."), collection="fruit")
    assert [(f.name, f.id, f.chunks) for f in (await kit.documents.get(GetRequest())).files] == [
        ("a.txt", "a.txt", 1),
        ("b.txt", "b.txt", 1),
    ]
    assert (await kit.documents.indices(IndicesRequest())).indices == ["default", "fruit"]
    assert (await kit.documents.delete(DeleteRequest("a.txt"))).status is True
    with pytest.raises(NotFoundError, match=r"no document is called 'a\.txt'"):
        await kit.documents.delete(DeleteRequest("a.txt"))
    await kit.documents.delete(DeleteRequest("all", "default"))
    assert (await kit.documents.get(GetRequest())).files == []
    assert [f.name for f in (await kit.documents.get(GetRequest("fruit"))).files] == ["c.txt"]


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("a.txt", "a.txt"), ("../../etc/passwd", "passwd"), ("/etc/passwd", "passwd"), ("C:\\x\\a.txt", "a.txt"),
        ("guide/index.html", "guide/index.html"), ("a\x00b\n.txt", "ab.txt"), ("..", ""), ("", ""),
        ("./a/./b.md", "a/b.md"), ("\u202etxt.exe", "txt.exe"), ("x" * 300 + ".txt", "x" * 251 + ".txt"),
    ],
)  # fmt: skip
def test_names_lead_nowhere(name: str, safe: str) -> None:
    """No name has control characters or climbs; folders of an upload are kept apart."""
    assert safe_name(name) == safe


@pytest.mark.parametrize("name", ["", "all", "..", "\n"])
async def test_a_name_that_cannot_be_is_refused(kit: Kit, name: str) -> None:
    """A file needs a name that it can be listed and deleted by."""
    ((_, outcome, reason),) = await kit.take((name, b"x"))
    assert outcome == "refused"
    assert "cannot be a document's name" in (reason or "")


@pytest.mark.parametrize("config", [{"chunk_size": 10}, {"chunk_overlap": 600}, {"batch": 0}])
def test_config_is_checked(config: dict[str, int]) -> None:
    """Sizes that cannot be are refused when the component is made."""
    with pytest.raises(ComponentError):
        DocumentIngest(None, None, **config)


class Page:
    """A reply of a web server."""

    def __init__(self, body: bytes = b"", status: int = 200, **headers: str) -> None:
        self.body, self.status, self.headers = body, status, headers

    def header(self, name: str) -> str | None:
        return self.headers.get(name.replace("-", "_"))

    async def chunks(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self.body), 1000):
            yield self.body[start : start + 1000]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...


class Site:
    """A client of one origin."""

    def __init__(self, **pages: Page | Exception) -> None:
        self.pages = pages

    async def stream(self, method: str, path: str, **_: Any) -> Page:
        page = self.pages[path.strip("/").replace("?", "_").replace("/", "_") or "root"]
        if isinstance(page, Exception):
            raise page
        return page


async def test_a_link_is_fetched_guarded_and_named_by_its_address(kit: Kit) -> None:
    """Only public addresses are asked, redirects are followed, each hop guarded."""
    kit.host.pages = {
        "https://example.org": Site(root=Page(status=301, location="https://www.example.org/a?b=1")),
        "https://www.example.org": Site(
            a_b=Page(b"<title>Kiwi</title><p>Kiwis are green.", content_type="text/html")
        ),
    }
    kit.host.pages["https://www.example.org"].pages = {
        "a_b=1": Page(b"<title>Kiwi</title><p>Kiwis are green.", content_type="text/html")
    }
    reply = await kit.documents.ingest(IngestRequest(links=["https://example.org/"]))
    assert [(f.name, f.outcome) for f in reply.files] == [("https://example.org/", "ingested")]
    assert all(call["public_only"] for call in kit.host.http_calls)
    (passage,) = await kit.find("kiwis")
    assert (passage.source, passage.title) == ("https://example.org/", "Kiwi")


@pytest.mark.parametrize(
    ("link", "page", "reason"),
    [
        ("file:///etc/passwd", None, "not a web address"), ("ftp://x/y", None, "not a web address"),
        ("http://user:pw@x/", None, "password"), ("http://[::1", None, "not a web address"),
        ("http://x/", Page(status=404), "the server answered 404"),
        ("http://x/", Page(status=302, location="http://x/"), "redirects more than 5 times"),
        ("http://x/", Page(status=302, location="file:///etc/passwd"), "not a web address"),
        ("http://x/", Page(status=302, location="http://["), "redirects to what is no web address"),
        ("http://x/", Page(b"x" * 30_000_000), "larger than 20,000,000 bytes"),
        ("http://x/", UnreachableError("10.0.0.1 is not a public address"), "not a public address"),
        ("http://x/", Page(b"\x00\x01", content_type="image/png"), "are not read; supported are"),
    ],
)  # fmt: skip
async def test_a_link_that_cannot_be_had_is_refused(kit: Kit, link: str, page: Any, reason: str) -> None:
    """Whatever is wrong with a link is its outcome."""
    kit.host.pages = {"http://x": Site(root=page)}
    reply = await kit.documents.ingest(IngestRequest(links=[link]))
    assert reply.files[0].outcome == "refused"
    assert reason in (reply.files[0].reason or "")

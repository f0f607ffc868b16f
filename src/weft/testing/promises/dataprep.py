"""What a dataprep service promises: section 8.8 of the specification. All of it happens in a collection made for it."""

from __future__ import annotations

import secrets
from typing import Final

from weft.contracts.dataprep import (
    CONTRACT,
    DeleteRequest,
    GetRequest,
    IndicesRequest,
    IngestRequest,
    IngestResponse,
)
from weft.errors import NotFoundError, RequestError
from weft.testing.promises.base import Broken, Family, Promises, Subject, expect
from weft.testing.promises.texts import PASSAGES, SCRIPTS
from weft.types import FileOutcome, Upload

DATAPREP: Final[Promises[Subject]] = Promises()

COLLECTION: Final = f"weft-conform-{secrets.token_hex(4)}"
"""One of this process's own: nobody else's documents are touched."""

ALL: Final = "all"


async def _empty(subject: Subject) -> None:
    await subject.call(DeleteRequest(ALL, COLLECTION), "delete")


def _file(name: str, text: str = PASSAGES[0]) -> Upload:
    return Upload(name, text.encode(), "text/plain")


async def _ingest(subject: Subject, *files: Upload, replace: bool = False) -> list[FileOutcome]:
    request = IngestRequest(list(files), replace=replace, collection=COLLECTION)
    reply: IngestResponse = await subject.ask(request, "ingest")
    return reply.files


async def _names(subject: Subject) -> list[str]:
    files = (await subject.ask(GetRequest(COLLECTION), "get")).files
    return sorted(file.name for file in files)


def _outcomes(files: list[FileOutcome]) -> list[tuple[str, str]]:
    return [(file.name, file.outcome) for file in files]


@DATAPREP("8.8.1")
async def files_go_in_and_are_listed(subject: Subject) -> None:
    """`ingest` must return when every file has ended, with one outcome for each, in order; a file that went in must be
    listed by its name."""
    await _empty(subject)
    files = await _ingest(subject, _file("a.txt"), _file("Grüße 橋.txt", SCRIPTS[0]))
    expected = [("a.txt", "ingested"), ("Grüße 橋.txt", "ingested")]
    expect(_outcomes(files) == expected, f"outcomes {_outcomes(files)}")
    expect(await _names(subject) == ["Grüße 橋.txt", "a.txt"], f"listed are {await _names(subject)}")


@DATAPREP("8.8.2")
async def the_same_file_is_unchanged(subject: Subject) -> None:
    """A file that is in with the same content must be `unchanged`; one of the same name with other content must be
    `refused`, or replace it where `replace` is true."""
    await _empty(subject)
    await _ingest(subject, _file("a.txt"))
    again = _outcomes(await _ingest(subject, _file("a.txt")))
    expect(again == [("a.txt", "unchanged")], f"again: {again}")
    other = _outcomes(await _ingest(subject, _file("a.txt", PASSAGES[1])))
    expect(other == [("a.txt", "refused")], f"other content: {other}")
    replaced = _outcomes(await _ingest(subject, _file("a.txt", PASSAGES[1]), replace=True))
    expect(replaced == [("a.txt", "ingested")], f"replaced: {replaced}")
    expect(await _names(subject) == ["a.txt"], f"listed are {await _names(subject)}")


@DATAPREP("8.8.3")
async def one_bad_file_spoils_no_other(subject: Subject) -> None:
    """A file that cannot be read must be `refused` with a reason that a person can act on, and must not keep others out."""
    await _empty(subject)
    broken = Upload("broken.pdf", b"%PDF-1.7\nthis is no PDF", "application/pdf")
    files = await _ingest(subject, broken, _file("a.txt"))
    expected = [("broken.pdf", "refused"), ("a.txt", "ingested")]
    expect(_outcomes(files) == expected, f"outcomes {_outcomes(files)}")
    expect(files[0].reason, "the refused file has no reason")
    expect(await _names(subject) == ["a.txt"], f"listed are {await _names(subject)}")


@DATAPREP("8.8.4")
async def what_is_deleted_is_gone(subject: Subject) -> None:
    """`delete` must take a file away, and must answer 404 for one that is not there."""
    await _empty(subject)
    await _ingest(subject, _file("a.txt"), _file("b.txt", PASSAGES[1]))
    await subject.ask(DeleteRequest("a.txt", COLLECTION), "delete")
    expect(await _names(subject) == ["b.txt"], f"listed are {await _names(subject)}")
    try:
        await subject.call(DeleteRequest("a.txt", COLLECTION), "delete")
    except NotFoundError:
        return
    except RequestError as error:
        raise Broken(f"{error.status} {error.code}: {error}") from error
    raise Broken("it was deleted twice")


@DATAPREP("8.8.5")
async def collections_are_named(subject: Subject) -> None:
    """`indices` must name the collections that have documents."""
    await _empty(subject)
    await _ingest(subject, _file("a.txt"))
    names = (await subject.ask(IndicesRequest(), "indices")).indices
    expect(COLLECTION in names, f"collections {names}")


@DATAPREP("8.8.6")
async def nothing_is_refused(subject: Subject) -> None:
    """A request with neither files nor links must be refused."""
    await subject.refuses(IngestRequest(collection=COLLECTION), "ingest")


@DATAPREP("8.8.7")
async def names_lead_nowhere(subject: Subject) -> None:
    """A file's name must not lead out of the collection: `../../x.txt` and `/etc/x.txt` go in by a plain name, or are
    refused."""
    await _empty(subject)
    files = await _ingest(subject, _file("../../x.txt"), _file("/etc/y.txt", PASSAGES[1]))
    for name in [file.name for file in files if file.outcome == "ingested"] + await _names(subject):
        expect(not name.startswith("/") and ".." not in name.split("/"), f"a file went in as {name!r}")


def _samples() -> list[IngestRequest]:
    return [
        IngestRequest([_file(f"sample-{number}.txt", text)], collection=COLLECTION)
        for number, text in enumerate(PASSAGES[:4])
    ]


FAMILY: Final = Family(CONTRACT, DATAPREP, samples=_samples, open=_empty, close=_empty)

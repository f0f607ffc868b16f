"""Which documents there are, and which of them a person means."""
# ruff: noqa: SIM905 - a list of words reads as words

from __future__ import annotations

import asyncio
import difflib
import re
from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct

from weft.components.rag.inert import for_people
from weft.contracts.store import ListRequest, ReadRequest, Store, StoredFile
from weft.text import fold, stem, words
from weft.types import Document, Message

MAX_TITLES: Final = 300
"""Documents whose titles are looked up; of a larger collection the names have to do."""

AT_ONCE: Final = 16
"""Reads of a store under way at a time."""

CLOSE: Final = 0.8
"""How alike two words must be to be taken for a slip of the finger (``handbok``)."""

ALIKE: Final = 0.6
"""How alike a name must be to be offered in the place of one that there is not."""

MAX_NAME: Final = 100
"""Characters of a name that are printed."""

MAX_OPENING: Final = 80
"""Characters of a first line that is taken for a title."""

_EXTENSION: Final = re.compile(r"\.[a-z0-9]{1,5}$", re.IGNORECASE)
_GENERIC: Final = frozenset(
    "the a an my our your this that these those it its document documents doc docs file files called named titled entitled "
    "of in from about on please one whole entire full content contents text pdf docx pptx xlsx md txt csv html and".split()
)
"""Words that say that a document is meant, and not which."""
_DEICTIC: Final = frozenset(
    "it this that these those them they both all two one same document documents doc docs file files text pdf pdfs the my "
    "our your of".split()
)
_LATEST: Final = frozenset("new newer newest current latest present recent updated actual other".split())
"""Words by which one of several documents is told from the one that was named with it."""


class Known(Struct, frozen=True):
    """A document that is in.

    Attributes:
        name: What it is listed and read under.
        title: What a person calls it.
        passages: How many the caller may read.
        opening: Its first line, which is a title too where it is short.
    """

    name: str
    title: str
    passages: int
    pages: int | None = None
    opening: str = ""

    @property
    def label(self) -> str:
        """What it is called in replies: its name, and its title where that is another."""
        title = plain(self.title)
        name = plain(self.name)
        same = not title or fold(title) in (fold(name), fold(_EXTENSION.sub("", name)))
        return name if same else f"{name} ({title})"


def collection_name(name: str) -> str:
    """The collection as stores call it: the one without a name is shown to people as ``default``."""
    return "" if name == "default" else name


async def known(store: Store, collection: str) -> list[Known]:
    """The documents of a collection of which the caller may read something, by name."""
    collection = collection_name(collection)
    files = (await store.list(ListRequest(collection))).files
    gate = asyncio.Semaphore(AT_ONCE)

    async def look(file: StoredFile) -> Known:
        async with gate:
            reply = await store.read(ReadRequest(file.name, limit=1, collection=collection))
        first = reply.documents[0] if reply.documents else Document("")
        pages = _number(file.metadata.get("pages")) or _number(first.metadata.get("pages"))
        opening = first.text.strip().partition("\n")[0].strip("# ")
        return Known(
            file.name, first.title or "", reply.total, pages, opening if len(opening) <= MAX_OPENING else ""
        )

    looked = await asyncio.gather(*(look(file) for file in files[:MAX_TITLES]))
    found = [document for document in looked if document.passages]
    return found + [Known(file.name, "", file.chunks) for file in files[MAX_TITLES:]]


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def meant(subject: str, documents: Sequence[Known]) -> list[Known]:
    """The documents that a person may mean by ``subject``: one, several that fit alike, or none."""
    asked = _parts(subject)
    if not asked:
        return []
    if exact := exactly(subject, documents):
        return exact
    for alike in (False, True):
        fitting = [d for d in documents if _has_all(asked, d, alike=alike)]
        if fitting:
            return fitting
    return []


def exactly(subject: str, documents: Sequence[Known]) -> list[Known]:
    """The documents whose whole name or title ``subject`` is, but for words like *the* and *document*."""
    asked = _parts(subject)
    return [d for d in documents if asked and asked in (_parts(d.name), _parts(d.title))]


def other(subject: str, documents: Sequence[Known], named: Sequence[Known]) -> list[Known]:
    """The documents that fit ``the new handbook`` or ``the other one`` beside those that are named already."""
    asked = [word for word in _parts(subject) if word not in _LATEST]
    return [
        d
        for d in documents
        if d not in named and all(word in {*_parts(d.name), *_parts(d.title)} for word in asked)
    ]


def nearest(subject: str, documents: Sequence[Known], *, count: int = 3) -> list[Known]:
    """The documents whose names are nearest to ``subject``, for a question back."""
    asked = _parts(subject)

    def likeness(document: Known) -> float:
        names = (_parts(document.name), _parts(document.title))
        like = max(difflib.SequenceMatcher(None, " ".join(asked), " ".join(name)).ratio() for name in names)
        shares = any(word in name for word in asked for name in names)
        return max(like, ALIKE) if shares else like

    ranked = sorted(((likeness(d), d) for d in documents[:MAX_TITLES]), key=lambda pair: -pair[0])
    return [document for score, document in ranked[:count] if score >= ALIKE]


def is_deictic(subject: str) -> bool:
    """Whether a subject only points: ``it``, ``this document``, ``both files``."""
    return all(word in _DEICTIC for word in words(subject))


def mentioned(messages: Sequence[Message], documents: Sequence[Known]) -> list[Known]:
    """The documents that were spoken of, the latest first."""
    found: list[Known] = []
    for message in reversed(messages):
        if message.role not in ("user", "assistant"):
            continue
        text = fold(message.text())
        here = []
        for document in documents:
            places = [
                text.rfind(fold(name))
                for name in (document.name, _EXTENSION.sub("", document.name), document.title)
                if len(name) >= 3
            ]
            if (last := max(places, default=-1)) >= 0:
                here.append((last, document))
        here.sort(key=lambda pair: -pair[0])
        found += [document for _, document in here if document not in found]
    return found


def plain(name: str) -> str:
    """A name as it may stand in a line of a reply: one line, bounded, without what is not seen or turns text round."""
    shown = for_people(name)
    return shown if len(shown) <= MAX_NAME else shown[: MAX_NAME - 1].rstrip() + "\N{HORIZONTAL ELLIPSIS}"


def counted(number: int, what: str) -> str:
    """``1 passage``, ``2 passages``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _parts(name: str) -> tuple[str, ...]:
    """The telling words of a name, as stems."""
    cut = re.sub(r"[_\-./\\]+", " ", _EXTENSION.sub("", name))
    cut = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", cut)
    found = words(cut)
    return tuple(stem(word) for word in found if word not in _GENERIC)


def _has_all(asked: Sequence[str], document: Known, *, alike: bool) -> bool:
    have = {*_parts(document.name), *_parts(document.title), *_parts(document.opening)}
    if alike:
        return all(word in have or difflib.get_close_matches(word, have, 1, CLOSE) for word in asked)
    return all(word in have for word in asked)

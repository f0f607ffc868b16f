"""EPUB books to blocks: the chapters in reading order, each as the web page that it is."""

from __future__ import annotations

import io
from pathlib import PurePosixPath
from typing import Any, Final
from urllib.parse import unquote

from weft.components.dataprep.blocks import Parsed, RefusedError
from weft.components.dataprep.html import parse_html
from weft.components.dataprep.package import Package
from weft.components.dataprep.xml import attribute, check_prolog, child, local, part

MAX_PARTS: Final = 20_000
MAX_EXPANDED: Final = 500_000_000
MAX_CHAPTER: Final = 50_000_000

_FONTS: Final = frozenset({"http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC"})
"""What publishers call encryption of fonts; the text is free."""

_PAGES: Final = frozenset({"application/xhtml+xml", "text/html", "application/x-dtbook+xml"})


def parse_epub(content: bytes) -> Parsed:
    """The text of a book's chapters.

    Raises:
        RefusedError: Protected (DRM), broken or hostile.
    """
    if not content.startswith(b"PK"):
        raise RefusedError("it is called .epub but does not begin like one")
    package = Package(io.BytesIO(content), max_files=MAX_PARTS, max_bytes=MAX_EXPANDED)
    _check_protection(package)
    roots = child(part(package, "META-INF/container.xml"), "rootfiles", "rootfile")
    name = attribute(roots, "full-path") if roots is not None else None
    if not name:
        raise RefusedError("it is broken: it does not say what is in it")
    book = part(package, name)
    metadata = child(book, "metadata")
    title = child(metadata, "title") if metadata is not None else None
    parsed = Parsed([], " ".join((title.text or "").split())[:500] or None if title is not None else None)
    for chapter in _chapters(book, PurePosixPath(name).parent):
        if chapter not in package:
            parsed.left_out.append(f"the chapter '{chapter[:100]}' is not in the file")
            continue
        parsed.blocks += parse_html(_text(package, chapter)).blocks
    return parsed


def _check_protection(package: Package) -> None:
    if "META-INF/encryption.xml" not in package:
        return
    for element in part(package, "META-INF/encryption.xml").iter():
        if local(element) == "EncryptionMethod" and attribute(element, "Algorithm") not in _FONTS:
            raise RefusedError("it is protected against reading (DRM); only its seller's programs open it")


def _chapters(book: Any, folder: PurePosixPath) -> list[str]:
    """Paths of the chapters in reading order."""
    items: dict[str, str] = {}
    manifest, spine = child(book, "manifest"), child(book, "spine")
    for item in manifest if manifest is not None else []:
        if attribute(item, "media-type") in _PAGES:
            items[attribute(item, "id") or ""] = unquote(attribute(item, "href") or "").partition("#")[0]
    order = [attribute(entry, "idref") or "" for entry in (spine if spine is not None else [])]
    prefix = "" if str(folder) == "." else f"{folder}/"
    return list(dict.fromkeys(_plain(prefix + items[key]) for key in order if key in items))


def _plain(path: str) -> str:
    parts: list[str] = []
    for step in path.split("/"):
        if step == "..":
            parts = parts[:-1]
        elif step not in ("", "."):
            parts.append(step)
    return "/".join(parts)


def _text(package: Package, name: str) -> str:
    data = package.read(name)
    if len(data) > MAX_CHAPTER:
        raise RefusedError(
            f"its chapter '{name[:100]}' has {len(data):,} bytes; at most {MAX_CHAPTER:,} are read"
        )
    check_prolog(iter([data]))
    try:
        return data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")

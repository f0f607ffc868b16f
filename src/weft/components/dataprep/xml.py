"""XML that strangers made: nothing is fetched, no entity is expanded, depth and size are bounded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, Final

from lxml import etree

from weft.components.dataprep.blocks import RefusedError
from weft.components.dataprep.package import Package

MAX_PART: Final = 100_000_000
"""Bytes of one XML part: as a tree it takes several times that."""

_PROLOG: Final = 1_000_000
"""Bytes before the first element; a longer beginning is none."""

_ENTITIES: Final = "its XML declares entities of its own, as attacks do (XXE, billion laughs); it is not read"

_SAFE: Final[dict[str, Any]] = {
    "resolve_entities": False, "no_network": True, "load_dtd": False, "dtd_validation": False, "huge_tree": False,
    "remove_comments": True, "remove_pis": True,
}  # fmt: skip


def parse_xml(data: bytes) -> Any:
    """The root element.

    Raises:
        RefusedError: It is no XML, declares entities, or is nested beyond what the parser follows (256 levels).
    """
    if len(data) > MAX_PART:
        raise RefusedError(f"a part of it has {len(data):,} bytes of XML; at most {MAX_PART:,} are read")
    check_prolog(iter([data]))
    try:
        return etree.fromstring(data, etree.XMLParser(**_SAFE))
    except etree.XMLSyntaxError as error:
        raise RefusedError(_said(error)) from error


def check_prolog(pieces: Iterator[bytes]) -> None:
    """Refuse a document type with declarations of its own: that is where entities come from.

    Only what stands before the first element is read.

    Raises:
        RefusedError: It has one, or does not begin like XML.
    """
    parser = etree.XMLPullParser(events=("start",), **_SAFE)
    seen = 0
    try:
        for piece in pieces:
            # Not all at once: an entity bomb behind the prolog is not even looked at.
            for at in range(0, len(piece), 4096):
                parser.feed(piece[at : at + 4096])
                seen += 4096
                for _, element in parser.read_events():
                    _check_type(element.getroottree().docinfo)
                    return
                if seen > _PROLOG:
                    raise RefusedError("it is broken: its XML has no element")
        parser.close()
    except etree.XMLSyntaxError as error:
        raise RefusedError(_said(error)) from error


def _check_type(info: Any) -> None:
    declared = info.internalDTD
    if declared is not None and next(declared.iterentities(), None) is not None:
        raise RefusedError(_ENTITIES)


def _said(error: etree.XMLSyntaxError) -> str:
    """What is wrong with XML, in words for its owner."""
    said = str(error).splitlines()[0][:200] if str(error) else "its XML is none"
    if "entity" in said.lower() and "amplification" in said:
        return _ENTITIES
    if "Excessive depth" in said:
        return "its XML is nested more than 256 levels deep"
    return f"it is broken: {said}"


def part(package: Package, name: str) -> Any:
    """The root element of a part of an Office file or a book.

    Raises:
        RefusedError: There is none, or it cannot be read.
    """
    return parse_xml(package.read(name))


def check_parts(package: Package) -> None:
    """Refuse an Office file with entities in any of its XML: the format has none.

    Raises:
        RefusedError: A part has them, or is too large.
    """
    for entry in package.entries:
        if not entry.filename.lower().endswith((".xml", ".rels", ".vml", ".svg")):
            continue
        if entry.file_size > MAX_PART:
            raise RefusedError(
                f"its part '{entry.filename[:100]}' has {entry.file_size:,} bytes of XML; at most {MAX_PART:,} are read"
            )
        check_prolog(package.pieces(entry))


def local(element: Any) -> str:
    """An element's name without its namespace: transitional and strict Office files differ in those alone."""
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def attribute(element: Any, name: str) -> str | None:
    """An attribute by its name without its namespace."""
    for key, value in element.attrib.items():
        if key.rpartition("}")[2] == name:
            return str(value)
    return None


def child(element: Any, *path: str) -> Any | None:
    """The first descendant along the names, or None."""
    for name in path:
        element = next((found for found in element if local(found) == name), None)
        if element is None:
            return None
    return element


def relations(package: Package, name: str) -> dict[str, tuple[str, str]]:
    """What a part refers to: kind (the last word of its type) and path, by id. What is outside the file is left out.

    Raises:
        RefusedError: The list is broken.
    """
    path = PurePosixPath(name)
    listed = str(path.parent / "_rels" / f"{path.name}.rels").removeprefix("./")
    if listed not in package:
        return {}
    found: dict[str, tuple[str, str]] = {}
    for element in part(package, listed):
        target, kind = attribute(element, "Target") or "", attribute(element, "Type") or ""
        if attribute(element, "TargetMode") == "External" or not target:
            continue  # never fetched
        found[attribute(element, "Id") or ""] = (kind.rpartition("/")[2], _resolved(path.parent, target))
    return found


def _resolved(folder: PurePosixPath, target: str) -> str:
    if target.startswith("/"):
        return target.lstrip("/")
    parts: list[str] = [] if str(folder) == "." else list(folder.parts)
    for step in target.split("/"):
        if step == "..":
            parts = parts[:-1]
        elif step not in ("", "."):
            parts.append(step)
    return "/".join(parts)

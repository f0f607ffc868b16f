"""Office files (docx, pptx, xlsx): what they are, and what holds for all of them.

Macros are never run and not read; what a file refers to outside itself is never fetched.
"""

from __future__ import annotations

import io
from typing import Final

from weft.components.dataprep.blocks import Parsed, RefusedError
from weft.components.dataprep.kinds import OLD
from weft.components.dataprep.package import Package
from weft.components.dataprep.xml import attribute, check_parts, child, local, part, relations

MAX_PARTS: Final = 20_000
MAX_EXPANDED: Final = 500_000_000
"""Bytes; most of a large file are its pictures, which are not expanded."""

KINDS: Final = {"docx": "word", "pptx": "ppt", "xlsx": "xl"}
"""The folder of each kind's main part."""


def open_office(content: bytes, kind: str) -> tuple[Package, str, Parsed]:
    """An Office file that has been looked through: its parts, the main one's name, and a document without blocks.

    Raises:
        RefusedError: It is none of this kind, protected, broken or hostile.
    """
    if content.startswith(OLD):
        raise RefusedError(
            "it is protected with a password, or of an Office before 2007;"
            f" save it as .{kind} without a password and upload it again"
        )
    if not content.startswith(b"PK"):
        raise RefusedError(f"it is called .{kind} but does not begin like one")
    package = Package(io.BytesIO(content), max_files=MAX_PARTS, max_bytes=MAX_EXPANDED)
    check_parts(package)
    mains = [path for kind_, path in relations(package, "").values() if kind_ == "officeDocument"]
    if not mains:
        raise RefusedError(f"it is called .{kind} but has no document in it")
    if mains[0].partition("/")[0] != KINDS[kind]:
        found = next((name for name, folder in KINDS.items() if mains[0].startswith(folder + "/")), None)
        raise RefusedError(
            f"it is called .{kind} but is {f'a .{found}' if found else 'something else'}; rename it"
        )
    parsed = Parsed([], _title(package))
    if any(entry.filename.lower().endswith("vbaproject.bin") for entry in package.entries):
        parsed.notes.append("its macros were neither read nor run")
    return package, mains[0], parsed


def _title(package: Package) -> str | None:
    if "docProps/core.xml" not in package:
        return None
    title = child(part(package, "docProps/core.xml"), "title")
    words = " ".join((title.text or "").split()) if title is not None else ""
    return words[:500] or None


def is_on(element: object, name: str) -> bool:
    """Whether a switch (``<w:b/>``, ``<w:b w:val="0"/>``) is there and on."""
    found = child(element, name)
    return found is not None and attribute(found, "val") not in ("0", "false", "off")


__all__ = ["Package", "attribute", "child", "is_on", "local", "open_office", "part", "relations"]

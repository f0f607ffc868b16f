"""YAML files -> Spec, and everything that is wrong with them at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from weft.errors import did_you_mean
from weft.spec import keys
from weft.spec.checks import CHECKS, check_placement
from weft.spec.gateway import KINDS, Document, GatewaySpec
from weft.spec.model import (
    API_VERSION,
    DefaultPlace,
    Marks,
    MegaserviceSpec,
    Place,
    PlacementSpec,
    ServiceSpec,
    ServicesSpec,
    Spec,
)
from weft.spec.problems import Mark, Problems, split_lines
from weft.spec.reader import Reader, kind
from weft.spec.tree import MAX_CHARACTERS, Node, Scalar, compose
from weft.spec.tree import Mapping as MappingNode

_HEADER = frozenset({"apiVersion", "kind"})
_WHAT = {
    "Services": "a Services document",
    "Megaservice": "a megaservice",
    "Placement": "a placement",
    "Gateway": "a gateway",
}


def load(*paths: str | PathLike[str]) -> Spec:
    """Read a spec from files: what they declare is one spec, whichever file it stands in.

    Raises:
        SpecError: Something is wrong; it carries every problem that can be seen without the registry.
    """
    problems = Problems()
    spec = read(texts(paths, problems), problems)
    problems.raise_if_any()
    return spec


def loads(text: str, file: str = "<string>") -> Spec:
    """Read a spec from a string; ``file`` is what problems call it.

    Raises:
        SpecError: Something is wrong.
    """
    problems = Problems()
    spec = read({file: text}, problems)
    problems.raise_if_any()
    return spec


def read(sources: Mapping[str, str], problems: Problems) -> Spec:
    """Read as much of a spec as there is, for checks that go on although something is wrong.

    What is wrong is in ``problems`` and named in ``marks.faulty`` of its object, whose field has its default.

    Args:
        sources: File name to text.
        problems: Takes the problems, and the texts to show them with.
    """
    merger = _Merger(problems)
    for file, text in sources.items():
        clean = text.removeprefix("\ufeff")
        problems.sources[file] = clean
        for document in load_documents(clean, file, problems):
            merger.take(document)
    return merger.finish()


def load_documents(text: str, file: str, problems: Problems) -> list[Document]:
    """The documents of one file, each by itself, in order; those of an unknown kind are left out."""
    faults = len(problems)
    nodes = compose(text, file, problems)
    nodes = [
        node for node in nodes if not (isinstance(node, Scalar) and not node.text and not node.is_quoted)
    ]
    if not nodes and len(problems) == faults:
        problems.add(
            "empty-file",
            "there is nothing in this file",
            Mark(file),
            help=f"begin with apiVersion: {API_VERSION}",
        )
    reader = Reader(problems, CHECKS)
    return [found for node in nodes if (found := _document(node, reader, problems)) is not None]


def _document(node: Node, reader: Reader, problems: Problems) -> Document | None:
    if not isinstance(node, MappingNode):
        problems.add("wrong-type", f"a document is a mapping of keys, and this is {kind(node)}", node.mark)
        return None
    first = node.entries[0][0].mark if node.entries else node.mark
    version = node.get("apiVersion")
    if version is None:
        problems.add(
            "missing-key", "the document needs the key 'apiVersion'", first, help=f"apiVersion: {API_VERSION}"
        )
    elif not isinstance(version, Scalar) or version.text != API_VERSION:
        problems.add("bad-value", f"this version of weft reads {API_VERSION}", version.mark)
    named = node.get("kind")
    if named is None:
        problems.add(
            "missing-key", "the document needs the key 'kind'", first, help=f"kinds: {', '.join(KINDS)}"
        )
        return None
    if not isinstance(named, Scalar):
        problems.add("wrong-type", f"'kind' is a word, and this is {kind(named)}", named.mark)
        return None
    if named.text not in KINDS:
        hint = did_you_mean(named.text, list(KINDS), what="kinds")
        problems.add("unknown-kind", f"there is no kind '{named.text}'", named.mark, help=hint)
        return None
    name = node.get("name")
    here = name.mark if named.text in ("Megaservice", "Gateway") and name is not None else named.mark
    made: Any = reader.block(node, keys.Block(KINDS[named.text], _WHAT[named.text]), here, also=_HEADER)
    assert isinstance(made, Document)
    return made


@dataclass(slots=True)
class _Merger:
    """Makes one spec out of documents; a name that is there already is a problem that cites both places."""

    problems: Problems
    services: dict[str, ServiceSpec] = field(default_factory=dict)
    exposed: dict[str, Mark] = field(default_factory=dict)
    megaservices: dict[str, MegaserviceSpec] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)
    placement: PlacementSpec | None = None
    default: DefaultPlace | None = None
    gateway: GatewaySpec | None = None

    def take(self, document: Document) -> None:
        match document:
            case ServicesSpec():
                for service in document.services.values():
                    self._name(self.services, service, "service")
                for index, name in enumerate(document.expose):
                    self.exposed.setdefault(name, document.marks.value("expose", index))
            case MegaserviceSpec():
                self._name(self.megaservices, document, "megaservice")
            case GatewaySpec():
                if self.gateway is not None:
                    self._twice(
                        "there is one gateway, and this is a second", document.marks, self.gateway.marks
                    )
                self.gateway = self.gateway or document
            case PlacementSpec():
                self.placement = self.placement or document
                for place in document.services.values():
                    self._name(self.places, place, "place of service")
                if (
                    document.default.marks.here.line
                ):  # it is written there, and not the default of the default
                    if self.default is not None:
                        self._twice(
                            "the default place is declared twice", document.default.marks, self.default.marks
                        )
                    self.default = self.default or document.default

    def _name(self, names: dict[str, Any], named: Any, what: str) -> None:
        if named.name in names and named.name:
            self._twice(f"the {what} '{named.name}' is declared twice", named.marks, names[named.name].marks)
        else:
            # One whose name is missing is kept under a name that nothing can refer to.
            names[named.name or f"<{len(names)}>"] = named

    def _twice(self, message: str, marks: Marks, first: Marks) -> None:
        self.problems.add("duplicate-name", message, marks.here, notes=[f"first declared at {first.here}"])

    def finish(self) -> Spec:
        placement = PlacementSpec(
            services=self.places,
            default=self.default or DefaultPlace(),
            marks=self.placement.marks if self.placement is not None else Marks(),
        )
        check_placement(placement, self.problems)
        return Spec(
            services=self.services,
            expose=tuple(self.exposed),
            megaservices=self.megaservices,
            placement=placement,
            gateway=self.gateway,
            expose_marks=tuple(self.exposed.values()),
            sources=self.problems.sources,
        )


def texts(paths: Sequence[str | PathLike[str]], problems: Problems) -> dict[str, str]:
    """The texts of files, by the names they were given with; what cannot be read is a problem."""
    found: dict[str, str] = {}
    for path in paths:
        file = fspath(path)
        problems.sources[file] = ""
        try:
            with Path(path).open("rb") as stream:
                # At most four bytes make one character: what is longer is too large, however it is encoded.
                raw = stream.read(4 * MAX_CHARACTERS + 1)
        except OSError as error:
            problems.add("unreadable-file", f"the file cannot be read: {error.strerror}", Mark(file))
            continue
        try:
            found[file] = raw.decode()
        except UnicodeDecodeError as error:
            before = raw[: error.start].decode()
            problems.sources[file] = raw.decode(errors="replace")
            lines = split_lines(before)
            mark = Mark(file, len(lines), len(lines[-1]) + 1, len(lines[-1]) + 2)
            problems.add(
                "unreadable-file", f"the file is not UTF-8 text: byte 0x{raw[error.start]:02x}", mark
            )
    return found

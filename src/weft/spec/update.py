"""A changed spec into the text that it came from: only what differs is written, comments stay."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from itertools import pairwise, takewhile
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml import events as ev
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import CommentMark
from ruamel.yaml.scalarstring import DoubleQuotedScalarString
from ruamel.yaml.tokens import CommentToken

from weft.errors import UsageError
from weft.spec.dump import emit
from weft.spec.gateway import Document, GatewaySpec
from weft.spec.load import load_documents, loads
from weft.spec.model import DefaultPlace, MegaserviceSpec, PlacementSpec, ServicesSpec, Spec
from weft.spec.plain import Quoted, documents, plain_document
from weft.spec.problems import Problems

_NO_FOLDING: Final = 1 << 20
"""Line width for ruamel.yaml: lines stay as long as their author made them."""


def update_yaml(text: str, spec: Spec) -> str:
    """Change ``text`` so that it loads as ``spec``.

    Documents that do not change keep every character; in those that do, comments and the order of keys stay, and
    spacing may be made regular. An unchanged spec gives back ``text`` itself.

    Args:
        text: A whole spec, in one or several documents.
        spec: What it shall say.

    Raises:
        SpecError: ``text`` does not load.
        UsageError: ``spec`` holds something that cannot be written.
    """
    if loads(text) == spec:
        return text
    chunks = list(_chunks(text))
    _distribute(spec, [chunk for chunk in chunks if chunk.old is not None])
    written = "".join(chunk.text() for chunk in chunks)
    declared = [chunk.new for chunk in chunks if chunk.new is not None]
    for document in documents(spec):
        if not any(_is_same_kind(document, other) for other in declared):
            written += (
                ("\n" if written and not written.endswith("\n") else "")
                + "---\n"
                + emit(plain_document(document))
            )
    written = written.removeprefix("---\n") if not text.startswith("---") else written
    if loads(written) != spec:
        raise UsageError(
            "the spec cannot be written into this text", hint="write it whole: weft.spec.dump.to_yaml(spec)"
        )
    return written


def _is_same_kind(one: Document, other: Document) -> bool:
    if isinstance(one, MegaserviceSpec) and isinstance(other, MegaserviceSpec):
        return one.name == other.name
    return type(one) is type(other)


@dataclass(slots=True)
class _Chunk:
    """The lines of one document."""

    header: str
    """Its ``---`` line, if it has one."""
    body: str
    old: Document | None
    new: Document | None = None
    """What it shall say; None drops it (where ``old`` is not None)."""

    def text(self) -> str:
        if self.old is None or self.old == self.new:
            return self.header + self.body
        if self.new is None:
            return ""
        yaml = _yaml()
        tree = yaml.load(self.body)
        _apply(tree, plain_document(self.old), plain_document(self.new))
        out = StringIO()
        yaml.dump(tree, out)
        return self.header + out.getvalue()


def _yaml() -> YAML:
    yaml = YAML(typ="rt")
    yaml.preserve_quotes = True
    yaml.width = _NO_FOLDING
    return yaml


def _chunks(text: str) -> Iterator[_Chunk]:
    """The text cut before each line that begins a document."""
    lines = text.removeprefix("\ufeff").splitlines(keepends=True)
    starts = [
        event.start_mark.line
        for event in YAML(typ="safe", pure=True).parse("".join(lines))
        if isinstance(event, ev.DocumentStartEvent) and event.explicit
    ]
    bounds = sorted({0, *starts, len(lines)})
    for begin, end in pairwise(bounds):
        header, body = "", "".join(lines[begin:end])
        if begin in starts:
            first = lines[begin][3:]
            if first.strip() and not first.lstrip().startswith("#"):
                header, body = "---\n", "   " + first + "".join(lines[begin + 1 : end])
            else:
                header, body = lines[begin], "".join(lines[begin + 1 : end])
        found = load_documents(body, "<text>", Problems())
        yield _Chunk(header, body, found[0] if found else None)


def _distribute(spec: Spec, chunks: list[_Chunk]) -> None:
    """Say of each chunk what it shall say: what it declares stays there, what is new goes to the last of its kind."""
    for chunk in chunks:
        if isinstance(chunk.old, MegaserviceSpec):
            chunk.new = spec.megaservices.get(chunk.old.name)
    _distribute_services(spec, [c for c in chunks if isinstance(c.old, ServicesSpec)])
    _distribute_places(spec.placement, [c for c in chunks if isinstance(c.old, PlacementSpec)])
    for chunk in chunks:
        if isinstance(chunk.old, GatewaySpec):
            chunk.new = spec.gateway


def _distribute_services(spec: Spec, chunks: list[_Chunk]) -> None:
    services, exposed = dict(spec.services), list(spec.expose)
    for index, chunk in enumerate(chunks):
        assert isinstance(chunk.old, ServicesSpec)
        is_last = index == len(chunks) - 1
        own = {name: services.pop(name) for name in chunk.old.services if name in services}
        # Lists of several documents follow each other, so each document keeps the front of what is left.
        here = set(exposed if is_last else chunk.old.expose)
        shown = list(takewhile(here.__contains__, exposed))
        own |= services if is_last else {}
        if own or shown or (is_last and not spec.megaservices):
            chunk.new = ServicesSpec(own, tuple(shown))


def _distribute_places(placement: PlacementSpec, chunks: list[_Chunk]) -> None:
    places = dict(placement.services)
    is_default_written = False
    for index, chunk in enumerate(chunks):
        assert isinstance(chunk.old, PlacementSpec)
        is_last = index == len(chunks) - 1
        own = {name: places.pop(name) for name in chunk.old.services if name in places} | (
            places if is_last else {}
        )
        default = DefaultPlace()
        if not is_default_written and (chunk.old.default.marks.here.line or is_last):
            default, is_default_written = placement.default, True
        chunk.new = PlacementSpec(own, default)


def _apply(tree: CommentedMap, old: dict[str, Any], new: dict[str, Any]) -> None:
    """Make the changes from ``old`` to ``new`` in ``tree``, which says what ``old`` does and may spell out defaults."""
    for key in [key for key in old if key not in new]:
        if key in tree:
            _delete(tree, key)
    for key, value in new.items():
        if key in old and _is_same(old[key], value):
            continue
        inner = tree.get(key)
        # An anchored value may stand elsewhere too: it is replaced here and not changed there.
        is_own = isinstance(inner, CommentedMap) and inner.yaml_anchor() is None
        if is_own and isinstance(value, dict) and isinstance(old.get(key), dict):
            _apply(inner, old[key], value)
        elif _is_same_length(inner, old.get(key), value):
            _apply_items(inner, old[key], value)
        elif inner is not None and (tail := _tail(inner)):
            tree[key] = _node(value)
            _append(tree, key, tail)
        else:
            tree[key] = _node(value)


def _is_same_length(tree: Any, old: Any, new: Any) -> bool:
    """Whether only items of a list may have changed, none of them come or gone: then each stays where it is."""
    return (
        isinstance(tree, CommentedSeq)
        and tree.yaml_anchor() is None
        and isinstance(old, list)
        and isinstance(new, list)
        and len(tree) == len(old) == len(new)
    )


def _apply_items(tree: CommentedSeq, old: list[Any], new: list[Any]) -> None:
    """Make the changes from ``old`` to ``new`` in a list, item by item."""
    for index, value in enumerate(new):
        if _is_same(old[index], value):
            continue
        inner = tree[index]
        is_own = isinstance(inner, CommentedMap) and inner.yaml_anchor() is None
        if is_own and isinstance(value, dict) and isinstance(old[index], dict):
            _apply(inner, old[index], value)
        elif _is_same_length(inner, old[index], value):
            _apply_items(inner, old[index], value)
        else:
            tree[index] = _node(value)


def _is_same(old: Any, new: Any) -> bool:
    if isinstance(old, dict) and isinstance(new, dict):
        return old.keys() == new.keys() and all(_is_same(old[key], new[key]) for key in old)
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(_is_same, old, new))
    return bool(old == new) and isinstance(old, bool) == isinstance(new, bool)


def _node(value: Any) -> Any:
    """A new value as ruamel.yaml writes it; collections on one line."""
    if isinstance(value, Quoted):
        return DoubleQuotedScalarString(value)
    if isinstance(value, dict):
        mapping = CommentedMap({key: _node(item) for key, item in value.items()})
        mapping.fa.set_flow_style()
        return mapping
    if isinstance(value, list):
        sequence = CommentedSeq([_node(item) for item in value])
        sequence.fa.set_flow_style()
        return sequence
    return value


# ruamel.yaml keeps the comment lines before a key with whatever comes before them, however deep that is. So when a
# value goes, its last comment may belong to the key after it, and has to be moved.


def _last_comment(tree: Any) -> CommentToken | None:
    """The comment after the end of a collection, where it is kept on the last value inside."""
    if not isinstance(tree, CommentedMap | CommentedSeq) or not tree or tree.fa.flow_style():
        return None
    last = next(reversed(tree)) if isinstance(tree, CommentedMap) else len(tree) - 1
    inner = _last_comment(tree[last])
    return inner if inner is not None else _comment_at(tree, last)


def _comment_at(tree: CommentedMap | CommentedSeq, key: Any) -> CommentToken | None:
    slots = tree.ca.items.get(key)
    found = slots[2 if isinstance(tree, CommentedMap) else 0] if slots else None
    return found if isinstance(found, CommentToken) else None


def _lines_below(token: CommentToken | None) -> str:
    """What of a comment stands on lines of its own."""
    return token.value.partition("\n")[2] if token is not None else ""


def _tail(value: Any) -> str:
    """The comment lines that follow a value and are kept inside it."""
    return _lines_below(_last_comment(value))


def _delete(tree: CommentedMap, key: str) -> None:
    """Delete a key, and leave the comment lines after it to what is before it."""
    below = _tail(tree[key]) or _lines_below(_comment_at(tree, key))
    names = list(tree)
    position = names.index(key)
    before = names[position - 1] if position else None
    del tree[key]
    tree.ca.items.pop(key, None)
    if not below:
        return
    if before is not None:
        _append(tree, before, below)
    elif len(tree):
        tree.yaml_set_comment_before_after_key(names[1], before=below.strip("\n").replace("# ", ""))


def _append(tree: CommentedMap, key: str, below: str) -> None:
    """Put comment lines below a key's value."""
    token = _last_comment(tree[key]) or _comment_at(tree, key)
    if token is not None:
        token.value = token.value.rstrip("\n") + "\n" + below
    else:
        tree.ca.items[key] = [None, None, CommentToken("\n" + below, CommentMark(0), None), None]

"""The shapes of ``behaviour/shapes/*.yaml``: graphs with what they answer and what their components are asked.

A shape is one document:

``main``, ``inner``, ``services``
    The spec: the megaservice, the ones nested in it, the shared services.
``request``
    ``{text: hi}`` unless it says otherwise.
``output`` or ``error``
    The text of the response (and ``response``: fields of it), or what the error must say.
``calls``
    What the components are asked, in order; a list in it may come in any order.
``ended``, ``peak``, ``usage``
    Calls that were cancelled or failed, how many ran at once, prompt and completion tokens of the whole graph.
``advance``, ``cancel``
    After these calls the clock goes on, or the caller goes away.
``late``
    Some calls may come after the reply.
``streamed``
    The graph streams; in it, what is different then. ``before``: the text that came before the error.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

HEAD = {"apiVersion": "weft/v1"}

Shape = dict[str, Any]


def shapes() -> Iterator[Shape]:
    """All shapes, in the order of the files."""
    for path in sorted((Path(__file__).parent / "behaviour" / "shapes").glob("*.yaml")):
        yield from (shape for shape in YAML(typ="safe").load_all(path) if shape)


SHAPES = list(shapes())


def spec_of(shape: Shape) -> str:
    """A shape's spec as YAML (which JSON is)."""
    documents: list[Shape] = []
    if "services" in shape:
        documents.append({"kind": "Services", "services": shape["services"]})
    documents += [
        {"kind": "Megaservice", "name": name, "contract": "say", **spec}
        for name, spec in (shape.get("inner", {}) | {"main": shape["main"]}).items()
    ]
    return "\n---\n".join(json.dumps(HEAD | document) for document in documents)

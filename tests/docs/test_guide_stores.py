"""The guide to stores: its specs load, and its file of documents is one that can be read."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from weft.cli.documents_file import read
from weft.components.store.pg_mapped import TableMap
from weft.components.store.qdrant_mapped import CollectionMap
from weft.plan import check
from weft.registry.components import Components
from weft.spec.load import load

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "stores.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("number", range(len(blocks("yaml"))))
def test_the_specs_load(number: int, tmp_path: Path) -> None:
    """Each store's config is one that its component takes, those that are commented out as well."""
    text = blocks("yaml")[number]
    alternatives = re.findall(r"# or: +(\{.*\})", text)
    texts = [text, *(re.sub(r"store: \{.*", f"store: {other}", text) for other in alternatives)]
    assert len(texts) == (3 if number == 0 else 1)
    for one in texts:
        (tmp_path / "spec.yaml").write_text(one)
        check(load(str(tmp_path / "spec.yaml")), Components())


@pytest.mark.parametrize(("component", "map_"), [("pgvector", TableMap), ("qdrant", CollectionMap)])
def test_every_field_of_a_map_is_described(component: str, map_: type) -> None:
    """Each stands in the table of its component, and nothing else does."""
    (table,) = re.findall(
        rf"\| `map` of `{component}` \| \|\n(.*?)\n\n", GUIDE.read_text(encoding="utf-8"), re.DOTALL
    )
    described = set(re.findall(r"`([a-z]+)`", table)) - {"jsonb", "tsvector", "simple"}
    assert described == set(map_.__struct_fields__)


def test_the_file_of_documents_is_one() -> None:
    """What is shown of the file can be read."""
    (text,) = blocks("json")
    kinds = [type(line).__name__ for line in read(io.BytesIO(text.encode()), "guide")]
    assert kinds == ["CollectionLine", "PassageLine", "FileLine", "EndLine"]

"""Every key of a Gateway file is read, written again the same, and known to the JSON Schema for editors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from weft.spec.dump import to_yaml
from weft.spec.gateway import GatewaySpec
from weft.spec.keys import Block, Items, Table, keys_of
from weft.spec.load import load, loads
from weft.spec.schema import json_schema

FILE = Path(__file__).parent / "good" / "gateway.yaml"


def unused(block: type[Any], written: list[Any], path: str = "") -> list[str]:
    """The keys that none of these mappings has, of those below as well."""
    missing: list[str] = []
    for key in keys_of(block).values():
        values = [one[key.name] for one in written if key.name in one]
        name = f"{path}.{key.name}"
        shape = key.shape
        if not values:
            missing.append(name)
            continue
        if isinstance(shape, Items):
            values, shape = [item for value in values for item in value], shape.item
        if isinstance(shape, Table):
            values, shape = [item for value in values for item in value.values()], shape.value
        if isinstance(shape, Block):
            missing += unused(shape.type, values, name)
    return missing


@pytest.fixture
def plain() -> Any:
    return YAML(typ="safe").load(FILE.read_text(encoding="utf-8"))


def test_every_key_is_tried(plain: Any) -> None:
    """The file has each key somewhere: whoever adds one adds it here. Where two keys take the same, one of them will do."""
    missing = unused(GatewaySpec, [plain])
    missing = [name for name in missing if not name.startswith((".routes.response.", ".limits."))]
    assert not missing, ", ".join(missing)


def test_what_is_read_is_written_the_same() -> None:
    """Loaded, written, and loaded again."""
    spec = load(str(FILE))
    assert spec.gateway is not None
    assert loads(to_yaml(spec), "again.yaml") == spec


def test_editors_know_every_key(plain: Any) -> None:
    """The JSON Schema takes the file, and refuses a key that there is not."""
    schema = json_schema()
    text = {**plain, "routes": [dict(route) for route in plain["routes"]]}
    for version in text["routes"][0]["versions"]:
        version.update({day: str(version[day]) for day in ("deprecated", "sunset") if day in version})
    jsonschema.validate(text, schema)
    text["routes"][0]["megaservise"] = "x"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(text, schema)

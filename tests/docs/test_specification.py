"""``docs/spec/microservice.md`` and the checks of ``weft.testing`` say the same."""

from __future__ import annotations

import re
from pathlib import Path

from weft.registry.components import Components
from weft.testing.conform import FAMILIES
from weft.testing.promises.base import SPECIFICATION, Promise
from weft.testing.promises.every import EVERY
from weft.testing.wire.exchanges import EXCHANGES, stated
from weft.testing.wire.requests import REQUESTS
from weft.testing.wire.streams import STREAMS

TEXT = (Path(__file__).resolve().parents[2] / "docs/spec/microservice.md").read_text(encoding="utf-8")


def items() -> dict[str, str]:
    """Every numbered sentence of the specification, by its section."""
    found: dict[str, str] = {}
    section = number = ""
    for line in TEXT.splitlines():
        if heading := re.match(r"#+ (\d+(?:\.\d+)?)\.? ", line):
            section, number = heading[1], ""
        elif item := re.match(r"(\d+)\. (.*)", line):
            number = f"{section}.{item[1]}"
            found[number] = item[2]
        elif number and line.startswith("   "):
            found[number] += f" {line.strip()}"
        else:
            number = ""
    return found


def promises() -> dict[str, tuple[str, str]]:
    """Section to level and sentence of every check."""
    groups: list[list[Promise]] = [EXCHANGES, STREAMS, REQUESTS, EVERY]
    groups += [family.promises for family in FAMILIES.values()]
    found = {p.section: (p.level, p.says) for group in groups for p in group}
    assert len(found) == sum(map(len, groups))
    contract = FAMILIES["chat"].contract
    for section, check in zip(("2.5", "2.6"), stated(contract, is_known=True), strict=True):
        found[section] = ("", " ".join((check.__doc__ or "").split()))
    return found


def test_every_check_quotes_the_specification() -> None:
    """Its sentence stands, word for word, where the check says that it stands."""
    stands = items()
    wrong = {
        section: says for section, (_, says) in promises().items() if says not in stands.get(section, "")
    }
    assert wrong == {}


def test_what_is_not_checked_is_said() -> None:
    """A *must* that no check looks at is named in the section about what is not seen."""
    unchecked = {
        section
        for section, text in items().items()
        if section not in promises() and re.search(r"\bmust\b", text)
    }
    admitted = TEXT.partition("## 10. ")[2]
    assert unchecked
    assert [section for section in sorted(unchecked) if section not in admitted] == []


def test_numbers_are_in_order_and_the_version_is_the_checks() -> None:
    """Sections are cited by number: none is missing or there twice."""
    by_section: dict[str, list[int]] = {}
    for name in items():
        section, _, number = name.rpartition(".")
        by_section.setdefault(section, []).append(int(number))
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in by_section.values()), by_section
    assert f"# Specification: microservice, version {SPECIFICATION}\n" in TEXT


def test_every_contract_has_promises() -> None:
    """Each contract that is shipped can be checked, and its promises stand under a heading of its own."""
    assert set(FAMILIES) == set(Components().contracts)
    for name in FAMILIES:
        assert re.search(rf"^### 8\.\d {name}$", TEXT, re.MULTILINE | re.IGNORECASE)

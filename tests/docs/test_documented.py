"""Every command, setting, error code, exit status, contract, component and key is in the docs; links lead somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from weft import errors
from weft.cli.main import COMMANDS
from weft.cli.settings import Settings
from weft.cli.specs import examples
from weft.plan import check
from weft.registry.components import Components
from weft.spec.gateway import KINDS
from weft.spec.keys import Block, Items, Table, keys_of
from weft.spec.sources import load_whole

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
REFERENCE = ROOT / "docs" / "reference"
FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def page(name: str) -> str:
    return (REFERENCE / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_documented(command: str) -> None:
    """With its options, in the reference."""
    assert f"## weft {command}\n" in page("commands.md")


def test_settings_are_documented() -> None:
    """Each one, and with the name it has in the environment."""
    text = page("settings.md")
    for name in Settings.__dataclass_fields__:
        assert f"| `{name}` |" in text
    source = (ROOT / "src/weft/cli/settings.py").read_text(encoding="utf-8")
    read = set(re.findall(r'"((?:WEFT|HF|SSL)_[A-Z_]+)"', source))
    assert "WEFT_CACHE_DIR" in read
    assert [name for name in sorted(read) if name not in text] == []


def error_classes(root: type[errors.WeftError] = errors.WeftError) -> Iterator[type[errors.WeftError]]:
    for found in root.__subclasses__():
        if found.__module__ == errors.__name__:
            yield found
            yield from error_classes(found)


def test_errors_are_documented() -> None:
    """Each code with its statuses, each exit status with its meaning, and each class in the drawing of the tree."""
    text = page("errors.md")
    commands = page("commands.md")
    for found in error_classes():
        assert f"| `{found.code}` |" in text
        assert found.__name__ in (errors.__doc__ or "")
        assert found.exit_code in errors.EXIT_CODES
    for code, meaning in errors.EXIT_CODES.items():
        assert f"| {code} | {meaning} |" in commands


def test_every_code_that_is_sent_is_documented() -> None:
    """Also those of the HTTP server, which errors.py does not know."""
    text = page("errors.md")
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src/weft/http").rglob("*.py"))
    source += (ROOT / "src/weft/serve/uploads.py").read_text(encoding="utf-8")
    sent = set(re.findall(r'\bcode(?:": | = )"(\w+)"', source))
    assert {"request_timeout", "headers_too_large", "files_refused"} <= sent
    assert [code for code in sorted(sent) if f"`{code}`" not in text] == []


def test_components_and_contracts_are_documented() -> None:
    """Each installed one; each contract's own route is in the specification too."""
    registry = Components()
    specification = (ROOT / "docs/spec/microservice.md").read_text(encoding="utf-8")
    for name in registry.names():
        assert f"\n## {name}\n" in page("components.md")
    for name, contract in registry.contracts.items():
        assert f"\n## {name}\n" in page("contracts.md")
        path = contract.primary.routes[0].path
        family = path.rpartition("/")[0] + "/{"
        assert f"`{path}`" in specification or family in specification, name


def keys(type_: type[object]) -> Iterator[tuple[str, str]]:
    """Every key below a mapping, with the mapping's name."""
    for key in keys_of(type_).values():
        yield type_.__name__, key.name
        block = key.shape.value if isinstance(key.shape, Table) else key.shape
        if isinstance(block, Block):
            yield from keys(block.type)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "Gateway"])
def test_every_key_has_its_meaning(kind: str) -> None:
    """The specification of megaservices explains each key of each kind, in the section of that kind."""
    text = (ROOT / "docs/spec/megaservice.md").read_text(encoding="utf-8")
    section = text.partition(f"`kind: {kind}`\n")[2]
    section = re.split(r"^## ", section, maxsplit=1, flags=re.MULTILINE)[0]
    rows = " ".join(line.split("|")[1] for line in section.splitlines() if line.startswith("|"))
    explained = set(re.findall(r"[A-Za-z_]+", " ".join(re.findall(r"`([^`]+)`", rows))))
    missing = sorted({f"{owner}.{key}" for owner, key in keys(KINDS[kind]) if key not in explained})
    assert missing == []


def blocks(type_: type[object], path: str = "") -> Iterator[tuple[str, list[str]]]:
    """Every mapping with known keys in a kind, by its path, with its keys; lists are passed through."""
    found = keys_of(type_).values()
    yield path, [key.name for key in found]
    for key in found:
        shape, inner = key.shape, f"{path}.{key.name}" if path else key.name
        if isinstance(shape, Items):
            shape = shape.item
        if isinstance(shape, Table):
            shape, inner = shape.value, f"{inner}.NAME"
        if isinstance(shape, Block):
            yield from blocks(shape.type, inner)


@pytest.mark.parametrize(
    ("path", "names"), [pytest.param(p, n, id=p or "-") for p, n in blocks(KINDS["Gateway"])]
)
def test_every_key_of_a_gateway_has_its_meaning(path: str, names: list[str]) -> None:
    """The specification of gateways has a section for each mapping, and in it a row for each of its keys."""
    text = (ROOT / "docs/spec/gateway.md").read_text(encoding="utf-8")
    sections = re.split(r"^#+ ", text, flags=re.MULTILINE)
    heading = f"`{path}`" if path else "The gateway"
    own = [section for section in sections if heading in section.partition("\n")[0]]
    assert len(own) == 1, heading
    rows = " ".join(line.split("|")[1] for line in own[0].splitlines() if line.startswith("|"))
    assert sorted(set(names) - set(re.findall(r"`(\w+)`", rows))) == []


def links() -> Iterator[tuple[Path, str]]:
    for path in PAGES:
        text = FENCE.sub("", path.read_text(encoding="utf-8"))
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            yield path, target


@pytest.mark.parametrize(("path", "target"), [pytest.param(p, t, id=f"{p.name}:{t}") for p, t in links()])
def test_a_link_leads_somewhere(path: Path, target: str) -> None:
    """A relative link names a file that is there, and a heading in it if it names one."""
    if target.startswith(("http://", "https://", "mailto:")):
        return
    name, _, anchor = target.partition("#")
    found = (path.parent / name).resolve() if name else path
    assert found.exists()
    if anchor:
        headings = re.findall(r"^#+ (.+)$", found.read_text(encoding="utf-8"), re.MULTILINE)
        anchors = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
        assert anchor in anchors


def specs() -> Iterator[tuple[Path, str]]:
    """Every whole spec in the docs; a placement is checked with the packaged example that it is about."""
    for path in PAGES:
        for language, _, text in FENCE.findall(path.read_text(encoding="utf-8")):
            if language == "yaml" and "apiVersion:" in text:
                yield path, text


@pytest.mark.parametrize(
    ("path", "text"), [pytest.param(p, t, id=f"{p.name}-{n}") for n, (p, t) in enumerate(specs())]
)
def test_a_spec_in_the_docs_passes_the_check(path: Path, text: str, tmp_path: Path) -> None:
    """As it stands; files that its page shows are beside it."""
    for _, info, body in FENCE.findall(path.read_text(encoding="utf-8")):
        if name := re.search(r"file=(\S+)", info):
            (tmp_path / name[1]).write_text(body)
    spec = tmp_path / "spec.yaml"
    spec.write_text(text)
    files = [str(spec)]
    is_front = "kind: Gateway" in text and "from:" in text
    if "kind: Megaservice" not in text and "kind: Services" not in text and not is_front:
        whole = [p for p in tmp_path.glob("*.yaml") if p != spec and "kind: Megaservice" in p.read_text()]
        files.insert(0, str(whole[0] if whole else ROOT / "src/weft/examples/chatqna.yaml"))
    check(load_whole(*files, examples=examples()), Components())

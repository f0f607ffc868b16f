"""What components there are, read from their source: no component is imported.

``weft components list`` must be quick and must work with a broken or half-installed component in the list, so the
class is found in its file and read with :mod:`ast`; not even the packages around it are imported.
"""

from __future__ import annotations

import ast
import importlib.machinery
import importlib.util
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from weft.registry.describe import first_line


@dataclass(frozen=True, slots=True)
class Source:
    """Where a component comes from, as its entry point says."""

    name: str
    target: str
    distribution: str
    version: str

    @property
    def module(self) -> str:
        """The module's name."""
        return self.target.partition(":")[0]

    @property
    def attribute(self) -> str:
        """The class in it."""
        return self.target.partition(":")[2]


@dataclass(frozen=True, slots=True)
class Listing:
    """One line of ``weft components list``.

    Attributes:
        name: As specs name it.
        contract: Name of its contract; ``any`` when its config says; empty when it is of no family.
        summary: First line of its docstring.
        distribution: The package that brings it.
        version: That package's version.
        extra: The extra that installs what it imports when it starts; None when it needs none.
        missing: Modules that it imports when it starts and that are not installed.
        error: Why it could not be read.
    """

    name: str
    contract: str
    summary: str
    distribution: str
    version: str
    extra: str | None = None
    missing: tuple[str, ...] = ()
    error: str | None = None

    @property
    def installed(self) -> bool:
        """Whether everything that it needs is there."""
        return self.error is None and not self.missing


def listing(source: Source, requests: Mapping[tuple[str, str], str]) -> Listing:
    """Read one component's source.

    Args:
        source: Which.
        requests: ``(module, class)`` of each contract's request types, to the contract's name.
    """

    def failed(error: str) -> Listing:
        return Listing(source.name, "", "", source.distribution, source.version, error=error)

    found = _find(source.module, source.attribute)
    if isinstance(found, str):
        return failed(found)
    tree, cls, module = found
    imports = _imports(tree.body, module)
    needed = _needed(tree)
    return Listing(
        source.name,
        _contract(cls, imports, module, requests),
        first_line(ast.get_docstring(cls)),
        source.distribution,
        source.version,
        extra=_extra(tree, needed, source.distribution) if needed else None,
        missing=tuple(name for name in needed if not _is_installed(name)),
    )


def _find(module: str, attribute: str) -> tuple[ast.Module, ast.ClassDef, str] | str:
    """The class in its file, following re-exports; or why it cannot be found."""
    for _ in range(5):  # a class is re-exported once or twice; more is a circle
        path = find_source(module)
        if path is None:
            return f"there is no module '{module}'"
        try:
            tree = ast.parse(path.read_bytes(), filename=str(path))
        except SyntaxError as error:
            return f"{path}:{error.lineno}: {error.msg}"
        except (OSError, ValueError) as error:
            return f"{path}: {error}"
        for statement in tree.body:
            if isinstance(statement, ast.ClassDef) and statement.name == attribute:
                return tree, statement, module
        is_package = path.name == "__init__.py"
        origin = _imports(tree.body, f"{module}.__init__" if is_package else module).get(attribute)
        if origin is None:
            return f"{path}: no class '{attribute}'"
        module, attribute = origin
    return f"'{attribute}' is imported in a circle"


def find_source(module: str) -> Path | None:
    """The file of a module, without importing it or the packages around it."""
    top, *rest = module.split(".")
    if (known := sys.modules.get(top)) is not None and known.__spec__ is None:
        return None  # run as a script: find_spec would refuse
    try:
        spec = importlib.util.find_spec(top)
        for index in range(len(rest)):
            if spec is None or spec.submodule_search_locations is None:
                return None
            name = ".".join([top, *rest[: index + 1]])
            spec = importlib.machinery.PathFinder.find_spec(name, list(spec.submodule_search_locations))
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    return Path(spec.origin)


def _imports(body: Sequence[ast.stmt], module: str) -> dict[str, tuple[str, str]]:
    """Local name to ``(module, name)`` for each ``from x import y`` at the top of a module."""
    found: dict[str, tuple[str, str]] = {}
    for statement in body:
        if isinstance(statement, ast.If):
            found |= _imports(statement.body, module)
        elif isinstance(statement, ast.Import):
            found |= {a.asname: (a.name, "") for a in statement.names if a.asname}
        elif isinstance(statement, ast.ImportFrom):
            base = statement.module or ""
            if statement.level:
                parent = module.split(".")[: -statement.level]
                base = ".".join([*parent, base] if base else parent)
            found |= {a.asname or a.name: (base, a.name) for a in statement.names}
    return found


def _contract(
    cls: ast.ClassDef,
    imports: Mapping[str, tuple[str, str]],
    module: str,
    requests: Mapping[tuple[str, str], str],
) -> str:
    methods = {s.name: s for s in cls.body if isinstance(s, ast.FunctionDef | ast.AsyncFunctionDef)}
    if "contract_for" in methods:
        return "any"
    asked = [methods["invoke"]] if "invoke" in methods else list(methods.values())
    for method in asked:
        arguments = [*method.args.posonlyargs, *method.args.args][1:]
        if not arguments or arguments[0].annotation is None:
            continue
        contract = requests.get(_resolve(arguments[0].annotation, imports, module))
        if contract is not None:
            return contract
    return ""


def _resolve(annotation: ast.expr, imports: Mapping[str, tuple[str, str]], module: str) -> tuple[str, str]:
    """An annotation's ``(module, class)``, read as text."""
    text = annotation.value if isinstance(annotation, ast.Constant) else ast.unparse(annotation)
    head, dot, name = str(text).rpartition(".")
    if not dot:
        return imports.get(name, (module, name))
    if head in imports:  # from weft.contracts import reranker, or import ... as reranker
        base, member = imports[head]
        return (f"{base}.{member}" if member else base), name
    return head, name


def _needed(tree: ast.Module) -> list[str]:
    """Top-level names of the packages that the module's functions import: its optional dependencies."""
    needed: dict[str, None] = {}
    for function in _functions(tree.body):
        for node in ast.walk(function):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                names = [node.module]
            tops = (name.partition(".")[0] for name in names)
            needed.update(dict.fromkeys(t for t in tops if t not in sys.stdlib_module_names and t != "weft"))
    return list(needed)


def _functions(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    for statement in body:
        if isinstance(statement, ast.ClassDef):
            yield from _functions(statement.body)
        elif isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            yield statement


def _is_installed(name: str) -> bool:
    if name in sys.modules:
        return True
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _extra(tree: ast.Module, needed: Sequence[str], distribution: str) -> str | None:
    """The extra that brings what is needed: as the component's own error says, else from the package's metadata."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("MissingExtraError"):
            for keyword in node.keywords:
                if keyword.arg == "extra" and isinstance(keyword.value, ast.Constant):
                    return str(keyword.value.value)
    try:
        requirements = metadata.requires(distribution) or [] if distribution else []
    except metadata.PackageNotFoundError:
        requirements = []
    for requirement in requirements:
        match = re.match(r"([\w.-]+).*?\bextra\s*==\s*['\"]([\w.-]+)['\"]", requirement)
        # A package's name and its module's name agree but for a suffix: qdrant-edge-py brings qdrant_edge.
        if match and any(_normal(match[1]).startswith(_normal(name)) for name in needed):
            return match[2]
    return None


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()

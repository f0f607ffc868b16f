"""What components there are, read from their source: no component is imported.

``weft components list`` must be quick and must work with a broken or half-installed component in the list, so the
class is found in its file and read with :mod:`ast`; not even the packages around it are imported.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from weft.registry.describe import first_line

_CONTRACT = (("weft.contracts", "Contract"), ("weft.contracts.base", "Contract"))


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
    needed = list(dict.fromkeys(name for part in _parts(tree, module) for name in _needed(part)))
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
    try:
        spec = importlib.util.find_spec(top)
        # A namespace package's folders are computed when they are asked for, from a parent that may not be imported.
        locations = list(spec.submodule_search_locations or ()) if spec is not None else []
    except (
        ImportError,
        ValueError,
        KeyError,
    ):  # a parent that is broken, or a module that was run as a script
        return None
    if spec is None:
        return None
    if not rest:
        return Path(spec.origin) if spec.origin is not None and spec.origin.endswith(".py") else None
    # The import system would import the packages on the way; looking at the files does not.
    for location in locations:
        inside = Path(location).joinpath(*rest)
        for file in (inside / "__init__.py", inside.with_suffix(".py")):
            if file.is_file():
                return file
    return None


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
    if "__init__" in methods and _names_contract(methods["__init__"].args, imports, module):
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


def _names_contract(arguments: ast.arguments, imports: Mapping[str, tuple[str, str]], module: str) -> bool:
    """Whether a constructor has a parameter annotated ``Contract``: then its config names the contract."""
    annotations = (a.annotation for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs))
    return any(a is not None and _resolve(a, imports, module) in _CONTRACT for a in annotations)


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


def _parts(tree: ast.Module, module: str) -> list[ast.Module]:
    """The component's module and those beside it that it imports: what they need, it needs."""
    package = module.rpartition(".")[0]
    trees = {module: tree}
    todo = [(module, tree)]
    while todo and package:
        name, part = todo.pop()
        origins = _imports(
            [n for n in ast.walk(part) if isinstance(n, ast.Import | ast.ImportFrom)], name
        ).values()
        for origin in dict.fromkeys(n for base, member in origins for n in (base, f"{base}.{member}")):
            if (
                origin in trees
                or not origin.startswith(f"{package}.")
                or (path := find_source(origin)) is None
            ):
                continue
            try:
                trees[origin] = ast.parse(path.read_bytes(), filename=str(path))
            except (SyntaxError, OSError, ValueError):
                continue  # the component's own file can be read; that this one cannot shows when it starts
            todo.append((origin, trees[origin]))
    return list(trees.values())


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
    except (ImportError, ValueError, KeyError):
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

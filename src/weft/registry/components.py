"""Component and contract names -> classes, through entry points and files beside the spec.

Nothing is imported until it is asked for: names come from the metadata of installed distributions.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from weft.contracts import Contract
from weft.errors import ComponentError, did_you_mean
from weft.registry.config import ConfigFault, check_config, ignored_fields, instantiate
from weft.registry.describe import ComponentInfo, Parameter, Slot, describe
from weft.registry.listing import Listing, Source, listing

__all__ = [
    "ComponentInfo",
    "Components",
    "ConfigFault",
    "Listing",
    "Parameter",
    "Slot",
    "UnknownComponentError",
    "check_config",
    "ignored_fields",
    "instantiate",
]

COMPONENTS_GROUP = "weft.components"
CONTRACTS_GROUP = "weft.contracts"


class UnknownComponentError(ComponentError):
    """No component has that name; the hint lists those that there are."""


class Components:
    """The components and contracts that are installed, by name.

    Args:
        components: Name to class or ``module:Class``; by default the entry points ``weft.components``.
        contracts: Name to contract; by default the entry points ``weft.contracts``.

    One instance serves one application; it is not changed by asking, but remembers what it has loaded.
    """

    def __init__(
        self,
        components: Mapping[str, type[Any] | str] | None = None,
        *,
        contracts: Mapping[str, Contract] | None = None,
    ) -> None:
        self._explicit = dict(components) if components is not None else None
        self._contracts = dict(contracts) if contracts is not None else None
        self._sources: dict[str, Source] | None = None
        self._known: dict[tuple[str, Path | None], ComponentInfo] = {}

    def names(self) -> list[str]:
        """The names of all installed components, sorted."""
        return sorted(self._by_name())

    @property
    def contracts(self) -> Mapping[str, Contract]:
        """The contracts of all installed families, by name; loaded when first asked for.

        Raises:
            ComponentError: One cannot be loaded.
        """
        if self._contracts is None:
            self._contracts = dict(sorted(_load_contracts().items()))
        return self._contracts

    def contract(self, name: str) -> Contract:
        """A contract by name.

        Raises:
            ComponentError: There is none of that name; the choices are listed.
        """
        found = self.contracts.get(name)
        if found is None:
            hint = did_you_mean(name, list(self.contracts), what="contracts")
            raise ComponentError(f"there is no contract '{name}'", hint=hint)
        return found

    def get(self, reference: str, *, folder: Path | None = None) -> ComponentInfo:
        """A component by name, ``./file.py:Class`` or ``package.module:Class``.

        Args:
            reference: As a spec names it.
            folder: What a relative file path is relative to: the spec file's folder.

        Raises:
            ComponentError: There is none, or it cannot be loaded; the message names file and line.
        """
        key = (reference, folder.resolve() if folder is not None and ".py:" in reference else None)
        if key not in self._known:
            cls, version = self._load(reference, folder or Path())
            self._known[key] = describe(reference, cls, self.contracts, version=version)
        return self._known[key]

    def contract_of(self, info: ComponentInfo, config: Mapping[str, Any]) -> Contract:
        """The contract that a component fulfils when it is configured so.

        Raises:
            ComponentError: Its config names no contract that exists.
        """
        if info.contract is not None:
            return info.contract
        parameter = next(p for p in info.parameters if p.contracts is not None)
        name = config.get(parameter.name, parameter.default)
        if not isinstance(name, str):
            hint = f"{parameter.name}: one of {', '.join(self.contracts)}"
            raise ComponentError(f"the config of component '{info.name}' names no contract", hint=hint)
        return self.contract(name)

    def scan(self) -> list[Listing]:
        """Every installed component, read from its source; none is imported."""
        requests = {
            (operation.request.__module__, operation.request.__name__): contract.name
            for contract in self.contracts.values()
            for operation in contract.operations.values()
        }
        return [listing(source, requests) for _, source in sorted(self._by_name().items())]

    def _by_name(self) -> dict[str, Source]:
        if self._sources is None:
            if self._explicit is not None:
                self._sources = {n: Source(n, _target(t), "", "") for n, t in self._explicit.items()}
            else:
                self._sources = {
                    e.name: Source(
                        e.name,
                        e.value.partition("[")[0].strip(),
                        e.dist.name if e.dist else "",
                        e.dist.version if e.dist else "",
                    )
                    for e in metadata.entry_points(group=COMPONENTS_GROUP)
                }
        return self._sources

    def _load(self, reference: str, folder: Path) -> tuple[type[Any], str]:
        explicit = (self._explicit or {}).get(reference)
        if isinstance(explicit, type):
            return explicit, ""
        source = self._by_name().get(reference)
        if source is not None:
            return _class(reference, _import(reference, source.module), source.attribute), source.version
        target, colon, attribute = reference.rpartition(":")
        if not colon or not target or not attribute.isidentifier():
            hint = did_you_mean(reference, self.names(), what="components")
            raise UnknownComponentError(f"there is no component '{reference}'", hint=hint)
        if target.endswith(".py"):
            path = (folder / target).resolve()
            module, version = _load_file(reference, path)
            return _class(reference, module, attribute), version
        return _class(reference, _import(reference, target), attribute), _version_of(target)


def _target(component: type[Any] | str) -> str:
    return component if isinstance(component, str) else f"{component.__module__}:{component.__qualname__}"


def _load_contracts() -> dict[str, Contract]:
    found: dict[str, Contract] = {}
    for entry in metadata.entry_points(group=CONTRACTS_GROUP):
        try:
            contract = entry.load()
        except Exception as error:  # someone else's module: whatever it raises is named, with its cause
            raise ComponentError(f"contract '{entry.name}' cannot be loaded: {_reason(error)}") from error
        if not isinstance(contract, Contract):
            raise ComponentError(f"contract '{entry.name}' ({entry.value}) is no weft.contracts.Contract")
        found[entry.name] = contract
    return found


def _import(reference: str, module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and (module == error.name or module.startswith(error.name + ".")):
            raise ComponentError(
                f"component '{reference}' cannot be loaded: there is no module '{error.name}'"
            ) from error
        raise ComponentError(f"component '{reference}' cannot be loaded: {_reason(error)}") from error
    except Exception as error:  # someone else's module: whatever it raises is named, with its cause
        raise ComponentError(f"component '{reference}' cannot be loaded: {_reason(error)}") from error


def _load_file(reference: str, path: Path) -> tuple[ModuleType, str]:
    try:
        source = path.read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise ComponentError(
            f"component '{reference}' cannot be loaded: {path}: {reason}",
            hint="a file is named relative to the folder of the spec: component: ./rerank.py:MyReranker",
        ) from error
    digest = hashlib.sha256(source).hexdigest()
    # A name of its own for each content: two specs may each have a rerank.py, and an edited file is another module.
    name = f"weft_file_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}_{digest[:8]}"
    if name in sys.modules:
        return sys.modules[name], digest[:12]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None  # a path that ends in .py always has one
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # annotations and pickles are resolved through it
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # someone else's file: whatever it raises is named, with its cause
        del sys.modules[name]
        raise ComponentError(
            f"component '{reference}' cannot be loaded: {_reason(error, within=path)}"
        ) from error
    return module, digest[:12]


def _reason(error: Exception, *, within: Path | None = None) -> str:
    """What went wrong while a module ran, with file and line."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}:{error.lineno}: {error.msg}"
    frames = traceback.extract_tb(error.__traceback__)
    inside = [f for f in frames if within is not None and f.filename == str(within)]
    outside = [f for f in frames if not f.filename.startswith("<frozen") and f.filename != __file__]
    found = inside or outside
    frame = found[-1] if found else None
    what = f"{type(error).__name__}: {error}"
    return f"{frame.filename}:{frame.lineno}: {what}" if frame is not None else what


def _class(reference: str, module: ModuleType, attribute: str) -> type[Any]:
    found: Any = module
    for part in attribute.split("."):
        found = getattr(found, part, None)
    where = getattr(module, "__file__", None) or module.__name__
    if found is None:
        classes = [
            n for n, v in vars(module).items() if isinstance(v, type) and v.__module__ == module.__name__
        ]
        hint = did_you_mean(attribute, classes, what="classes")
        raise ComponentError(f"component '{reference}': {where} has no '{attribute}'", hint=hint)
    if not isinstance(found, type):
        raise ComponentError(
            f"component '{reference}': '{attribute}' in {where} is no class but a {type(found).__name__}",
            hint="a component is a class with an 'invoke' method",
        )
    return found


def _version_of(module: str) -> str:
    try:
        return metadata.version(module.partition(".")[0])
    except metadata.PackageNotFoundError:
        return ""

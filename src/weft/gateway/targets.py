"""What the gateway can route to, by model name."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec

from weft.contracts import Contract, Operation
from weft.errors import ModelNotFoundError, UnsupportedParameterError, did_you_mean, nearest
from weft.gateway.versions.numbers import order
from weft.plan.front import ADDRESSING
from weft.serve.problems import Place


@dataclass(eq=False)
class Target:
    """A megaservice or an exposed service, as the gateway calls it.

    What it reads, and what it is, changes when a service behind it is switched; nothing else does.

    Attributes:
        name: Its model name.
        version: Semantic version; empty for a service.
        contract: What it fulfils.
        call: ``(operation, request) -> response``.
        stream: ``(operation, request) -> chunks``; None when the contract does not stream.
        operations: What it can be asked; a megaservice's request types have its parameters.
        consumed: Request fields that something behind it reads; None: all that the contract has.
        unsupported: Request fields that it cannot honour.
        description: For people.
        component: What it is, for errors.
        build_id: What it was made of; empty: what the application says.
    """

    name: str
    version: str
    contract: Contract
    call: Callable[[str, Any], Awaitable[Any]]
    stream: Callable[[str, Any], AsyncIterator[Any]] | None
    operations: Mapping[str, Operation]
    consumed: frozenset[str] | None = None
    unsupported: frozenset[str] = frozenset()
    description: str = ""
    component: str = ""
    build_id: str = ""

    @property
    def place(self) -> Place:
        """What is said of it in errors that do not know where they happened."""
        return Place(self.name, self.component)

    @property
    def operation(self) -> Operation:
        """The primary operation."""
        return self.operations.get("invoke") or next(iter(self.operations.values()))

    @cached_property
    def readable(self) -> frozenset[str]:
        """Every field that something reads: behind this target, in a form of the request, or in the gateway."""
        known = self.consumed
        if known is None:
            known = frozenset(self.operation.request.__struct_fields__) - self.unsupported
        return known | self.operation.form_fields | ADDRESSING

    def switch(self, *, consumed: frozenset[str] | None, unsupported: frozenset[str], component: str) -> None:
        """Be told what is true of the service that took the place of one behind it."""
        self.consumed, self.unsupported, self.component = consumed, unsupported, component
        vars(self).pop("readable", None)

    def check_fields(self, fields: Mapping[str, msgspec.Raw]) -> None:
        """Refuse what would be ignored without a word.

        Raises:
            UnsupportedParameterError: A field that nothing reads is set to something else than its documented
                default or null.
        """
        defaults = getattr(self.operation.request, "defaults", {})
        for name in sorted(fields.keys() - self.readable):
            value = msgspec.json.decode(fields[name])
            if value is None or (name in defaults and _is(value, defaults[name])):
                continue
            readable = sorted(
                (self.consumed or frozenset(self.operation.request.__struct_fields__)) | ADDRESSING
            )
            raise UnsupportedParameterError(
                f"'{name}' is not supported by '{self.name}': nothing behind it reads this field",
                param=name,
                hint=f"leave it out; fields that are read: {', '.join(readable)}",
            )


def _is(value: Any, default: Any) -> bool:
    """Whether a JSON value is the default: 0 is not false, though Python takes it for that."""
    return bool(value == default) and isinstance(value, bool) == isinstance(default, bool)


class Targets:
    """All targets of one contract, by name and version."""

    def __init__(self, targets: Iterable[Target]) -> None:
        self._targets = list(targets)
        self._by_name: dict[str, Target] = {}
        for target in self._targets:
            for name in _names(target):
                # Several versions of one name: the highest has the shorter names.
                other = self._by_name.get(name)
                if other is None or order(other.version) <= order(target.version):
                    self._by_name[name] = target

    def __len__(self) -> int:
        return len(self._targets)

    def __iter__(self) -> Iterator[Target]:
        return iter(self._targets)

    def all_names(self) -> Container[str]:
        """Every name that :meth:`find` knows, those with versions included."""
        return self._by_name.keys()

    def find(self, model: str) -> Target | None:
        """The target that ``model`` names, if any."""
        return self._by_name.get(model)

    def names(self) -> list[str]:
        """The model names, each once, in the order of declaration."""
        return list(dict.fromkeys(target.name for target in self._targets))

    def versions(self, name: str) -> list[str]:
        """The versions of a model name, in the order of declaration."""
        return [target.version for target in self._targets if target.name == name and target.version]

    def get(self, model: str) -> Target:
        """The target that ``model`` names; the only one there is when it is empty.

        Raises:
            ModelNotFoundError: No target has that name; the choices are listed.
        """
        found = self._by_name.get(model)
        if found is not None:
            return found
        names, (base, at, version) = self.names(), model.partition("@")
        if at and base in names:
            versions = self.versions(base)
            raise ModelNotFoundError(
                f"there is no version '{version}' of '{base}'" if versions else f"'{base}' has no versions",
                param="model",
                hint=did_you_mean(version, versions, what="versions") if versions else f"ask for '{base}'",
            )
        if not model and len(self._targets) == 1:
            return self._targets[0]
        if not model:
            message = "the request names no model" if names else "nothing here answers this route"
        else:
            message = f"there is no model '{model}' here"
        close = nearest(base, names) if model else None
        hint = (
            f"models: {', '.join(names)}" if names else "expose a service in the spec, or add a megaservice"
        )
        raise ModelNotFoundError(
            message,
            param="model",
            hint=f"did you mean '{close}'? {hint}" if close and close != model else hint,
        )


def _names(target: Target) -> list[str]:
    """``chatqna``, ``chatqna@1``, ``chatqna@1.0``, ``chatqna@1.0.0``."""
    parts = target.version.split(".") if target.version else []
    return [target.name] + [f"{target.name}@{'.'.join(parts[: n + 1])}" for n in range(len(parts))]

"""Checking a component's configuration against its constructor, and making the instance."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from weft.contracts import Contract
from weft.errors import ComponentError, did_you_mean, nearest
from weft.registry.describe import ComponentInfo, Parameter

_MODULES = re.compile(r"\b(?:[A-Za-z_]\w*\.)+(?=[A-Za-z_])")


@dataclass(frozen=True, slots=True)
class ConfigFault:
    """One thing that is wrong with a configuration.

    Attributes:
        path: Where in it: keys from the outside in; empty when something is missing.
        message: What is wrong.
        hint: What could be written.
        code: ``unknown-config``, ``config-type``, ``missing-config``, ``unknown-contract``, or ``config-value`` for what
            the component's own ``faults`` found.
    """

    path: tuple[str | int, ...]
    message: str
    hint: str | None
    code: str


def is_secret(value: Any) -> bool:
    """Whether a value stands for a secret: ``{secret: NAME}``."""
    return isinstance(value, Mapping) and len(value) == 1 and isinstance(value.get("secret"), str)


def check_config(info: ComponentInfo, config: Mapping[str, Any]) -> list[ConfigFault]:
    """Everything that is wrong with ``config``: unknown names, wrong types, missing values. Secrets fit text.

    Where nothing of that is, a component may look further: a class method ``faults`` is called with the values as the
    constructor would be, and gives ``(path, message, hint)`` for each thing that is wrong.
    """
    known = {p.name: p for p in info.parameters}
    slots = {s.name for s in info.slots}
    faults: list[ConfigFault] = []
    values: dict[str, Any] = {}
    for name, value in config.items():
        parameter = known.get(name)
        if parameter is None:
            if info.open_config:
                values[name] = value
                continue
            if name in slots:
                message = f"'{name}' of component '{info.name}' is a service, not a config value"
                faults.append(
                    ConfigFault((name,), message, f"bind it: uses: {{{name}: SERVICE}}", "unknown-config")
                )
                continue
            message = f"component '{info.name}' has no config value '{name}'"
            hint = did_you_mean(name, list(known), what="config values")
            faults.append(ConfigFault((name,), message, hint, "unknown-config"))
            continue
        if parameter.contracts is not None and isinstance(value, str) and value not in parameter.contracts:
            hint = did_you_mean(value, list(parameter.contracts), what="contracts")
            faults.append(ConfigFault((name,), f"there is no contract '{value}'", hint, "unknown-contract"))
            continue
        try:
            values[name] = convert(value, parameter)
        except (msgspec.ValidationError, TypeError, ValueError) as error:
            message = (
                f"config value '{name}' of component '{info.name}' must be {type_text(parameter.annotation)}"
            )
            why = ", and a secret is text" if is_secret(value) else reason(error)
            faults.append(ConfigFault((name,), message + why, parameter.doc or None, "config-type"))
    # A misspelt name is one fault, not two: the value that it was meant to be is not missing as well.
    meant = {nearest(name, list(known)) for name in config if name not in known}
    for parameter in info.parameters:
        if parameter.required and parameter.name not in config and parameter.name not in meant:
            message = f"component '{info.name}' needs the config value '{parameter.name}'"
            hint = f"{parameter.name}: {type_text(parameter.annotation)}"
            hint += f" - {parameter.doc}" if parameter.doc else ""
            code = "missing-config" if parameter.contracts is None else "unknown-contract"
            faults.append(ConfigFault((), message, hint, code))
    if not faults and (look := getattr(info.type, "faults", None)) is not None:
        faults = [
            ConfigFault(tuple(path), message, hint, "config-value") for path, message, hint in look(**values)
        ]
    return faults


def ignored_fields(info: ComponentInfo, config: Mapping[str, Any]) -> frozenset[str]:
    """Fields of its requests that a component does nothing with when it is configured so.

    Its ``unsupported``; and what a class method ``ignores`` says, which is called as the constructor would be.
    """
    look = getattr(info.type, "ignores", None)
    if look is None or check_config(info, config):
        return info.unsupported
    known = {p.name: p for p in info.parameters}
    values = {name: convert(value, known[name]) if name in known else value for name, value in config.items()}
    return info.unsupported | frozenset(look(**values))


def convert(value: Any, parameter: Parameter) -> Any:
    """A config value as its parameter's type; text stays text and numbers stay numbers.

    Raises:
        msgspec.ValidationError: It does not fit.
    """
    if parameter.contracts is not None:
        return _contract(value, parameter.contracts)
    return msgspec.convert(_without_secrets(value), parameter.annotation, strict=True, dec_hook=_path)


def _contract(value: Any, contracts: Mapping[str, Contract]) -> Contract:
    if not isinstance(value, str):
        raise msgspec.ValidationError(f"Expected `str`, got `{type(value).__name__}`")
    if value not in contracts:
        raise msgspec.ValidationError(f"There is no contract '{value}'")
    return contracts[value]


def _without_secrets(value: Any) -> Any:
    """A plain copy in which each secret is a text, which is what it will be at run time."""
    if is_secret(value):
        return value["secret"]
    if isinstance(value, Mapping):
        return {key: _without_secrets(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_secrets(item) for item in value]
    return value


def _path(type_: type[Any], value: Any) -> Any:
    if isinstance(value, type_):
        return value
    if issubclass(type_, Path) and isinstance(value, str):
        return type_(value)
    raise msgspec.ValidationError(f"expected `{type_.__name__}`, got `{type(value).__name__}`")


def reason(error: Exception) -> str:
    """Msgspec's sentence as the end of ours: ``, not str``, or what was expected at which place in the value."""
    text = str(error).replace("`", "'")
    if found := re.fullmatch(r"Expected '[^']*', got '([^']*)'", text):
        return f", not {found[1]}"
    return f": {text[:1].lower()}{text[1:]}"


def type_text(annotation: Any) -> str:
    """A type as a person writes it: ``int``, ``str | None``, ``list[Document]``."""
    if annotation is type(None):
        return "None"
    if annotation is Contract:
        return "the name of a contract"
    if isinstance(annotation, type) and not getattr(annotation, "__args__", None):
        return annotation.__name__
    text = str(annotation).replace("typing.", "").replace("NoneType", "None")
    return _MODULES.sub("", text)


def instantiate(info: ComponentInfo, config: Mapping[str, Any], uses: Mapping[str, Any]) -> Any:
    """Make the component; its constructor is cheap and does no I/O.

    Args:
        info: Which.
        config: Its config, with secrets resolved.
        uses: For each slot the implementation that it gets.

    Raises:
        ComponentError: The config does not fit, a slot is unbound or unknown, or the constructor refused.
    """
    faults = [f.message + (f" ({f.hint})" if f.hint else "") for f in check_config(info, config)]
    slots = {slot.name: slot for slot in info.slots}
    for name in uses:
        if name not in slots:
            hint = did_you_mean(name, list(slots), what="slots")
            faults.append(f"component '{info.name}' uses no '{name}' ({hint})")
    faults += [
        f"component '{info.name}' needs a service of the contract '{slot.contract.name}' as '{slot.name}'"
        for slot in info.slots
        if not slot.optional and slot.name not in uses
    ]
    if faults:
        raise ComponentError("; ".join(faults))
    known = {p.name: p for p in info.parameters}
    values = {name: convert(value, known[name]) if name in known else value for name, value in config.items()}
    try:
        return info.type(**values, **uses)
    except (TypeError, ValueError) as error:
        raise ComponentError(f"component '{info.name}' refuses its config: {error}") from error

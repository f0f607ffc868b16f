"""Weft weaves GenAI microservices into megaservices and serves them behind one gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from weft.api import Megaservice, Running, Served, Spec, first, load, ref, save, secret

__all__ = [
    "Megaservice",
    "Running",
    "Served",
    "Spec",
    "first",
    "load",
    "ref",
    "save",
    "secret",
]


def __getattr__(name: str) -> Any:
    # Loaded when a name is first asked for: `import weft` itself takes a few milliseconds.
    if name not in __all__:
        raise AttributeError(f"module 'weft' has no attribute '{name}'")
    from importlib import import_module  # noqa: PLC0415 - as above

    found = globals()[name] = getattr(import_module("weft.api"), name)
    return found


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

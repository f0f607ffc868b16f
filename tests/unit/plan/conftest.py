"""Specs in strings, compiled against small stand-ins."""

from __future__ import annotations

from typing import Any

import pytest
from plan_fakes import COMPONENTS, HEAD, Compile

from weft.plan import Plans, check
from weft.registry.components import Components
from weft.spec.load import loads


@pytest.fixture(scope="session")
def components() -> Components:
    """The stand-ins as a registry."""
    return Components(COMPONENTS)


@pytest.fixture
def compile_text(components: Components) -> Compile:
    """Compile what follows :data:`HEAD`."""

    def compile_it(text: str, **options: Any) -> Plans:
        return check(loads(f"{HEAD}---\napiVersion: weft/v1\n{text}"), components, **options)

    return compile_it

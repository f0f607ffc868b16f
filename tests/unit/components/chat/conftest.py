"""The real model, from the user's cache, in a component of the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from modelkit import ModelHost, OneFile, real_gguf
from weft.components.chat.llama_cpp import LlamaCpp


@pytest.fixture(scope="session")
def gguf(request: pytest.FixtureRequest) -> Path:
    """The file of the catalogue's chat model."""
    return asyncio.run(real_gguf(request.config))


@pytest.fixture
def host(tmp_path: Path, gguf: Path) -> ModelHost:
    """A host that has the model."""
    return ModelHost(tmp_path, OneFile(gguf))


@pytest.fixture
async def single(host: ModelHost) -> AsyncIterator[LlamaCpp]:
    """One slot, and one place in the line."""
    model = LlamaCpp(slots=1, queue=1)
    await model.start(host)
    yield model
    await model.aclose()
    host.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def llm(tmp_path_factory: pytest.TempPathFactory, gguf: Path) -> AsyncIterator[LlamaCpp]:
    """Two slots of 256 tokens, shared by the tests of a module."""
    host = ModelHost(tmp_path_factory.mktemp("llm"), OneFile(gguf))
    model = LlamaCpp(context=256)
    await model.start(host)
    yield model
    await model.aclose()
    host.close()

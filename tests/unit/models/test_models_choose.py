"""Which file of a hub repository is meant, where only the repository was named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from model_sources import serving

from weft.errors import ModelError, ModelUnavailableError
from weft.http.client import Client
from weft.models import ModelStore, Sources

FILES = [
    "README.md",
    "small-Q8_0.gguf",
    "small-Q4_K_M.gguf",
    "small.mmproj-Q4_0.gguf",
    "big-q5_k_m-00001-of-00002.gguf",
    "big-q5_k_m-00002-of-00002.gguf",
]
TREE = "/api/models/owner/name/tree/main"


async def choose(
    folder: Path, repository: str, quantisation: str | None = None, *, offline: bool = False
) -> str:
    listed = json.dumps([{"type": "file", "path": path, "size": 1} for path in FILES]).encode()
    with serving() as server:
        server.files |= {TREE: listed, "/api/models/owner/none/tree/main": b"[]"}
        client = Client()
        try:
            store = ModelStore(folder, client=client, sources=Sources(hub_url=server.url, offline=offline))
            return await store.choose(repository, quantisation)
        finally:
            await client.aclose()


@pytest.mark.parametrize(
    ("quantisation", "file"),
    [
        (None, "small-Q4_K_M.gguf"),
        ("Q8_0", "small-Q8_0.gguf"),
        ("q5_k_m", "big-q5_k_m-00001-of-00002.gguf"),
    ],
)
async def test_a_file_is_chosen(quantisation: str | None, file: str, tmp_path: Path) -> None:
    """Four bits if nothing is said; of a model in parts the first, which knows the others."""
    assert await choose(tmp_path, "owner/name", quantisation) == f"hf:owner/name/{file}"


async def test_what_is_not_there_is_said_with_what_is(tmp_path: Path) -> None:
    """A quantisation, a repository, a GGUF file at all; and without a network, what to write instead."""
    with pytest.raises(ModelError, match="no quantisation 'Q4_K_L'") as caught:
        await choose(tmp_path, "owner/name", "Q4_K_L")
    assert caught.value.hint == "did you mean 'Q4_K_M'? what it has: Q4_K_M, Q5_K_M, Q8_0"
    with pytest.raises(ModelError, match="has no repository owner/nme"):
        await choose(tmp_path, "owner/nme")
    with pytest.raises(ModelError, match="has no GGUF file"):
        await choose(tmp_path, "owner/none")
    with pytest.raises(ModelUnavailableError, match="working offline"):
        await choose(tmp_path, "owner/name", offline=True)

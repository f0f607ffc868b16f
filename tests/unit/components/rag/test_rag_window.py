"""Prompts and the real model's window: whatever is put in, the model can answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from modelkit import ModelHost, OneFile, real_gguf
from weft.components.chat.llama_cpp import LlamaCpp
from weft.components.rag.prompt import PromptRequest, RagPrompt
from weft.contracts.chat import ChatRequest
from weft.errors import ContextWindowError
from weft.types import Document, Evidence, Message, Quote

pytestmark = pytest.mark.slow

TEXTS = {
    "prose": "The harbour was opened in 1887, and ships of all countries came. ",
    "digits": "1234567890 0.12 ",
    "hex": "9f3ac07be1d2 ",
    "code": "if (a[i] != b->c) { return f(x)[0]; }\n",
    "table": "| a | b | 3 |\n",
    "Chinese": "\u4eca\u5929\u5929\u6c14\u5f88\u597d\u6211\u4eec\u53bb\u6563\u6b65",
    "noise": "qzxkv WQ~Z\u00df\u0416\u20ac \U0001f600\u200d ",
}


@pytest.fixture(scope="session")
def gguf(request: pytest.FixtureRequest) -> Path:
    """The file of the catalogue's chat model."""
    return asyncio.run(real_gguf(request.config))


@pytest.fixture(params=[128, 512])
async def llm(request: pytest.FixtureRequest, tmp_path: Path, gguf: Path) -> AsyncIterator[LlamaCpp]:
    """The model with a window of so many tokens."""
    host = ModelHost(tmp_path, OneFile(gguf))
    model = LlamaCpp(context=request.param, slots=1)
    await model.start(host)
    yield model
    await model.aclose()
    host.close()


async def test_no_prompt_is_too_long(llm: LlamaCpp) -> None:
    """Overlong system message, history, question and quotes of every kind of text, with a bound on the answer and without."""
    cases = TEXTS if llm._window == 128 else {name: TEXTS[name] for name in ("prose", "noise")}
    for name, text in cases.items():
        long = text * (20_000 // len(text))
        messages = [Message("system", long)]
        for _ in range(20):
            messages += [Message("user", long), Message("assistant", long)]
        evidence = Evidence("q", [Quote(long, Document(long)), Quote("Opened in 1887.", Document("x"))])
        for last, bound in ((long, 2), ("When was the harbour opened?", 100_000))[
            : 2 if name == "prose" else 1
        ]:
            request = PromptRequest([*messages, Message("user", last)], evidence, max_tokens=bound)
            made = await RagPrompt(llm).invoke(request)
            assert made.needs_model
            assert made.max_completion_tokens is not None
            try:
                reply = await llm.invoke(ChatRequest(made.messages, max_tokens=1))
            except ContextWindowError as error:
                pytest.fail(f"{name}: {error.message}")
            assert reply.usage is not None
            assert reply.usage.prompt_tokens + made.max_completion_tokens <= llm._window

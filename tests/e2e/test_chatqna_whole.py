"""ChatQnA as a person runs it: real processes, real models, the real command line."""

from __future__ import annotations

import re
from pathlib import Path

import openai
import pytest
from chatqna_process import QUESTION, Gateway
from click.testing import CliRunner

from weft.cli.main import group

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def test_the_answer_quotes_its_source(gateway: Gateway) -> None:
    """A question about an uploaded document is answered from it, with a citation; usage is real."""
    answer = gateway.client().chat.completions.create(
        model="chatqna", messages=[{"role": "user", "content": QUESTION}], max_tokens=24, seed=1
    )
    text = answer.choices[0].message.content or ""
    assert "30 days of leave" in text
    assert "[1]" in text
    notes = answer.choices[0].message.annotations
    assert notes
    note = notes[0].to_dict()
    assert note["title"] == "handbook.txt"
    assert text[note["start_index"] : note["end_index"]] == "[1]"
    assert answer.usage is not None
    assert answer.usage.prompt_tokens > 20
    assert answer.usage.completion_tokens > 0


def test_a_stream_gives_the_quote_first_and_ends_with_its_usage(gateway: Gateway) -> None:
    """The first content is the quotation, the small model's words follow by the sentence, the usage in a chunk of its own."""
    chunks = list(
        gateway.client().chat.completions.create(
            model="chatqna@1",
            messages=[{"role": "user", "content": QUESTION}],
            max_tokens=16,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    contents = [c.choices[0].delta.content for c in chunks if c.choices and c.choices[0].delta.content]
    assert "30 days of leave" in contents[0]
    assert len(contents) > 1
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens > 0


async def test_the_async_sdk_reads_models_and_embeddings(gateway: Gateway) -> None:
    """Models are listed, and an exposed embedder gives the model's own numbers (the SDK asks for base64)."""
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as client:
        assert "chatqna" in [model.id async for model in client.models.list()]
        reply = await client.embeddings.create(model="embedder", input="This is an example sentence")
    assert [round(number, 4) for number in reply.data[0].embedding[:3]] == [0.0677, 0.0635, 0.0487]


def test_what_cannot_be_done_is_said(gateway: Gateway) -> None:
    """An unknown model is 404 with the choices; a field that nothing reads is refused by its name."""
    client = gateway.client()
    with pytest.raises(openai.NotFoundError, match="chatqna"):
        client.chat.completions.create(model="chatqa", messages=[{"role": "user", "content": "Hi"}])
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(
            model="chatqna", messages=[{"role": "user", "content": "Hi"}], extra_body={"tempratur": 0}
        )
    assert caught.value.param == "tempratur"


def test_the_command_line_asks_and_calls(gateway: Gateway) -> None:
    """``weft ask`` prints the answer and its source; ``weft call`` sends JSON to a service."""
    assert "30 days of leave" in gateway.run("ask", QUESTION)
    assert "handbook.txt" in gateway.run("call", "retriever", '{"query": "leave", "k": 1}')


def test_opea_clients_are_served(gateway: Gateway) -> None:
    """OPEA's route streams bytes literals unless told otherwise, and names what it ignored."""
    import urllib.request

    body = b'{"messages": "How many days of leave do new employees have?", "top_k": 3, "max_tokens": 8}'
    request = urllib.request.Request(
        f"{gateway.url}/v1/chatqna", body, {"content-type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=60) as reply:
        ignored, text = reply.headers["x-weft-ignored"], reply.read().decode()
    assert "top_k" in ignored
    assert re.search(r"^data: b['\"]", text)
    assert text.endswith("data: [DONE]\n\n")


def test_a_document_is_listed_and_deleted(gateway: Gateway, tmp_path: Path) -> None:
    """What was ingested is in the list; deleted, it is not; a file that cannot be read is refused with a reason."""
    note = tmp_path / "note.md"
    note.write_text("# Note\n\nThe office cat is called Schrödinger.\n")
    gateway.run("ingest", str(note))
    assert "note.md" in gateway.run("call", "/v1/dataprep/get", "{}")
    gateway.run("call", "/v1/dataprep/delete", '{"file_path": "note.md"}')
    assert "note.md" not in gateway.run("call", "/v1/dataprep/get", "{}")
    bad = tmp_path / "bad.pdf"
    bad.write_bytes(b"no pdf at all")
    refused = CliRunner().invoke(group, ["ingest", str(bad), "--url", gateway.url])
    assert "refused" in refused.output
    assert refused.exception is not None

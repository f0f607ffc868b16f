"""The SDKs of other protocols as they come against ChatQnA: a real answer from a real document, with what it stands on."""

from __future__ import annotations

import asyncio
from typing import Any

import anthropic
import mcp
import pytest
from chatqna_process import QUESTION, Gateway

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

FACT = "30 days of leave"


@pytest.mark.parametrize("streamed", [False, True])
def test_anthropics_client_gets_the_quote(gateway: Gateway, *, streamed: bool) -> None:
    """The answer quotes the handbook, and its citation says where."""
    messages = anthropic.Anthropic(base_url=gateway.url, api_key="none", timeout=60).messages
    asked: Any = {"model": "chatqna", "max_tokens": 24, "messages": [{"role": "user", "content": QUESTION}]}
    if streamed:
        with messages.stream(**asked) as stream:
            message: Any = stream.get_final_message()
    else:
        message = messages.create(**asked)
    (block,) = [block for block in message.content if block.type == "text"]
    assert FACT in block.text
    assert FACT in block.citations[0].cited_text
    assert "handbook.txt" in (block.citations[0].title or block.citations[0].source)
    assert message.usage.output_tokens > 0
    assert messages.count_tokens(model="chatqna", messages=asked["messages"]).input_tokens > 0


def test_the_responses_api_gets_the_quote_and_goes_on(gateway: Gateway) -> None:
    """Streamed, then asked on: the second question is understood out of the first."""
    client = gateway.client()
    with client.responses.stream(model="chatqna", input=QUESTION, max_output_tokens=24) as stream:
        first = stream.get_final_response()
    assert FACT in first.output_text
    annotation: Any = first.output[0].content[0].annotations[0]  # type: ignore[union-attr]
    assert annotation.type == "url_citation"
    assert FACT in annotation.quote
    second = client.responses.create(
        model="chatqna", input="And who founded Weft?", previous_response_id=first.id, max_output_tokens=24
    )
    assert "Ada Muster" in second.output_text
    client.responses.delete(first.id)


def test_a_client_of_mcp_calls_it_as_a_tool(gateway: Gateway) -> None:
    """It is listed with its parameters, called with one, and heard of while it answers."""

    async def call() -> tuple[Any, Any, list[str]]:
        heard: list[str] = []

        async def on_progress(progress: float, total: float | None, message: str | None) -> None:
            heard.append(message or "")

        async with mcp.Client(f"{gateway.url}/mcp") as client:
            tools = (await client.list_tools()).tools
            arguments = {"messages": QUESTION, "k": 2, "max_tokens": 24}
            result = await client.call_tool("chatqna", arguments, progress_callback=on_progress)
        return tools, result, heard

    tools, result, heard = asyncio.run(call())
    tool = next(tool for tool in tools if tool.name == "chatqna")
    assert {"messages", "k"} <= set(tool.input_schema["properties"])
    assert FACT in result.content[0].text
    assert FACT in result.structured_content["citations"][0]["quote"]
    assert heard

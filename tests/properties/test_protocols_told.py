"""Any chat stream, told in another protocol: its events put together are the message that the whole reply would have been."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from weft.contracts.chat import ChatChunk, collect
from weft.gateway.protocols import anthropic_told, responses_told
from weft.gateway.protocols.responses_wire import ResponsesRequest
from weft.gateway.protocols.telling import Said
from weft.http.sse import SSEReader

words = st.text(max_size=8)
finishes = st.sampled_from(["stop", "length", "tool_calls", "content_filter"])
annotations = st.fixed_dictionaries(
    {
        "marker": st.integers(1, 9),
        "quote": words,
        "title": words,
        "document_id": words,
        "start_index": st.integers(0, 99),
    }
)


def deltas(kind: str) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Some chunks' worth of one kind of thing."""
    return st.lists(words.map(lambda text: {kind: text}), max_size=3)


@st.composite
def calls(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Calls one after the other, each in pieces that together are a JSON object."""
    found = []
    for index in range(draw(st.integers(0, 2))):
        arguments = json.dumps(draw(st.dictionaries(words, words, max_size=2)))
        cut = draw(st.integers(0, len(arguments)))
        head = {
            "index": index,
            "id": f"call_{index}",
            "function": {"name": draw(words), "arguments": arguments[:cut]},
        }
        rest = {"index": index, "function": {"arguments": arguments[cut:]}}
        found += [{"tool_calls": [head]}, {"tool_calls": [rest]}]
    return found


@st.composite
def streams(draw: st.DrawFn) -> list[dict[str, Any]]:
    """The chunks of an answer: it thinks, speaks, cites, calls; then its end, and what it cost."""
    parts = [*draw(deltas("reasoning_content")), *draw(deltas("content"))]
    cited = draw(st.lists(annotations, max_size=2))
    if cited and any(part.get("content") for part in parts):
        parts.append({"annotations": cited})
    parts += draw(calls())
    chunks = [{"choices": [{"index": 0, "delta": {"role": "assistant"} | part}]} for part in parts]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": draw(finishes)}]})
    counted = draw(st.tuples(st.integers(0, 99), st.integers(0, 99)))
    chunks.append(
        {
            "usage": {
                "prompt_tokens": counted[0],
                "completion_tokens": counted[1],
                "total_tokens": sum(counted),
            }
        }
    )
    return [{"id": "c-1", "model": "m", "choices": []} | chunk for chunk in chunks]


def told(teller: Any, chunks: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """The events that a teller makes of chunks."""
    written = b"".join(teller.say(msgspec.convert(chunk, Said)) for chunk in chunks) + teller.end()
    return [(event.event, json.loads(event.data)) for event in SSEReader().feed(written)]


@given(streams(), st.booleans())
def test_anthropics_events_are_the_message(chunks: list[dict[str, Any]], thinks: bool) -> None:
    """Put together as the API says, block by block, with nothing outside of one."""
    events = told(anthropic_told.MessageTeller("r", thinks=thinks), chunks)
    assert events[0][0] == "message_start"
    assert [name for name, _ in events][-2:] == ["message_delta", "message_stop"]
    message: dict[str, Any] = {}
    is_open = False
    for name, data in events:
        assert data["type"] == name
        if name == "message_start":
            message = data["message"]
        elif name == "content_block_start":
            assert (is_open, data["index"]) == (False, len(message["content"]))
            is_open = True
            message["content"].append(data["content_block"] | {"pieces": []})
        elif name == "content_block_delta":
            assert (is_open, data["index"]) == (True, len(message["content"]) - 1)
            _add(message["content"][-1], data["delta"])
        elif name == "content_block_stop":
            is_open = False
        elif name == "message_delta":
            message |= data["delta"] | {"usage": data["usage"]}
    assert not is_open
    for block in message["content"]:
        if block["type"] == "tool_use":
            block["input"] = json.loads("".join(block["pieces"]) or "{}")
        block.pop("pieces")
        if block["type"] == "text":
            block.setdefault("citations", None)
    whole = collect([msgspec.convert(chunk, ChatChunk) for chunk in chunks])
    assert message == msgspec.to_builtins(anthropic_told.message(whole, "r", thinks=thinks))


def _add(block: dict[str, Any], delta: dict[str, Any]) -> None:
    if delta["type"] == "text_delta":
        block["text"] += delta["text"]
    elif delta["type"] == "thinking_delta":
        block["thinking"] += delta["thinking"]
    elif delta["type"] == "citations_delta":
        block["citations"] = [*(block.get("citations") or []), delta["citation"]]
    else:
        block["pieces"].append(delta["partial_json"])


@given(streams())
def test_the_events_of_a_response_are_the_response(chunks: list[dict[str, Any]]) -> None:
    """The last event has all that the others said, which is what the whole reply is told as; the numbers have no gap."""
    asked = ResponsesRequest("m", "x")
    events = told(responses_told.ResponseTeller(responses_told.begun(asked, "resp_1", stored=False)), chunks)
    assert [data["sequence_number"] for _, data in events] == list(range(len(events)))
    items: dict[int, dict[str, Any]] = {}
    texts: dict[tuple[int, int], str] = {}
    for name, data in events:
        if name == "response.output_item.added":
            assert data["output_index"] == len(items)
            items[data["output_index"]] = data["item"]
        elif name.endswith("_text.delta"):
            at = data["output_index"], data["content_index"]
            assert data["item_id"] == items[at[0]]["id"]
            texts[at] = texts.get(at, "") + data["delta"]
        elif name == "response.output_item.done":
            items[data["output_index"]] = data["item"]
    last = events[-1][1]["response"]
    assert last["output"] == [items[index] for index in sorted(items)]
    for (item, part), text in texts.items():
        assert last["output"][item]["content"][part]["text"] == text
    whole = collect([msgspec.convert(chunk, ChatChunk) for chunk in chunks])
    made = responses_told.completed(responses_told.begun(asked, "resp_1", stored=False), whole)
    now = {"created_at": 0, "completed_at": 0}
    assert last | now == json.loads(msgspec.json.encode(made)) | now

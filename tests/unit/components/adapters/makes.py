"""The wire forms of chat completions as each make of server writes them, reduced to three words.

Every stream says ``one two three``; what each make does besides is what its adapter must read. Written after the servers'
sources and the issues of those who met the differences; ids, fingerprints and times are made up.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


def event(value: Any, *, before: str = "data: ", end: str = "\n\n", compact: bool = True) -> bytes:
    """One event."""
    separators = (",", ":") if compact else (", ", ": ")
    return f"{before}{json.dumps(value, separators=separators)}{end}".encode()


@dataclass(frozen=True)
class Make:
    """What one make of server sends.

    Attributes:
        stream: A streamed answer.
        whole: The same answer as one reply.
        usage: Whether it counts tokens.
        failing: The event with which a stream ends that fails.
        reasoning: Whether the answer begins with the thought ``hm``.
    """

    stream: bytes
    whole: dict[str, Any]
    failing: bytes
    usage: bool = True
    reasoning: bool = False


def whole(message: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    """A whole reply."""
    answer = message or {"role": "assistant", "content": "one two three"}
    choice = {"index": 0, "message": answer, "logprobs": None, "finish_reason": "stop"}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1742289669,
        "model": "m",
        "choices": [choice],
        "usage": USAGE,
    } | fields


def chunk(delta: dict[str, Any] | None, finish: Any = None, /, **fields: Any) -> dict[str, Any]:
    """A chunk with one choice, or (delta None) with none."""
    choices = (
        [] if delta is None else [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
    )
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1742289669,
        "model": "m",
        "choices": choices,
    } | fields


def openai() -> Make:
    """A role chunk, ``usage: null`` in each, padding against eavesdroppers, the usage last."""
    extra = {"service_tier": "default", "system_fingerprint": "fp_1", "usage": None, "obfuscation": "x7Kq"}
    events = [chunk({"role": "assistant", "content": "", "refusal": None}, None, **extra)]
    events += [chunk({"content": word}, None, **extra) for word in ("one ", "two ", "three")]
    events += [chunk({}, "stop", **extra), chunk(None, **(extra | {"usage": USAGE}))]
    error = {"message": "The server had an error", "type": "server_error", "param": None, "code": None}
    message = {"role": "assistant", "content": "one two three", "refusal": None, "annotations": []}
    return Make(b"".join(map(event, events)) + b"data: [DONE]\n\n", whole(message), event({"error": error}))


def azure() -> Make:
    """First a chunk without choices, id and model; between others a choice without delta."""
    first = {"id": "", "object": "", "created": 0, "model": "", "choices": [], "prompt_filter_results": []}
    filtered = chunk(None) | {"choices": [{"content_filter_offsets": {}, "finish_reason": None, "index": 0}]}
    events = [first, chunk({"role": "assistant", "content": "one "}), filtered]
    events += [
        chunk({"content": "two "}),
        chunk({"content": "three"}),
        chunk({}, "stop"),
        chunk(None, usage=USAGE),
    ]
    error = {"error": {"code": "429", "message": "Rate limit is exceeded"}}
    return Make(b"".join(map(event, events)) + b"data: [DONE]\n\n", whole(), event(error))


def vllm() -> Make:
    """The thought is in ``reasoning``; the last word comes with the finish reason; fields of its own."""
    events = [chunk({"role": "assistant", "content": ""}, None, usage=None)]
    events += [chunk({"reasoning": "hm"}, None, usage=None)]
    events += [chunk({"content": word}, None, usage=None) for word in ("one ", "two ")]
    last = chunk({"content": "three"}, "stop", usage=None)
    last["choices"][0] |= {"stop_reason": None, "token_ids": None}
    message = {"role": "assistant", "content": "one two three", "reasoning": "hm", "tool_calls": []}
    error = {
        "error": {"message": "EngineCore died", "type": "InternalServerError", "param": None, "code": 500}
    }
    stream = b"".join(map(event, [*events, last, chunk(None, usage=USAGE)])) + b"data: [DONE]\n\n"
    return Make(
        stream, whole(message, prompt_logprobs=None), event(error) + b"data: [DONE]\n\n", reasoning=True
    )


def vllm_old() -> Make:
    """``reasoning_content``, a usage in every chunk, its own form of errors, and ``[DONE]`` after one."""
    counted = [dict(USAGE, completion_tokens=n, total_tokens=7 + n) for n in range(4)]
    events = [chunk({"role": "assistant", "reasoning_content": "hm"}, None, usage=counted[0])]
    events += [
        chunk({"content": "one "}, None, usage=counted[1]),
        chunk({"content": "two "}, None, usage=counted[2]),
    ]
    events += [chunk({"content": "three"}, "stop", usage=counted[3]), chunk(None, usage=USAGE)]
    error = {
        "object": "error",
        "message": "EngineCore died",
        "type": "BadRequestError",
        "param": None,
        "code": 400,
    }
    message = {"role": "assistant", "content": "one two three", "reasoning_content": "hm"}
    stream = b"".join(event(value, compact=False) for value in events) + b"data: [DONE]\n\n"
    return Make(stream, whole(message), event(error) + b"data: [DONE]\n\n", reasoning=True)


def sglang() -> Make:
    """Nulls for everything that is not there, and an empty finish reason where null is meant."""

    def said(content: str | None, finish: str | None = "", role: str | None = None) -> dict[str, Any]:
        delta = {"role": role, "content": content, "reasoning_content": None, "tool_calls": None}
        made = chunk(delta, finish, usage=None)
        made["choices"][0]["matched_stop"] = None
        return made

    events = [said("", role="assistant"), said("one "), said("two "), said("three"), said(None, "stop")]
    error = {"error": {"message": "The request is aborted", "type": "internal_error", "code": 500}}
    message = {"role": "assistant", "content": "one two three", "reasoning_content": None, "tool_calls": None}
    stream = b"".join(map(event, [*events, chunk(None, usage=USAGE)])) + b"data: [DONE]\n\n"
    return Make(stream, whole(message, metadata={"weight_version": "default"}), event(error))


def tgi() -> Make:
    """No space after ``data:``, empty ids, comments that keep the connection alive, ``eos_token``."""
    events = [
        chunk({"role": "assistant", "content": word}, None, id="") for word in ("one ", "two ", "three")
    ]
    events += [
        chunk({"role": "assistant", "content": ""}, "eos_token", id=""),
        chunk(None, id="", usage=USAGE),
    ]
    error = {"error": {"message": "Request failed during generation", "http_status_code": 424}}
    stream = b":\n\n".join(event(value, before="data:") for value in events) + b"data: [DONE]\n\n"
    return Make(stream, whole(id="", system_fingerprint="3.3-native"), event(error, before="data:"))


def tgi_old() -> Make:
    """An error is a text, and there are no counts in a stream."""
    events = [chunk({"role": "assistant", "content": word}, None, id="") for word in ("one ", "two ")]
    events += [chunk({"role": "assistant", "content": "three"}, "stop_sequence", id="")]
    error = {"error": "Request failed during generation", "error_type": "generation"}
    stream = b"".join(event(value, before="data:") for value in events) + b"data:[DONE]\n\n"
    return Make(stream, whole(), event(error, before="data:"), usage=False)


def ollama() -> Make:
    """The role in every chunk; the thought in ``reasoning``."""
    said = [{"role": "assistant", "content": "", "reasoning": "hm"}]
    said += [{"role": "assistant", "content": word} for word in ("one ", "two ", "three")]
    events = [chunk(delta, None, system_fingerprint="fp_ollama") for delta in said]
    events += [chunk({"role": "assistant", "content": ""}, "stop"), chunk(None, usage=USAGE)]
    message = {"role": "assistant", "content": "one two three", "reasoning": "hm"}
    error = {"error": {"message": "llama runner process has terminated", "type": "api_error", "param": None}}
    return Make(
        b"".join(map(event, events)) + b"data: [DONE]\n\n", whole(message), event(error), reasoning=True
    )


def ollama_old() -> Make:
    """It neither counts nor says ``[DONE]``: the finish reason is all there is."""
    events = [chunk({"role": "assistant", "content": word}) for word in ("one ", "two ", "three")]
    events += [chunk({"role": "assistant", "content": ""}, "stop")]
    return Make(b"".join(map(event, events)), whole(), event({"error": "runner died"}), usage=False)


def llama_server() -> Make:
    """``content: null`` with the role, pings, timings, and no empty line after ``[DONE]``."""
    events = [chunk({"role": "assistant", "content": None})]
    events += [chunk({"content": word}) for word in ("one ", "two ", "three")]
    events += [chunk({}, "stop"), chunk(None, usage=USAGE, timings={"predicted_per_second": 81.1})]
    error = {"error": {"code": 500, "message": "Context size has been exceeded.", "type": "server_error"}}
    return Make(b":\n\n".join(map(event, events)) + b"data: [DONE]\n", whole(timings={}), event(error))


def proxied() -> Make:
    """Through a proxy that writes carriage returns, names of events, ids, empty data and comments."""
    events = [event(chunk({"content": word}), end="\r\n\r\n") for word in ("one ", "two ", "three")]
    head = b": PROCESSING\r\n\r\ndata:\r\n\r\nevent: message\r\nid: 7\r\nretry: 100\r\n"
    tail = event(chunk({}, "stop", usage=USAGE, created=1742289669.25), end="\r\n\r\n")
    error = event({"error": {"message": "upstream is gone"}}, before="event: error\r\ndata: ", end="\r\n\r\n")
    return Make(head + b"".join(events) + tail + b"data: [DONE]\r\n\r\n", whole(created=1742289669.25), error)


MAKES = {
    made.__name__.replace("_", "-"): made()
    for made in (
        openai,
        azure,
        vllm,
        vllm_old,
        sglang,
        tgi,
        tgi_old,
        ollama,
        ollama_old,
        llama_server,
        proxied,
    )
}

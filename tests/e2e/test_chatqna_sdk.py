"""The ``openai`` SDK as it comes against ChatQnA: what its users write works, and what fails has the SDK's own classes."""

from __future__ import annotations

import asyncio
import json

import openai
import pytest
from chatqna_process import QUESTION, Gateway
from openai.types.chat import ChatCompletionMessageParam
from pydantic import BaseModel

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ASKED: list[ChatCompletionMessageParam] = [{"role": "user", "content": QUESTION}]


def test_a_seed_repeats_an_answer(gateway: Gateway) -> None:
    """The same seed at the same temperature gives the same words; temperature 0 needs none."""
    create = gateway.client().chat.completions.create
    for options in ({"seed": 7, "temperature": 1.0}, {"temperature": 0.0}):
        first, again = (
            create(model="chatqna", messages=ASKED, max_tokens=12, **options).choices[0].message.content
            for _ in range(2)
        )
        assert first == again


def test_n_answers_are_given(gateway: Gateway) -> None:
    """``n`` choices, whole and streamed, each with its index and its own end; usage counts them all."""
    create = gateway.client().chat.completions.create
    whole = create(model="chatqna", messages=ASKED, max_tokens=6, n=2)
    assert [choice.index for choice in whole.choices] == [0, 1]
    assert whole.usage is not None
    streamed = list(
        create(
            model="chatqna", messages=ASKED, max_tokens=6, n=2, stream=True,
            stream_options={"include_usage": True},
        )
    )  # fmt: skip
    ends = {c.index: c.finish_reason for chunk in streamed for c in chunk.choices if c.finish_reason}
    assert set(ends) == {0, 1}
    assert streamed[-1].usage is not None
    for usage in (whole.usage, streamed[-1].usage):
        assert 2 <= usage.completion_tokens <= 12
        assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def test_stop_ends_the_answer(gateway: Gateway) -> None:
    """The model's words end before the stop text, and the reason is ``stop``."""
    create = gateway.client().chat.completions.create
    free = (
        create(model="chatqna", messages=ASKED, max_tokens=16, temperature=0).choices[0].message.content or ""
    )
    quote, _, words = free.partition("\n\n")
    stop = words.split()[2]
    choice = create(model="chatqna", messages=ASKED, max_tokens=16, temperature=0, stop=[stop]).choices[0]
    assert choice.finish_reason == "stop"
    assert (choice.message.content or "").startswith(quote)
    assert stop not in (choice.message.content or "").removeprefix(quote)
    assert free.startswith((choice.message.content or "").rstrip())


class Leave(BaseModel):
    """What is asked for below."""

    days: int


def test_a_json_schema_is_kept(gateway: Gateway) -> None:
    """``response_format`` with a schema gives JSON of that schema and no quotation, whole, parsed and streamed."""
    schema = {
        "type": "json_schema",
        "json_schema": {
            "name": "leave",
            "strict": True,
            "schema": {
                "type": "object",
                "properties": {"days": {"type": "integer"}},
                "required": ["days"],
                "additionalProperties": False,
            },
        },
    }
    client = gateway.client()
    whole = client.chat.completions.create(
        model="chatqna",
        messages=ASKED,
        max_tokens=60,
        seed=1,
        response_format=schema,  # type: ignore[arg-type]
    )
    assert isinstance(json.loads(whole.choices[0].message.content or "")["days"], int)
    assert not whole.choices[0].message.annotations
    parsed = client.chat.completions.parse(
        model="chatqna", messages=ASKED, max_tokens=60, seed=1, response_format=Leave
    )
    assert isinstance(parsed.choices[0].message.parsed, Leave)
    with client.chat.completions.stream(
        model="chatqna", messages=ASKED, max_tokens=60, seed=1, response_format=Leave
    ) as stream:
        assert isinstance(stream.get_final_completion().choices[0].message.parsed, Leave)


def test_usage_comes_only_when_it_is_asked_for(gateway: Gateway) -> None:
    """Without ``include_usage`` no chunk has usage; with it the last one has, and no choices."""
    create = gateway.client().chat.completions.create
    plain = list(create(model="chatqna", messages=ASKED, max_tokens=4, stream=True))
    assert all(chunk.usage is None and chunk.choices for chunk in plain)
    counted = list(
        create(
            model="chatqna", messages=ASKED, max_tokens=4, stream=True, stream_options={"include_usage": True}
        )
    )
    assert counted[-1].choices == []
    assert counted[-1].usage is not None
    assert {chunk.id for chunk in counted} == {counted[0].id}


def test_a_raw_streaming_response_is_server_sent_events(gateway: Gateway) -> None:
    """``with_streaming_response`` sees the lines as they are, ``[DONE]`` at the end, and the headers."""
    with gateway.client().chat.completions.with_streaming_response.create(
        model="chatqna", messages=ASKED, max_tokens=4, stream=True, extra_headers={"x-request-id": "sdk-1"}
    ) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["x-request-id"] == response.request_id == "sdk-1"
        assert response.headers["x-weft-build"]
        lines = [line for line in response.iter_lines() if line]
    assert all(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"
    assert all(json.loads(line[6:])["object"] == "chat.completion.chunk" for line in lines[:-1])


async def test_the_async_sdk_streams_concurrently(gateway: Gateway) -> None:
    """Three streams at once each end with their own answer; one that is closed early disturbs none."""
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as client:

        async def ask(limit: int | None) -> list[str]:
            stream = await client.chat.completions.create(
                model="chatqna", messages=ASKED, max_tokens=12, stream=True
            )
            found: list[str] = []
            async with stream:
                async for chunk in stream:
                    found.append(chunk.choices[0].delta.content or "")
                    if limit is not None and len(found) == limit:
                        break
            return found

        texts = await asyncio.gather(ask(None), ask(1), ask(None))
    assert len(texts[1]) == 1
    for text in (texts[0], texts[2]):
        assert "30 days of leave" in "".join(text)
        assert len(text) > 2


def test_embeddings_are_the_same_as_floats_and_as_base64(gateway: Gateway) -> None:
    """Both encodings hold the same unit vectors, in the order of the texts, and tokens are counted."""
    create = gateway.client().embeddings.create
    texts = ["Leave of new employees", "The cafeteria"]
    packed = create(model="embedder", input=texts)
    plain = create(model="embedder", input=texts, encoding_format="float")
    assert [entry.index for entry in plain.data] == [0, 1]
    for ours, theirs in zip(packed.data, plain.data, strict=True):
        assert ours.embedding == pytest.approx(theirs.embedding, abs=1e-6)
        assert sum(number * number for number in ours.embedding) == pytest.approx(1, abs=1e-4)
    assert packed.usage.prompt_tokens == plain.usage.prompt_tokens > 4


def test_models_are_listed_and_retrieved(gateway: Gateway) -> None:
    """Each name in the list can be retrieved, a version too; another is NotFoundError with the choices."""
    models = gateway.client().models
    listed = [model.id for model in models.list()]
    assert listed == ["chatqna", "embedder", "retriever", "reranker", "documents"]
    assert [models.retrieve(name).id for name in [*listed, "chatqna@1.0"]] == [*listed, "chatqna@1.0"]
    with pytest.raises(openai.NotFoundError, match="did you mean 'chatqna'") as caught:
        models.retrieve("chatqa")
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize(
    ("wrong", "param", "code"),
    [
        ({"reasoning_effort": "low"}, "reasoning_effort", "unsupported_parameter"),
        ({"store": True}, "store", "unsupported_parameter"),
        ({"extra_body": {"tempratur": 0}}, "tempratur", "unsupported_parameter"),
        ({"temperature": 2.5}, "temperature", "invalid_request"),
        ({"top_p": -1}, "top_p", "invalid_request"),
        ({"n": 0}, "n", "invalid_request"),
        ({"max_tokens": 0}, "max_tokens", "invalid_request"),
        ({"max_tokens": "many"}, "max_tokens", "invalid_request"),
        ({"extra_body": {"k": 0}}, "k", "invalid_request"),
        ({"messages": []}, "messages", "invalid_request"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else None,
)
def test_a_wrong_field_is_a_bad_request_that_names_it(
    gateway: Gateway, wrong: dict[str, object], param: str, code: str
) -> None:
    """BadRequestError with ``param`` and ``code``; nothing is ignored without a word."""
    arguments: dict[str, object] = {"model": "chatqna", "messages": ASKED, "max_tokens": 4} | wrong
    with pytest.raises(openai.BadRequestError) as caught:
        gateway.client().chat.completions.create(**arguments)  # type: ignore[call-overload]
    assert (caught.value.param, caught.value.code) == (param, code)
    assert caught.value.type == "invalid_request_error"
    assert caught.value.request_id


def test_log_probabilities_are_the_models(gateway: Gateway) -> None:
    """Each token of the model's own words has its probability and the best alternatives."""
    choice = gateway.client().chat.completions.create(
        model="chatqna", messages=ASKED, max_tokens=4, temperature=0, logprobs=True, top_logprobs=2
    ).choices[0]  # fmt: skip
    assert choice.logprobs is not None
    assert choice.logprobs.content
    for token in choice.logprobs.content:
        assert token.logprob <= 0
        assert len(token.top_logprobs) == 2


def test_documented_defaults_ask_for_nothing(gateway: Gateway) -> None:
    """Fields at the API's documented defaults, ``user`` and ``metadata`` are taken by a model that reads none of them."""
    answer = gateway.client().chat.completions.create(
        model="chatqna", messages=ASKED, max_tokens=4, n=1, logprobs=False, store=False, user="me",
        metadata={"a": "b"}, parallel_tool_calls=True, response_format={"type": "text"},
    )  # fmt: skip
    assert answer.choices[0].message.content


def test_an_embedding_option_that_nothing_reads_is_refused(gateway: Gateway) -> None:
    """``dimensions`` would be ignored by this model: BadRequestError; so is an empty list, by its name."""
    create = gateway.client().embeddings.create
    with pytest.raises(openai.BadRequestError) as caught:
        create(model="embedder", input="x", dimensions=10)
    assert (caught.value.param, caught.value.code) == ("dimensions", "unsupported_parameter")
    with pytest.raises(openai.BadRequestError) as caught:
        create(model="embedder", input=[])
    assert caught.value.param == "input"


def test_a_model_of_another_kind_is_not_found(gateway: Gateway) -> None:
    """The embedder does not chat and the megaservice does not embed: NotFoundError, with what does."""
    client = gateway.client()
    with pytest.raises(openai.NotFoundError, match="models: chatqna"):
        client.chat.completions.create(model="embedder", messages=ASKED)
    with pytest.raises(openai.NotFoundError, match="models: embedder"):
        client.embeddings.create(model="chatqna", input="x")


def test_a_client_that_times_out_frees_the_model(gateway: Gateway) -> None:
    """The SDK's own timeout is APITimeoutError, and the next request is answered."""
    client = gateway.client()
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.02).chat.completions.create(
            model="chatqna", messages=ASKED, max_tokens=200
        )
    assert client.chat.completions.create(model="chatqna", messages=ASKED, max_tokens=4).choices


def test_a_deadline_is_an_error_of_the_server(gateway: Gateway) -> None:
    """``x-weft-timeout-ms`` that is too short: InternalServerError with status 504 and the deadline's code."""
    with pytest.raises(openai.InternalServerError) as caught:
        gateway.client().chat.completions.create(
            model="chatqna", messages=ASKED, max_tokens=200, extra_headers={"x-weft-timeout-ms": "1"}
        )
    assert (caught.value.status_code, caught.value.code) == (504, "deadline_exceeded")

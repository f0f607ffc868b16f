"""What a chat service promises: section 8.2 of the specification."""

from __future__ import annotations

import asyncio
from typing import Final

from weft.contracts.chat import CONTRACT, ChatChunk, ChatRequest, ChatResponse, collect
from weft.errors import RequestError
from weft.testing.promises.base import WATCHDOG_S, Broken, Family, Promises, Subject, Unseen, expect
from weft.testing.promises.texts import QUESTIONS, SCRIPTS
from weft.types import Empty, Message

CHAT: Final[Promises[Subject]] = Promises()

FEW: Final = 12
"""Tokens of an answer in a check: a small model says a sentence, and a large one costs little."""

LARGEST_WINDOW: Final = 32_768
"""Tokens that a check sends at most: a prompt that fills a larger window costs minutes, or money."""


def _request(words: str, *, max_tokens: int = FEW, **fields: object) -> ChatRequest:
    """A request whose answer is the same each time, as far as the model can."""
    made = ChatRequest([Message("user", words)], max_tokens=max_tokens, temperature=0, seed=7)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


async def _answer(subject: Subject, request: ChatRequest) -> ChatResponse:
    answer: ChatResponse = await subject.ask(request)
    expect(answer.choices, "there are no choices")
    return answer


@CHAT("8.2.1")
async def one_choice_for_each_n(subject: Subject) -> None:
    """There must be `n` choices (one by default) with indices from 0, each a message of role `assistant` with a
    `finish_reason`; a service that makes only one must refuse a larger `n`."""
    answer = await _answer(subject, _request(QUESTIONS[0]))
    _check_choices(answer, 1)
    two = await subject.serves_or_refuses(_request(QUESTIONS[0], max_tokens=3, n=2))
    if two is not None:
        _check_choices(two, 2)


def _check_choices(answer: ChatResponse, count: int) -> None:
    indices = [choice.index for choice in answer.choices]
    expect(sorted(indices) == list(range(count)), f"choices with the indices {indices}")
    for choice in answer.choices:
        expect(choice.message.role == "assistant", f"role {choice.message.role!r}")
        expect(choice.finish_reason, "a choice has no finish_reason")


@CHAT("8.2.2")
async def usage_is_counted(subject: Subject) -> None:
    """A whole reply must have `usage`, counted and not guessed: `prompt_tokens` above 0, `total_tokens` their sum with
    `completion_tokens`."""
    usage = (await _answer(subject, _request(QUESTIONS[0]))).usage
    expect(usage is not None, "there is no usage")
    if usage is not None:
        expect(usage.prompt_tokens > 0, f"{usage}")
        expect(usage.total_tokens == usage.prompt_tokens + usage.completion_tokens, f"{usage}")


@CHAT("8.2.3")
async def max_tokens_bounds(subject: Subject) -> None:
    """An answer must not be longer than `max_tokens`; one that was cut there has the `finish_reason` `length`."""
    answer = await _answer(subject, _request("Count from one to one hundred, in words.", max_tokens=2))
    used = answer.usage.completion_tokens if answer.usage is not None else 0
    expect(used <= 2, f"{used} tokens for max_tokens 2")
    reason = answer.choices[0].finish_reason
    expect(used < 2 or reason in ("length", "stop"), f"finish_reason {reason!r}")
    more = await _answer(subject, _request("Count from one to one hundred, in words.", max_tokens=FEW))
    if more.usage is not None and more.usage.completion_tokens > 2:
        expect(reason == "length", f"finish_reason {reason!r} for an answer that was cut")


@CHAT("8.2.4")
async def stop_ends_the_answer(subject: Subject) -> None:
    """An answer must end before a text of `stop`, which is not part of it."""
    whole = (await _answer(subject, _request(QUESTIONS[0]))).text()
    words = whole.split()
    if len(words) < 3:
        raise Unseen(f"the answer is too short to be stopped: {whole!r}")
    stop = words[-2]
    for form in (stop, [stop, "\x02never said"]):
        cut = (await _answer(subject, _request(QUESTIONS[0], stop=form))).text()
        expect(stop not in cut, f"{cut!r} has the stop text {stop!r} in it")


@CHAT("8.2.5")
async def no_messages_are_refused(subject: Subject) -> None:
    """A request without messages must be refused."""
    await subject.refuses(ChatRequest([]))


@CHAT("8.2.6")
async def any_script_is_answered(subject: Subject) -> None:
    """A conversation in any script must be answered; one that is longer than the model's window must be answered or
    refused as the caller's fault, should with the code `context_length_exceeded`."""
    for script in SCRIPTS:
        await _answer(subject, _request(script, max_tokens=1))
    window = await _window(subject)
    if window <= LARGEST_WINDOW:
        await subject.serves_or_refuses(_request("bridge " * (window or LARGEST_WINDOW), max_tokens=1))


async def _window(subject: Subject) -> int:
    """The model's window in tokens; 0 where it does not say."""
    try:
        described = await subject.call(Empty(), "describe")
    except (Broken, Unseen, RequestError):
        return 0
    return described.context_window or 0


@CHAT("8.2.7")
async def chunks_make_the_answer(subject: Subject) -> None:
    """The chunks of a stream must have one `id`, and each choice one `finish_reason`, after all of its content."""
    chunks: list[ChatChunk] = await subject.collected(_request(QUESTIONS[0]))
    expect(chunks, "the stream had no chunks")
    expect(len({chunk.id for chunk in chunks}) == 1, f"ids {sorted({chunk.id for chunk in chunks})}")
    finished: dict[int, str] = {}
    for chunk in chunks:
        for choice in chunk.choices:
            said = choice.delta.content or choice.delta.tool_calls
            expect(not (said and choice.index in finished), "content came after the finish_reason")
            if choice.finish_reason:
                expect(choice.index not in finished, "a choice has two finish_reasons")
                finished[choice.index] = choice.finish_reason
    expect(finished, "no choice has a finish_reason")


@CHAT("8.2.8")
async def stream_and_whole_agree(subject: Subject) -> None:
    """With `temperature` 0 and a `seed`, the same request should give the same words, streamed or not."""
    whole = (await _answer(subject, _request(QUESTIONS[0]))).text()
    streamed = collect(await subject.collected(_request(QUESTIONS[0]))).text()
    expect(whole == streamed, f"whole {whole!r}, streamed {streamed!r}")


@CHAT("8.2.9")
async def leaving_a_stream_frees_the_model(subject: Subject) -> None:
    """When a stream is left before its end, the model must be free for the next request."""
    for _ in range(6):
        stream = subject.stream(_request("Tell a very long story.", max_tokens=400))
        async with asyncio.timeout(WATCHDOG_S):
            await anext(aiter(stream), None)
        close = getattr(stream, "aclose", None)
        if close is None:
            raise Broken("the stream cannot be closed: it has no 'aclose'")
        await close()
    await _answer(subject, _request(QUESTIONS[0]))


@CHAT("8.2.10")
async def the_model_is_described(subject: Subject) -> None:
    """A chat service should say the name of its model, and its window where it knows it (`describe`)."""
    described = await subject.ask(Empty(), "describe")
    expect(described.model, f"{described}")
    expect(described.context_window is None or described.context_window > 0, f"{described}")


FAMILY: Final = Family(
    CONTRACT, CHAT, samples=lambda: [_request(question, max_tokens=3) for question in QUESTIONS]
)

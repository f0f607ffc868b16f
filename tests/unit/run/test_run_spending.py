"""The budget of a request: every call of a model is taken from it, and what it did cost is settled."""

from __future__ import annotations

import pytest

from weft.contracts.chat import ChatRequest
from weft.errors import InvalidRequestError, ReserveError, UnreachableError
from weft.run.spending import Budget, Spent, call_bound, prompt_bound
from weft.types import ContentPart, Message, Usage


def asking(text: str = "Hello", **fields) -> ChatRequest:
    """A request with one message."""
    return ChatRequest([Message("user", text)], **fields)


BOUND = prompt_bound(asking())


def test_a_call_takes_its_bound_and_gives_back_the_rest() -> None:
    """Prompt and max_tokens for each of n answers are taken; what was reported is charged in their place."""
    budget = Budget(BOUND + 100, {})
    taken = budget.take("llm", asking(max_tokens=50, n=2))
    assert budget.left == 0
    budget.settle(taken, Usage(3, 40, 43))
    assert budget.left == BOUND + 100 - 43
    assert budget.end(None) == [Spent("llm", 3, 40, 43)]


def test_a_call_beyond_the_rest_fails() -> None:
    """A call that the rest does not cover is refused, and told what is left; nothing of it is charged."""
    budget = Budget(BOUND + 100, {})
    budget.take("llm", asking(max_tokens=60))
    with pytest.raises(
        ReserveError, match=r"'llm' may use \d+ tokens, and of the \d+ that are reserved .* 40 are left"
    ):
        budget.take("llm", asking(max_tokens=60))
    assert budget.left == 40


def test_a_call_without_a_bound_gets_what_is_left() -> None:
    """A call that does not bound its answers is given the rest, divided among them."""
    budget = Budget(BOUND + 100, {})
    request = asking(n=2)
    budget.take("llm", request)
    assert (request.max_tokens, budget.left) == (50, 0)


def test_an_unknown_cost_stays_charged() -> None:
    """A call that ended without a report is charged in full; one that never reached its model, not at all."""
    budget = Budget(1000, {})
    budget.settle(budget.take("llm", asking(max_tokens=60)), None)
    lost = budget.take("other", asking(max_tokens=60))
    budget.failed(lost, UnreachableError("nobody there"))
    wrong = budget.take("other", asking(max_tokens=60))
    budget.failed(wrong, InvalidRequestError("no"))
    assert budget.end(None) == [Spent("llm", BOUND, 60, BOUND + 60)]


def test_the_window_bounds_a_call() -> None:
    """Prompt and each answer together fit the window of the model: no call is charged more."""
    assert call_bound(5000, 5000, 1, 4096) == 4096
    assert call_bound(1000, 100, 3, 4096) == 1300
    assert call_bound(5000, 100, 3, 4096) == 4096 + 200
    budget = Budget(4096, {"llm": 4096})
    budget.take("llm", asking("x" * 10_000, max_tokens=2000))
    assert budget.left == 0


def test_a_prompt_has_no_more_tokens_than_bytes() -> None:
    """Every byte of what is in a prompt may be a token, in any script; a picture counts by the piece."""
    assert prompt_bound(asking("日本")) - prompt_bound(asking("")) == 6
    assert prompt_bound(asking("x", tools=[{"type": "function"}])) > prompt_bound(asking("x")) + 10
    picture = ContentPart("image_url", image_url={"url": "data:image/png;base64," + "A" * 10_000_000})
    assert prompt_bound(ChatRequest([Message("user", [picture])])) < 20_000

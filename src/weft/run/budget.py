"""The retry budget: retries may add at most a fifth to the load of this process, however many nodes ask for them."""

from __future__ import annotations

from typing import Final

RATIO: Final = 0.2
"""Retries for each first attempt: enough to hide single faults, too few to double the load on what is failing."""

RESERVE: Final = 10.0
"""Retries that an idle process may make at once: without them, the first fault after a quiet time could not be hidden."""


class RetryBudget:
    """A token bucket that first attempts fill and retries empty. One for a process.

    Args:
        ratio: Tokens that a first attempt brings.
        reserve: Tokens at most, and at the start.
    """

    def __init__(self, *, ratio: float = RATIO, reserve: float = RESERVE) -> None:
        self._ratio, self._reserve = ratio, reserve
        self._tokens = reserve
        self.refused = 0

    @property
    def tokens(self) -> float:
        """Retries that may be made now."""
        return self._tokens

    def deposit(self) -> None:
        """A first attempt was made."""
        self._tokens = min(self._reserve, self._tokens + self._ratio)

    def withdraw(self) -> bool:
        """Ask for one retry; False: the budget is spent, and the error stands."""
        if self._tokens < 1.0:
            self.refused += 1
            return False
        self._tokens -= 1.0
        return True

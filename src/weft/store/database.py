"""What both databases are to those who use them. Statements are written with ``?`` for values, which are always bound."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeAlias

from weft.store.schema import Schema

Row: TypeAlias = tuple[Any, ...]


class Transaction(Protocol):
    """Statements that happen together or not at all."""

    async def fetch(self, statement: str, *values: Any) -> list[Row]:
        """Run a statement that gives rows."""
        ...

    async def execute(self, statement: str, *values: Any) -> int:
        """Run a statement; returns how many rows it changed."""
        ...


class Database(Protocol):
    """A database. Nothing is contacted before the first use; what fails then is tried again at the next.

    Attributes:
        place: Where it is, without passwords, for messages.
        is_shared: Whether gateways on other machines use it too.
    """

    place: str
    is_shared: bool

    def add(self, schema: Schema) -> None:
        """Have these tables too: they are made, or brought up to date, before the next statement is run."""
        ...

    async def fetch(self, statement: str, *values: Any) -> list[Row]:
        """Run one statement that only reads.

        Raises:
            StateError: A newer Weft wrote the tables, or the file is damaged.
            UnavailableError: The database cannot be reached or does not answer.
        """
        ...

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Statements that happen together; an exception, cancellation included, undoes them.

        Raises:
            StateError, UnavailableError: As for :meth:`fetch`.
        """
        ...

    async def aclose(self) -> None:
        """Close it."""
        ...


async def next_number(transaction: Transaction, counter: str) -> int:
    """Count up. Until the transaction ends nobody else gets a number of this counter.

    So whoever sees number 7 can be sure that everything that was written with a smaller one is there to be seen.
    """
    rows = await transaction.fetch(
        "INSERT INTO weft_counters(name, number) VALUES (?, 1) "
        "ON CONFLICT (name) DO UPDATE SET number = weft_counters.number + 1 RETURNING number",
        counter,
    )
    return int(rows[0][0])

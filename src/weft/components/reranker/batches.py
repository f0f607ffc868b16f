"""Documents sent to a reranking server in batches, a few at a time, and put into one order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from msgspec import Struct

from weft.contracts.reranker import RerankRequest, RerankResponse
from weft.errors import BackendReplyError, BackendStatusError, InvalidRequestError
from weft.types import Document

AT_ONCE: Final = 4
"""Batches of one request that are under way: enough that the server's queue is never empty, few enough to leave room in it."""

_REFUSED: Final = (400, 413, 422)


class Rank(Struct):
    """One document's place in a batch, and how well it answers."""

    index: int
    score: float


async def ranked(
    request: RerankRequest,
    ask: Callable[[str, list[Document]], Awaitable[list[Rank]]],
    *,
    top_n: int,
    batch: int,
    endpoint: str,
) -> RerankResponse:
    """The best documents of all batches, best first. Each is scored by itself, so that batches can be put together.

    The first batch that fails cancels the others.

    Args:
        request: What is asked.
        ask: Sends one batch.
        top_n: Documents that are kept where the request does not say.
        batch: Documents that are sent at once.
        endpoint: For the words of errors.

    Raises:
        InvalidRequestError: ``top_n`` is below 1, or the server refused the request.
        BackendReplyError: What it sent are not the scores of these documents.
    """
    if request.top_n is not None and request.top_n < 1:
        raise InvalidRequestError("top_n must be at least 1", param="top_n")
    documents = request.documents
    if not documents:
        return RerankResponse([])
    gate = asyncio.Semaphore(AT_ONCE)

    async def score(part: list[Document]) -> list[Document]:
        async with gate:
            try:
                ranking = await ask(request.query, part)
            except BackendStatusError as error:
                if error.backend_status not in _REFUSED:
                    raise
                raise InvalidRequestError(
                    f"the reranking server refused the documents: {error.message} (at {error.endpoint})"
                ) from error
        ranking.sort(key=lambda rank: rank.index)  # servers turn those of equal score round
        if [rank.index for rank in ranking] != list(range(len(part))):
            raise BackendReplyError(
                "the ranking does not have each document that was sent once", endpoint=endpoint
            )
        return [part[rank.index].scored(rank.score) for rank in ranking]

    if len(documents) <= batch:
        scored = await score(documents)
    else:
        try:
            async with asyncio.TaskGroup() as group:
                parts = (documents[start : start + batch] for start in range(0, len(documents), batch))
                tasks = [group.create_task(score(part)) for part in parts]
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        scored = [document for task in tasks for document in task.result()]
    scored.sort(key=lambda document: document.score or 0.0, reverse=True)
    return RerankResponse(scored[: top_n if request.top_n is None else request.top_n])

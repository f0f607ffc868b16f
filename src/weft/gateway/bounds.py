"""How long a route's bodies may be."""

from __future__ import annotations

from collections.abc import Awaitable

from weft.gateway.passage import Passage, Proceed, Reply


class BodyStage:
    """Refuses longer bodies; an upload while it comes in.

    Args:
        max_bytes: How long they may be.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes

    def __call__(self, passage: Passage, proceed: Proceed) -> Awaitable[Reply]:
        """See :class:`weft.gateway.passage.Stage`.

        Raises:
            PayloadTooLargeError: The body is longer.
        """
        passage.request.bound(self._max_bytes)
        return proceed(passage)

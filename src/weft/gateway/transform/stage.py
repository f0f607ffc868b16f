"""The stage of a route that changes its requests and replies."""

from __future__ import annotations

from typing import Any, Final

from weft.gateway.passage import Passage, Proceed, Reply
from weft.gateway.transform.headers import HeaderRules
from weft.gateway.transform.program import Seen, Transform
from weft.spec.gateway import RouteSpec

_BODY_METHODS: Final = frozenset({"POST", "PUT", "PATCH"})


class TransformStage:
    """Changes requests on their way in and replies on their way out, as the route says.

    Args:
        rule: Has a ``request`` or a ``response``.
    """

    def __init__(self, rule: RouteSpec) -> None:
        self._request = Transform(rule.request) if rule.request is not None else None
        self._request_headers = HeaderRules(rule.request.headers) if rule.request is not None else None

    async def __call__(self, passage: Passage, proceed: Proceed) -> Reply:
        """See :class:`weft.gateway.passage.Stage`."""
        if self._request is not None:
            change_request(self._request, passage)
        return await proceed(passage)


def change_request(transform: Transform, passage: Passage) -> None:
    """Let the request have its changed body. An upload has no fields that could be changed."""
    request = passage.request
    if request.method not in _BODY_METHODS or request.headers.get("content-type", "").startswith(
        "multipart/"
    ):
        return
    body: dict[str, Any] = passage.body()
    # Written anew even if nothing has changed: a field that is there twice is now there once, for whoever reads it next.
    passage.replace(transform(Seen(body, request.headers, passage.identity, passage.model)))

"""The stage of a route that checks requests against its schema, as their callers wrote them."""

from __future__ import annotations

from weft.errors import InvalidRequestError
from weft.gateway.passage import Passage, Proceed, Reply
from weft.gateway.transform.stage import has_fields
from weft.plan.schemas import RequestSchema


def _is_primary(passage: Passage) -> bool:
    """Whether the target's primary operation is asked, which the schema is about; a service may have others."""
    target, operation = passage.target, passage.operation
    return target is None or operation is None or operation.name == target.operation.name


class SchemaStage:
    """Refuses what does not keep to the schema.

    Args:
        schema: Of a request.
    """

    def __init__(self, schema: RequestSchema) -> None:
        self._schema = schema

    async def __call__(self, passage: Passage, proceed: Proceed) -> Reply:
        """See :class:`weft.gateway.passage.Stage`.

        Raises:
            InvalidRequestError: The body does not keep to the schema; ``param`` names the place.
        """
        if has_fields(passage.request) and _is_primary(passage):
            misfit = self._schema.misfit(passage.body())
            if misfit is not None:
                where = f"{misfit.param}: " if misfit.path else ""
                raise InvalidRequestError(
                    f"the request does not keep to this route's schema: {where}{misfit.message}",
                    param=misfit.param or None,
                )
        return await proceed(passage)

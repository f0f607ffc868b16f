"""What a failure becomes on its way up: an error that names node, service, component and the time it took."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import NamedTuple

from weft.errors import (
    BackendStatusError,
    DeadlineError,
    InvalidRequestError,
    OverloadedError,
    RequestError,
    ServiceError,
)

_LOG = logging.getLogger("weft.run")


class Stopped(NamedTuple):
    """A node that was running, or about to, when the time was up."""

    node: str
    service: str
    component: str
    endpoint: str | None


def is_cancelled(error: BaseException) -> bool:
    """Whether it is this task that was cancelled, or the program that is ending: then it goes up as it is.

    A component can also raise CancelledError by itself (it waited for something of its own that was cancelled): that is
    a failure like any other.
    """
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is None or task.cancelling() > 0
    return not isinstance(error, Exception)


def as_failure(
    error: BaseException,
    *,
    node: str | None,
    service: str,
    component: str,
    endpoint: str | None,
    elapsed_s: float,
) -> RequestError:
    """The error as the caller sees it.

    What was raised on purpose keeps its class and gains what is known here. Anything else is a fault of the component:
    its text may hold secrets, so it goes to the log, and the caller is told what kind of thing it was.
    """
    if isinstance(error, ServiceError):
        return error.at(
            node=node, service=service, component=component, endpoint=endpoint, elapsed_s=elapsed_s
        )
    if isinstance(error, RequestError):
        return error
    _LOG.error("service '%s' failed in component '%s'", service, component, exc_info=error)
    failure = ServiceError(
        f"the component failed with {type(error).__name__}",
        node=node,
        service=service,
        component=component,
        endpoint=endpoint,
        elapsed_s=elapsed_s,
    )
    failure.__cause__ = error
    return failure


def is_transient(error: RequestError) -> bool:
    """Whether asking again, or asking another, can help: not when the request itself is what is wrong."""
    if isinstance(error, BackendStatusError):
        return error.backend_status >= 500 or error.backend_status in (408, 429)
    return isinstance(error, ServiceError | OverloadedError) or error.status >= 500


def may_be_answered_elsewhere(error: RequestError) -> bool:
    """Whether a fallback service is worth asking: whenever it is not the caller's own mistake."""
    return not isinstance(error, InvalidRequestError) and not (400 <= error.status < 429)


def out_of_time(stopped: Sequence[Stopped], elapsed_s: float | None = None) -> DeadlineError:
    """The request's own time is up."""
    if not stopped:
        return DeadlineError("the time allowed for the request was up", elapsed_s=elapsed_s)
    if len(stopped) == 1:
        return DeadlineError(
            "the time allowed for the request was up", **stopped[0]._asdict(), elapsed_s=elapsed_s
        )
    listed = ", ".join(f"'{where.node}'" for where in stopped)
    return DeadlineError(
        f"the time allowed for the request was up while the nodes {listed} were running", elapsed_s=elapsed_s
    )

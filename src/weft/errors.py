"""Every error that Weft raises on purpose, with an exit code and a stable code for each cause.

::

    WeftError
    ├── SpecError                 a spec, placement or plan is wrong (carries all problems)
    ├── UsageError                the command line or the Python API was used wrongly
    ├── ComponentError            a component cannot be loaded, configured or started
    │   └── MissingExtraError     an optional dependency is not installed
    ├── ModelError                a model cannot be found, fetched, verified or loaded
    │   ├── ModelUnavailableError needs a network that is not there, or a source that said no
    │   ├── DigestError           the bytes are not the pinned ones
    │   └── DiskSpaceError        needed and free bytes are named
    ├── StateError                state on disk is locked, damaged or of another schema version
    ├── PortTakenError            the port asked for is in use
    ├── NotReadyError             a service did not become ready in time
    ├── NonconformantError        a service breaks the specification
    └── RequestError              one request failed; has an HTTP status
        ├── InvalidRequestError       400  the caller sent something wrong (``param`` names it)
        │   ├── UnsupportedParameterError   a field that nothing consumes
        │   ├── ContextWindowError          the prompt does not fit the model
        │   └── ReserveError                it may use more tokens than its route reserves for a request
        ├── UnauthorizedError         401
        ├── ForbiddenError            403
        ├── NotFoundError             404  (``ModelNotFoundError`` for an unknown model name)
        ├── MethodNotAllowedError     405
        ├── ConflictError             409
        ├── IdempotencyKeyError       422
        ├── GoneError                 410  a version of a route has ended
        ├── PayloadTooLargeError      413
        ├── UnsupportedMediaTypeError 415
        ├── OverloadedError           429  a bounded queue is full; has ``retry_after_s``
        │   └── RateLimitError        429  the caller has used up what a limit of the Gateway file allows
        ├── ServiceError              502  a node's service failed; names node, service, component, endpoint
        │   ├── BackendStatusError    the server behind it answered 4xx or 5xx; its body is quoted
        │   ├── BackendReplyError     the reply was cut short, not JSON, of the wrong shape, or too large
        │   └── UnreachableError      no connection
        ├── UnavailableError          503  a circuit is open, a service is starting or draining
        ├── DeadlineError             504  the time was up
        └── InternalError             500  a fault of ours or of a component (the cause is in the log)

Exit codes: see :data:`EXIT_CODES`. Codes are part of the API: they do not change between releases.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from weft.spec.problems import Problem


class WeftError(Exception):
    """Something went wrong that a person can act on.

    Args:
        message: What is wrong, where, in one sentence.
        hint: What to do next, or the choices; printed after the message.
    """

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class UsageError(WeftError):
    """The command line or the Python API was used in a way that cannot work."""

    code = "usage"
    exit_code = 2


class SpecError(WeftError):
    """A spec does not load: every problem at once, in file order.

    ``str(error)`` is the rendered report that ``weft check`` prints.
    """

    code = "invalid_spec"
    exit_code = 3

    def __init__(self, problems: Sequence[Problem], *, rendered: str) -> None:
        super().__init__(rendered)
        self.problems = list(problems)


class ComponentError(WeftError):
    """A component cannot be found, loaded, configured or started."""

    code = "component"
    exit_code = 4


class MissingExtraError(ComponentError):
    """An optional dependency is missing; the message says which extra to install."""

    code = "missing_extra"
    exit_code = 5

    def __init__(self, component: str, *, package: str, extra: str) -> None:
        super().__init__(
            f"component '{component}' needs the package '{package}', which is not installed",
            hint=f"install it with: pip install 'weft[{extra}]'",
        )
        self.package, self.extra = package, extra


class ModelError(WeftError):
    """A model cannot be found, fetched, verified or loaded."""

    code = "model"
    exit_code = 6


class ModelUnavailableError(ModelError):
    """The model is not in the cache and its source cannot be reached or refused."""

    code = "model_unavailable"


class DigestError(ModelError):
    """The downloaded bytes do not have the pinned SHA-256; nothing of them is kept."""

    code = "model_digest"


class DiskSpaceError(ModelError):
    """Not enough free disk; ``needed_bytes`` and ``free_bytes`` say how much."""

    code = "disk_space"
    exit_code = 7

    def __init__(self, message: str, *, needed_bytes: int, free_bytes: int) -> None:
        super().__init__(message)
        self.needed_bytes, self.free_bytes = needed_bytes, free_bytes


class StateError(WeftError):
    """State on disk is in use by another process, damaged, or of a schema this version does not know."""

    code = "state"
    exit_code = 8


class PortTakenError(WeftError):
    """The port that was asked for is in use."""

    code = "port_taken"
    exit_code = 9


class NotReadyError(WeftError):
    """A service did not become ready in time, or is not reachable."""

    code = "not_ready"
    exit_code = 10


class NonconformantError(WeftError):
    """A service breaks a *must* of the microservice specification; ``weft conform`` has printed which."""

    code = "nonconformant"
    exit_code = 12


class RequestError(WeftError):
    """One request failed.

    Attributes:
        status: The HTTP status a server answers with.
        type: OpenAI's error ``type``.
        param: The request field at fault, if one is.
    """

    code = "request_failed"
    exit_code = 11
    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"

    def __init__(self, message: str, *, param: str | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.param = param


class InvalidRequestError(RequestError):
    """The caller sent something that cannot be served as it is."""

    code = "invalid_request"
    status = 400
    type = "invalid_request_error"


class UnsupportedParameterError(InvalidRequestError):
    """A field was set that nothing behind this route consumes."""

    code = "unsupported_parameter"


class ContextWindowError(InvalidRequestError):
    """The prompt is longer than the model's window."""

    code = "context_length_exceeded"


class ReserveError(InvalidRequestError):
    """A request may use more tokens than its route reserves for one; asking again would change nothing."""

    code = "reserve_exceeded"


class UnauthorizedError(RequestError):
    """No valid access token or key."""

    code = "unauthorized"
    status = 401
    type = "authentication_error"


class ForbiddenError(RequestError):
    """The caller may not do this (also: Host or Origin is not allowed)."""

    code = "forbidden"
    status = 403
    type = "permission_error"


class NotFoundError(RequestError):
    """Nothing has that name."""

    code = "not_found"
    status = 404
    type = "invalid_request_error"


class ModelNotFoundError(NotFoundError):
    """No megaservice or exposed service has that model name."""

    code = "model_not_found"


class MethodNotAllowedError(RequestError):
    """The path exists, the method does not."""

    code = "method_not_allowed"
    status = 405
    type = "invalid_request_error"


class ConflictError(RequestError):
    """What is asked for contradicts what is there (a name that is taken)."""

    code = "conflict"
    status = 409
    type = "invalid_request_error"


class GoneError(RequestError):
    """What was here has ended, as was announced."""

    code = "gone"
    status = 410
    type = "invalid_request_error"


class IdempotencyKeyError(RequestError):
    """An ``Idempotency-Key`` that stands for another request."""

    code = "idempotency_key_reused"
    status = 422
    type = "invalid_request_error"


class PayloadTooLargeError(RequestError):
    """The body is larger than the route allows."""

    code = "payload_too_large"
    status = 413
    type = "invalid_request_error"


class UnsupportedMediaTypeError(RequestError):
    """The content type is not one the route reads."""

    code = "unsupported_media_type"
    status = 415
    type = "invalid_request_error"


class OverloadedError(RequestError):
    """A bounded queue is full; try again after ``retry_after_s`` seconds."""

    code = "overloaded"
    status = 429
    type = "rate_limit_error"

    def __init__(self, message: str, *, retry_after_s: float = 1.0, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class RateLimitError(OverloadedError):
    """The caller has used up what a limit of the Gateway file allows; again after ``retry_after_s`` seconds."""

    code = "rate_limit_exceeded"


class InternalError(RequestError):
    """A fault of ours or of a component; the cause is in the log, under the request id."""

    code = "internal"


class ServiceError(RequestError):
    """A service behind the request failed.

    The layers that know more fill in what they know with :meth:`at`: the client the endpoint, the transport the
    service and component, the run the node.
    """

    code = "service_failed"
    status = 502

    def __init__(
        self,
        message: str,
        *,
        node: str | None = None,
        service: str | None = None,
        component: str | None = None,
        endpoint: str | None = None,
        elapsed_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.node, self.service, self.component = node, service, component
        self.endpoint, self.elapsed_s = endpoint, elapsed_s

    def at(
        self,
        *,
        node: str | None = None,
        service: str | None = None,
        component: str | None = None,
        endpoint: str | None = None,
        elapsed_s: float | None = None,
    ) -> ServiceError:
        """Fill in what is not known yet (what is known stays); returns ``self``."""
        self.node = self.node or node
        self.service = self.service or service
        self.component = self.component or component
        self.endpoint = self.endpoint or endpoint
        self.elapsed_s = self.elapsed_s if self.elapsed_s is not None else elapsed_s
        return self

    def __str__(self) -> str:
        where = [
            f"{name} '{value}'"
            for name, value in (("node", self.node), ("service", self.service), ("component", self.component))
            if value
        ]
        if self.endpoint:
            where.append(f"at {self.endpoint}")
        if self.elapsed_s is not None:
            where.append(f"after {self.elapsed_s:.3f} s")
        return f"{self.message} ({', '.join(where)})" if where else self.message


class BackendStatusError(ServiceError):
    """The server answered with an error status; the start of its body is quoted in the message."""

    code = "backend_status"

    def __init__(self, message: str, *, backend_status: int, endpoint: str | None = None) -> None:
        super().__init__(message, endpoint=endpoint)
        self.backend_status = backend_status


class BackendReplyError(ServiceError):
    """The reply was cut short, not of the declared type, of the wrong shape, or too large."""

    code = "backend_reply"


class UnreachableError(ServiceError):
    """No connection to the server: refused, no route, no such name, or TLS failed.

    Attributes:
        was_sent: Whether there was a connection, and the request may have arrived.
    """

    code = "unreachable"
    was_sent = False


class UnavailableError(ServiceError):
    """The service cannot take work now: starting, draining, crashed, or its circuit is open."""

    code = "unavailable"
    status = 503


class DeadlineError(ServiceError):
    """The time allowed for the request, or for one node of it, was up."""

    code = "deadline_exceeded"
    status = 504


EXIT_CODES: dict[int, str] = {
    0: "done",
    1: "an error without a code of its own",
    2: "wrong use of the command line",
    3: "a spec does not load",
    4: "a component cannot be loaded or started",
    5: "an optional dependency is missing",
    6: "a model cannot be had",
    7: "too little disk space",
    8: "state on disk is locked, damaged or of another version",
    9: "the port is taken",
    10: "a service is not ready or not reachable",
    11: "a request failed",
    12: "a service breaks the specification",
    130: "stopped by Ctrl-C",
}
"""What each exit status of the command line means."""


def nearest(word: str, choices: Sequence[str]) -> str | None:
    """The choice that ``word`` was most likely meant to be, if one is near enough."""
    found = get_close_matches(word, choices, n=1, cutoff=0.6)
    return found[0] if found else None


def did_you_mean(word: str, choices: Sequence[str], *, what: str) -> str:
    """A hint of the form ``did you mean 'x'? nodes: x, y, z``.

    Args:
        word: What was written.
        choices: What could have been written, in the order to print them.
        what: The plural noun that heads the list of choices.
    """
    listed = f"{what}: {', '.join(choices)}" if choices else f"there are no {what}"
    close = nearest(word, choices)
    return f"did you mean '{close}'? {listed}" if close else listed

"""Sections 1 to 4 of the specification: transport, routes, compatibility, errors."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from weft.contracts import Contract
from weft.registry.services import differing_field
from weft.testing.promises.base import Broken, Promises, Unseen, expect
from weft.testing.wire.service import JSON, Service, changed, check_error, is_json, parsed, without

EXCHANGES: Final[Promises[Service]] = Promises()

HUGE_BYTES: Final = 1 << 40
"""A terabyte: no service takes it."""

NESTED: Final = b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
"""Deeper than any parser that calls itself can go."""


@EXCHANGES("1.1")
async def connections_are_kept(service: Service) -> None:
    """A service must speak HTTP/1.1, and must keep the connection for the next request."""
    for _ in range(2):
        reply = await service.send("GET", "/health/live")
        says = reply.headers.get("connection") or ""
        expect("close" not in says.lower(), f"connection: {says}")
    expect(service.client.open_connections, "the connection was closed after the reply")


@EXCHANGES("1.2")
async def replies_are_json(service: Service) -> None:
    """A reply must be JSON in UTF-8 with `content-type: application/json`, except streams."""
    reply = await service.ask()
    expect(is_json(reply), f"content-type {reply.headers.get('content-type')!r}")
    parsed(reply.body)


@EXCHANGES("1.3")
async def too_large_is_refused(service: Service) -> None:
    """A service must refuse a body that is larger than it accepts with 413, and must not wait for all of it first."""
    head = service.head(("content-length", str(HUGE_BYTES)))
    came = await service.raw(
        head, named=f"POST {service.path}  content-length: {HUGE_BYTES}, and no body yet"
    )
    expect(b" 413 " in came[:16], came.partition(b"\r\n")[0].decode("latin-1"))


@EXCHANGES("1.4")
async def chunked_bodies_are_read(service: Service) -> None:
    """A service should read a body in chunks (`transfer-encoding: chunked`) as well."""
    half = len(service.sample) // 2
    blocks = (service.sample[:half], service.sample[half:], b"")
    body = b"".join(b"%x\r\n%b\r\n" % (len(block), block) for block in blocks)
    head = service.head(("transfer-encoding", "chunked"))
    came = await service.raw(head + body, named=f"POST {service.path}  in chunks")
    expect(b" 200 " in came[:16], came.partition(b"\r\n")[0].decode("latin-1"))


@EXCHANGES("2.1")
async def the_own_route_answers(service: Service) -> None:
    """A service must answer on its contract's own route, in the contract's own form, with status 200."""
    await service.serve()


@EXCHANGES("2.2")
async def it_says_that_it_lives(service: Service) -> None:
    """`GET /health/live` must answer 200 while the process runs."""
    reply = await service.send("GET", "/health/live")
    expect(reply.status == 200, f"status {reply.status}")


@EXCHANGES("2.3")
async def it_says_that_it_is_ready(service: Service) -> None:
    """`GET /health/ready` must answer 200 when a request would be served now (a model service: the model answers), and
    503 with the reason when not."""
    reply = await service.send("GET", "/health/ready")
    served = (await service.ask()).status == 200
    if reply.status == 503:
        expect(reply.body, "503 without a reason")
        expect(not served, "it says that it is not ready, and serves")
    else:
        expect(reply.status == 200, f"status {reply.status}")
        expect(served, "it says that it is ready, and does not serve")


@EXCHANGES("2.4")
async def health_asks_for_no_token(service: Service) -> None:
    """The health routes must answer without an access token."""
    for path in ("/health/live", "/health/ready"):
        reply = await service.send("GET", path, anonymous=True)
        expect(reply.status in (200, 503), f"status {reply.status} without the token")


def stated(contract: Contract, *, is_known: bool) -> tuple[Any, Any]:
    """The two checks of what a service states of its contract; ``is_known``: what it must be is known here."""

    async def ask(service: Service) -> dict[str, Any]:
        reply = await service.send("GET", "/v1/contract")
        if reply.status != 200:
            raise Unseen("it does not state its contract")
        body = parsed(reply.body)
        expect(isinstance(body, dict) and "contract" in body, "it does not name its contract")
        return dict(body)

    async def contract_is_stated(service: Service) -> None:
        """A service should state its contract on `GET /v1/contract`: `contract`, `digest` and `required`."""
        try:
            body = await ask(service)
        except Unseen as error:
            raise Broken(str(error)) from error
        lacking = [name for name in ("digest", "required") if not body.get(name)]
        expect(not lacking, f"it lacks {', '.join(lacking)}")

    async def what_is_stated_fits(service: Service) -> None:
        """What a service states of its contract must be so: its name, and the fields that it requires and sends."""
        body = await ask(service)
        expect(body["contract"] == contract.name, f"it says that it is a {body['contract']!r}")
        if not is_known:
            raise Unseen("what a contract of its own requires is not known here")
        if required := body.get("required"):
            difference = differing_field(contract, required)
            expect(difference is None, f"{difference}")
            is_same = required == contract.required()
            expect(
                not is_same or body.get("digest") in (None, "", contract.digest()),
                f"the digest of these fields is {contract.digest()}, it says {body.get('digest')}",
            )

    return contract_is_stated, what_is_stated_fits


@EXCHANGES("2.7")
async def metrics_are_there(service: Service) -> None:
    """`GET /metrics` should answer in Prometheus's text format."""
    reply = await service.send("GET", "/metrics")
    expect(reply.status == 200, f"status {reply.status}")
    kind = (reply.headers.get("content-type") or "").partition(";")[0]
    expect(kind in ("text/plain", "application/openmetrics-text"), f"content-type {kind!r}")


@EXCHANGES("2.8")
async def routes_are_described(service: Service) -> None:
    """`GET /openapi.json` should describe the routes in OpenAPI 3."""
    reply = await service.send("GET", "/openapi.json")
    expect(reply.status == 200, f"status {reply.status}")
    body = parsed(reply.body)
    expect(str(body.get("openapi", "")).startswith("3."), f"openapi {body.get('openapi')!r}")
    expect(service.path in body.get("paths", {}), f"{service.path} is not described")


@EXCHANGES("2.9")
async def what_is_not_there_is_404(service: Service) -> None:
    """A path that a service does not have must be answered with 404."""
    reply = await service.send("POST", "/v1/weft-conform-nowhere", b"{}", JSON)
    expect(reply.status == 404, f"status {reply.status}")


@EXCHANGES("2.10")
async def wrong_methods_are_405(service: Service) -> None:
    """A method that a path does not have should be answered with 405, and `allow` with those that it has."""
    reply = await service.send("GET", service.path)
    expect(reply.status == 405, f"status {reply.status}")
    expect("POST" in (reply.headers.get("allow") or ""), f"allow: {reply.headers.get('allow')}")


@EXCHANGES("3.1")
async def unknown_fields_are_ignored(service: Service) -> None:
    """A service must ignore fields that it does not know."""
    await service.serve(changed(service.sample, x_unknown={"a": [1, None]}, ünbekannt="x"))


@EXCHANGES("4.1")
async def failures_have_a_status(service: Service) -> None:
    """A failure must have a status of 400 or more: a service must never answer 200 to a request that it could not
    serve."""
    for body in (b"this is no JSON", service.sample[:-2]):
        reply = await service.ask(body)
        expect(reply.status >= 400, f"status {reply.status}")


@EXCHANGES("4.2")
async def errors_have_their_form(service: Service) -> None:
    """The body of an error must be `application/problem+json` (RFC 9457) with `title`, `status` and `detail`; on OpenAI's
    routes it must be `{"error": {"message", "type", "param", "code"}}`."""
    check_error(service, await service.ask(b"this is no JSON"))


@EXCHANGES("4.3")
async def wrong_bodies_are_the_callers_fault(service: Service) -> None:
    """A body that is not JSON, is no object, lacks a required field or has one of a wrong type must be refused with 400 or
    422."""
    bodies = [(b"{", "JSON cut short"), (b"[]", "a list"), (b'"text"', "text"), (b"null", "null")]
    for name, wrong in service.required.items():
        bodies += [(without(service.sample, name), f"no {name}")]
        bodies += [(changed(service.sample, **{name: wrong}), f"{name} of a wrong type")]
    for body, what in bodies:
        reply = await service.ask(body)
        expect(reply.status in (400, 422), f"{what}: status {reply.status}")


@EXCHANGES("4.4")
async def hostile_bodies_do_not_break_it(service: Service) -> None:
    """A body that is not UTF-8, or is nested deeper than a parser goes, must not be answered with 500 or more, and the next
    request must be served as ever."""
    for body in (service.sample[:-1] + b',"x":"\xff\xfe"}', NESTED):
        reply = await service.ask(body)
        expect(reply.status < 500, f"status {reply.status}")
    await service.serve()


@EXCHANGES("4.5")
async def other_types_are_415(service: Service) -> None:
    """A body of a type that a route does not read should be refused with 415."""
    reply = await service.send("POST", service.path, service.sample, [("content-type", "text/csv")])
    expect(reply.status == 415, f"status {reply.status}")


@EXCHANGES("4.6")
async def errors_say_what_kind(service: Service) -> None:
    """An error should have a `code` that does not change between releases, so that a program can tell it from others."""
    body = parsed((await service.ask(b"{")).body)
    inner = body.get("error", body) if isinstance(body, dict) else {}
    expect(isinstance(inner, dict) and inner.get("code"), f"no code: {msgspec.json.encode(body).decode()}")

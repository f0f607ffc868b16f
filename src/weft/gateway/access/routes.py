"""``/v1/keys`` and ``/v1/audit``: what administers access. All of it needs the role ``admin``."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qs

import msgspec
from msgspec import Struct

from weft.context import Context
from weft.errors import InvalidRequestError
from weft.gateway.access.audit import EVENTS, AuditLog, AuditRecord, Fault
from weft.gateway.access.index import KeyIndex
from weft.gateway.access.keys import GRACE_S, Key, KeyStore, MadeKey, NewKey
from weft.gateway.access.page import keys_page
from weft.http.message import Request, Response
from weft.serve.application import Application, RouteDoc, named

KEYS_PATH: Final = "/v1/keys"
AUDIT_PATH: Final = "/v1/audit"
MAX_DIGITS: Final = 16

MAX_BODY_BYTES: Final = 65_536
MAX_RECORDS: Final = 1000

_ID: Final = "4f7q0k2m9x1a"


class Keys(Struct):
    """The API keys, without their secrets."""

    keys: list[Key]


class Rotation(Struct, forbid_unknown_fields=True):
    """How a key gets a new secret.

    Attributes:
        grace_s: Seconds for which the old secret holds too.
    """

    grace_s: float = GRACE_S


class Records(Struct):
    """Records of the audit log, the newest first."""

    records: list[AuditRecord]


class Verification(Struct):
    """Whether the audit log is as it was written.

    Attributes:
        records: How many there are.
        faults: Where the chain is broken.
    """

    records: int
    faults: list[Fault]


def key_routes(app: Application, keys: KeyStore, index: KeyIndex) -> None:
    """List, make, revoke and rotate API keys; what is changed here holds here at once, and elsewhere within seconds."""
    decode = msgspec.json.Decoder(NewKey).decode
    decode_rotation = msgspec.json.Decoder(Rotation).decode

    async def listed(request: Request, context: Context) -> Response:
        return _json(200, Keys(await keys.listed()))

    async def create(request: Request, context: Context) -> Response:
        try:
            new = decode(request.body or b"{}")
        except (msgspec.DecodeError, RecursionError) as error:
            raise InvalidRequestError(str(error)) from error
        made = await keys.create(new, context.identity)
        await index.refresh()
        return _json(201, made)

    async def rotate(request: Request, context: Context) -> Response:
        try:
            wanted = decode_rotation(request.body or b"{}")
        except (msgspec.DecodeError, RecursionError) as error:
            raise InvalidRequestError(str(error)) from error
        if not 0 <= wanted.grace_s <= 31_536_000:
            raise InvalidRequestError("'grace_s' is 0 to 31,536,000 seconds, a year", param="grace_s")
        made = await keys.rotate(named(request)["name"], context.identity, grace_s=wanted.grace_s)
        await index.refresh()
        return _json(200, made)

    async def revoke(request: Request, context: Context) -> Response:
        key = await keys.revoke(named(request)["name"], context.identity)
        await index.refresh()
        return _json(200, key)

    keys_page(app)
    tags = ("keys",)
    example = {"request": NewKey("chat on our site", tenant="acme", roles=["staff"], scopes=["chatqna"])}
    app.route("GET", KEYS_PATH, listed, doc=RouteDoc(summary="The API keys.", response=Keys, tags=tags))
    app.route(
        "POST",
        KEYS_PATH,
        create,
        doc=RouteDoc(
            summary="Make an API key; its secret is in this reply and nowhere else.",
            request=NewKey,
            response=MadeKey,
            tags=tags,
            status=201,
            examples=example,
        ),
        max_body_bytes=MAX_BODY_BYTES,
    )
    app.route(
        "POST",
        f"{KEYS_PATH}/{{name}}/rotate",
        rotate,
        doc=RouteDoc(
            summary="Give an API key a new secret; the old one holds for a while more.",
            request=Rotation,
            response=MadeKey,
            tags=tags,
            named={"name": _ID},
        ),
        max_body_bytes=MAX_BODY_BYTES,
    )
    app.route(
        "DELETE",
        f"{KEYS_PATH}/{{name}}",
        revoke,
        doc=RouteDoc(summary="Revoke an API key.", response=Key, tags=tags, named={"name": _ID}),
    )


def audit_routes(app: Application, audit: AuditLog) -> None:
    """Show and verify the audit log."""

    async def page(request: Request, context: Context) -> Response:
        asked = {name: values[-1] for name, values in parse_qs(request.query).items()}
        event = asked.get("event", "")
        if event and event not in EVENTS:
            raise InvalidRequestError(f"there is no event '{event}'", param="event", hint=", ".join(EVENTS))
        before, most = _whole(asked, "before"), _whole(asked, "limit") or 100
        if most > MAX_RECORDS:
            raise InvalidRequestError(f"'limit' is at most {MAX_RECORDS}", param="limit")
        found = await audit.page(event=event, before=before, most=most)
        return _json(200, Records(found))

    async def verify(request: Request, context: Context) -> Response:
        count, faults = await audit.verify()
        return _json(200, Verification(count, faults))

    number = {"type": "integer", "minimum": 1}
    parameters = (
        {"name": "event", "in": "query", "schema": {"type": "string", "enum": list(EVENTS)}},
        {
            "name": "before",
            "in": "query",
            "schema": number,
            "description": "Only records with smaller numbers.",
        },
        {"name": "limit", "in": "query", "schema": number | {"maximum": MAX_RECORDS}},
    )
    listing = RouteDoc(
        summary="The audit log, the newest records first.",
        response=Records,
        tags=("audit",),
        parameters=parameters,
    )
    app.route("GET", AUDIT_PATH, page, doc=listing)
    verifying = RouteDoc(
        summary="Read the whole audit log, and say where its chain is broken.",
        response=Verification,
        tags=("audit",),
    )
    app.route("GET", f"{AUDIT_PATH}/verify", verify, doc=verifying)


def _whole(asked: dict[str, str], name: str) -> int | None:
    text = asked.get(name)
    if text is None:
        return None
    if not text.isdecimal() or len(text) > MAX_DIGITS or not 0 < int(text) < 1 << 53:
        raise InvalidRequestError(f"'{name}' is a whole number from 1", param=name)
    return int(text)


def _json(status: int, value: object) -> Response:
    return Response(status, [("cache-control", "no-store")], msgspec.json.encode(value), "application/json")

"""``/v1/accounts`` and ``/v1/logins``: what administers people. All of it needs the role ``admin``."""

from __future__ import annotations

import time
from typing import Final
from urllib.parse import parse_qsl

import msgspec
from msgspec import Struct

from weft.context import Context
from weft.errors import InvalidRequestError
from weft.gateway.access.audit import AuditLog
from weft.gateway.login.accounts import LASTS_S, Account, AccountStore, Invitation, NewAccount
from weft.gateway.login.sessions import LoggedOut, Sessions, log_out
from weft.http.message import Request, Response
from weft.serve.application import Application, RouteDoc, named
from weft.store import Database

ACCOUNTS_PATH: Final = "/v1/accounts"
LOGINS_PATH: Final = "/v1/logins"
MAX_BODY_BYTES: Final = 65_536


class Accounts(Struct):
    """The local accounts, by name."""

    accounts: list[Account]


class Reset(Struct, forbid_unknown_fields=True):
    """How an account gets a new password.

    Attributes:
        lasts_s: Seconds for which the link works.
    """

    lasts_s: float = LASTS_S


def account_routes(app: Application, accounts: AccountStore) -> None:
    """List, invite, remove and reset accounts."""
    decode = msgspec.json.Decoder(NewAccount).decode
    decode_reset = msgspec.json.Decoder(Reset).decode

    async def listed(request: Request, context: Context) -> Response:
        return _json(200, Accounts(await accounts.listed()))

    async def invite(request: Request, context: Context) -> Response:
        try:
            new = decode(request.body or b"{}")
        except (ValueError, RecursionError) as error:
            raise InvalidRequestError(str(error)) from error
        return _json(201, await accounts.invite(new, context.identity))

    async def reset(request: Request, context: Context) -> Response:
        try:
            wanted = decode_reset(request.body or b"{}")
        except (ValueError, RecursionError) as error:
            raise InvalidRequestError(str(error)) from error
        name = named(request)["name"]
        return _json(200, await accounts.reset(name, context.identity, lasts_s=wanted.lasts_s))

    async def remove(request: Request, context: Context) -> Response:
        return _json(200, await accounts.remove(named(request)["name"], context.identity))

    tags, example = ("accounts",), {"name": "ann@example.org"}
    app.route(
        "GET",
        ACCOUNTS_PATH,
        listed,
        doc=RouteDoc(summary="The local accounts.", response=Accounts, tags=tags),
    )
    inviting = RouteDoc(
        summary="Invite somebody: make an account, and the link with which its password is set.",
        request=NewAccount,
        response=Invitation,
        tags=tags,
        status=201,
        examples={"request": NewAccount("ann@example.org", readers=["staff"], roles=["staff"])},
    )
    app.route("POST", ACCOUNTS_PATH, invite, doc=inviting, max_body_bytes=MAX_BODY_BYTES)
    resetting = RouteDoc(
        summary="Take an account's password away, end its logins, and make a link with which a new one is set.",
        request=Reset,
        response=Invitation,
        tags=tags,
        named=example,
    )
    path = f"{ACCOUNTS_PATH}/{{name}}"
    app.route("POST", f"{path}/reset", reset, doc=resetting, max_body_bytes=MAX_BODY_BYTES)
    removing = RouteDoc(
        summary="Remove an account, and end its logins.", response=Account, tags=tags, named=example
    )
    app.route("DELETE", path, remove, doc=removing)


def session_routes(app: Application, sessions: Sessions, database: Database, audit: AuditLog) -> None:
    """End somebody's logins, whoever let them in."""

    async def end(request: Request, context: Context) -> Response:
        # In the query: a provider may name people with slashes.
        caller = dict(parse_qsl(request.query)).get("caller", "")
        if not caller:
            raise InvalidRequestError("whose logins? DELETE /v1/logins?caller=NAME", param="caller")
        count = await log_out(database, audit, caller, context.identity, now_s=time.time())
        await sessions.refresh()  # here at once, elsewhere within seconds
        return _json(200, LoggedOut(caller, count))

    doc = RouteDoc(
        summary="End every login of somebody.",
        response=LoggedOut,
        tags=("accounts",),
        parameters=(
            {"name": "caller", "in": "query", "required": True, "schema": {"type": "string", "minLength": 1}},
        ),
    )
    app.route("DELETE", LOGINS_PATH, end, doc=doc)


def _json(status: int, value: object) -> Response:
    return Response(status, [("cache-control", "no-store")], msgspec.json.encode(value))

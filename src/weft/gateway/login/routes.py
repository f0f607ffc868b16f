"""Where people log in and out: ``/login``, ``/logout``, and who they are then: ``/v1/me``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, quote, urlsplit

import msgspec
from msgspec import Struct

from weft.context import ANONYMOUS, Context, Identity
from weft.errors import ForbiddenError, InvalidRequestError, OverloadedError, RequestError, UnauthorizedError
from weft.gateway.login import pages
from weft.gateway.login.codeflow import LASTS_S
from weft.gateway.login.sessions import cookie_of, is_from_here, prefixed, set_cookie
from weft.http.message import Request, Response
from weft.serve.application import Application, RouteDoc
from weft.spec.fronts import CALLBACK_PATH

if TYPE_CHECKING:
    from weft.gateway.login.login import Login

LOGIN_PATH: Final = "/login"
LOGOUT_PATH: Final = "/logout"
ME_PATH: Final = "/v1/me"
RESOURCE_PATH: Final = "/.well-known/oauth-protected-resource"

FORM: Final = ("application/x-www-form-urlencoded",)
MAX_FORM_BYTES: Final = 16_384
MAX_FIELDS: Final = 10
MAX_PATH_CHARACTERS: Final = 2000

Handler = Callable[[Request, Context], Awaitable[Response]]


class Me(Struct):
    """Who asks.

    Attributes:
        caller: Empty: nobody in particular.
        tenant: Whose documents, histories and limits they see.
        shown: By what they have shown it.
        roles: What they may do.
        can_log_in: Whether there is a page on which to be somebody.
        can_log_out: Whether there is a login to end.
    """

    caller: str
    tenant: str
    shown: str
    roles: list[str]
    can_log_in: bool
    can_log_out: bool


class LoginRoutes:
    """The pages of a login, and what their forms are sent to.

    Args:
        login: What there is to log in with.
    """

    def __init__(self, login: Login) -> None:
        self._login = login

    def add_to(self, app: Application) -> None:
        """Serve them, to everybody."""

        def route(method: str, path: str, handler: Handler) -> None:
            reads = FORM if method == "POST" else ()
            app.route(
                method, path, self._told(handler), open=True, reads=reads, max_body_bytes=MAX_FORM_BYTES
            )

        route("GET", LOGIN_PATH, self._show)
        route("GET", "/static/login.css", self._style)
        route("POST", LOGOUT_PATH, self._log_out)
        if self._login.accounts is not None or self._login.index is not None:
            route("POST", LOGIN_PATH, self._log_in)
        if self._login.accounts is not None:
            route("GET", "/login/invitation", self._invited)
            route("POST", "/login/invitation", self._accept)
        if self._login.flow is not None:
            route("GET", "/login/oidc", self._leave)
            route("GET", CALLBACK_PATH, self._return)
            route("GET", RESOURCE_PATH, self._resource)

    def _told(self, handler: Handler) -> Handler:
        """What is refused on these pages is told on a page; a form of another site is refused before it is read."""

        async def told(request: Request, context: Context) -> Response:
            try:
                if request.method == "POST" and not is_from_here(request):
                    raise ForbiddenError("this form was not sent by a page of this server")
                return await handler(request, context)
            except RequestError as error:
                reply = pages.failed_page(_sentence(error), status=error.status)
                if isinstance(error, OverloadedError):
                    reply.headers = [*reply.headers, ("retry-after", str(int(error.retry_after_s)))]
                return reply

        return told

    # Logging in here.

    async def _show(self, request: Request, context: Context) -> Response:
        identity = await self._login.sessions(request, context)
        target = safe_path(_query(request).get("next", ""))
        if identity is not None:
            return pages.known_page(name=identity.caller, target=target)
        return self._page(target)

    def _page(self, target: str, problem: str = "", *, name: str = "", status: int = 200) -> Response:
        flow = self._login.flow
        return pages.login_page(
            target=target,
            problem=problem,
            name=name,
            accounts=self._login.accounts is not None,
            keys=self._login.index is not None,
            provider=flow.name if flow is not None else "",
            status=status,
        )

    async def _log_in(self, request: Request, context: Context) -> Response:
        given = await _form(request)
        target = safe_path(given.get("next", ""))
        if self._login.index is not None and "key" in given:
            return await self._log_in_with_key(request, given["key"].strip(), target)
        if self._login.accounts is None:
            raise InvalidRequestError("the form has no key")
        name = given.get("name", "")
        try:
            account = await self._login.accounts.log_in(name, given.get("password", ""), request.peer)
        except UnauthorizedError as error:
            self._login.refused(request, None, error.message)
            return self._page(target, _sentence(error), name=name[:200], status=error.status)
        except OverloadedError as error:
            self._login.refused(request, None, error.message)
            reply = self._page(target, _waiting(error), name=name[:200], status=error.status)
            reply.headers = [*reply.headers, ("retry-after", str(int(error.retry_after_s)))]
            return reply
        return await self._entered(request, account.identity(), target)

    async def _log_in_with_key(self, request: Request, key: str, target: str) -> Response:
        """The session has the key's id, and not the key: when the key is revoked, it ends with it."""
        assert self._login.index is not None  # the form is there only with it
        try:
            identity = self._login.index.find(key)
        except UnauthorizedError as error:
            self._login.refused(request, None, error.message)
            return self._page(target, _sentence(error), status=error.status)
        return await self._entered(request, identity, target)

    async def _entered(self, request: Request, identity: Identity, target: str) -> Response:
        token = await self._login.sessions.begin(identity)
        await self._login.audit.record(
            "login", identity, {"by": identity.shown, "address": request.peer or ""}
        )
        return _redirect(target, self._login.session_cookie(request, token))

    # Invitations.

    async def _invited(self, request: Request, context: Context) -> Response:
        assert self._login.accounts is not None  # the route is there only with them
        token = _query(request).get("token", "")
        name = await self._login.accounts.invited(token)
        if name is None:
            return pages.failed_page(
                "This invitation has been taken up, or its time is over. Ask who sent it for another one.",
                status=404,
            )
        return pages.invitation_page(token=token, name=name)

    async def _accept(self, request: Request, context: Context) -> Response:
        assert self._login.accounts is not None  # the route is there only with them
        given = await _form(request)
        token = given.get("token", "")
        try:
            account = await self._login.accounts.accept(token, given.get("password", ""))
        except InvalidRequestError as error:
            name = await self._login.accounts.invited(token) or ""
            return pages.invitation_page(
                token=token, name=name, problem=_sentence(error), status=error.status
            )
        return await self._entered(request, account.identity(), "/")

    # Logging in at the provider.

    async def _leave(self, request: Request, context: Context) -> Response:
        flow = self._login.flow
        assert flow is not None  # the route is there only with it
        cookie = prefixed(self._login.flow_cookie, request)
        target = safe_path(_query(request).get("next", ""))
        begun = await flow.begin(request, target=target, secret=cookie_of(request, cookie))
        secure = self._login.is_secure(request)
        kept = set_cookie(cookie, begun.secret, max_age_s=LASTS_S, secure=secure)
        return _redirect(begun.url, kept)

    async def _return(self, request: Request, context: Context) -> Response:
        flow = self._login.flow
        assert flow is not None  # the route is there only with it
        cookie = prefixed(self._login.flow_cookie, request)
        try:
            identity, target = await flow.finish(request, _query(request), cookie_of(request, cookie))
        except (UnauthorizedError, ForbiddenError) as error:
            if await self._login.sessions(request, context) is not None:
                return _redirect("/")  # another window was quicker
            self._login.refused(request, None, error.message)
            raise
        except RequestError as error:
            flow.failure(error)
            raise
        return await self._entered(request, identity, safe_path(target))

    # Afterwards.

    async def _log_out(self, request: Request, context: Context) -> Response:
        identity = await self._login.sessions.end(request)
        if identity is not None:
            await self._login.audit.record("logout", identity)
        return _redirect(LOGIN_PATH, *self._login.no_cookies(request))

    async def _resource(self, request: Request, context: Context) -> Response:
        """Where a program gets a token for us (RFC 9728); clients of MCP look here."""
        flow = self._login.flow
        assert flow is not None  # the route is there only with it
        known = {
            "resource": flow.callback(request).removesuffix(CALLBACK_PATH),
            "authorization_servers": [flow.provider.issuer],
            "bearer_methods_supported": ["header"],
        }
        return Response(200, (), msgspec.json.encode(known))

    async def _style(self, request: Request, context: Context) -> Response:
        return Response(200, [("cache-control", "no-cache")], pages.STYLE, "text/css; charset=utf-8")


def add_me(app: Application, login: Login | None) -> None:
    """Tell the page who looks at it; also where nobody can log in."""

    async def me(request: Request, context: Context) -> Response:
        identity = context.identity
        known = Me(
            identity.caller,
            identity.tenant,
            identity.shown,
            sorted(identity.roles),
            can_log_in=login is not None and login.has_pages and identity.shown == ANONYMOUS.shown,
            can_log_out=login is not None and login.has_cookie(request),
        )
        return Response(200, [("cache-control", "no-store")], msgspec.json.encode(known))

    doc = RouteDoc(summary="Who asks, as this server knows them.", response=Me, tags=("about",))
    app.route("GET", ME_PATH, me, doc=doc, needs="")


def ask_in(request: Request) -> Response | None:
    """What a person in a browser is answered who has not logged in: the page to do so; a program gets its 401."""
    if request.method != "GET" or "text/html" not in request.headers.get("accept", ""):
        return None
    target = safe_path(request.raw_path + (f"?{request.query}" if request.query else ""))
    return _redirect(LOGIN_PATH if target == "/" else f"{LOGIN_PATH}?next={quote(target, safe='')}")


def safe_path(target: str) -> str:
    r"""``target`` if it leads to a page of this server, else ``/``.

    A browser takes ``//host`` and ``/\host`` for another server, and drops tabs and line breaks before it looks.
    """
    if (
        not target.startswith("/")
        or target[1:2] in ("/", "\\")
        or len(target) > MAX_PATH_CHARACTERS
        or not target.isascii()
        or not target.isprintable()
        or "\\" in target
    ):
        return "/"
    path = urlsplit(target).path
    return "/" if path in {LOGOUT_PATH, LOGIN_PATH} or path.startswith(f"{LOGIN_PATH}/") else target


def _redirect(target: str, *cookies: str) -> Response:
    headers = [("location", target), ("cache-control", "no-store"), ("referrer-policy", "no-referrer")]
    return Response(303, [*headers, *(("set-cookie", cookie) for cookie in cookies)], content_type="")


async def _form(request: Request) -> dict[str, str]:
    try:
        body = (await request.read(MAX_FORM_BYTES)).decode()
        return dict(parse_qsl(body, keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict"))
    except ValueError as error:  # what cannot be read may have a password in it: it is not quoted
        raise InvalidRequestError("the form cannot be read") from error


def _query(request: Request) -> dict[str, str]:
    """The query; a name that is there twice counts for nothing."""
    try:
        pairs = parse_qsl(request.query, keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict")
    except ValueError as error:
        raise InvalidRequestError("the address cannot be read") from error
    names = [name for name, _ in pairs]
    return {name: value for name, value in pairs if names.count(name) == 1}


def _sentence(error: RequestError) -> str:
    text = error.message if error.hint is None else f"{error.message}; {error.hint}"
    return f"{text[:1].upper()}{text[1:]}."


def _waiting(error: OverloadedError) -> str:
    minutes = int(error.retry_after_s // 60) + 1
    return f"{error.message[:1].upper()}{error.message[1:]}. Try again in {minutes} minute{'s' if minutes > 1 else ''}."

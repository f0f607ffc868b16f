"""An issuer of tokens in this process: a provider's configuration and keys over HTTP, and tokens as a test wants them."""

from __future__ import annotations

import io
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import cache
from typing import Any
from urllib.parse import urlencode

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from switchkit import served
from weft.context import Context
from weft.http.client import Endpoint
from weft.http.message import Headers, Request, Response
from weft.serve.access import Access
from weft.serve.application import Application, RouteHandler
from weft.serve.egress import Egress
from weft.serve.log import Log
from weft.spec.gateway import OidcSpec

AUDIENCE = "weft"


class Clock:
    """The time of a test."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now

    def pass_(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


def private_key(kind: str, number: int = 0) -> Any:
    """A private key: ``rsa``, ``weak``, ``ec``, ``ec384`` or ``ed``; the same for the same number."""
    return _made(kind, number)


@cache
def _made(kind: str, number: int) -> Any:
    if kind == "rsa":
        return rsa.generate_private_key(65537, 2048)
    if kind == "weak":
        return rsa.generate_private_key(65537, 1024)  # what is to be refused
    if kind == "ed":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(ec.SECP384R1() if kind == "ec384" else ec.SECP256R1())


def public_jwk(kind: str, number: int = 0, **more: Any) -> dict[str, Any]:
    """The public half, as providers publish it."""
    key = private_key(kind, number).public_key()
    writes = {"rsa": RSAAlgorithm, "weak": RSAAlgorithm, "ed": OKPAlgorithm}.get(kind, ECAlgorithm)
    made: dict[str, Any] = writes.to_jwk(key, as_dict=True)
    made.pop("key_ops", None)
    return made | {"kid": f"{kind}-{number}", "use": "sig"} | more


class Issuer:
    """A provider that publishes what a test tells it to.

    Attributes:
        url: The issuer.
        keys: What it publishes.
        configuration: What it says of itself beside the usual.
        asked: The paths that it was asked for.
        status: With which it answers.
        log: What the gateway's side wrote.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self.url = ""
        self.keys: list[dict[str, Any]] = [public_jwk("ec")]
        self.configuration: dict[str, Any] = {}
        self.asked: list[str] = []
        self.status = 200
        self.log = io.StringIO()

    async def start(
        self, stack: AsyncExitStack, more: dict[tuple[str, str], RouteHandler] | None = None
    ) -> None:
        """Answer on a free port, with more routes by method and path."""
        app = Application(name="issuer", version="1", access=Access())

        async def configuration(request: Request, context: Context) -> Response:
            found = {
                "issuer": self.url,
                "jwks_uri": f"{self.url}/keys",
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token",
            }
            return self._reply(request, found | self.configuration)

        async def keys(request: Request, context: Context) -> Response:
            return self._reply(request, {"keys": self.keys})

        app.route("GET", "/.well-known/openid-configuration", configuration)
        app.route("GET", "/keys", keys)
        for (method, path), handler in (more or {}).items():
            app.route(method, path, handler, reads=("*/*",))
        self.url = await served(app, stack)

    def _reply(self, request: Request, value: Any) -> Response:
        self.asked.append(request.path)
        return Response(self.status, (), msgspec.json.encode(value))

    def spec(self, **more: Any) -> OidcSpec:
        """Takes this issuer's tokens."""
        return OidcSpec(issuer=self.url, audience=AUDIENCE, **more)

    def egress(self, stack: AsyncExitStack) -> Egress:
        """How the gateway reaches it."""
        egress = Egress()
        stack.push_async_callback(egress.aclose)
        return egress

    def claims(self, **more: Any) -> dict[str, Any]:
        """What a good token says; a claim of None is left out."""
        now = int(self.clock())
        good = {"iss": self.url, "sub": "ann", "aud": AUDIENCE, "iat": now, "exp": now + 300}
        return {name: value for name, value in (good | more).items() if value is not None}

    def token(
        self,
        *,
        kind: str = "ec",
        number: int = 0,
        algorithm: str = "ES256",
        headers: dict[str, Any] | None = None,
        **claims: Any,
    ) -> str:
        """A signed token; a header of None is left out."""
        head = {"kid": f"{kind}-{number}"} | (headers or {})
        head = {name: value for name, value in head.items() if value is not None}
        return jwt.encode(self.claims(**claims), private_key(kind, number), algorithm=algorithm, headers=head)

    def quiet(self) -> Log:
        """A log that :attr:`log` keeps."""
        return Log(self.log, name="test", pretty=False)


def unsigned(content: bytes) -> bytes:
    """No signature."""
    return b""


def signer(kind: str) -> Callable[[bytes], bytes]:
    """Signs with the key of an elliptic curve."""
    algorithm = ECAlgorithm(ECAlgorithm.SHA256)
    return lambda content: algorithm.sign(content, private_key(kind))


def forged(
    head: dict[str, Any], claims: dict[str, Any] | bytes, sign: Callable[[bytes], bytes] = unsigned
) -> str:
    """A token that no library would make."""
    content = claims if isinstance(claims, bytes) else msgspec.json.encode(claims)
    start = f"{_part(msgspec.json.encode(head))}.{_part(content)}"
    return f"{start}.{_part(sign(start.encode()))}"


def _part(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()


def request(*headers: tuple[str, str], **more: Any) -> Request:
    """A request with these headers."""
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    return Request("POST", "/v1/talk", "/v1/talk", "", Headers(raw), **more)


def bearer(token: str) -> Request:
    """A request with this token."""
    return request(("authorization", f"Bearer {token}"))


class Browser:
    """What a browser does here: keeps cookies, sends forms with their origin, and says that a page is wanted.

    Attributes:
        cookies: By name.
        headers: Of the last reply.
    """

    def __init__(self, gateway: Endpoint, url: str) -> None:
        self._gateway, self.url = gateway, url
        self.cookies: dict[str, str] = {}
        self.headers: dict[str, str] = {}
        self.set_cookies: list[str] = []

    async def get(self, path: str, **headers: str) -> tuple[int, str]:
        """Open a page; redirects are not followed."""
        return await self._send("GET", path, b"", {"accept": "text/html", **headers})

    async def post(self, path: str, origin: str | None = "", **fields: str) -> tuple[int, str]:
        """Send a form.

        Args:
            path: Where to.
            origin: Of the page that it is on; empty: the gateway's; None: the browser says none.
            fields: Of the form.
        """
        headers = {"accept": "text/html", "content-type": "application/x-www-form-urlencoded"}
        if origin is not None:
            headers["origin"] = origin or self.url
        return await self._send("POST", path, urlencode(fields).encode(), headers)

    @property
    def location(self) -> str:
        """Where the last reply leads."""
        return self.headers.get("location", "")

    async def _send(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, str]:
        if self.cookies:
            headers = headers | {
                "cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())
            }
        reply = await self._gateway.request(method, path, body, headers=list(headers.items()))
        self.headers = dict(reply.headers.items())
        self.set_cookies = reply.headers.get_all("set-cookie")
        for line in self.set_cookies:
            name, _, value = line.partition(";")[0].partition("=")
            if "Max-Age=0" in line:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value
        return reply.status, reply.body.decode()

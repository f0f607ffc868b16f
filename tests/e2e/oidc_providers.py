"""Real OpenID Connect providers of two makes, each a process, and what a person does at them."""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import httpx
import jwt
import msgspec
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from loginkit import private_key

HERE = Path(__file__).parent / "oidc"
GROUPS = ["staff", "weft-admin"]


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


class RealProvider:
    """A provider as a process.

    Attributes:
        issuer: Its address.
        client_id: Of the gateway's page.
        secret: The client's.
        algorithm: Of its tokens.
        options: With which it runs; None: it does not run.
    """

    client_id = "weft-page"
    secret = "a secret of the page with : and % in it"
    algorithm = "ES256"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.issuer = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        self._generation = 0
        self.options: dict[str, Any] | None = None

    def command(self, **options: Any) -> list[str]:
        raise NotImplementedError

    async def start(self, **options: Any) -> None:
        """Start it, each time with other keys; return when it answers."""
        self.stop()
        self.options = options
        self._generation += 1
        with (self.folder / "provider.log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220 - its end is waited for by stop()
                self.command(**options), cwd=self.folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        async with httpx.AsyncClient() as client:
            for _ in range(400):
                try:
                    await client.get(f"{self.issuer}/.well-known/openid-configuration")
                except httpx.TransportError:
                    assert self._process.poll() is None, (self.folder / "provider.log").read_text()
                    await asyncio.sleep(0.05)
                else:
                    return
        raise TimeoutError((self.folder / "provider.log").read_text())

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = self.options = None

    def allow(self, callback: str) -> None:
        """Register where the page takes people back."""

    async def sign_in(self, url: str, user: str) -> str:
        """What a person does at the provider: the address that it sends their browser to."""
        raise NotImplementedError

    async def token(self, audience: str, *, seconds: int = 300) -> str:
        """A signed token of this provider for an audience."""
        raise NotImplementedError


class MockProvider(RealProvider):
    """``oidc-provider-mock`` (Python, Authlib). Its access tokens are opaque, so its ID tokens are shown."""

    algorithm = "RS256"

    def command(self, *, seconds: int = 300) -> list[str]:
        users = [msgspec.json.encode({"sub": "ann", "email": "ann@example.org", "groups": GROUPS}).decode()]
        return [
            *(sys.executable, "-W", "ignore", "-m", "oidc_provider_mock", "--port", str(self.port)),
            *("--token-max-age", str(seconds), "--require-nonce"),
            *(part for user in users for part in ("--user-claims", user)),
        ]

    async def sign_in(self, url: str, user: str) -> str:
        async with httpx.AsyncClient() as client:
            reply = await client.post(url, data={"sub": user})
        assert reply.status_code == 302, reply.text
        return reply.headers["location"]

    async def token(self, audience: str, *, seconds: int = 300) -> str:
        query = {
            "response_type": "code",
            "client_id": audience,
            "redirect_uri": "http://127.0.0.1/x",
            "scope": "openid",
            "nonce": f"{audience}{seconds}{asyncio.get_running_loop().time()}",
        }
        back = await self.sign_in(f"{self.issuer}/oauth2/authorize?{urlencode(query)}", "ann")
        form = {
            "grant_type": "authorization_code",
            "code": parse_qs(urlsplit(back).query)["code"][0],
            "redirect_uri": "http://127.0.0.1/x",
        }
        async with httpx.AsyncClient() as client:
            reply = await client.post(f"{self.issuer}/oauth2/token", data=form, auth=(audience, "any"))
        return str(reply.json()["id_token"])


class NodeProvider(RealProvider):
    """``oidc-provider`` (Node): PKCE required, one-time codes, ``iss`` in its answers, JWTs as access tokens (RFC 9068)."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        for name in ("package.json", "package-lock.json", "provider.mjs"):
            shutil.copy(HERE / name, folder)
        subprocess.run(
            ["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"],
            cwd=folder,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        (folder / "callbacks.txt").write_text("")

    def command(self) -> list[str]:
        number = self._generation
        keys = [
            ECAlgorithm.to_jwk(private_key("ec", number), as_dict=True) | {"kid": f"ec-{number}"},
            RSAAlgorithm.to_jwk(private_key("rsa", number), as_dict=True) | {"kid": f"rsa-{number}"},
        ]
        for key in keys:
            key.pop("key_ops", None)
            key["use"] = "sig"
        (self.folder / "keys.json").write_bytes(msgspec.json.encode({"keys": keys}))
        return ["node", "provider.mjs", str(self.port), "keys.json", "callbacks.txt"]

    def allow(self, callback: str) -> None:
        (self.folder / "callbacks.txt").write_text(callback)

    async def sign_in(self, url: str, user: str) -> str:
        async with httpx.AsyncClient() as client:
            reply = await client.get(url)
            for _ in range(12):
                place = urljoin(str(reply.request.url), reply.headers.get("location", ""))
                if reply.is_redirect:
                    if "/login/callback" in place:
                        return place
                    reply = await client.get(place)
                    continue
                assert reply.status_code == 200, reply.text
                prompt = re.search(r'name="prompt" value="(\w+)"', reply.text)
                assert prompt, reply.text
                form = {"prompt": prompt[1], "login": user, "password": "any"}
                reply = await client.post(str(reply.request.url), data=form)
        raise AssertionError(reply.text)

    async def token(self, audience: str, *, seconds: int = 300) -> str:
        if (
            seconds < 0
        ):  # it makes none that have ended: this one is as it would have been, signed with its key
            claims = {
                "iss": self.issuer,
                "sub": self.client_id,
                "aud": audience,
                "exp": int(time.time()) + seconds,
            }
            number = self._generation
            head = {"typ": "at+jwt", "kid": f"ec-{number}"}
            return jwt.encode(claims, private_key("ec", number), algorithm=self.algorithm, headers=head)
        form = {
            "grant_type": "client_credentials",
            "scope": "api",
            "resource": f"urn:{audience}:{self.algorithm}:{seconds}",
        }
        async with httpx.AsyncClient() as client:
            auth = tuple(
                httpx.QueryParams({"x": part}).__str__()[2:] for part in (self.client_id, self.secret)
            )
            reply = await client.post(f"{self.issuer}/token", data=form, auth=auth)
        assert reply.status_code == 200, reply.text
        return str(reply.json()["access_token"])

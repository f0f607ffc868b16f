"""Passwords: hashed with scrypt, which takes memory as well as time of whoever tries many.

scrypt, and not Argon2: it is in Python's standard library, so that local accounts need no package, and OWASP names the
parameters below as equal in strength to Argon2id's. They stand in each hash; when they are raised, old hashes still verify.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import unicodedata
from base64 import b64decode, b64encode
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from weft.errors import InvalidRequestError, OverloadedError

LOG_N: Final = 15
R: Final = 8
P: Final = 3
"""32 MiB and three passes: some 200 ms of one processor (OWASP, Password Storage)."""

MEMORY_BYTES: Final = 64 * 1024 * 1024
"""What OpenSSL may take for one hash: twice what these parameters need."""

AT_ONCE: Final = 2
"""Hashes that are made at a time, and processors that a flood of logins can have."""

WAITING: Final = 16
"""Logins that wait for that: some two seconds. Beyond, one is told to come again."""

MIN_CHARACTERS: Final = 12
MAX_CHARACTERS: Final = 256


class Passwords:
    """Makes and checks hashes, a few at a time, in threads of its own.

    Args:
        parameters: Of new hashes: the logarithm of N, r and p of scrypt.
    """

    def __init__(self, parameters: tuple[int, int, int] = (LOG_N, R, P)) -> None:
        self._parameters = parameters
        self._threads: ThreadPoolExecutor | None = None
        self._waiting = 0

    async def hash(self, password: str) -> str:
        """What is kept of a password.

        Raises:
            OverloadedError: Too many are waiting.
        """
        return await self._run(password, secrets.token_bytes(16), self._parameters)

    async def verify(self, password: str, kept: str) -> bool:
        """Whether it is the one that ``kept`` was made of.

        Takes as long for an account that is not there, whose hash is empty: nobody finds out which names there are.

        Raises:
            OverloadedError: Too many are waiting.
        """
        if not kept:
            await self.hash(password)
            return False
        parameters, salt = _read(kept)
        return hmac.compare_digest(await self._run(password, salt, parameters), kept)

    def close(self) -> None:
        """End the threads."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def _run(self, password: str, salt: bytes, parameters: tuple[int, int, int]) -> str:
        if self._waiting >= AT_ONCE + WAITING:
            raise OverloadedError("too many people are logging in", retry_after_s=2)
        if self._threads is None:
            self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="weft passwords")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._threads, _hash, password, salt, parameters
            )
        finally:
            self._waiting -= 1


def check_strength(password: str, account: str) -> None:
    """Whether a new password is one that takes guessing.

    Raises:
        InvalidRequestError: It is too short, too long, the account's name, or one character over and over.
    """
    if not MIN_CHARACTERS <= len(password) <= MAX_CHARACTERS:
        raise InvalidRequestError(
            f"a password has {MIN_CHARACTERS} to {MAX_CHARACTERS} characters: four words make a good one",
            param="password",
        )
    plain = password.casefold()
    if (
        account.casefold() in plain
        or account.casefold().partition("@")[0] * 2 in plain
        or len(set(plain)) < 5
    ):
        raise InvalidRequestError(
            "this password is too easy to guess: it is your name, or a few characters repeated",
            param="password",
        )


def _hash(password: str, salt: bytes, parameters: tuple[int, int, int]) -> str:
    log_n, r, p = parameters
    # The same password typed on two keyboards is the same text (NIST SP 800-63B, 5.1.1.2).
    text = unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")
    key = hashlib.scrypt(text, salt=salt, n=1 << log_n, r=r, p=p, maxmem=MEMORY_BYTES, dklen=32)
    return f"scrypt${log_n}${r}${p}${b64encode(salt).decode()}${b64encode(key).decode()}"


def _read(kept: str) -> tuple[tuple[int, int, int], bytes]:
    _, log_n, r, p, salt, _ = kept.split("$")
    return (int(log_n), int(r), int(p)), b64decode(salt)

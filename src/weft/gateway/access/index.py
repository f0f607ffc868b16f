"""The keys in the memory of one gateway process, kept true: a request costs a lookup and one SHA-256, and no database.

Once a second the database is asked for what has changed since, so a key that was revoked anywhere is refused here within
seconds. While the database is away the keys that are known go on holding, for a stated time; then requests with a key
are answered 503, for nobody can know any more which of them hold.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from hmac import compare_digest
from typing import Final

from weft.context import Identity
from weft.errors import StateError, UnauthorizedError, UnavailableError
from weft.gateway.access.keys import KeyStore, StoredKey
from weft.gateway.access.secret import ID_END, ID_START, digest_of, is_whole
from weft.serve.log import Log

POLL_S: Final = 1.0
"""Between two looks for changes. With the time for an answer it stays well below the 5 seconds that are promised."""

LOOK_S: Final = 0.2
"""Between two looks for a key that is not known."""

USED_EVERY_S: Final = 60.0
"""How often it is written down which keys were used."""

USED_COARSE_S: Final = 300.0
"""A key whose last use is known to within so long is not written down again: one write per key and five minutes."""


class UnknownKeyError(UnauthorizedError):
    """No key that is known, as far as it may be told to a stranger."""

    def __init__(self, shown: str) -> None:
        self.is_whole = is_whole(shown)
        if self.is_whole:
            super().__init__("this API key is not known here", hint="was it made for another gateway?")
        else:
            super().__init__(
                "this is no whole API key",
                hint="it may have been cut: weft_, 12 characters, _, 49 characters",
            )


class Known:
    """What is known of the keys; it outlives a reload of the gateway's files, for the database may be away just then.

    Attributes:
        keys: By id.
        used: When keys were used that it is to be written down of.
        revision: The last change that was taken in.
        fresh_at: When that was asked for; None: never.
        trouble: Why the database cannot be asked; empty while it can.
    """

    def __init__(self) -> None:
        self.keys: dict[str, StoredKey] = {}
        self.used: dict[str, float] = {}
        self.revision = 0
        self.fresh_at: float | None = None
        self.trouble = ""


class KeyIndex:
    """Finds the caller of a key.

    Args:
        store: The keys.
        log: Where it is said that the database is away, and that it is back.
        stale_s: How long the known keys hold while it is away.
        now_s: The clock on the wall.
        clock: One that never goes back.
        known: By the index whose place this one takes; None: nothing yet.
    """

    def __init__(
        self,
        store: KeyStore,
        *,
        log: Log,
        stale_s: float,
        now_s: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        known: Known | None = None,
    ) -> None:
        self._store, self._log, self._stale_s = store, log, stale_s
        self._now_s, self._clock = now_s, clock
        self._known = known or Known()
        self._keys = self._known.keys
        self._used_written_at = self._look_again_at = clock()
        self._watch: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()

    @property
    def trouble(self) -> str:
        """Why the database cannot be asked; empty while it can."""
        return self._known.trouble

    def __len__(self) -> int:
        return sum(not key.revoked_at for key in self._keys.values())

    def find(self, shown: str) -> Identity:
        """Whose key this is.

        Raises:
            UnauthorizedError: It is none, or does not hold any more.
            UnavailableError: The database has been away for so long that nobody can know.
        """
        key = self._keys.get(shown[ID_START:ID_END])
        if self._known.trouble and self.is_stale:
            raise UnavailableError(f"API keys cannot be checked now: {self.trouble}")
        if key is None:
            raise UnknownKeyError(shown)
        digest = digest_of(shown)
        now_s = self._now_s()
        if not compare_digest(digest, key.digest) and not (
            now_s < key.old_until and compare_digest(digest, key.old_digest)
        ):
            raise UnknownKeyError(shown)
        if key.revoked_at:
            raise UnauthorizedError("this API key was revoked", hint="ask who made it for another one")
        if key.expires_at and now_s >= key.expires_at:
            raise UnauthorizedError("this API key has expired", hint="ask who made it for another one")
        if now_s - key.used_at > USED_COARSE_S:
            key.used_at = now_s
            self._known.used[key.id] = now_s
        return key.identity

    def holding(self, key_id: str) -> Identity | None:
        """Whose the key with this id is, for a login that was made with it; None: it does not hold any more.

        Raises:
            UnavailableError: See :meth:`find`.
        """
        if self.trouble and self.is_stale:
            raise UnavailableError(f"API keys cannot be checked now: {self.trouble}")
        key = self._keys.get(key_id)
        if key is None or key.revoked_at or (key.expires_at and self._now_s() >= key.expires_at):
            return None
        return key.identity

    @property
    def is_stale(self) -> bool:
        """Whether what is known is too old to go by, or nothing is known yet."""
        fresh_at = self._known.fresh_at
        return fresh_at is None or self._clock() - fresh_at > self._stale_s

    async def refresh(self) -> None:
        """Take in what has changed.

        Raises:
            StateError: A newer Weft wrote the keys.
            UnavailableError: The database is away.
        """
        async with self._turn:
            known, asked_at = self._known, self._clock()
            try:
                changed = await self._store.changed_since(known.revision)
            except UnavailableError as error:
                if not known.trouble:
                    self._log.warning(
                        f"API keys cannot be looked after: {error.message}; those known hold for {self._stale_s:g} s more"
                    )
                known.trouble = error.message
                raise
            if known.trouble:
                self._log.info("API keys are looked after again")
                known.trouble = ""
            known.fresh_at = asked_at
            for key in changed:
                known.keys[key.id] = key
                known.revision = max(known.revision, key.revision)

    async def find_new(self, shown: str) -> Identity:
        """As :meth:`find`, but a key that is not known yet is looked for: it holds as soon as it is made.

        Made-up keys cost the database no more than some looks a second, and nothing while it is away.

        Raises: as :meth:`find`.
        """
        try:
            return self.find(shown)
        except UnknownKeyError as error:
            now_s = self._clock()
            if not error.is_whole or self.trouble or now_s < self._look_again_at:
                raise
            self._look_again_at = now_s + LOOK_S
        with suppress(UnavailableError):  # it has been said; the key is not known
            await self.refresh()
        return self.find(shown)

    async def start(self) -> None:
        """Read the keys, and look after them until :meth:`stop`; a database that is away is waited for meanwhile.

        Raises:
            StateError: A newer Weft wrote the keys.
        """
        with suppress(UnavailableError):  # it has been said; keys are refused with 503 until it is there
            await self.refresh()
        self._watch = asyncio.create_task(self._look_after(), name="api keys")

    async def stop(self) -> None:
        """Look after them no longer; what was used last is written down."""
        watch, self._watch = self._watch, None
        if watch is None:
            return
        watch.cancel()
        await asyncio.wait((watch,))
        with suppress(UnavailableError):  # the last minutes of use are lost, which are coarse anyway
            await self._write_used()

    async def _look_after(self) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            try:
                await self.refresh()
                if self._clock() - self._used_written_at > USED_EVERY_S:
                    await self._write_used()
            except UnavailableError:
                continue  # it has been said, and is asked again
            except StateError as error:
                # Another gateway was updated and has changed the tables: what is known holds for its time.
                if not self.trouble:
                    self._log.warning(f"API keys cannot be looked after: {error.message}")
                self._known.trouble = error.message

    async def _write_used(self) -> None:
        self._used_written_at = self._clock()
        known = self._known
        used, known.used = known.used, {}
        if not used:
            return
        try:
            await self._store.note_used(used)
        except UnavailableError:
            known.used = used | known.used
            raise

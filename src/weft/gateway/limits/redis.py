"""The way to Redis: every question is one script there, and those of a batch go in one message."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from weft.errors import MissingExtraError
from weft.gateway.limits import scripts
from weft.gateway.limits.buckets import SEGMENTS
from weft.gateway.limits.remote import LEASE_S, Answer, Beat, Question, Settle, Take

if TYPE_CHECKING:
    from redis.asyncio import Redis

CONNECT_S: Final = LEASE_S
"""What the client itself may take: the batches end it long before."""


class RedisLink:
    """See :class:`weft.gateway.limits.remote.Link`.

    Args:
        url: ``redis://HOST:PORT/DB``, ``rediss://`` over TLS, ``unix://``.
        name: Of the installation: those of one name count together.
        now_ms: The time, for tests; None is Redis's own.

    Raises:
        MissingExtraError: The client library is not installed.
        UsageError: The URL is none of Redis.
    """

    def __init__(self, url: str, name: str, *, now_ms: Callable[[], int] | None = None) -> None:
        try:
            import redis.asyncio  # noqa: F401, PLC0415 - an extra
        except ImportError as error:
            raise MissingExtraError("state.redis", package="redis", extra="gateway") from error
        self._url = url
        self._now_ms = now_ms or (lambda: 0)
        self._prefix = f"{{weft:{name}}}:"
        self._client: Redis | None = None
        self._known: dict[str, str] = {}

    async def send(self, questions: Sequence[Question]) -> Sequence[Answer]:
        """See :class:`weft.gateway.limits.remote.Link`."""
        if self._client is None:
            from redis.asyncio import Redis  # noqa: PLC0415 - an extra, and nobody else needs it

            self._client = Redis.from_url(
                self._url,
                decode_responses=True,
                protocol=2,
                socket_connect_timeout=CONNECT_S,
                socket_timeout=CONNECT_S,
                max_connections=1,
            )
        try:
            return await self._run(self._client, [self._asked(question) for question in questions])
        except BaseException:
            await self.aclose()  # what it may still answer would be taken for the answer to another question
            raise

    def _asked(self, question: Question) -> tuple[str, list[str], list[Any]]:
        """A script, its keys and its arguments."""
        me, prefix = question.me, self._prefix
        keys = [f"{prefix}leases", f"{prefix}h:{me}", f"{prefix}c:{me}"]
        arguments: list[Any] = [self._now_ms(), me]
        if isinstance(question, Take):
            keys += [f"{prefix}b:{ask.bucket}" for ask in question.asks]
            arguments += (question.hold, question.lease_ms, SEGMENTS, question.ticket, f"{prefix}c:")
            for ask in question.asks:
                arguments += (ask.most, ask.amount, ask.span, ask.queue)
            return scripts.TAKE, keys, arguments
        if isinstance(question, Settle):
            arguments += (question.hold, 0, SEGMENTS)
            for bucket, span, amount, used in question.parts:
                keys.append(f"{prefix}b:{bucket}")
                arguments += (span, amount, used)
            return scripts.SETTLE, keys, arguments
        if isinstance(question, Beat):
            arguments += (int(question.is_new), question.lease_ms)
            return scripts.BEAT, keys, arguments
        keys.append(f"{prefix}b:{question.bucket}")
        arguments += (question.span, 0, SEGMENTS)
        for period, amount in question.used:
            arguments += (period, amount)
        return scripts.CHARGE, keys, arguments

    async def _run(self, client: Redis, asked: Sequence[tuple[str, list[str], list[Any]]]) -> list[Any]:
        from redis.exceptions import NoScriptError, ResponseError  # noqa: PLC0415 - as above

        for script in {script for script, _, _ in asked} - self._known.keys():
            self._known[script] = await client.script_load(script)
        pipeline = client.pipeline(transaction=False)
        for script, keys, arguments in asked:
            pipeline.evalsha(self._known[script], len(keys), *keys, *arguments)
        answers: list[Any] = await pipeline.execute(raise_on_error=False)
        unknown = [n for n, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        if unknown:
            self._known.clear()  # it was started anew, and knows no scripts
            for n, answer in zip(unknown, await self._run(client, [asked[n] for n in unknown]), strict=True):
                answers[n] = answer
        for answer in answers:
            if isinstance(answer, ResponseError):
                raise answer
        return answers

    async def aclose(self) -> None:
        """See :class:`weft.gateway.limits.remote.Link`."""
        client, self._client = self._client, None
        if client is not None:
            with suppress(Exception):  # it is given up
                await client.connection_pool.disconnect(inuse_connections=True)

"""The part of a Qdrant server's REST API that the store needs, with our own HTTP client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final
from urllib.parse import quote

import msgspec

from weft.errors import BackendReplyError, BackendStatusError
from weft.host import HttpClient

PAGE: Final = 500
"""Points that are sent or read at once."""


class Points:
    """The points of one collection, or of what an alias stands for.

    Args:
        client: Of the server.
        name: The collection's or the alias's.
    """

    def __init__(self, client: HttpClient, name: str) -> None:
        self._client, self.name = client, name
        self._path = f"/collections/{quote(name, safe='')}"

    async def info(self) -> dict[str, Any] | None:
        """What the server says of the collection; None: there is none."""
        try:
            found: dict[str, Any] = _result(await self._client.get_json(self._path), dict)
        except BackendStatusError as error:
            if error.backend_status == 404:
                return None
            raise
        return found

    async def create(self, config: dict[str, Any]) -> None:
        """Make it."""
        await self._send("PUT", "", config)

    async def index(self, field: str, schema: Any) -> None:
        """Have a payload field indexed."""
        await self._send("PUT", "/index?wait=true", {"field_name": field, "field_schema": schema})

    async def delete_collection(self) -> None:
        """Delete all of it."""
        await self._send("DELETE", "", None)

    async def put(self, points: Sequence[dict[str, Any]]) -> None:
        """Put points in, some at a time; each time is on disk when it returns."""
        for first in range(0, len(points), PAGE):
            await self._send("PUT", "/points?wait=true", {"points": list(points[first : first + PAGE])})

    async def delete(self, filter: dict[str, Any]) -> None:
        """Delete the points that fit."""
        await self._post("/points/delete?wait=true", {"filter": filter})

    async def count(self, filter: dict[str, Any]) -> int:
        """How many points fit."""
        reply = await self._post("/points/count", {"filter": filter, "exact": True})
        return int(_result(reply, dict)["count"])

    async def get(
        self, ids: Sequence[str], *, payload: Any = True, vector: Any = False
    ) -> list[dict[str, Any]]:
        """Points by id; those that are not there are left out."""
        found: list[dict[str, Any]] = []
        for first in range(0, len(ids), PAGE):
            body = {"ids": list(ids[first : first + PAGE]), "with_payload": payload, "with_vector": vector}
            found += _result(await self._post("/points", body), list)
        return found

    async def scroll(
        self, filter: dict[str, Any], *, payload: Any = True, vector: Any = False
    ) -> AsyncIterator[list[dict[str, Any]]]:
        """All points that fit, some at a time, in order of their ids."""
        offset: Any = None
        while True:
            body = {
                "filter": filter,
                "limit": PAGE,
                "with_payload": payload,
                "with_vector": vector,
                **({"offset": offset} if offset is not None else {}),
            }
            result = _result(await self._post("/points/scroll", body), dict)
            if result["points"]:
                yield result["points"]
            offset = result.get("next_page_offset")
            if offset is None:
                return

    async def all(self, filter: dict[str, Any], *, payload: Any = True) -> list[dict[str, Any]]:
        """All points that fit, in order of their ids."""
        return [point async for page in self.scroll(filter, payload=payload) for point in page]

    async def query(self, searches: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
        """The points of each search, best first."""
        if not searches:
            return []
        reply = await self._post("/points/query/batch", {"searches": list(searches)})
        return [result["points"] for result in _result(reply, list)]

    async def _post(self, path: str, body: Any) -> Any:
        return await self._client.post_json(self._path + path, body)

    async def _send(self, method: str, path: str, body: Any) -> None:
        content = b"" if body is None else msgspec.json.encode(body)
        reply = await self._client.request(
            method, self._path + path, content, headers={"content-type": "application/json"}
        )
        reply.raise_for_status()


async def aliases(client: HttpClient) -> dict[str, str]:
    """Each alias with the collection that it stands for."""
    reply = _result(await client.get_json("/aliases"), dict)
    return {entry["alias_name"]: entry["collection_name"] for entry in reply["aliases"]}


async def change_aliases(client: HttpClient, actions: Sequence[dict[str, Any]]) -> None:
    """Change aliases, all at once."""
    await client.post_json("/collections/aliases", {"actions": list(actions)})


def _result(reply: Any, type_: type) -> Any:
    result = reply.get("result") if isinstance(reply, dict) else None
    if not isinstance(result, type_):
        raise BackendReplyError("the reply is none of a Qdrant server's")
    return result

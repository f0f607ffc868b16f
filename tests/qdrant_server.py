"""A local server of Qdrant's REST API, backed by qdrant-edge: the engine is Qdrant's own, the HTTP side is ours.

It has the endpoints that the ``qdrant`` store and the tests with ``qdrant-client`` need, and answers anything else with
404, so that nothing is taken for working that was never asked. What a filter, a score, a payload or an offset means is
the engine's business; what is ours is collections, aliases and JSON. The engine's binding cannot match booleans.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote

import msgspec
from qdrant_edge import (
    CountRequest,
    Distance,
    EdgeConfig,
    EdgeOptimizersConfig,
    EdgeShard,
    EdgeSparseVectorParams,
    EdgeVectorParams,
    FieldCondition,
    Filter,
    HasIdCondition,
    IsEmptyCondition,
    IsNullCondition,
    KeywordIndexParams,
    MatchAny,
    MatchText,
    MatchValue,
    Modifier,
    Point,
    Query,
    QueryRequest,
    RangeFloat,
    ScrollRequest,
    SparseVector,
    UpdateOperation,
)

from weft.http.message import Request, Response
from weft.http.server import Server

VERSION = "1.15.0"
NEVER = 1_000_000_000


class ApiError(Exception):
    """What the real server answers with a status and a sentence."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Collection:
    """One collection: a shard, and the configuration it was made with."""

    def __init__(self, path: Path, config: dict[str, Any]) -> None:
        self.config = config
        path.mkdir(parents=True)
        self.shard = EdgeShard.create(
            str(path),
            EdgeConfig(
                vectors=self._dense(config.get("vectors") or {}),
                sparse_vectors={
                    name: EdgeSparseVectorParams(
                        modifier=Modifier.Idf if params.get("modifier") == "idf" else None
                    )
                    for name, params in (config.get("sparse_vectors") or {}).items()
                },
                optimizers=EdgeOptimizersConfig(indexing_threshold=NEVER),
            ),
        )

    def _dense(self, vectors: dict[str, Any]) -> Any:
        def params(given: dict[str, Any]) -> EdgeVectorParams:
            return EdgeVectorParams(size=given["size"], distance=getattr(Distance, given["distance"]))

        return params(vectors) if "size" in vectors else {n: params(given) for n, given in vectors.items()}

    def info(self) -> dict[str, Any]:
        return {
            "status": "green",
            "optimizer_status": "ok",
            "indexed_vectors_count": 0,
            "points_count": self.shard.count(CountRequest(exact=True)),
            "segments_count": 1,
            "config": {
                "params": {
                    "vectors": self.config.get("vectors") or {},
                    "sparse_vectors": self.config.get("sparse_vectors") or {},
                    "shard_number": 1,
                    "replication_factor": 1,
                    "write_consistency_factor": 1,
                    "on_disk_payload": True,
                },
                "hnsw_config": {"m": 16, "ef_construct": 100, "full_scan_threshold": 10000},
                "optimizer_config": {
                    "deleted_threshold": 0.2,
                    "vacuum_min_vector_number": 1000,
                    "default_segment_number": 0,
                    "flush_interval_sec": 5,
                },
                "wal_config": {"wal_capacity_mb": 32, "wal_segments_ahead": 0},
            },
            "payload_schema": {},
        }

    def query(self, search: dict[str, Any]) -> dict[str, Any]:
        given, using = search.get("query"), search.get("using") or ""
        if isinstance(given, dict) and "nearest" in given:
            given = given["nearest"]
        vector = SparseVector(given["indices"], given["values"]) if isinstance(given, dict) else given
        named = self.config.get("sparse_vectors") if isinstance(given, dict) else self.config.get("vectors")
        if isinstance(given, list):
            size = named["size"] if "size" in named else named.get(using, {}).get("size")
            if size is None:
                raise ApiError(400, f"Wrong input: Not existing vector name error: {using}")
            if size != len(given):
                raise ApiError(
                    400, f"Wrong input: Vector dimension error: expected dim: {size}, got {len(given)}"
                )
        found = self.shard.query(
            QueryRequest(
                limit=search.get("limit", 10),
                query=Query.Nearest(vector, using=using or None),
                filter=_filter(search.get("filter")),
                with_payload=_payload(search.get("with_payload", False)),
                with_vector=search.get("with_vector", False),
            )
        )
        return {"points": [{**_point(p), "version": 0, "score": p.score} for p in found]}

    def scroll(self, body: dict[str, Any]) -> dict[str, Any]:
        records, offset = self.shard.scroll(
            ScrollRequest(
                limit=body.get("limit", 10),
                offset=body.get("offset"),
                filter=_filter(body.get("filter")),
                with_payload=_payload(body.get("with_payload", True)),
                with_vector=body.get("with_vector", False),
            )
        )
        return {"points": [_point(r) for r in records], "next_page_offset": _id(offset)}


class QdrantServer:
    """The server: ``async with`` it; :attr:`url` is where it listens.

    Attributes:
        asked: Method and path of every request.
        before: Called with method, path and body before each request is served; it may raise :class:`ApiError`.
    """

    def __init__(self, folder: Path, *, api_key: str | None = None) -> None:
        self._folder, self._api_key = folder, api_key
        self._collections: dict[str, Collection] = {}
        self._aliases: dict[str, str] = {}
        self._server = Server(self._serve)
        self.asked: list[str] = []
        self.before: Callable[[str, str, Any], None] = lambda method, path, body: None
        self.url = ""

    async def __aenter__(self) -> Self:
        self.url = f"http://127.0.0.1:{await self._server.listen('127.0.0.1', 0)}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.aclose()
        for collection in self._collections.values():
            collection.shard.close()

    async def _serve(self, request: Request) -> Response:
        self.asked.append(f"{request.method} {request.path}")
        try:
            if self._api_key is not None and request.headers.get("api-key") != self._api_key:
                raise ApiError(401, "Must provide an API key or an Authorization bearer token")
            content = await request.read()
            body = msgspec.json.decode(content) if content else None
            self.before(request.method, request.path, body)
            parts = [unquote(part) for part in request.raw_path.split("?")[0].strip("/").split("/")]
            result = self._answer(request.method, parts, body)
        except ApiError as error:
            return _json(error.status, {"status": {"error": str(error)}, "time": 0.0})
        if parts == [""]:
            return _json(200, result)
        return _json(200, {"result": result, "status": "ok", "time": 0.0})

    def _answer(self, method: str, parts: list[str], body: Any) -> Any:
        match method, parts:
            case "GET", [""]:
                return {"title": "qdrant - vector search engine", "version": VERSION}
            case "GET", ["readyz" | "healthz"]:
                return True
            case "GET", ["collections"]:
                return {"collections": [{"name": name} for name in self._collections]}
            case "GET", ["aliases"]:
                pairs = self._aliases.items()
                return {"aliases": [{"alias_name": alias, "collection_name": name} for alias, name in pairs]}
            case "POST", ["collections", "aliases"]:
                return self._change_aliases(body["actions"])
            case "PUT", ["collections", name]:
                if name in self._collections or name in self._aliases:
                    raise ApiError(409, f"Wrong input: Collection `{name}` already exists!")
                self._collections[name] = Collection(self._folder / secrets.token_hex(8), body)
                return True
            case "GET", ["collections", name, "exists"]:
                return {"exists": name in self._collections or name in self._aliases}
            case "DELETE", ["collections", name]:
                collection = self._collections.pop(name, None)
                if collection is not None:
                    collection.shard.close()
                self._aliases = {a: n for a, n in self._aliases.items() if n != name}
                return collection is not None
            case _, ["collections", name, *rest]:
                return self._of_collection(method, self._find(name), rest, body)
        raise ApiError(404, f"no such endpoint here: {method} /{'/'.join(parts)}")

    def _find(self, name: str) -> Collection:
        found = self._collections.get(self._aliases.get(name, name))
        if found is None:
            raise ApiError(404, f"Not found: Collection `{name}` doesn't exist!")
        return found

    def _change_aliases(self, actions: list[dict[str, Any]]) -> bool:
        changed = dict(self._aliases)
        for action in actions:
            match action:
                case {"create_alias": {"alias_name": alias, "collection_name": name}}:
                    if name not in self._collections:
                        raise ApiError(404, f"Not found: Collection `{name}` doesn't exist!")
                    changed[alias] = name
                case {"delete_alias": {"alias_name": alias}}:
                    changed.pop(alias, None)
                case _:
                    raise ApiError(400, f"no such action here: {action}")
        self._aliases = changed
        return True

    def _of_collection(self, method: str, collection: Collection, rest: list[str], body: Any) -> Any:
        shard = collection.shard
        done = {"operation_id": 0, "status": "completed"}
        match method, rest:
            case "GET", []:
                return collection.info()
            case "PUT", ["index"]:
                schema = body["field_schema"]
                if (schema if isinstance(schema, str) else schema["type"]) != "keyword":
                    raise ApiError(400, "only keywords are indexed here")
                shard.update(UpdateOperation.create_field_index(body["field_name"], KeywordIndexParams()))
                return done
            case "PUT", ["points"]:
                points = [Point(_in(p["id"]), _vector(p["vector"]), p.get("payload")) for p in body["points"]]
                shard.update(UpdateOperation.upsert_points(points))
                return done
            case "POST", ["points", "delete"]:
                if "points" in body:
                    shard.update(UpdateOperation.delete_points([_in(key) for key in body["points"]]))
                else:
                    shard.update(UpdateOperation.delete_points_by_filter(_filter(body["filter"])))
                return done
            case "POST", ["points"]:
                records = shard.retrieve(
                    [_in(key) for key in body["ids"]],
                    with_payload=_payload(body.get("with_payload", True)),
                    with_vector=body.get("with_vector", False),
                )
                return [_point(record) for record in records]
            case "POST", ["points", "scroll"]:
                return collection.scroll(body)
            case "POST", ["points", "count"]:
                return {"count": shard.count(CountRequest(filter=_filter(body.get("filter")), exact=True))}
            case "POST", ["points", "query"]:
                return collection.query(body)
            case "POST", ["points", "query", "batch"]:
                return [collection.query(search) for search in body["searches"]]
        raise ApiError(404, f"no such endpoint here: {method} .../{'/'.join(rest)}")


def _json(status: int, value: Any) -> Response:
    return Response(status, (), msgspec.json.encode(value))


def _in(id: Any) -> Any:
    if isinstance(id, int):
        return id
    try:
        return uuid.UUID(id)
    except ValueError as error:
        raise ApiError(400, f"Format error in JSON body: value {id} is not a valid point ID") from error


def _id(id: Any) -> Any:
    return id if id is None or isinstance(id, int) else str(id)


def _vector(given: Any) -> Any:
    if not isinstance(given, dict):
        return given
    return {
        name: SparseVector(v["indices"], v["values"]) if isinstance(v, dict) else v
        for name, v in given.items()
    }


def _point(point: Any) -> dict[str, Any]:
    return {"id": _id(point.id), "payload": point.payload, "vector": _out(point.vector)}


def _out(vector: Any) -> Any:
    if isinstance(vector, SparseVector):
        return {"indices": vector.indices, "values": vector.values}
    return {name: _out(v) for name, v in vector.items()} if isinstance(vector, dict) else vector


def _payload(wanted: Any) -> Any:
    if isinstance(wanted, dict):
        return wanted.get("include", True)
    return wanted


def _filter(given: Any) -> Any:
    if given is None:
        return None
    clauses = {name: _conditions(given.get(name)) for name in ("must", "should", "must_not")}
    return Filter(**clauses)


def _conditions(given: Any) -> Any:
    if given is None:
        return None
    return [_condition(one) for one in (given if isinstance(given, list) else [given])]


def _condition(given: dict[str, Any]) -> Any:
    match given:
        case {"has_id": ids}:
            return HasIdCondition({_in(key) for key in ids})
        case {"is_empty": {"key": key}}:
            return IsEmptyCondition(key)
        case {"is_null": {"key": key}}:
            return IsNullCondition(key)
        case {"key": key, "range": bounds} if bounds is not None:
            return FieldCondition(key, range=RangeFloat(**{n: b for n, b in bounds.items() if b is not None}))
        case {"key": key, "match": {"value": bool()}}:
            raise ApiError(400, f"booleans cannot be matched here: {key}")
        case {"key": key, "match": {"value": value}}:
            return FieldCondition(key, match=MatchValue(value))
        case {"key": key, "match": {"any": values}}:
            return FieldCondition(key, match=MatchAny(values))
        case {"key": key, "match": {"text": text}}:
            return FieldCondition(key, match=MatchText(text))
        case {"must": _} | {"should": _} | {"must_not": _}:
            return _filter(given)
    raise ApiError(400, f"no such condition here: {given}")

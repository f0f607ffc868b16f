"""A proxy as it is written with FastAPI and httpx: a key is compared, requests are counted, replies are handed on.

usage: fastapi_proxy.py PORT BACKEND_PORT KEY
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import Response, StreamingResponse

PORT, BACKEND, KEY = int(sys.argv[1]), sys.argv[2], sys.argv[3]
counted: dict[str, int] = {}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    limits = httpx.Limits(max_connections=1000, max_keepalive_connections=1000)
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{BACKEND}", timeout=600, limits=limits
    ) as client:
        app.state.client = client
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/v1/chat/completions")
async def relay(request: Request) -> Response:
    key = request.headers.get("authorization", "")
    if key != f"Bearer {KEY}":
        raise HTTPException(401)
    counted[key] = counted.get(key, 0) + 1
    client: httpx.AsyncClient = request.app.state.client
    body = await request.body()
    sent = client.build_request(
        "POST", "/v1/chat/completions", content=body, headers={"content-type": "application/json"}
    )
    reply = await client.send(sent, stream=True)
    kind = reply.headers.get("content-type")
    if kind == "text/event-stream":

        async def events() -> AsyncIterator[bytes]:
            try:
                async for block in reply.aiter_raw():
                    yield block
            finally:
                await reply.aclose()

        return StreamingResponse(events(), status_code=reply.status_code, media_type=kind)
    content = await reply.aread()
    await reply.aclose()
    return Response(content, status_code=reply.status_code, media_type=kind)


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=PORT, access_log=True)

"""The interface as a file that clients are made of, over HTTP."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from weft.context import Context
from weft.http.message import Request, Response
from weft.serve.application import Application
from weft.serve.routing import RouteDoc

INTERFACE_PATH: Final = "/weft_v1.proto"


def interface_route(app: Application) -> None:
    """Route :data:`INTERFACE_PATH` to the interface."""
    text = (files("weft.gateway.grpc") / "weft_v1.proto").read_bytes()

    async def interface(request: Request, context: Context) -> Response:
        return Response(200, (), text, "text/plain; charset=utf-8")

    doc = RouteDoc(
        summary="The gRPC interface, to make clients of.",
        tags=("about",),
        content_type="text/plain; charset=utf-8",
    )
    app.route("GET", INTERFACE_PATH, interface, doc=doc, needs="")

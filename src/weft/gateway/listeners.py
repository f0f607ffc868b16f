"""Where a Gateway file listens, as addresses that can be bound."""

from __future__ import annotations

from pathlib import Path

from weft.serve.doors import Door, TlsFiles
from weft.spec.gateway import GatewaySpec, ListenSpec, TlsSpec


def http_doors(spec: GatewaySpec) -> list[Door]:
    """Its addresses for HTTP, with and without TLS."""
    return [_door(spec, one, address) for one in spec.listen if (address := one.http or one.https)]


def grpc_doors(spec: GatewaySpec) -> list[Door]:
    """Its addresses for gRPC."""
    return [_door(spec, one, one.grpc) for one in spec.listen if one.grpc]


def _door(spec: GatewaySpec, listen: ListenSpec, address: str) -> Door:
    host, _, port = address.rpartition(":")
    folder = Path(spec.marks.here.file).parent
    return Door(host.strip("[]"), int(port), _files(listen.tls, folder) if listen.tls is not None else None)


def _files(tls: TlsSpec, folder: Path) -> TlsFiles:
    """The files, which are named from the Gateway file's own folder."""
    return TlsFiles(
        str(folder / tls.cert),
        str(folder / tls.key_),
        str(folder / tls.client_ca) if tls.client_ca is not None else None,
        tls.client == "required",
    )

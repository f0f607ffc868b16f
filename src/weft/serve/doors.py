"""The public addresses of an application: where it listens, and with which certificate."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from msgspec import Struct

from weft.errors import UsageError
from weft.serve.log import Log

LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")

LOOK_AGAIN_S: Final = 10.0
"""Between two looks whether a certificate was renewed: those who renew do it days before the old one ends."""


class TlsFiles(Struct, frozen=True, omit_defaults=True):
    """The files of a listener with TLS.

    Attributes:
        cert, key: The certificate with its chain, and its private key; PEM.
        client_ca: The authorities of clients' certificates; None: clients are not asked for one.
        is_client_required: Whether a client without a certificate is turned away in the handshake.
    """

    cert: str
    key: str
    client_ca: str | None = None
    is_client_required: bool = True


class Door(Struct, frozen=True, omit_defaults=True):
    """One address.

    Attributes:
        host: A name or address; empty is every address.
        port: 0 takes any free one.
        tls: None: plain HTTP.
    """

    host: str
    port: int
    tls: TlsFiles | None = None

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine gets at it."""
        return self.host in LOOPBACK

    @property
    def scheme(self) -> str:
        """``http`` or ``https``."""
        return "http" if self.tls is None else "https"


class Certificates:
    """The TLS contexts of an application's doors; a renewed certificate is served to the connections after it.

    Args:
        log: Where a renewal is written, and why one could not be read: the old certificate stays then.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._contexts: dict[TlsFiles, tuple[ssl.SSLContext, object]] = {}

    def context(self, files: TlsFiles | None) -> ssl.SSLContext | None:
        """The context for a door; None for one without TLS.

        Raises:
            UsageError: A file cannot be read, or the key is not the certificate's.
        """
        if files is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        _load(context, files)
        self._contexts[files] = (context, _stamp(files))
        return context

    async def watch(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_AGAIN_S)
            self.look()

    def look(self) -> None:
        """Read again what has changed."""
        for files, (context, seen) in list(self._contexts.items()):
            stamp = _stamp(files)
            if stamp == seen:
                continue
            self._contexts[files] = (context, stamp)
            try:
                _load(
                    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), files
                )  # whole, before the one in use is touched
                _load(context, files)
            except UsageError as error:
                self._log.warning(f"the certificate was not renewed: {error.message}")
            else:
                self._log.info(f"the certificate was renewed from {files.cert}")


def _load(context: ssl.SSLContext, files: TlsFiles) -> None:
    name = files.cert
    try:
        context.load_cert_chain(files.cert, files.key)
        if files.client_ca is not None:
            name = files.client_ca
            context.verify_mode = ssl.CERT_REQUIRED if files.is_client_required else ssl.CERT_OPTIONAL
            context.load_verify_locations(files.client_ca)
    except FileNotFoundError as error:
        missing = [
            path for path in (files.cert, files.key, files.client_ca) if path and not Path(path).exists()
        ]
        raise UsageError(f"there is no file {', '.join(missing) or name} for TLS") from error
    except ssl.SSLError as error:
        raise UsageError(
            f"TLS cannot use {name}: {error.reason or error}",
            hint="cert is the certificate with its chain, key its private key; both PEM and of one pair",
        ) from error
    except OSError as error:
        raise UsageError(f"TLS cannot read {name}: {error.strerror}") from error


def _stamp(files: TlsFiles) -> object:
    """Differs when a file was replaced or written."""
    found = []
    for path in (files.cert, files.key, files.client_ca):
        try:
            status = Path(path).stat() if path else None
        except OSError:
            status = None
        found.append((status.st_ino, status.st_mtime_ns, status.st_size) if status is not None else None)
    return tuple(found)


def is_closed(doors: Iterable[Door]) -> bool:
    """Whether all of them are for this machine only."""
    return all(door.is_loopback for door in doors)

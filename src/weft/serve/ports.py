"""Ports: whether one is free, who holds it, which is the next free one."""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from weft.errors import PortTakenError, UsageError
from weft.serve.doors import Door

LISTEN: Final = "0A"
"""The state LISTEN in ``/proc/net/tcp``."""

BACKLOG: Final = 1024
"""Connections that wait to be accepted: a burst of this size is not refused while a worker is busy for a moment."""


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that listens on a port."""

    pid: int
    name: str

    def __str__(self) -> str:
        return f"{self.name} (process {self.pid})"


def holder(port: int) -> Holder | None:
    """The process that listens on a TCP port; None where that cannot be told.

    Linux only, and only for processes whose files this user may look at.
    """
    inodes = _listening_inodes(port)
    if not inodes:
        return None
    targets = {f"socket:[{inode}]" for inode in inodes}
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        with suppress(OSError):  # another user's process, or one that has just ended
            for descriptor in (process / "fd").iterdir():
                with suppress(OSError):
                    if str(descriptor.readlink()) in targets:
                        return Holder(int(process.name), _process_name(process))
    return None


def _process_name(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip() or "unknown"
    except OSError:
        return "unknown"


def _listening_inodes(port: int) -> set[str]:
    found: set[str] = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if len(fields) > 9 and fields[3] == LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                found.add(fields[9])
    return found


def bind(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A TCP socket bound to a port that nobody else uses; not listening yet.

    Args:
        host: A name or address.
        port: 0 takes any free one.
        shared: Further sockets of ours may be bound to the same port (``SO_REUSEPORT``), see :func:`shares_ports`.

    Raises:
        PortTakenError: Somebody listens there; the message names the process where it can be told.
        UsageError: This machine has no such address, or the user may not use such a port.
    """
    family, _, _, _, address = _resolve(host, port)
    if shared and port:
        # SO_REUSEPORT would let us in beside another program of this user that set it too: look first without.
        _bound(family, address, host, port, shared=False).close()
    return _bound(family, address, host, port, shared=shared)


def bind_all(doors: Sequence[Door], *, shared: bool = False) -> list[socket.socket]:
    """A bound socket for each address, or, where one is taken, none.

    Raises: as :func:`bind`.
    """
    found: list[socket.socket] = []
    try:
        for door in doors:
            found.append(bind(door.host, door.port, shared=shared))  # noqa: PERF401 - kept for closing
    except BaseException:
        for listener in found:
            listener.close()
        raise
    return found


def _resolve(host: str, port: int) -> tuple[socket.AddressFamily, int, int, str, tuple[object, ...]]:
    try:
        return socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except socket.gaierror as error:
        raise UsageError(f"cannot listen on '{host}': {error.strerror}") from error


def bind_shared(host: str, port: int) -> socket.socket:
    """One more socket on a port of ours that was bound with ``shared``."""
    family, _, _, _, address = _resolve(host, port)
    return _bound(family, address, host, port, shared=True)


def _bound(
    family: socket.AddressFamily, address: tuple[object, ...], host: str, port: int, *, shared: bool
) -> socket.socket:
    # The protocol is named, because asyncio sends without delay only on sockets that name it.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if sys.platform == "win32":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            # "::" serves IPv4 too, as a user who asks for every address means it.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(address)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise _taken(host, port) from error
        raise UsageError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    return listener


def _taken(host: str, port: int) -> PortTakenError:
    by = holder(port)
    who = f" by {by}" if by is not None else ""
    return PortTakenError(
        f"port {port} on {host or 'all addresses'} is taken{who}", hint="choose another one with --port"
    )


def next_free(host: str, port: int, *, tries: int = 100) -> int:
    """The first free port from ``port`` on.

    Raises:
        PortTakenError: None of ``tries`` ports is free.
    """
    for candidate in range(port, min(port + tries, 65536)):
        try:
            bind(host, candidate).close()
        except PortTakenError:
            continue
        return candidate
    raise PortTakenError(f"no free port from {port} to {min(port + tries, 65536) - 1} on {host}")


def shares_ports() -> bool:
    """Whether the system spreads connections over several sockets of one port (Linux does)."""
    return sys.platform == "linux" and hasattr(socket, "SO_REUSEPORT")

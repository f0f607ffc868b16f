"""The child's side of :meth:`weft.host.Host.isolated`: runs one call after another under limits.

``python -m weft.serve.isolate`` reads frames (8 bytes of length, then a pickle) from stdin and writes one reply frame
for each call. It ends when stdin does, and the kernel ends it when a call outlives its time or its parent.
It has no network, and yields the processors to whoever answers requests.
Pickles only ever come from the parent, over the pipe that the parent made.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import queue
import signal
import struct
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Any, Final

LENGTH = struct.Struct(">Q")
GRACE_S = 1.0
"""The parent kills at the timeout; this much later the kernel does, should the parent be unable to."""

Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], float, int]
"""Work, arguments, keyword arguments, seconds, bytes."""


def read_frame(stream: IO[bytes]) -> bytes | None:
    """The next frame; None at the end of the stream."""
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    (length,) = LENGTH.unpack(head)
    body = stream.read(length)
    return body if len(body) == length else None


def frame(body: bytes) -> bytes:
    """``body`` with its length in front."""
    return LENGTH.pack(len(body)) + body


def main() -> None:
    """Serve calls until stdin ends."""
    _seal()
    _die_with_parent()  # after sealing, which may change credentials: the kernel forgets this then
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    calls = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    # Work that prints, or reads from the terminal, must not touch the frames.
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(2, 1)
    path = read_frame(calls)
    if path is None:
        return
    sys.path[:] = pickle.loads(path)  # noqa: S301 - from the parent
    frames: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(calls, frames), daemon=True).start()
    while True:
        replies.write(frame(_answer(frames.get())))
        replies.flush()


def _read(calls: IO[bytes], frames: queue.SimpleQueue[bytes]) -> None:
    while (body := read_frame(calls)) is not None:
        frames.put(body)
    os._exit(0)  # the parent is gone: whatever runs now is for nobody


def _answer(body: bytes) -> bytes:
    try:
        work, args, kwargs, timeout_s, max_memory_bytes = pickle.loads(body)  # noqa: S301 - from the parent
        _limit(timeout_s, max_memory_bytes)
        try:
            reply = ("result", work(*args, **kwargs))
        finally:
            _limit(0, None)
        return pickle.dumps(reply, protocol=pickle.HIGHEST_PROTOCOL)
    except MemoryError:
        return pickle.dumps(("memory", None))
    except BaseException as error:  # noqa: BLE001 - handed to the caller, whatever it is
        try:
            return pickle.dumps(("error", error))
        except Exception:  # noqa: BLE001 - an exception that cannot be pickled is told in words
            return pickle.dumps(("error", RuntimeError(f"{type(error).__name__}: {error}")))


def _limit(timeout_s: float, max_memory_bytes: int | None) -> None:
    """Bound the next call's time and memory; (0, None) lifts both."""
    if sys.platform == "win32":
        return  # the parent's own timeout still holds there
    # SIGALRM is left to the kernel's default: it ends the process even if Python never runs again.
    signal.setitimer(signal.ITIMER_REAL, timeout_s + GRACE_S if timeout_s else 0)
    import resource  # noqa: PLC0415 - there is none on Windows

    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    soft = hard if max_memory_bytes is None else _address_space() + max_memory_bytes
    if hard != resource.RLIM_INFINITY:
        soft = min(soft, hard)
    try:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    except (ValueError, OSError):
        return  # macOS refuses limits on the address space: the time limit is what it has


def _address_space() -> int:
    """What this process has mapped already: libraries map far more than they use, and that is not the call's."""
    try:
        with open("/proc/self/statm", "rb") as statm:  # noqa: PTH123 - no need to import pathlib in a child
            return int(statm.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 1 << 30


NICE: Final = 10
"""Work here can wait: what shares the processors with it answers people."""

_REACHING: Final = (
    "socket.connect",
    "socket.getaddrinfo",
    "socket.gethostbyname",
    "socket.sendto",
    "socket.bind",
)


def _seal() -> None:
    """Take the network away: from Python by its audit events, from all else by the kernel, where it lets us."""
    sys.addaudithook(_refuse_network)
    if sys.platform == "win32":
        return
    with suppress(OSError):
        os.nice(NICE)
    if sys.platform == "linux":
        new_user, new_network = 0x10000000, 0x40000000
        libc = ctypes.CDLL(None, use_errno=True)
        # Without privileges a network of one's own takes users of one's own; where neither is allowed, the hook is left.
        if libc.unshare(new_network):
            libc.unshare(new_user | new_network)


def _refuse_network(event: str, args: tuple[Any, ...]) -> None:
    if event in _REACHING:
        raise PermissionError(f"isolated work has no network ({event})")


def _die_with_parent() -> None:
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        parent = os.getppid()
        ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(0)  # it died before the kernel knew


if __name__ == "__main__":
    main()

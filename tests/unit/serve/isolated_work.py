"""What the tests of isolation run in processes of their own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time


def add(a: int, b: int) -> tuple[int, int]:
    return a + b, os.getpid()


def fail(message: str) -> None:
    raise ValueError(message)


def crash() -> None:
    os._exit(7)


def sleep() -> None:
    time.sleep(60)


def fill(size: int) -> int:
    return len(bytearray(size))


def reach(port: int) -> str:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError as error:
        return type(error).__name__
    return "reached"


def reach_by_program(port: int) -> int:
    code = f"import socket; socket.create_connection(('127.0.0.1', {port}), timeout=5)"
    return subprocess.run([sys.executable, "-c", code], stderr=subprocess.DEVNULL, check=False).returncode


def start_program(path: str) -> None:
    code = f"import os, time; open({path!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    subprocess.run([sys.executable, "-c", code], check=False)


def niceness() -> int:
    return os.nice(0)


def chatter() -> str:
    print("to stdout")  # noqa: T201
    print("to stderr", file=sys.stderr)  # noqa: T201
    return sys.stdin.read()

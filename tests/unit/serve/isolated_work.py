"""What the tests of isolation run in processes of their own."""

from __future__ import annotations

import os
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


def chatter() -> str:
    print("to stdout")  # noqa: T201
    print("to stderr", file=sys.stderr)  # noqa: T201
    return sys.stdin.read()

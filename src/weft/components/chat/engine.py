"""llama.cpp as a Python object: load, answer, unload. It blocks: for threads only.

How stopping works. The engine asks a callback after each token whether to go on and, as it is told to report progress,
after each step of reading a prompt. A step is ``batch`` tokens. The engine has begun the next step when it hears that it
shall stop, so its slot is free within two.
"""

from __future__ import annotations

import atexit
import secrets
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

from weft.errors import MissingExtraError, ModelError, UnavailableError

_EXIT_WAIT_S: Final = 30.0
"""How long an interpreter that ends without :meth:`Engine.close` waits for calls under way to obey: two steps of a large
model on a small processor. After that it goes on, and may crash."""

_READ_BYTES: Final = 1 << 24


class Listener(Protocol):
    """Who asked; its methods are called in any thread."""

    def put(self, event: bytes) -> bool:
        """Hear an event, JSON. True: stop."""
        ...

    def stop(self) -> None:
        """From now on :meth:`put` says: stop."""
        ...


class Engine:
    """A model loaded by llama.cpp.

    Args:
        path: The GGUF file.
        window: Tokens of one slot.
        slots: Requests worked on at the same time.
        batch: Prompt tokens read in one step.
        threads: Processor threads.
        prompt_cache_mib: Memory for prompts that were read before and whose slot was given away.

    Raises:
        MissingExtraError: The engine is not installed.
        ModelError: It cannot load the model.
    """

    def __init__(
        self, path: Path, *, window: int, slots: int, batch: int, threads: int, prompt_cache_mib: int
    ) -> None:
        try:
            import xllamacpp
        except ImportError as error:
            raise MissingExtraError("llama-cpp", package="xllamacpp", extra="local") from error
        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.n_parallel = slots
        params.n_ctx = window * slots
        params.n_batch = params.n_ubatch = batch
        params.cache_ram_mib = prompt_cache_mib
        for processors in (params.cpuparams, params.cpuparams_batch):
            processors.n_threads = threads
        params.warmup = False
        params.verbosity = -1  # nothing: its log goes to stderr, past ours
        params.offline = True
        params.ui = params.endpoint_slots = False
        params.n_threads_http = 1
        _read_ahead(path)
        with _closed_door() as (hostname, key):
            params.hostnames, params.api_keys = [hostname], [key]
            try:
                self._server: Any = xllamacpp.Server(params)
            except RuntimeError as error:
                raise ModelError(f"llama.cpp cannot load {path.name}: {error}") from error
        self._calls: set[Listener] = set()
        self._changed = threading.Condition()
        # A thread that comes back from the engine when the interpreter has ended would bring the process down.
        atexit.register(self._close_at_exit)

    def answer(self, body: bytes, listener: Listener) -> None:
        """Answer a chat request; returns when all is said, or when it was stopped.

        Raises:
            ValueError: The engine refuses the request.
            RuntimeError: The engine refuses the request, or failed.
            UnavailableError: The model is unloaded.
        """
        with self._changed:
            server = self._server
            if server is None:
                raise UnavailableError("the model is unloaded", component="llama-cpp")
            self._calls.add(listener)
        try:
            server.handle_chat_completions(body, listener.put)
        finally:
            del server
            with self._changed:
                self._calls.discard(listener)
                self._changed.notify_all()

    def close(self, *, wait_s: float | None = None) -> None:
        """Stop the calls under way, wait for them (at most ``wait_s``), and unload the model."""
        atexit.unregister(self._close_at_exit)
        with self._changed:
            server, self._server = self._server, None
            for listener in self._calls:
                listener.stop()
            self._changed.wait_for(lambda: not self._calls, wait_s)
        del server  # ends the engine's threads

    def _close_at_exit(self) -> None:
        self.close(wait_s=_EXIT_WAIT_S)


def _read_ahead(path: Path) -> None:
    """Have the file in the system's cache: while the engine loads it, it stops all of Python's threads."""
    with path.open("rb", buffering=0) as file:
        block = bytearray(_READ_BYTES)
        while file.readinto(block):
            pass


@contextmanager
def _closed_door() -> Iterator[tuple[str, str]]:
    """Where the engine may listen, as it insists on listening, so that nobody can speak to it: host name and key.

    Where there are unix sockets: in a folder of our own that is gone as soon as the engine has started. Elsewhere on
    a free port of the loopback address. Either way it wants a key that nobody knows.
    """
    key = secrets.token_hex(32)
    if not hasattr(socket, "AF_UNIX"):
        yield "127.0.0.1", key
        return
    with tempfile.TemporaryDirectory(prefix="weft-", ignore_cleanup_errors=True) as folder:
        yield f"{folder}/engine.sock", key

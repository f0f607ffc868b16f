"""What becomes of a process that has the model in it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.e2e]

PROGRAM = """
import asyncio, os, signal, sys, threading
from pathlib import Path
from weft.components.chat.engine import Engine

class Talk:
    def __init__(self): self.begun, self.stopped = threading.Event(), False
    def put(self, event):
        self.begun.set()
        return self.stopped
    def stop(self): self.stopped = True

# A shell that starts programs in the background has them ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)
handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
engine = Engine(Path(sys.argv[1]), window=512, slots=1, batch=32, threads=2, prompt_cache_mib=0)
talk = Talk()
body = b'{"messages": [{"role": "user", "content": "Tell me a story."}], "stream": true, "max_tokens": 400}'
thread = threading.Thread(target=engine.answer, args=(body, talk), daemon=True)
thread.start()
assert talk.begun.wait(10)
"""

INTERRUPTED = """
try:
    os.kill(os.getpid(), signal.SIGINT)
    threading.Event().wait(10)
except KeyboardInterrupt:
    print("interrupted")
"""

TERMINATED = """
assert handlers == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
os.kill(os.getpid(), signal.SIGTERM)
threading.Event().wait(10)
"""

ENDINGS = {
    "at the end of the program": ("print('the end')", 0, "the end"),
    "by an exception": ("raise SystemExit(3)", 3, ""),
    "after Ctrl-C": (INTERRUPTED, 0, "interrupted"),
    "by a signal handler of its own": (TERMINATED, 7, ""),
    "unloaded while it talks": ("engine.close(); thread.join(10); print(thread.is_alive())", 0, "False"),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_process_ends_cleanly_while_the_model_talks(gguf: Path, ending: str) -> None:
    """No crash, no hang, its own exit status, and nothing on its error output."""
    code, status, said = ENDINGS[ending]
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", PROGRAM + code, str(gguf)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (status, said, "")


def test_a_loop_that_ends_under_an_answer_is_no_crash(gguf: Path) -> None:
    """``asyncio.run`` returns with a request under way, as after a fault of the program."""
    code = """
async def main():
    from weft.components.chat.inbox import Inbox
    inbox = Inbox(asyncio.get_running_loop())
    threading.Thread(target=engine.answer, args=(body, inbox), daemon=True).start()
    talk.stop()
    await asyncio.wait_for(inbox.take(), 10)

asyncio.run(main())
print("the end")
"""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM + code, str(gguf)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "the end", "")


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs Linux' /proc")
def test_the_engine_opens_no_port(gguf: Path) -> None:
    """It insists on listening: on a unix socket whose folder is gone, so that nobody can speak to it."""
    code = """
inodes = set()
for name in os.listdir("/proc/self/fd"):
    try:
        inodes.add(os.readlink(f"/proc/self/fd/{name}"))
    except OSError:
        pass
listening = [
    line.split()[1]
    for table in ("tcp", "tcp6")
    for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
    if line.split()[3] == "0A" and f"socket:[{line.split()[9]}]" in inodes
]
address = engine._server.listening_address
print(listening, address.startswith("unix:"), os.path.exists(address.removeprefix("unix://")))
"""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM + code, str(gguf)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.stdout.strip(), done.stderr) == ("[] True False", "")

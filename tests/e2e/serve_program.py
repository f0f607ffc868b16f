"""What the end-to-end tests of serving start: one process, or a supervisor with its children.

``python serve_program.py single|supervised OPTIONS``; OPTIONS is JSON. It prints ``listening PORT``, ``ready`` and, at
its end, ``ended STATUS``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from serve_fakes import CONTRACT, EchoChat

from weft.errors import WeftError
from weft.serve.application import Access, Application
from weft.serve.child import Backoff
from weft.serve.doors import Door
from weft.serve.health import health_routes
from weft.serve.operations import operation_routes
from weft.serve.serving import run_single
from weft.serve.supervisor import ProcessSpec, SupervisorOptions, run_supervised


def say(*words: object) -> None:
    print(*words, flush=True)  # noqa: T201


def single(options: dict[str, Any]) -> int:
    app = Application(name="single", version="1", access=Access(options.get("token")))
    chat = EchoChat(options.get("gate", ""))
    operation_routes(
        app, CONTRACT, lambda name, request: getattr(chat, name)(request), lambda _, r: chat.stream(r)
    )
    health_routes(app)
    return run_single(
        app,
        [Door("127.0.0.1", options.get("port", 0))],
        on_listening=lambda port: say("listening", port),
        on_ready=lambda: say("ready"),
        drain_timeout_s=options.get("drain_timeout_s", 10),
    )


def supervised(options: dict[str, Any]) -> int:
    llm = {name: options[name] for name in ("gate", "refuse", "crash", "never_ready") if name in options}
    return run_supervised(
        [
            ProcessSpec(name="llm", factory="serve_fakes:service", arguments=llm),
            ProcessSpec(name="other", factory="serve_fakes:service", arguments={}, needs=("llm",)),
            ProcessSpec(
                name="gateway", factory="serve_fakes:gateway", public=True, replicas=options.get("workers", 1)
            ),
        ],
        [Door("127.0.0.1", options.get("port", 0))],
        options=SupervisorOptions(
            drain_timeout_s=options.get("drain_timeout_s", 10),
            ready_timeout_s=options.get("ready_timeout_s", 600),
            backoff=Backoff(first_s=0.05),
            on_listening=lambda port: say("listening", port),
            on_ready=lambda: say("ready"),
        ),
    )


if __name__ == "__main__":
    try:
        status = {"single": single, "supervised": supervised}[sys.argv[1]](json.loads(sys.argv[2]))
    except WeftError as error:
        say("error", error)
        sys.exit(error.exit_code)
    say("ended", status)
    sys.exit(status)

"""Where `weft up` says that it cannot listen."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from frontkit import CHAT, GATEWAY, TALK
from weft.cli.main import group
from weft.errors import PortTakenError

ROUTES = "  - {path: /v1/greet, megaservice: talk}\n"


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize(("listener", "flags"), [("http", []), ("grpc", []), ("grpc", ["--port", "1"])])
def test_a_taken_address_of_the_gateway_file_is_changed_there(
    tmp_path: Path, taken: int, listener: str, flags: list[str]
) -> None:
    """No option of the command line would help; for gRPC it is said before its library says it in its own way."""
    (tmp_path / "chat.py").write_text(CHAT)
    listen = f'listen:\n  - {{{listener}: "127.0.0.1:{taken}"}}\n'
    (tmp_path / "front.yaml").write_text(TALK + GATEWAY.replace("routes:\n", listen + "routes:\n") + ROUTES)
    result = CliRunner().invoke(
        group,
        ["up", str(tmp_path / "front.yaml"), "--data", str(tmp_path / "data"), *flags],
        env={"WEFT_SECRETS_DIR": str(tmp_path)},
    )
    assert isinstance(result.exception, PortTakenError), result.exception
    assert result.exception.message.startswith(f"port {taken} on 127.0.0.1 is taken")
    assert "change 'listen' of the Gateway file" in str(result.exception.hint)

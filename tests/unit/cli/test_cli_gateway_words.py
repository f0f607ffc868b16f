"""What commands say of a gateway: that its file is fine, and how one shows who asks."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from accesskit import KEYS
from frontkit import CHAT
from weft.cli.main import group
from weft.cli.remote import RemoteError, check
from weft.http.client import Reply
from weft.http.message import Headers


def test_a_gateway_file_is_said_to_be_fine(tmp_path: Path) -> None:
    """Also where it has no megaservice: silence would leave open whether it was read."""
    (tmp_path / "chat.py").write_text(CHAT)
    front = tmp_path / "front.yaml"
    front.write_text(KEYS)
    result = CliRunner().invoke(group, ["check", str(front)])
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1] == f"{front}: gateway front is fine (1 route)"


def test_a_command_that_was_not_let_in_names_the_variable() -> None:
    """The server speaks of headers, which nobody sets on a command line."""
    body = msgspec.json.encode({"detail": "this gateway asks who you are"})
    with pytest.raises(RemoteError, match="asks who you are") as caught:
        check(Reply(401, Headers([]), body, 0.0))
    assert "WEFT_ACCESS_TOKEN" in str(caught.value.hint)

"""What a command shows to the server that it talks to."""

from __future__ import annotations

from pathlib import Path

import pytest

from weft.cli.remote import _credentials
from weft.cli.settings import from_environment
from weft.transport.signing import ContextSigner

KEY = "0123456789abcdef" * 2


@pytest.mark.parametrize(
    ("token", "key", "shown"),
    [
        ("", "", []),
        ("t", "", ["authorization"]),
        ("t", KEY, ["authorization"]),
        ("", KEY, ["x-weft-context"]),
        ("", "short", []),
    ],
)
def test_the_token_goes_before_the_key_of_services(
    tmp_path: Path, token: str, key: str, shown: list[str]
) -> None:
    """A user's key is the user's; only who has none, and the key of the services, asks as one of them."""
    environ = {"HOME": str(tmp_path), "WEFT_ACCESS_TOKEN": token, "WEFT_SECRETS_DIR": str(tmp_path)}
    if key:
        (tmp_path / "WEFT_SERVICE_KEY").write_text(key)
    headers = _credentials(from_environment(environ))
    assert [name for name, _ in headers] == shown
    if shown == ["x-weft-context"]:
        assert ContextSigner(KEY.encode()).verify(headers[0][1]) == ("default", "", None)

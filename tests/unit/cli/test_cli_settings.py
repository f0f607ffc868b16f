"""What Weft takes from the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from weft.cli.settings import from_environment


def test_an_empty_environment_has_defaults(tmp_path: Path) -> None:
    """Nothing needs to be set."""
    settings = from_environment({"HOME": str(tmp_path)})
    assert settings.cache_dir.name == "weft"
    assert settings.url == "http://127.0.0.1:8080"
    assert settings.access_token is None
    assert settings.proxies == {}


def test_lower_case_proxies_win(tmp_path: Path) -> None:
    """``https_proxy`` is preferred to ``HTTPS_PROXY``, as curl does, and NO_PROXY is split."""
    settings = from_environment(
        {
            "HOME": str(tmp_path),
            "https_proxy": "http://a:1",
            "HTTPS_PROXY": "http://b:2",
            "NO_PROXY": "x, y ,",
        }
    )
    assert settings.proxies == {"https": "http://a:1"}
    assert settings.no_proxy == ("x", "y")


def test_pip_variables_win_over_its_files(tmp_path: Path) -> None:
    """The model fetcher follows pip: its files first, then PIP_*."""
    (tmp_path / "pip.conf").write_text(
        "[global]\nindex-url = https://file.example/simple\nfind-links = /wheels\n"
    )
    environ = {"HOME": str(tmp_path), "PIP_CONFIG_FILE": str(tmp_path / "pip.conf")}
    assert from_environment(environ).pip["find-links"] == "/wheels"
    assert from_environment(environ).pip["index-url"] == "https://file.example/simple"
    changed = from_environment(environ | {"PIP_INDEX_URL": "https://variable.example/simple"})
    assert changed.pip["index-url"] == "https://variable.example/simple"


def test_a_secret_comes_from_its_file_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file in WEFT_SECRETS_DIR wins over the variable of that name; neither is None."""
    (tmp_path / "VLLM_KEY").write_text("from-file\n")
    monkeypatch.setenv("VLLM_KEY", "from-variable")
    monkeypatch.setenv("OTHER_KEY", "from-variable")
    settings = from_environment({"HOME": str(tmp_path), "WEFT_SECRETS_DIR": str(tmp_path)})
    assert settings.secret("VLLM_KEY") == "from-file"
    assert settings.secret("OTHER_KEY") == "from-variable"
    assert settings.secret("NO_SUCH_KEY") is None

"""``weft up --llm``, ``--embed``, ``--store``: which service is meant, what is put in its place, where keys go."""

from __future__ import annotations

from pathlib import Path

import pytest

from weft.cli.placing import Asked, place
from weft.cli.running import Running
from weft.cli.settings import Settings
from weft.errors import UsageError
from weft.gateway import chosen
from weft.serve.hosts import HostSettings

SPEC = """\
apiVersion: weft/v1
kind: Services
services:
  small: {component: llama-cpp, config: {context: 2048}}
  large: {component: llama-cpp}
  store: {component: qdrant-edge, config: {path: documents}}
expose: [small, large, store]
"""


@pytest.fixture
def running(tmp_path: Path) -> Running:
    path = tmp_path / "spec.yaml"
    path.write_text(SPEC)
    host = HostSettings(cache_dir=str(tmp_path), data_dir=str(tmp_path), offline=True)
    return Running([str(path)], False, 1, host, {})


def settings(tmp_path: Path) -> Settings:
    return Settings(cache_dir=tmp_path, data_dir=tmp_path, secrets_dir=tmp_path)


def test_where_several_services_fit_one_has_to_be_named(running: Running, tmp_path: Path) -> None:
    """The error lists them, and says how."""
    with pytest.raises(UsageError, match="could be for 2 services: small, large") as caught:
        place(running, Asked({"llm": ["smollm2-135m-instruct"]}), settings(tmp_path))
    assert caught.value.hint == "say which: --llm small=smollm2-135m-instruct"
    place(running, Asked({"llm": ["large=smollm2-135m-instruct"]}), settings(tmp_path))
    assert list(running.places) == ["large"]
    with pytest.raises(UsageError, match="'store' is of the contract 'store'"):
        place(running, Asked({"llm": ["store=smollm2-135m-instruct"]}), settings(tmp_path))
    with pytest.raises(UsageError, match="there is no service 'lage'") as caught:
        place(running, Asked({"llm": ["lage=http://127.0.0.1:1"]}), settings(tmp_path))
    assert "did you mean 'large'?" in (caught.value.hint or "")
    with pytest.raises(UsageError, match="no service of this spec is of the contract 'embedding'"):
        place(running, Asked({"embed": ["all-minilm-l6-v2"]}), settings(tmp_path))


@pytest.mark.parametrize(
    ("value", "component", "config", "secrets"),
    [
        ("/srv/documents", "qdrant-edge", {"path": "/srv/documents"}, {}),
        ("http://127.0.0.1:6333/", "qdrant", {"url": "http://127.0.0.1:6333"}, {}),
        ("postgresql://weft@db/weft", "pgvector", {"url": "postgresql://weft@db/weft"}, {}),
        (
            "postgresql://weft:pw@db/weft",
            "pgvector",
            {"url": {"secret": "WEFT_STORE_URL"}},
            {"WEFT_STORE_URL": "postgresql://weft:pw@db/weft"},
        ),
    ],
)
def test_a_store_is_an_address_or_a_folder(
    running: Running,
    tmp_path: Path,
    value: str,
    component: str,
    config: dict[str, object],
    secrets: dict[str, str],
) -> None:
    """A password in an address becomes a secret: it is in no plan, message or build id."""
    found = place(running, Asked({"store": [value]}), settings(tmp_path))
    choice = running.places["store"]
    assert (choice.component, choice.config, found) == (component, config, secrets)
    assert "pw" not in repr(running.places)


def test_a_store_s_key_comes_from_the_secrets_or_a_file(running: Running, tmp_path: Path) -> None:
    """For Qdrant it is the key, for PostgreSQL the password; the file goes before the secrets."""
    (tmp_path / "WEFT_STORE_KEY").write_text("from secrets\n")
    found = place(running, Asked({"store": ["http://127.0.0.1:6333"]}), settings(tmp_path))
    assert running.places["store"].config["api_key"] == {"secret": "WEFT_STORE_KEY"}
    assert found == {"WEFT_STORE_KEY": "from secrets"}
    (tmp_path / "key").write_text("p@ss\n")
    asked = Asked({"store": ["postgresql://weft@db/weft"]}, {"store": tmp_path / "key"})
    assert place(running, asked, settings(tmp_path)) == {"WEFT_STORE_URL": "postgresql://weft:p%40ss@db/weft"}


def test_default_forgets_what_was_chosen_while_it_ran(
    running: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And another ``--llm`` goes before it without forgetting it."""
    choice = chosen.Choice(
        "http://127.0.0.1:9", "openai-chat", {"url": "http://127.0.0.1:9/v1", "model": "m"}
    )
    chosen.write(tmp_path, chosen.Chosen({"large": choice}))
    assert running.load().placed["large"].component == "openai-chat"
    place(running, Asked({"llm": ["large=smollm2-135m-instruct"]}), settings(tmp_path))
    assert running.load().placed["large"].component == "llama-cpp"
    assert chosen.read(tmp_path).services == {"large": choice}
    running.places = {}
    place(running, Asked({"llm": ["large=default"]}), settings(tmp_path))
    assert running.load().placed["large"].component == "llama-cpp"
    assert chosen.read(tmp_path).services == {}
    assert "no longer http://127.0.0.1:9" in capsys.readouterr().err

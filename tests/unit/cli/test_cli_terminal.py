"""What commands print: within 80 columns, as text, and with the status that scripts read."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from weft.cli import doctor, up
from weft.cli.main import COMMANDS, group, main
from weft.cli.running import cpu_shares
from weft.cli.settings import from_environment
from weft.cli.specs import find
from weft.plan import check
from weft.registry.components import Components
from weft.spec.load import load

TERMINAL = {"COLUMNS": "80"}


def commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from commands(found, (*path, name))


@pytest.mark.parametrize("path", list(commands(group)), ids=lambda path: " ".join(path) or "weft")
def test_help_fits_a_terminal(path: tuple[str, ...]) -> None:
    """No line of any help page is wider than 80 columns, and every option has words."""
    result = CliRunner().invoke(group, [*path, "--help"], env=TERMINAL, terminal_width=80)
    assert result.exit_code == 0
    assert max(map(len, result.output.splitlines())) <= 80


@pytest.mark.parametrize(
    "line",
    [("components", "list"), ("components", "show", "llama-cpp"), ("components", "show", "hybrid-retriever"),
     ("models", "list"), ("doctor",), ("check", "chatqna", "--explain"), ("version",)],
    ids=" ".join,
)  # fmt: skip
def test_output_fits_a_terminal(line: tuple[str, ...], tmp_path: Path) -> None:
    """No line is wider than 80 columns but for one that names a file."""
    env = TERMINAL | {"WEFT_CACHE_DIR": str(tmp_path), "PIP_NO_INDEX": "1"}
    result = CliRunner().invoke(group, list(line), env=env)
    assert not [text for text in result.output.splitlines() if len(text) > 80 and "/" not in text]


@pytest.mark.parametrize(
    "line",
    [
        ("components", "list"),
        ("components", "show", "llama-cpp"),
        ("models", "list"),
        ("version",),
        ("doctor",),
    ],
    ids=" ".join,
)
def test_json_is_for_scripts(line: tuple[str, ...], tmp_path: Path) -> None:
    """``--json`` prints one JSON value and nothing beside it."""
    env = {"WEFT_CACHE_DIR": str(tmp_path), "PIP_NO_INDEX": "1"}
    assert json.loads(CliRunner().invoke(group, [*line, "--json"], env=env).stdout)


def test_a_components_words_are_text() -> None:
    """Brackets in a docstring are not read as mark-up of the terminal."""
    result = CliRunner().invoke(group, ["components", "list"], env=TERMINAL)
    assert "cited [n] with" in result.output


def test_listing_imports_no_component(monkeypatch: pytest.MonkeyPatch) -> None:
    """``weft components list`` does not load a module of any component."""
    import subprocess
    import sys

    code = (
        "import sys; from weft.registry.components import Components; assert len(Components().scan()) > 10;"
        "print([m for m in sys.modules if m.startswith('weft.components.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_doctor_speaks_of_needed_models_only(tmp_path: Path) -> None:
    """With an empty cache both models of ChatQnA are missed; another that has a name is not."""
    env = {"WEFT_CACHE_DIR": str(tmp_path), "PIP_NO_INDEX": "1"}
    found = {f.what: f.state for f in doctor._models(from_environment(env | {"HOME": str(tmp_path)}))}
    assert found == {"model smollm2-135m-instruct": "warn", "model all-minilm-l6-v2": "warn"}


def test_doctor_says_what_keeps_models_away(tmp_path: Path) -> None:
    """Where a model is missing and its source cannot be reached, that is said, with what to look at."""
    env = {
        "HOME": str(tmp_path),
        "WEFT_CACHE_DIR": str(tmp_path),
        "PIP_INDEX_URL": "http://127.0.0.1:1/simple",
    }
    found = [f for f in doctor._models(from_environment(env)) if f.what.startswith("model source")]
    assert [(f.state, "HTTPS_PROXY" in f.mend) for f in found] == [("warn", True)]


def test_doctor_tries_the_proxy(taken: int, tmp_path: Path) -> None:
    """One that takes no connection is what is wrong; a password in it is not shown."""

    def proxy(address: str) -> tuple[str, str]:
        settings = from_environment({"HOME": str(tmp_path), "HTTPS_PROXY": address})
        finding = next(f for f in doctor._network(settings) if f.what.startswith("proxy"))
        return finding.state, finding.detail

    assert proxy(f"http://user:hush@127.0.0.1:{taken}") == ("ok", f"127.0.0.1:{taken} takes connections")
    state, detail = proxy("http://user:hush@127.0.0.1:1")
    assert (state, "hush" in detail) == ("bad", False)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_for_each_shell(shell: str) -> None:
    """The script calls weft for the words."""
    result = CliRunner().invoke(group, ["completion", shell])
    assert result.exit_code == 0
    assert "_WEFT_COMPLETE" in result.output


def test_completion_knows_commands_and_options(capsys: pytest.CaptureFixture[str]) -> None:
    """What the shell asks for after ``weft re`` and ``weft up --wo``."""
    for words, wanted in (("weft re", "registry"), ("weft up --wo", "--workers"), ("weft registry r", "rm")):
        env = {
            "_WEFT_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - 1),
        }
        result = CliRunner(env=env).invoke(group, [], prog_name="weft", complete_var="_WEFT_COMPLETE")
        assert f"plain,{wanted}" in result.output


@pytest.mark.parametrize(
    ("line", "status"),
    [(("check", "broken.yaml"), 3), (("check", "nothing.yaml"), 2), (("nonsense",), 2), (("check", "chatqna"), 0),
     (("components", "show", "nonsense"), 4), (("ask", "x", "--url", "http://127.0.0.1:1"), 10),
     (("--help",), 0)],
)  # fmt: skip
def test_the_status_says_what_happened(
    line: tuple[str, ...], status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process ends with the documented status: a script need not read the words."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.yaml").write_text("apiVersion: weft/v1\nkind: Nonsense\n")
    monkeypatch.setattr("sys.argv", ["weft", *line])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == status


def test_every_command_has_a_line_of_its_own() -> None:
    """The help page's line of a command is not longer than the page is wide."""
    assert all(len(line) <= 64 and line.endswith(".") for line in COMMANDS.values())


@pytest.mark.parametrize(
    ("cpus", "shares"), [(1, (1, 1)), (2, (1, 1)), (4, (3, 1)), (8, (5, 3)), (64, (43, 21))]
)
def test_models_share_the_processors(cpus: int, shares: tuple[int, int]) -> None:
    """Under ``--split`` the models have the processors between them, the chat model most; other services are free."""
    found = cpu_shares(check(load(find("chatqna")), Components(), split=True), cpus)
    assert (found["llm"], found["embedder"]) == shares
    assert {found[key] for key in found if key not in ("llm", "embedder")} == {None}


def test_a_placement_decides_over_the_share(tmp_path: Path) -> None:
    """What ``resources`` says holds."""
    placement = tmp_path / "placement.yaml"
    placement.write_text(
        "apiVersion: weft/v1\nkind: Placement\nservices:\n"
        "  llm: {at: process, resources: {cpu: 3.5}}\n  embedder: {at: process}\n"
    )
    assert cpu_shares(check(load(find("chatqna"), placement), Components()), 8)["llm"] == 4


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that this process listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_taken_port_is_passed_over(
    taken: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without ``--port`` the next free one is used, and whoever has the usual one is named."""
    monkeypatch.setattr(up, "PORT", taken)
    assert up._port("127.0.0.1", None) > taken
    said = capsys.readouterr().err
    assert f"Port {taken} is taken by" in said
    assert f"(process {os.getpid()})" in said


def test_a_taken_port_that_was_asked_for_is_an_error(
    taken: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Status 9, with who has it, before a model is fetched."""
    monkeypatch.setenv("WEFT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    line = ["weft", "up", "chatqna", "--port", str(taken), "--data", str(tmp_path)]
    monkeypatch.setattr("sys.argv", line)
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 9
    assert f"error[port_taken]: port {taken} on 127.0.0.1 is taken by" in capsys.readouterr().err

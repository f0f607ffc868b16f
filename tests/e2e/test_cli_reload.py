"""``weft up --reload``: what has changed and is fine replaces what runs; what is not never does."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from chatqna_process import Gateway
from click.testing import CliRunner
from test_cli_registry import COMPONENT, SPEC

from weft.cli.main import group

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def order(gateway: Gateway) -> list[str]:
    request = '{"query": "q", "documents": [{"text": "a"}, {"text": "b"}]}'
    result = CliRunner().invoke(group, ["call", "ranked", request, "--url", gateway.url])
    assert result.exit_code == 0, (result.output, result.exception)
    return [document["text"] for document in json.loads(result.output)["documents"]]


@pytest.mark.parametrize("mode", [(), ("--split",)], ids=["one process", "split"])
def test_a_changed_file_replaces_what_runs_only_when_it_is_fine(
    tmp_path: Path, mode: tuple[str, ...]
) -> None:
    """A changed component is used; an invalid spec is printed as ``weft check`` prints it and changes nothing."""
    component, spec = tmp_path / "rank.py", tmp_path / "spec.yaml"
    component.write_text(COMPONENT)
    spec.write_text(SPEC)
    gateway = Gateway(tmp_path / "data", "--reload", *mode, spec=str(spec))
    try:
        assert order(gateway) == ["b", "a"]
        component.write_text(COMPONENT.replace("[::-1]", "[:1]"))
        assert gateway.read_until("is ready"), gateway.output
        assert order(gateway) == ["a"]

        spec.write_text(SPEC.replace("service: rank,", "service: rnk,"))
        assert gateway.read_until("what ran before goes on"), gateway.output
        checked = CliRunner().invoke(group, ["check", str(spec)])
        assert "there is no service 'rnk'" in checked.output
        assert checked.output.strip() in gateway.output
        assert order(gateway) == ["a"]

        component.write_text("this is no Python")
        assert gateway.read_until("what ran before goes on"), gateway.output
        assert order(gateway) == ["a"]

        component.write_text(COMPONENT)
        spec.write_text(SPEC.replace("1.0.0", "2.0.0"))
        assert gateway.read_until("is ready"), gateway.output
        assert order(gateway) == ["b", "a"]
    finally:
        status = gateway.stop()
    assert status == 130


def test_a_killed_parent_leaves_nothing(tmp_path: Path) -> None:
    """When the process that watches is killed, the gateway that it started ends too."""
    (tmp_path / "rank.py").write_text(COMPONENT)
    (tmp_path / "spec.yaml").write_text(SPEC)
    gateway = Gateway(tmp_path / "data", "--reload", spec=str(tmp_path / "spec.yaml"))
    gateway.process.send_signal(signal.SIGKILL)
    gateway.process.wait(10)
    assert gateway.process.stdout is not None
    gateway.process.stdout.read()  # ends when the last process that could write to it has ended
    gateway.process.stdout.close()

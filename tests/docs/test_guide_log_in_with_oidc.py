"""The guide on logging in, followed to the letter: its provider, its gateway, its tokens, its accounts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from test_guide_let_people_in import free_port

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "log-in-with-oidc.md"
TEXT = GUIDE.read_text(encoding="utf-8")
FILES = dict(re.findall(r"^```\w+ file=([\w.]+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL))
BIN = Path(sys.executable).parent


def lines(role: str) -> str:
    return "".join(re.findall(rf"^```sh run={role}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL))


@pytest.mark.e2e
@pytest.mark.system("curl")
def test_the_guide_works(tmp_path: Path) -> None:
    """Tokens say who calls, links are printed, and the page leads to the provider; no secret is in a log."""
    ports = {written: free_port() for written in ("8080", "9400")}

    def ported(text: str) -> str:
        return re.sub("8080|9400", lambda match: ports[match[0]], text)

    for name, text in FILES.items():
        (tmp_path / name).write_text(ported(text))
    environment = {key: value for key, value in os.environ.items() if not key.startswith("WEFT_")}
    environment |= {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "HOME": str(tmp_path)}
    environment |= {"XDG_CACHE_HOME": str(Path.home() / ".cache"), "PYTHONWARNINGS": "ignore"}

    def shell(role: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", ported(lines(role))],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def started(role: str, said: str) -> subprocess.Popen[str]:
        with (tmp_path / "log").open("ab") as log:
            process = subprocess.Popen(
                [
                    "bash",
                    "-c",
                    "set -eu\n" + re.sub(r"(?m)^(python|weft) ", r"exec \1 ", ported(lines(role))),
                ],
                cwd=tmp_path,
                env=environment,
                stdout=subprocess.PIPE if role == "gateway" else log,
                stderr=log,
                text=True,
            )
        if process.stdout is not None:
            for line in process.stdout:
                if said in line:
                    return process
            raise AssertionError((tmp_path / "log").read_text())
        return process

    running = [started("provider", "")]
    try:
        running.append(started("gateway", "is ready"))
        token = shell("token")
        assert token.returncode == 0, token.stderr
        me, status = token.stdout.rsplit("}", 1)
        assert '"caller":"ann"' in me
        assert '"roles":["admin"]' in me
        assert status.split() == ["401"]

        accounts = shell("accounts")
        assert accounts.returncode == 0, accounts.stderr
        links = re.findall(r"^(\S+)/login/invitation\?token=\S{43}$", accounts.stdout, re.MULTILINE)
        assert links == ["https://chat.example.org", "http://127.0.0.1:8080", "http://127.0.0.1:8080"]
        assert "bob@example.org is removed" in accounts.stdout

        url = f"http://127.0.0.1:{ports['8080']}"
        asked = urllib.request.Request(url, headers={"accept": "text/html"})
        with urllib.request.urlopen(asked, timeout=20) as page:
            assert page.url == f"{url}/login"
            assert "Log in with 127.0.0.1" in page.read().decode()
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(url, timeout=20)
        assert refused.value.code == 401
        refused.value.close()
    finally:
        for process in reversed(running):
            process.terminate()
        for process in running:
            process.communicate(timeout=20)
    log = (tmp_path / "log").read_text()
    assert '"event":"refused"' in log
    assert "eyJ" not in log
    assert "token=" not in log


def test_what_is_not_run_is_a_part_of_a_file() -> None:
    """Pieces of a Gateway file to be seen in place; each loads within a whole one."""
    shown = re.findall(r"^```(\w+)( \S+)?$", TEXT, re.MULTILINE)
    assert {kind for kind, role in shown if not role} == {"yaml"}


@pytest.mark.parametrize("piece", re.findall(r"^```yaml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL))
def test_a_piece_loads(piece: str, tmp_path: Path) -> None:
    """Keys that exist, with values that they take."""
    from weft.spec.load import load

    whole = 'apiVersion: weft/v1\nkind: Gateway\nname: front\nroutes:\n  - {path: /v1/x, upstream: {urls: ["http://127.0.0.1:1"]}}\n'
    (tmp_path / "front.yaml").write_text(whole + piece)
    assert load(str(tmp_path / "front.yaml")).gateway is not None

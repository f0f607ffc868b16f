"""The guide on components, followed word for word: its files, its commands, what they print."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "write-a-component.md"
BLOCK = re.compile(
    r"^```(?P<kind>\w+) (?P<role>\w+)=(?P<name>[\w.-]+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
BLOCKS = {(m["role"], m["name"]): m["text"] for m in BLOCK.finditer(GUIDE.read_text(encoding="utf-8"))}
WATCHDOG_S = 60


class Reader:
    """Somebody who follows the guide in a folder: with its files, and the programs of one environment.

    The guide's ports are replaced by free ones, so that two runs do not meet; nothing else is.
    """

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder, self._programs = folder, programs
        self._ports: dict[str, str] = {}
        for (role, name), text in BLOCKS.items():
            if role == "file":
                (folder / name).write_text(self.text(text))

    def text(self, text: str) -> str:
        return re.sub(r"\b(7000|8090|8091)\b", lambda match: self._port(match[0]), text)

    def _port(self, written: str) -> str:
        if written not in self._ports:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self._ports[written] = str(probe.getsockname()[1])
        return self._ports[written]

    @property
    def environment(self) -> dict[str, str]:
        own = {
            "PATH": f"{self._programs}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self.folder),
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "XDG_DATA_HOME": str(self.folder / "data"),
            # No network: what the package is built and run with is there.
            "PIP_NO_INDEX": "1",
            "PIP_NO_DEPS": "1",
            "PIP_NO_BUILD_ISOLATION": "0",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }
        return {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"} | own

    def run(self, name: str) -> str:
        """A command of the guide, and what it prints; it must end well."""
        ended = subprocess.run(  # noqa: PLW1510 - a failure is shown with what it printed
            ["sh", "-c", self.text(BLOCKS["run", name])],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=WATCHDOG_S,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    def output(self, name: str) -> str:
        """What the guide says that a command prints."""
        return self.text(BLOCKS["output", name])

    @contextmanager
    def running(self, name: str, word: str) -> Iterator[None]:
        """A command that goes on; entered when it has printed ``word``, ended as Ctrl-C ends it."""
        process = subprocess.Popen(
            ["sh", "-c", f"exec {self.text(BLOCKS['run', name])}"],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdout is not None
        try:
            printed = ""
            while word not in printed:
                line = process.stdout.readline()
                assert line, printed
                printed += line
            yield
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(WATCHDOG_S)
            process.stdout.close()


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    return Reader(tmp_path, Path(sys.executable).parent)


def test_a_component_in_a_file(reader: Reader) -> None:
    """Section 1: fifteen lines beside a spec pass the check, run, and answer as the guide says."""
    lines = BLOCKS["file", "rerank.py"].strip().splitlines()
    assert len([line for line in lines if line.strip()]) <= 15
    assert "mine 1.0.0 is fine" in reader.run("check")
    with reader.running("up", "is ready"):
        assert reader.run("call") == reader.output("call")


def test_a_wrong_setting_is_found_before_anything_starts(reader: Reader) -> None:
    """Section 1: the message has the word that was meant."""
    spec = reader.folder / "mine.yaml"
    spec.write_text(spec.read_text().replace("top_n: 2", "topn: 2"))
    with pytest.raises(AssertionError, match="did you mean 'top_n'?"):
        reader.run("check")


def test_the_component_is_tested(reader: Reader) -> None:
    """Section 2: the contract's tests run on it; what only should be is listed as the guide says."""
    printed = reader.run("test")
    assert reader.output("test").strip() in printed
    assert re.search(r"\d\d passed, 1 xfailed", printed)


def test_a_component_as_a_package(tmp_path: Path) -> None:
    """Section 3: installed in an environment, it is listed and can be named in a spec."""
    (tmp_path / "package").mkdir()
    reader = Reader(tmp_path / "package", environment_like_ours(tmp_path / "env"))
    for name in ("rerank.mjs", "node.yaml", "test_rerank.py"):
        (reader.folder / name).unlink()
    listed = reader.run("install").splitlines()
    [line] = [line for line in listed if line.split()[:1] == ["word-reranker"]]
    assert "reranker" in line.split()[1:]
    assert "Orders documents by how many" in line
    spec = reader.folder / "mine.yaml"
    spec.write_text(spec.read_text().replace("./rerank.py:WordReranker", "word-reranker"))
    (reader.folder / "rerank.py").unlink()
    assert "mine 1.0.0 is fine" in reader.run("check")


def environment_like_ours(folder: Path) -> Path:
    """A fresh virtual environment that has what ours has; where its programs are."""
    venv.create(folder, with_pip=False)
    ours = next(path for path in sys.path if path.endswith("site-packages"))
    [site] = folder.glob("lib/python*/site-packages")
    (site / "ours.pth").write_text(f"import site; site.addsitedir({ours!r})\n")
    programs = folder / "bin"
    for name, call in (
        ("weft", "from weft.cli.main import main; main()"),
        ("pip", "from pip._internal.cli.main import main; raise SystemExit(main())"),
    ):
        (programs / name).write_text(f"#!{programs / 'python'}\n{call}\n")
        (programs / name).chmod(0o755)
    return programs


@pytest.mark.system("node")
def test_a_service_in_another_language(reader: Reader) -> None:
    """Section 5: a service in Node conforms and takes a node's place: the same spec, the same answer."""
    with reader.running("node", "ready"):
        assert reader.run("conform") == reader.output("conform")
        with reader.running("up-node", "is ready"):
            assert reader.run("call-node") == reader.output("call-node")
    assert reader.output("call-node") == reader.output("call")

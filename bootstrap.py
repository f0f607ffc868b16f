"""Sets up Weft in a checkout, then runs it or its tests: behind ``./run``, ``./test`` and ``py run.py``.

Uses only the standard library, and syntax that an old Python can still read, so that it can say what is missing.
The environment is made once, in ``.venv``, from a lock file with hashes; later starts touch no network.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
VENV = HERE / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
EXE = ".exe" if os.name == "nt" else ""
INSTALLED_BYTES = {"run": 900_000_000, "dev": 1_300_000_000}
"""Disk that the environment takes, rounded up; asked for before anything is downloaded."""

SYSTEM_PACKAGES = {
    "chromium": "chromium",
    "node": "nodejs",
    "npm": "npm",
    "curl": "curl",
    "nginx": "nginx-light",
    "haproxy": "haproxy",
    "cc": "gcc",
    "openssl": "openssl",
    "redis-server": "redis-server",
    "tesseract": "tesseract-ocr",
}
"""Programs that some tests run, and the Debian packages that have them."""


def fail(sentence: str, status: int = 1) -> "None":
    """End with one sentence that says what to do."""
    print(sentence, file=sys.stderr)
    sys.exit(status)


def check_python() -> None:
    """End unless this Python can make the environment."""
    if sys.version_info < (3, 11):
        version = ".".join(map(str, sys.version_info[:3]))
        fail(
            f"Weft needs Python 3.11 or newer, and this is {version}: install a newer one from python.org and run this again."
        )
    try:
        import ensurepip  # noqa: F401, PLC0415 - Debian splits it out of Python
        import venv  # noqa: F401, PLC0415
    except ImportError:
        fail(
            "This Python cannot make virtual environments: install its venv module "
            f"(Debian and Ubuntu: apt-get install python{sys.version_info[0]}.{sys.version_info[1]}-venv) and run this again."
        )


def digest(kind: str) -> str:
    """What the environment depends on: the lock file, the project file, this Python, this folder."""
    parts = [(HERE / "requirements" / f"{kind}.txt").read_bytes(), (HERE / "pyproject.toml").read_bytes()]
    return hashlib.sha256(b"\0".join([*parts, sys.version.encode(), str(HERE).encode()])).hexdigest()


def prepare(kind: str) -> None:
    """Make or update ``.venv`` if it is not what the lock file says; ``kind`` is ``run`` or ``dev``."""
    stamps = {name: VENV / f"installed-{name}" for name in ("run", "dev")}
    for name in (kind, "dev"):  # the environment for developers has everything that running needs
        if stamps[name].exists() and stamps[name].read_text() == digest(name):
            return
    check_python()
    free = shutil.disk_usage(HERE).free
    if free < INSTALLED_BYTES[kind]:
        fail(
            f"Too little disk space for Weft's packages in {VENV}: {INSTALLED_BYTES[kind] / 1e9:.1f} GB needed, "
            f"{free / 1e9:.1f} GB free.",
            status=7,
        )
    print(f"Setting up Weft in {VENV} (once; needs a network)", flush=True)
    if not (BIN / f"python{EXE}").exists():
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
    pip = [str(BIN / f"python{EXE}"), "-m", "pip", "--disable-pip-version-check", "--no-input", "install"]
    quiet = [] if sys.stdout.isatty() else ["--quiet"]
    lock = HERE / "requirements" / f"{kind}.txt"
    steps = [
        [*pip, *quiet, "--only-binary", ":all:", "--require-hashes", "-r", str(lock)],
        [*pip, "--quiet", "--no-deps", "--no-build-isolation", "-e", str(HERE)],
    ]
    for step in steps:
        if subprocess.run(step, check=False).returncode:
            fail(
                "The packages could not be installed: see pip's message above. Behind a proxy, set HTTPS_PROXY; then run this again."
            )
    stamps[kind].write_text(digest(kind))


def install_system_packages() -> None:
    """Install what tests run beside Python, on Debian and its kin."""
    missing = {
        program: package for program, package in SYSTEM_PACKAGES.items() if shutil.which(program) is None
    }
    if not missing:
        return
    if shutil.which("apt-get") is None:
        fail(
            f"./test --all installs system packages with apt-get, which is not here; install by hand: {', '.join(missing)}"
        )
    sudo = [] if os.geteuid() == 0 else ["sudo"]
    env = [*sudo, "env", "DEBIAN_FRONTEND=noninteractive"]
    subprocess.run([*env, "apt-get", "update", "-qq"], check=True)
    subprocess.run(
        [*env, "apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing.values()],
        check=True,
        stdout=subprocess.DEVNULL,
    )


def run_in_place(command: "list[str]") -> None:
    """Become ``command``; on Windows, run it and end with its status."""
    if os.name == "nt":
        sys.exit(subprocess.run(command, check=False).returncode)
    os.execv(command[0], command)


def main(arguments: "list[str]") -> None:
    """``run ...`` starts ChatQnA, ``test ...`` runs the tests."""
    what, rest = arguments[0], arguments[1:]
    if what == "run":
        prepare("run")
        run_in_place([str(BIN / f"weft{EXE}"), "up", "chatqna", *rest])
    if "--all" in rest:
        install_system_packages()
    prepare("dev")
    run_in_place([str(BIN / f"python{EXE}"), "-m", "pytest", *rest])


if __name__ == "__main__":
    main(sys.argv[1:])

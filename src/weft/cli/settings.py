"""Everything that Weft takes from the environment, read once, in one place.

Components and libraries get constructor arguments; nothing else in Weft looks at the environment.
"""

from __future__ import annotations

import os
import ssl
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """The settings of one invocation."""

    cache_dir: Path
    """Where models are kept. ``WEFT_CACHE_DIR``, else the platform's cache folder + ``weft``."""

    data_dir: Path
    """Where documents and state are kept. ``WEFT_DATA_DIR``, else the platform's data folder + ``weft``."""

    access_token: str | None = None
    """The token that clients send, and that a server bound wider than loopback asks for instead of making one.
    ``WEFT_ACCESS_TOKEN``."""

    url: str = "http://127.0.0.1:8080"
    """The gateway that ``weft ask``, ``ingest``, ``call`` and ``registry`` talk to. ``WEFT_URL``."""

    proxies: Mapping[str, str] = field(default_factory=dict)
    """Proxy by scheme. ``HTTP_PROXY``, ``HTTPS_PROXY`` (lower case wins, as in curl)."""

    no_proxy: tuple[str, ...] = ()
    """Hosts that are reached directly. ``NO_PROXY``."""

    ca_file: str | None = None
    """Certificate authorities beside the system's own. ``SSL_CERT_FILE``."""

    hub_url: str = "https://huggingface.co"
    """The model hub. ``HF_ENDPOINT``."""

    hub_token: str | None = None
    """The model hub's access token. ``HF_TOKEN``."""

    pip: Mapping[str, str] = field(default_factory=dict)
    """pip's configuration of package indexes, which the model fetcher follows: ``index-url``,
    ``extra-index-url``, ``find-links``; from pip's configuration files and ``PIP_*``."""

    secrets_dir: Path | None = None
    """Folder with one file per secret, asked before the environment. ``WEFT_SECRETS_DIR``."""

    def secret(self, name: str) -> str | None:
        """A secret by name: from its file in ``secrets_dir``, else from the environment; None if neither has it."""
        if self.secrets_dir is not None and (path := self.secrets_dir / name).is_file():
            return path.read_text().strip()
        return os.environ.get(name)

    def for_child(self, *, access_token: str | None) -> dict[str, str]:
        """The environment of another ``weft`` that is to have the same settings, and this access token."""
        token = {"WEFT_ACCESS_TOKEN": access_token} if access_token else {}
        return dict(os.environ) | token


def from_environment(environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings that this process was started with."""
    home = Path(environ.get("HOME") or environ.get("USERPROFILE") or Path.home())
    cache, data = _platform_dirs(environ, home)
    return Settings(
        cache_dir=Path(environ["WEFT_CACHE_DIR"]) if environ.get("WEFT_CACHE_DIR") else cache / "weft",
        data_dir=Path(environ["WEFT_DATA_DIR"]) if environ.get("WEFT_DATA_DIR") else data / "weft",
        access_token=environ.get("WEFT_ACCESS_TOKEN") or None,
        url=environ.get("WEFT_URL") or "http://127.0.0.1:8080",
        proxies={
            scheme: value
            for scheme in ("http", "https")
            if (value := environ.get(f"{scheme}_proxy") or environ.get(f"{scheme.upper()}_PROXY"))
        },
        no_proxy=tuple(
            host.strip()
            for host in (environ.get("no_proxy") or environ.get("NO_PROXY") or "").split(",")
            if host.strip()
        ),
        ca_file=environ.get("SSL_CERT_FILE") or None,
        hub_url=environ.get("HF_ENDPOINT") or "https://huggingface.co",
        hub_token=environ.get("HF_TOKEN") or None,
        pip=_pip_configuration(environ, home),
        secrets_dir=Path(environ["WEFT_SECRETS_DIR"]) if environ.get("WEFT_SECRETS_DIR") else None,
    )


def _platform_dirs(environ: Mapping[str, str], home: Path) -> tuple[Path, Path]:
    if sys.platform == "win32":
        local = Path(environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
        return local / "Cache", local
    if sys.platform == "darwin":
        return home / "Library" / "Caches", home / "Library" / "Application Support"
    return (
        Path(environ.get("XDG_CACHE_HOME") or home / ".cache"),
        Path(environ.get("XDG_DATA_HOME") or home / ".local" / "share"),
    )


def _pip_configuration(environ: Mapping[str, str], home: Path) -> dict[str, str]:
    """Pip's own rules: global, user and environment's file, in that order, then ``PIP_*``."""
    import configparser

    candidates = [Path("/etc/pip.conf"), home / ".pip" / "pip.conf"]
    config_home = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    candidates += [config_home / "pip" / "pip.conf", Path(sys.prefix) / "pip.conf"]
    if sys.platform == "darwin":
        candidates.insert(1, home / "Library" / "Application Support" / "pip" / "pip.conf")
    if sys.platform == "win32":
        candidates = [Path(environ.get("APPDATA") or home) / "pip" / "pip.ini", Path(sys.prefix) / "pip.ini"]
    if environ.get("PIP_CONFIG_FILE"):
        candidates.append(Path(environ["PIP_CONFIG_FILE"]))
    found: dict[str, str] = {}
    names = ("index-url", "extra-index-url", "find-links", "cert", "no-index")
    for path in candidates:
        parser = configparser.RawConfigParser()
        if path.is_file():
            parser.read(path)
        for section in ("global", "install", "download"):
            if parser.has_section(section):
                found |= {
                    name: parser.get(section, name) for name in names if parser.has_option(section, name)
                }
    for name in names:
        if value := environ.get(f"PIP_{name.upper().replace('-', '_')}"):
            found[name] = value
    return found


def tls_context(settings: Settings) -> ssl.SSLContext:
    """Verifies servers against the system's authorities and ``ca_file``."""
    context = ssl.create_default_context()
    if settings.ca_file:
        context.load_verify_locations(settings.ca_file)
    return context

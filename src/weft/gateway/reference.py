"""What a person means by a model or a store: the component, and its config, that a URL, a path or a name stands for.

::

    http://127.0.0.1:11434#qwen3:8b       a server that speaks OpenAI's API, with or without /v1; #MODEL where it has several
    http://127.0.0.1:8081                 for embeddings: OpenAI's or TEI's form, whichever it answers in (tei+http:// says)
    /models/qwen3-4b-q4.gguf              a file of this machine
    hf:owner/name/file.gguf               a file of the model hub
    owner/name, owner/name:Q4_K_M         a repository of the model hub; of its files one is chosen
    smollm2-135m-instruct                 a name of the catalogue
    postgresql://..., http://host:6333    stores: pgvector, a Qdrant server; a folder is an embedded one

Servers are asked what they have, so that a wrong address, name or key is said here, and not by the first question.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from weft.errors import BackendReplyError, BackendStatusError, InvalidRequestError, ServiceError, did_you_mean
from weft.host import HttpClient
from weft.models.catalogue import GGUF, ONNX_EMBEDDER, Model, is_path

DEFAULT: Final = "default"
"""The reference that means what the spec says."""

ASK_TIMEOUT_S: Final = 5.0
"""A server lists its models from memory; one on the other side of a proxy takes longer than one here."""

KINDS: Final = {"chat": GGUF, "embedding": ONNX_EMBEDDER}
"""Contract to the kind of model file that a component of this installation can load for it."""

_LOCAL: Final = {"chat": "llama-cpp", "embedding": "onnx-embedder"}
_SIZE = re.compile(r"([\d.]+)\s*([KMBT])", re.IGNORECASE)
_QUANTISED = re.compile(r"(?:hf:)?([\w.-]+/[\w.-]+?)(?::([A-Za-z0-9_]+))?(@[\w./-]+)?")


@dataclass(frozen=True, slots=True)
class Replacement:
    """What stands in for a service's component: of the same contract.

    Attributes:
        config: Whole, but for a key, which is named in it as ``{"secret": NAME}``.
    """

    component: str
    config: Mapping[str, Any] = field(default_factory=dict)


class Hub(Protocol):
    """Where model files come from, as far as it is needed here (:class:`weft.models.ModelStore` is one)."""

    def known(self) -> Mapping[str, Model]:
        """The models that have a name."""
        ...

    async def choose(self, repository: str, quantisation: str | None = None) -> str:
        """The reference of the file that is meant by a hub repository."""
        ...


@dataclass(frozen=True, slots=True)
class Asking:
    """What is needed to find out what a reference stands for.

    Attributes:
        http: Gives a client for an address, whose guard decides what may be contacted; with headers.
        hub: Gives model files.
        key: Sent to a server as a bearer token; None: none was given.
        secret: The name that the key has in the config.
        how_to_give: What to do where a key is wanted, for people.
    """

    http: Callable[[str, Mapping[str, str]], HttpClient]
    hub: Hub
    key: str | None
    secret: str
    how_to_give: str

    def keyed(self) -> dict[str, Any]:
        """The part of a config that names the key."""
        return {"api_key": {"secret": self.secret}} if self.key else {}


class ServedModel(Struct):
    """A model as servers list it, with what vLLM and llama-server say beside its name."""

    class Meta(Struct):
        """What llama-server says."""

        n_params: int | None = None
        n_ctx_train: int | None = None

    id: str
    owned_by: str | None = None
    max_model_len: int | None = None
    meta: Meta | None = None

    def facts(self) -> dict[str, int]:
        """What ``openai-chat`` can be told of it."""
        window = self.max_model_len
        size = self.meta.n_params if self.meta is not None else None
        return {name: v for name, v in (("parameters", size), ("context_window", window)) if v}


class OllamaDetails(Struct):
    """What Ollama says of a model."""

    family: str = ""
    parameter_size: str = ""
    quantization_level: str = ""


class OllamaModel(Struct):
    """A model of Ollama."""

    name: str
    size: int = 0
    details: OllamaDetails | None = None


class OllamaTags(Struct):
    """The models that Ollama has."""

    models: list[OllamaModel] = []


class _Models(Struct):
    data: list[ServedModel]


class _TeiInfo(Struct):
    model_id: str


def number_of(text: str) -> int | None:
    """``8.0B`` as a number; None: it is none."""
    found = _SIZE.search(text[:32])
    if found is None:
        return None
    try:
        return int(float(found[1]) * 10 ** {"K": 3, "M": 6, "B": 9, "T": 12}[found[2].upper()])
    except ValueError:  # two points
        return None


async def find(reference: str, contract: str, asking: Asking) -> Replacement:
    """The component and config that a reference stands for.

    Raises:
        InvalidRequestError: It stands for nothing that can be used; says what to do.
        ModelError: The hub's repository has no such file, or cannot be asked.
    """
    reference = reference.strip()
    if not reference or any(ord(character) < 32 for character in reference) or len(reference) > 2_000:
        raise _refused("a model is a URL, a path, or a name; this is none")
    if contract == "store":
        return store(reference)
    if contract not in KINDS:
        raise _refused(f"what fulfils the contract '{contract}' cannot be replaced by a model")
    if "://" in reference and not re.match(r"(?:tei\+)?https?://", reference):
        raise _refused(f"'{reference.partition('://')[0]}://' is no way to a model: http:// or https://")
    if reference.startswith("tei+"):
        if contract != "embedding":
            raise _refused("a TEI server makes embeddings: it cannot chat")
        return await _tei(reference.removeprefix("tei+"), asking, is_sure=True)
    if reference.startswith(("http://", "https://")) and not reference.partition("#")[0].endswith(
        (".gguf", ".onnx")
    ):
        url, _, model = reference.partition("#")
        _check_address(url)
        if contract == "embedding":
            try:
                return await _tei(url, asking, is_sure=False)
            except _NotTei:
                pass
        return await _openai(url.rstrip("/"), model, contract, asking)
    return Replacement(_LOCAL[contract], {"model": await _local(reference, contract, asking)})


def store(reference: str) -> Replacement:
    """The store that an address or a folder stands for.

    Raises:
        InvalidRequestError: It is no address.
    """
    if reference.startswith(("postgresql://", "postgres://")):
        return Replacement("pgvector", {"url": reference})
    if reference.startswith(("http://", "https://")):
        _check_address(reference)
        return Replacement("qdrant", {"url": reference.rstrip("/")})
    if "://" in reference:
        raise _refused(
            f"'{reference.partition('://')[0]}://' is no store: postgresql://, http(s):// for Qdrant, or a folder"
        )
    return Replacement("qdrant-edge", {"path": reference})


# Files and names.


async def _local(reference: str, contract: str, asking: Asking) -> str:
    kind = KINDS[contract]
    known = {name: model for name, model in asking.hub.known().items() if model.kind == kind}
    if reference in known:
        return reference
    if reference in asking.hub.known():
        raise _refused(
            f"'{reference}' cannot be used for {contract}: it is a model of another kind",
            hint=did_you_mean(reference, list(known), what="models with a name"),
        )
    if (file := _file(reference, contract)) is not None:
        return file
    if reference.startswith(("http://", "https://")) or reference.endswith((".gguf", ".onnx")):
        return reference
    match = _QUANTISED.fullmatch(reference)
    if match is not None and contract == "chat":
        return await asking.hub.choose(f"{match[1]}{match[3] or ''}", match[2])
    if reference.startswith("hf:"):
        return reference  # its own form is checked by whoever fetches it
    if match is not None:
        return f"hf:{reference}"
    raise _refused(
        f"there is no model '{reference}'",
        hint=did_you_mean(reference, list(known), what="models with a name")
        + "; others: http://HOST:PORT#MODEL, a path, hf:owner/name/file",
    )


def _file(reference: str, contract: str) -> str | None:
    """The absolute path of a file of this machine, if one is meant."""
    path = Path(reference).expanduser()
    if not is_path(reference) and not path.exists():
        return None
    wanted = ".gguf" if contract == "chat" else ".onnx"
    if not path.exists():
        beside = sorted(p.name for p in path.parent.glob(f"*{wanted}"))[:20] if path.parent.is_dir() else []
        raise _refused(
            f"there is no file {path}",
            hint=did_you_mean(path.name, beside, what=f"files in {path.parent}") if beside else None,
        )
    other = ".onnx" if wanted == ".gguf" else ".gguf"
    if path.suffix == other:
        raise _refused(f"{path.name} cannot be used for {contract}: that takes a {wanted} file")
    return str(path.resolve())


# Servers.


class _NotTei(Exception):  # noqa: N818 - not an error: the other form is tried
    """The server does not say that it is one."""


def _check_address(url: str) -> None:
    try:
        parts = urlsplit(url)
        is_whole = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:  # a port beyond 65,535, a bracket that is not closed
        is_whole = False
    if not is_whole:
        raise _refused(f"'{url}' is no address: http:// or https://, a host, and perhaps a port and a path")
    if parts.username is not None or parts.query:
        raise _refused(
            "a server's address carries neither a password nor a query: a key is given apart from it"
        )


async def _tei(url: str, asking: Asking, *, is_sure: bool) -> Replacement:
    """A Text Embeddings Inference server.

    Raises:
        _NotTei: It does not say that it is one, and that was only a guess.
    """
    url = url.partition("#")[0].rstrip("/")
    _check_address(url)
    if not is_sure and urlsplit(url).path.rstrip("/").endswith("/v1"):
        raise _NotTei
    try:
        await _client(url, asking).get_json("/info", type=_TeiInfo)
    except (BackendStatusError, BackendReplyError) as error:
        if not is_sure:
            raise _NotTei from error
        _check_key(url, error, asking)  # else something that speaks TEI's form and need not say what it is
    except ServiceError as error:
        raise _not_there(url, error) from error
    return Replacement("tei-embedder", {"url": url, **asking.keyed()})


async def _openai(url: str, model: str, contract: str, asking: Asking) -> Replacement:
    component = "openai-chat" if contract == "chat" else "openai-embedder"
    base, listed = await served_models(url, asking)
    found = _pick(listed, model, base)
    config: dict[str, Any] = {"url": base, "model": found.id}
    if contract == "chat":
        config |= found.facts() or await _ollama_facts(base, found.id, asking)
    return Replacement(component, config | asking.keyed())


async def _ollama_facts(base: str, model: str, asking: Asking) -> dict[str, int]:
    """The number of weights of a model of Ollama, which says it in its own API; nothing for other servers."""
    try:
        tags: OllamaTags = await _client(base.removesuffix("/v1"), asking).get_json(
            "/api/tags", type=OllamaTags
        )
    except ServiceError:
        return {}
    sizes = {entry.name: number_of(entry.details.parameter_size) for entry in tags.models if entry.details}
    return {"parameters": size} if (size := sizes.get(model)) else {}


async def served_models(url: str, asking: Asking) -> tuple[str, list[ServedModel] | None]:
    """The base address of a server's API, and the models that it lists; None: it lists none.

    Raises:
        InvalidRequestError: It is not there, it wants a key, or it is something else.
    """
    path = urlsplit(url).path.rstrip("/")
    bases = [url, f"{url}/v1"] if path else [f"{url}/v1", url]
    statuses = []
    for base in bases:
        try:
            reply = await _client(base, asking).request("GET", "/models")
            reply.raise_for_status()
            return base, msgspec.json.decode(reply.body, type=_Models).data
        except BackendStatusError as error:
            _check_key(base, error, asking)
            statuses.append(f"{base}/models answered {error.backend_status}")
        except msgspec.DecodeError:
            statuses.append(f"{base}/models answered something else than a list of models")
        except ServiceError as error:
            raise _not_there(base, error) from error
    if all("answered 404" in status or "answered 405" in status for status in statuses):
        return bases[0], None
    raise _refused(
        f"the server at {url} does not speak OpenAI's API: {', '.join(statuses)}",
        hint="give its base address, which often ends in /v1",
    )


def _pick(listed: list[ServedModel] | None, model: str, base: str) -> ServedModel:
    """The model that is meant among those that a server has."""
    if listed is None:
        if not model:
            raise _refused(
                f"the server at {base} does not say which models it has", hint=f"name one: {base}#MODEL"
            )
        return ServedModel(model)  # whether it has it is seen when it is asked for an answer
    by_id = {entry.id: entry for entry in listed}
    names = list(by_id)[:50]
    if not model:
        if len(by_id) == 1:
            return listed[0]
        if not by_id:
            raise _refused(f"the server at {base} has no model", hint="load one there first")
        raise _refused(
            f"the server at {base} has {len(by_id)} models: say which, as {base}#MODEL",
            hint=f"models there: {', '.join(names)}",
        )
    found = by_id.get(model) or by_id.get(f"{model}:latest")  # Ollama's way to leave the tag out
    if found is None:
        raise _refused(
            f"the server at {base} has no model '{model}'",
            hint=did_you_mean(model, names, what="models there"),
        )
    return found


def _client(url: str, asking: Asking) -> HttpClient:
    return asking.http(url, {"authorization": f"Bearer {asking.key}"} if asking.key else {})


def _check_key(url: str, error: BackendStatusError | BackendReplyError, asking: Asking) -> None:
    if not isinstance(error, BackendStatusError) or error.backend_status not in (401, 403):
        return
    if asking.key:
        raise _refused(
            f"the server at {url} refuses the key ({error.backend_status})", param="key"
        ) from error
    raise _refused(
        f"the server at {url} asks for a key ({error.backend_status})", hint=asking.how_to_give, param="key"
    ) from error


def _not_there(url: str, error: ServiceError) -> InvalidRequestError:
    # An address that is not allowed says so itself, and nothing has to be started there.
    is_absent = error.message.startswith("no connection")
    return _refused(
        f"nothing that can be used answers at {url}: {error.message}",
        hint="start the server there, or look at the address and port" if is_absent else None,
    )


def _refused(message: str, *, hint: str | None = None, param: str = "model") -> InvalidRequestError:
    return InvalidRequestError(message, param=param, hint=hint)

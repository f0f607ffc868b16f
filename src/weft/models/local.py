"""Models at a path: used where they are, never copied.

Their digest is computed once and noted in the cache with the file's size and time of change, so that a start with
a large model does not read it twice.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import msgspec

from weft.errors import ModelError, ModelUnavailableError
from weft.host import ModelFiles
from weft.models.cache import Cache, sha256_of
from weft.models.catalogue import GGUF, ONNX_EMBEDDER
from weft.models.transfer import ignore, in_thread


class _Stamp(msgspec.Struct, frozen=True):
    """A file as it was when it was hashed."""

    path: str
    size: int
    mtime_ns: int
    sha256: str = ""


async def files(reference: str, *, kind: str | None, cache: Cache) -> ModelFiles:
    """The files of a model at a path.

    Args:
        reference: A file; for ``onnx-embedder`` also a folder with ``model.onnx`` or ``onnx/model.onnx``. The graph's
            ``tokenizer.json`` lies beside it or one folder up.
        kind: What it must be; None goes by the ending.
        cache: Where digests are noted.

    Raises:
        ModelUnavailableError: Nothing is there.
        ModelError: It is not what ``kind`` needs.
    """
    path = Path(url2pathname(urlsplit(reference).path)) if reference.startswith("file:") else Path(reference)
    path = path.expanduser().absolute()
    if not path.exists():
        raise ModelUnavailableError(f"there is no model at {path}")
    is_onnx = kind == ONNX_EMBEDDER or (kind is None and path.suffix != ".gguf")
    found = _embedder(path) if is_onnx else _gguf(path)
    return ModelFiles(reference, found, digest=await _digest(next(iter(found.values())), cache))


def _gguf(path: Path) -> dict[str, Path]:
    if path.is_dir():
        inside = sorted(path.glob("*.gguf"))
        if len(inside) != 1:
            names = ", ".join(file.name for file in inside) or "none"
            raise ModelError(
                f"{path} must hold exactly one .gguf file to be named as a model; it has: {names}"
            )
        path = inside[0]
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ModelError(f"{path} is not a GGUF file")
    return {GGUF: path}


def _embedder(path: Path) -> dict[str, Path]:
    if path.is_dir():
        candidates = [path / "model.onnx", path / "onnx" / "model.onnx"]
        graph = next((file for file in candidates if file.is_file()), None)
        if graph is None:
            raise ModelError(f"{path} has neither model.onnx nor onnx/model.onnx")
        path = graph
    found = {"onnx": path}
    for name in ("tokenizer", "config"):
        for folder in (path.parent, path.parent.parent):
            if (file := folder / f"{name}.json").is_file():
                found[name] = file
                break
    if "tokenizer" not in found:
        raise ModelError(f"there is no tokenizer.json beside {path}")
    return found


async def _digest(path: Path, cache: Cache) -> str:
    status = path.stat()  # noqa: ASYNC240 - one system call
    now = _Stamp(str(path), status.st_size, status.st_mtime_ns)
    note = cache.root / "paths" / f"{hashlib.sha256(str(path).encode()).hexdigest()[:16]}.json"
    with suppress(OSError, msgspec.DecodeError):
        known = msgspec.json.decode(note.read_bytes(), type=_Stamp)
        if msgspec.structs.replace(known, sha256="") == now:
            return known.sha256
    sha256 = await in_thread(lambda report: sha256_of(path, report), ignore)
    with suppress(OSError):  # a cache that cannot be written costs the hashing again, no more
        note.parent.mkdir(parents=True, exist_ok=True)
        temporary = note.with_suffix(".new")
        temporary.write_bytes(msgspec.json.encode(msgspec.structs.replace(now, sha256=sha256)))
        temporary.replace(note)
    return sha256

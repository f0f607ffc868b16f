"""The model store: from a reference to verified files on disk, fetched at most once."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from weft.errors import DiskSpaceError, ModelError, ModelUnavailableError, StateError, UsageError, WeftError
from weft.host import ModelFiles
from weft.http.client import Client
from weft.models import catalogue, hub, local
from weft.models.cache import DIGEST_DIGITS, Cache, Manifest
from weft.models.catalogue import Model
from weft.models.fetch import Fetcher, Sources
from weft.models.progress import Meter, Progress
from weft.models.transfer import in_thread
from weft.models.web import Web


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """A model that has a name or is in the cache.

    Attributes:
        state: ``ready``; ``absent``; ``partial``: a download was interrupted; ``damaged``: a file is missing or has
            another size; ``newer``: written by a newer version of Weft.
        download_bytes: What fetching it takes; None where it is not known.
        disk_bytes: What it takes now.
    """

    name: str
    kind: str
    state: Literal["ready", "absent", "partial", "damaged", "newer"]
    description: str
    licence: str | None
    licence_url: str | None
    source: str
    download_bytes: int | None
    disk_bytes: int
    digest: str | None
    folder: Path


class ModelStore:
    """Models by reference; fetched once, verified, kept in the user's cache.

    Safe to use from several tasks and processes at once: a model is fetched by one of them and the others wait.
    Cancelling stops the fetch, and what has arrived is taken up next time. Fulfils :class:`weft.host.Models`.

    Args:
        cache_dir: The cache folder; models go into ``models`` in it.
        client: Owns the connections; which addresses may be reached is its matter.
        sources: Where models come from.
        on_progress: Told how far fetching is; called in the event loop.
        known: The models that have a name.
        free_bytes: Free disk at a path.
        backoff_s: Before a download that broke is taken up again; doubled for each further attempt without a byte.
    """

    def __init__(
        self,
        cache_dir: Path,
        *,
        client: Client,
        sources: Sources | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        known: Mapping[str, Model] | None = None,
        free_bytes: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
        backoff_s: float = 0.5,
    ) -> None:
        self._cache = Cache(cache_dir)
        self._web = Web(client)
        self._sources = sources or Sources()
        self._on_progress = on_progress
        self._known = catalogue.catalogue() if known is None else known
        self._free_bytes = free_bytes
        self._backoff_s = backoff_s

    def known(self) -> Mapping[str, Model]:
        """The models that have a name."""
        return self._known

    async def resolve(self, reference: str, *, kind: str | None = None, verify: bool = False) -> ModelFiles:
        """The files of a model, from the cache or fetched into it.

        A model that is in the cache is found without a network; a path is used where it is.

        Args:
            reference: A name, ``hf:owner/name/file[@revision]``, a URL, or a path.
            kind: What it must be: ``gguf`` or ``onnx-embedder``; None: whatever it is.
            verify: Read every byte again and fetch anew what is damaged; else sizes are compared.

        Raises:
            ModelUnavailableError: It is not here and cannot be fetched; says the cause and what to do.
            DigestError: What was fetched is not the pinned file; nothing of it was kept.
            DiskSpaceError: Too little disk; found before anything large is downloaded.
            StateError: What is in the cache was written by a newer version, or the cache cannot be written.
            ModelError: There is no such model, or it is of another kind.
        """
        if self._is_local(reference):
            return await local.files(reference, kind=kind, cache=self._cache)
        model = catalogue.parse(reference, kind=kind, known=self._known)
        meter = Meter(reference, self._on_progress)
        if found := await self._cached(model, meter, verify=verify):
            return found
        try:
            async with self._cache.locked(model.name):
                if found := await self._cached(model, meter, verify=verify):
                    return found
                manifest = await self._fetch(model, meter)
        except PermissionError as error:
            raise StateError(
                f"the model cache cannot be written: {error}", hint="set another folder with WEFT_CACHE_DIR"
            ) from error
        return self._files(manifest)

    async def files(self, reference: str, *, kind: str) -> ModelFiles:
        """As :meth:`resolve`: what components ask their host for."""
        return await self.resolve(reference, kind=kind)

    async def pull(self, reference: str, *, kind: str | None = None) -> ModelFiles:
        """Make sure that a model is in the cache and every byte of it is right, fetching what is not."""
        return await self.resolve(reference, kind=kind, verify=True)

    async def choose(self, repository: str, quantisation: str | None = None) -> str:
        """The reference of the GGUF file that is meant by a hub repository; see :func:`weft.models.hub.choose_gguf`."""
        return await hub.choose_gguf(self._web, self._sources, repository, quantisation)

    async def remove(self, reference: str) -> int:
        """Delete a model from the cache; returns the bytes that were freed.

        Raises:
            ModelError: It is not in the cache.
            UsageError: The reference is a path: files of yours are not deleted.
            StateError: It was written by a newer version.
        """
        if self._is_local(reference):
            raise UsageError(f"'{reference}' is a file of yours, not one of the cache: delete it yourself")
        if not self._cache.folder(reference).is_dir():
            raise ModelError(f"'{reference}' is not in the cache {self._cache.root}")
        async with self._cache.locked(reference):
            return self._cache.remove(reference)

    def ensure_space(self, references: Iterable[str]) -> None:
        """Check that there is room for all those models that are not in the cache yet.

        Raises:
            DiskSpaceError: There is not.
        """
        absent = [
            self._known[reference]
            for reference in dict.fromkeys(references)
            if reference in self._known and self._status(self._known[reference]).state != "ready"
        ]
        names = ", ".join(model.name for model in absent)
        self._check_space(names, sum(model.needed_bytes - self._gathered(model) for model in absent))

    def list(self) -> list[ModelStatus]:
        """Every model that has a name, and whatever else is in the cache."""
        found = [self._status(model) for model in self._known.values()]
        others = (m for m in self._cache.manifests() if m.reference not in self._known)
        return [*found, *(self._cached_status(manifest, description="") for manifest in others)]

    def _is_local(self, reference: str) -> bool:
        return catalogue.is_path(reference) or (
            reference not in self._known
            and not reference.startswith(("hf:", "http:", "https:"))
            and Path(reference).exists()
        )

    async def _cached(self, model: Model, meter: Meter, *, verify: bool) -> ModelFiles | None:
        manifest = self._cache.manifest(model.name)
        if manifest is None or not self._is_current(model, manifest) or not self._cache.is_whole(manifest):
            return None
        if verify:
            meter.phase("verify", manifest.size)
            if await in_thread(lambda report: self._cache.damage(manifest, report), meter.add) is not None:
                return None
        return self._files(manifest)

    def _is_current(self, model: Model, manifest: Manifest) -> bool:
        """Whether the cache has what the catalogue pins now (a new release may pin something else)."""
        pinned = model.files[0].sha256
        prepare = model.prepare.step if model.prepare else None
        return manifest.prepare == prepare and (
            pinned is None or manifest.digest == catalogue.digest(pinned, prepare)
        )

    def _files(self, manifest: Manifest) -> ModelFiles:
        return ModelFiles(
            manifest.reference, self._cache.paths(manifest), digest=manifest.digest, licence=manifest.licence
        )

    async def _fetch(self, model: Model, meter: Meter) -> Manifest:
        incoming = self._cache.incoming(model.name)
        incoming.mkdir(parents=True, exist_ok=True)
        fetcher = Fetcher(
            model,
            incoming,
            web=self._web,
            sources=self._sources,
            meter=meter,
            check_space=lambda needed: self._check_space(model.name, needed),
            backoff_s=self._backoff_s,
        )
        try:
            main_sha256, stored = await fetcher.run()
        except (ModelUnavailableError, OSError) as error:
            raise self._explained(model, error) from error
        digest = catalogue.digest(main_sha256, model.prepare.step if model.prepare else None)
        manifest = Manifest(
            reference=model.name,
            kind=model.kind,
            source=str(model.source),
            digest=digest,
            folder=digest[:DIGEST_DIGITS],
            files=tuple(stored),
            licence=model.licence,
            licence_url=model.licence_url,
            prepare=model.prepare.step if model.prepare else None,
        )
        self._cache.commit(incoming, manifest)
        return manifest

    def _explained(self, model: Model, error: Exception) -> ModelUnavailableError:
        """The error with the model's name, its source, the cause, and what to do."""
        cause = error.message if isinstance(error, WeftError) else str(error)
        said = error.hint if isinstance(error, WeftError) else None
        home = self._cache.folder(model.name)
        steps = [
            f"put {model.files[0].filename} into {self._cache.incoming(model.name)}",
            f"run 'weft models pull {model.name}' on a machine with a network and copy its folder to {home}",
        ]
        return ModelUnavailableError(
            f"model '{model.name}' is not in the cache, and could not be had from {model.source}: {cause}",
            hint="\n".join(filter(None, [said, f"without a network: {', or '.join(steps)}"])),
        )

    def _gathered(self, model: Model) -> int:
        """Bytes of a model that an earlier attempt has left on disk already."""
        incoming = self._cache.incoming(model.name)
        return sum(path.stat().st_size for path in incoming.iterdir()) if incoming.is_dir() else 0

    def _check_space(self, what: str, needed: int) -> None:
        place = self._cache.root
        while not place.exists():
            place = place.parent
        free = self._free_bytes(place)
        if needed > free:
            raise DiskSpaceError(
                f"too little disk space for {what} in {self._cache.root}: "
                f"{needed / 1e6:,.0f} MB needed while it is fetched, {free / 1e6:,.0f} MB free",
                needed_bytes=needed,
                free_bytes=free,
            )

    def _status(self, model: Model) -> ModelStatus:
        try:
            manifest = self._cache.manifest(model.name)
        except StateError:
            return self._absent(model, "newer")
        if manifest is not None and self._is_current(model, manifest):
            return self._cached_status(manifest, description=model.description, model=model)
        return self._absent(model, "partial" if self._gathered(model) else "absent")

    def _absent(self, model: Model, state: Literal["absent", "partial", "newer"]) -> ModelStatus:
        return ModelStatus(
            name=model.name,
            kind=model.kind,
            state=state,
            description=model.description,
            licence=model.licence,
            licence_url=model.licence_url,
            source=str(model.source),
            download_bytes=model.download_bytes,
            disk_bytes=self._gathered(model),
            digest=None,
            folder=self._cache.folder(model.name),
        )

    def _cached_status(
        self, manifest: Manifest, *, description: str, model: Model | None = None
    ) -> ModelStatus:
        return ModelStatus(
            name=manifest.reference,
            kind=manifest.kind,
            state="ready" if self._cache.is_whole(manifest) else "damaged",
            description=description,
            licence=manifest.licence,
            licence_url=manifest.licence_url,
            source=manifest.source,
            download_bytes=model.download_bytes if model else None,
            disk_bytes=manifest.size,
            digest=manifest.digest,
            folder=self._cache.folder(manifest.reference) / manifest.folder,
        )

"""Load adapters from a folder while the server runs, and unload them."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from pilotlight.errors import InvalidRequest, ModelNotFound
from pilotlight.models.adapter_catalog import AdapterCatalog
from pilotlight.models.catalog import AdapterOf, ModelEntry, ModelOptions
from pilotlight.models.loaded import Hold
from pilotlight.models.pool import Pool
from pilotlight.models.registry import BackendBroken, Registry
from pilotlight.models.resolver import Resolver, normalise
from pilotlight_backend import BackendError
from pilotlight_backend.redaction import without_folders

_LONGEST_NAME = 200


class AdapterFiles:
    """Loads and unloads adapters by name. Used on one loop."""

    def __init__(
        self,
        folder: Path,
        *,
        catalog: AdapterCatalog,
        resolver: Resolver,
        registry: Registry,
        pool: Pool,
    ) -> None:
        """Files outside of *folder* are refused, however they are named."""
        self._folder = folder
        self._catalog = catalog
        self._resolver = resolver
        self._registry = registry
        self._pool = pool

    async def load(
        self, name: str, path: str, *, base: str | None, scale: float, in_place: bool, hold: Hold
    ) -> ModelEntry:
        """Load the file at *path* as the adapter *name* of the model *base*.

        Without *base* it is for the only model that is loaded. *in_place* replaces an adapter of
        this name, whose running requests end as they would. Raises `InvalidRequest`, and what a
        lease of the model raises.
        """
        name = normalise(name)
        if not name or len(name) > _LONGEST_NAME or not name.isprintable():
            raise InvalidRequest(
                f"lora_name: expected 1 to {_LONGEST_NAME} printable characters", param="lora_name"
            )
        file = await asyncio.to_thread(self._inside, path)
        parent = await self._parent(base)
        if self._catalog.get(name) is None:
            await self._refuse_taken(name)
        elif not in_place:
            raise InvalidRequest(
                f"lora_name: {name!r} is loaded already; set load_inplace to replace it",
                param="lora_name",
            )
        entry = ModelEntry(
            name, file, "configured", ModelOptions(path=path), adapter=AdapterOf(parent, scale)
        )
        await asyncio.to_thread(self._check, entry)
        if (before := self._catalog.get(name)) is not None:
            self._pool.remove_adapter(before)
        await self._pool.load_adapter(entry, hold)
        self._catalog.add(entry)
        return entry

    def unload(self, name: str) -> None:
        """Remove the adapter *name*; its running requests end as they would.

        Raises `ModelNotFound`.
        """
        entry = self._catalog.get(normalise(name))
        if entry is None:
            raise ModelNotFound(f"there is no adapter {name!r}; GET /v1/models lists the adapters")
        self._catalog.remove(entry.name)
        self._pool.remove_adapter(entry)

    def _inside(self, path: str) -> Path:
        """Return the file at *path* in the folder. Links are followed before it is checked."""
        folder = self._folder.resolve()
        try:
            file = (folder / path).resolve(strict=True)
        except (OSError, ValueError, RuntimeError):
            file = None
        if file is None or not file.is_relative_to(folder) or file == folder:
            # The same words for a file elsewhere: a caller cannot ask which files there are.
            raise InvalidRequest(
                f"lora_path: there is no file {path!r} in the server's folder of adapters",
                param="lora_path",
            )
        return file

    async def _parent(self, base: str | None) -> ModelEntry:
        if base is not None:
            entry = await self._resolver.resolve(base)
            if entry.adapter:
                raise InvalidRequest(
                    f"base_model_name: {entry.name!r} is an adapter itself; expected its base,"
                    f" {entry.base.name!r}",
                    param="base_model_name",
                )
            return entry
        loaded: Sequence[ModelEntry] = self._pool.loaded
        if len(loaded) != 1:
            names = ", ".join(repr(one.name) for one in loaded) or "none"
            raise InvalidRequest(
                f"base_model_name: expected the model that the adapter is for; loaded: {names}",
                param="base_model_name",
            )
        return loaded[0]

    async def _refuse_taken(self, name: str) -> None:
        if any(one.name == name for one in await self._resolver.entries()):
            raise InvalidRequest(
                f"lora_name: {name!r} is the name of a model; choose another", param="lora_name"
            )

    def _check(self, entry: ModelEntry) -> None:
        """Raise `InvalidRequest` for a file that its backend refuses.

        What is wrong with the model itself, or that it is not fetched yet, is for its load.
        """
        base = entry.base
        try:
            claim = self._registry.claim(base.path, base.options.backend)
        except (BackendError, BackendBroken, OSError):
            return
        try:
            self._registry.probe_adapter(claim, entry.path)
        except (BackendError, BackendBroken, OSError) as error:
            words = without_folders(str(error), entry.path)
            raise InvalidRequest(f"lora_path: {words}", param="lora_path") from error

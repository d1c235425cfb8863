"""From the name in a request to a model."""

import asyncio
from collections.abc import Callable, Iterable, Sequence

from pilotlight.errors import ModelLoadFailed, ModelNotFound
from pilotlight.models.catalog import Discovered, Discovery, ModelEntry, embedded_entries
from pilotlight.models.registry import BackendBroken, Claim, Registry


def normalise(name: str) -> str:
    """Return *name* as names are compared: trimmed, lower-case."""
    return name.strip().lower()


def resolve(
    name: str,
    *,
    loaded: Sequence[ModelEntry],
    configured: Sequence[ModelEntry],
    discover: Callable[[], Sequence[Discovered]],
    embedded: Callable[[], Sequence[ModelEntry]],
) -> ModelEntry | None:
    """Return the model that *name* means, or None.

    In this order: a loaded name, a configured one, a discovered one, an embedded one. The costly
    two are asked for only when their turn comes.
    """
    name = normalise(name)
    return (
        _named(name, loaded)
        or _named(name, configured)
        or _discovered(name, discover())
        or _named(name, embedded())
    )


def _named(name: str, entries: Iterable[ModelEntry]) -> ModelEntry | None:
    return next((entry for entry in entries if entry.name == name), None)


def _discovered(name: str, found: Sequence[Discovered]) -> ModelEntry | None:
    """Match by architecture, by file or folder name, and for `name:tag` by `name`."""
    for wanted in filter(None, (name, name.partition(":")[0])):
        for matches in (_is_architecture, _is_file, _is_folder):
            for model in found:
                if matches(model, wanted):
                    return model.entry
    return None


def _is_architecture(model: Discovered, wanted: str) -> bool:
    return isinstance(model.claim, Claim) and model.claim.facts.architecture.lower() == wanted


def _is_file(model: Discovered, wanted: str) -> bool:
    return wanted in (model.entry.name, model.file, model.entry.path.name.lower())


def _is_folder(model: Discovered, wanted: str) -> bool:
    return model.folder == wanted


class Resolver:
    """Finds models by name, and lists them. Reads files, so its work is done in threads."""

    def __init__(
        self,
        registry: Registry,
        configured: Sequence[ModelEntry],
        discovery: Discovery,
        loaded: Callable[[], Sequence[ModelEntry]],
    ) -> None:
        self._registry = registry
        self._configured = configured
        self._discovery = discovery
        self._loaded = loaded

    async def resolve(self, name: str) -> ModelEntry:
        """Return the model that *name* means.

        Raises `ModelNotFound`, or `ModelLoadFailed` where no backend is there to tell.
        """
        known = (*self._loaded(), *self._configured)
        if entry := _named(normalise(name), known):
            return entry
        entry = await asyncio.to_thread(self._resolve, name)
        if entry is None:
            raise self._not_found(name)
        return entry

    def _resolve(self, name: str) -> ModelEntry | None:
        return resolve(
            name,
            loaded=(),
            configured=self._configured,
            discover=lambda: self._discovery.scan(self._configured),
            embedded=lambda: embedded_entries(self._registry),
        )

    def _not_found(self, name: str) -> ModelNotFound | ModelLoadFailed:
        if not self._registry.names:
            return ModelLoadFailed("no backend is installed", retry_after=None)
        for backend in self._registry.names:
            try:
                self._registry.get(backend)
            except BackendBroken as error:  # the model may be one that it would have served
                return ModelLoadFailed(
                    f"no working backend has {name!r}: {error}", retry_after=None
                )
        return ModelNotFound(
            f"there is no model {name!r}; /v1/models lists those there are", param="model"
        )

    async def entries(self) -> list[ModelEntry]:
        """Return every model there is, each name once, in the order of the look-up."""
        return await asyncio.to_thread(self._entries)

    def _entries(self) -> list[ModelEntry]:
        discovered = [model.entry for model in self._discovery.scan(self._configured)]
        everything = (*self._configured, *discovered, *embedded_entries(self._registry))
        by_name: dict[str, ModelEntry] = {}
        for entry in everything:
            by_name.setdefault(entry.name, entry)
        return list(by_name.values())

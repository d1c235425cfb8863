"""Resolve the name in a request to a model."""

import asyncio
import difflib
from collections.abc import Callable, Container, Iterable, Iterator, Sequence

from pilotlight.errors import ModelLoadFailed, ModelNotFound
from pilotlight.models.catalog import ModelEntry
from pilotlight.models.discovery import Discovered, Discovery
from pilotlight.models.embedded import embedded_entries
from pilotlight.models.listing import ListedModel, describe
from pilotlight.models.registry import BackendBroken, Claim, Registry
from pilotlight_backend import BackendError


def normalise(name: str) -> str:
    """Return *name* trimmed and in lower case, as names are compared."""
    return name.strip().lower()


_LONGEST_NAME = 200
"""Characters of an unknown name that is compared with those there are: it takes quadratic time."""


def nearest(name: str, names: Sequence[str]) -> str | None:
    """Return which of *names* is likely meant by *name*: one spelled alike, or one it begins."""
    name = normalise(name)
    if not name or len(name) > _LONGEST_NAME:
        return None
    close = difflib.get_close_matches(name, names, n=1)
    longer = (one for one in names if one.startswith(name))
    return next(iter(close), None) or next(longer, None)


def resolve(
    name: str,
    *,
    loaded: Sequence[ModelEntry],
    configured: Sequence[ModelEntry],
    discover: Callable[[], Sequence[Discovered]],
    embedded: Callable[[], Sequence[ModelEntry]],
    backends: Container[str] = (),
    backend_of: Callable[[ModelEntry], str | None] = lambda entry: entry.options.backend,
) -> ModelEntry | None:
    """Return the model called *name*, or None.

    In this order: a loaded name, a configured one, a discovered one, an embedded one. Then
    `name:backend`, the first model called `name` that this backend serves, and `name:tag` for a
    discovered one. The costly two, discovered and embedded, are read only if needed.
    """
    name = normalise(name)

    def called(name: str) -> Iterator[ModelEntry]:
        yield from (entry for entry in (*loaded, *configured) if entry.name == name)
        yield from _discovered(name, discover())
        yield from (entry for entry in embedded() if entry.name == name)

    if entry := next(called(name), None):
        return entry
    base, _, tag = name.rpartition(":")
    if base and tag in backends:
        return next((entry for entry in called(base) if backend_of(entry) == tag), None)
    base = name.partition(":")[0]
    return next(_discovered(base, discover()), None) if base != name else None


def _named(name: str, entries: Iterable[ModelEntry]) -> ModelEntry | None:
    return next((entry for entry in entries if entry.name == name), None)


def _discovered(name: str, found: Sequence[Discovered]) -> Iterator[ModelEntry]:
    """Yield the matches by architecture, then by file, then by folder name."""
    if name:
        for matches in (_is_architecture, _is_file, _is_folder):
            yield from (model.entry for model in found if matches(model, name))


def _is_architecture(model: Discovered, wanted: str) -> bool:
    return isinstance(model.claim, Claim) and model.claim.facts.architecture.lower() == wanted


def _is_file(model: Discovered, wanted: str) -> bool:
    path = model.entry.path
    return wanted in (model.entry.name, model.file, path.name.lower(), path.stem.lower())


def _is_folder(model: Discovered, wanted: str) -> bool:
    return model.folder == wanted


class Resolver:
    """Finds models by name, and lists them. Reads files, on threads."""

    def __init__(
        self,
        registry: Registry,
        configured: Sequence[ModelEntry],
        discovery: Discovery,
        loaded: Callable[[], Sequence[ModelEntry]],
        adapters: Callable[[], Sequence[ModelEntry]] = tuple,
    ) -> None:
        """*adapters* returns those of models.yaml, and those that were loaded since."""
        self._registry = registry
        self._models = configured
        self._adapters = adapters
        self._discovery = discovery
        self._loaded = loaded

    @property
    def _configured(self) -> Sequence[ModelEntry]:
        return (*self._models, *self._adapters())

    async def resolve(self, name: str) -> ModelEntry:
        """Return the model called *name*.

        Raises `ModelNotFound`, or `ModelLoadFailed` if a missing backend may have it.
        """
        known = (*self._loaded(), *self._configured)
        if entry := _named(normalise(name), known):
            return entry
        entry = await asyncio.to_thread(self._resolve, name)
        if entry is None:
            raise await asyncio.to_thread(self._not_found, name)
        return entry

    def _resolve(self, name: str) -> ModelEntry | None:
        if entry := self._discovery.named(normalise(name), self._configured):
            return entry
        return resolve(
            name,
            loaded=(),
            configured=self._configured,
            discover=lambda: self._discovery.scan(self._configured),
            embedded=lambda: embedded_entries(self._registry),
            backends=self._registry.names,
            backend_of=self._backend_of,
        )

    def _backend_of(self, entry: ModelEntry) -> str | None:
        """Return the backend that serves *entry*; None if that is unknown."""
        if entry.base.options.backend is not None:
            return entry.base.options.backend
        try:
            claim = self._registry.recognise(entry.base.path)
        except (BackendBroken, BackendError, OSError):
            return None
        return claim.backend.name if claim else None

    def _not_found(self, name: str) -> ModelNotFound | ModelLoadFailed:
        if not self._registry.names:
            return ModelLoadFailed(
                "no backend is installed; install pilotlight[llama-cpp] or pilotlight[onnx]",
                retry_after=None,
            )
        for backend in self._registry.names:
            try:
                self._registry.get(backend)
            except BackendBroken as error:  # it might have served the model
                return ModelLoadFailed(
                    f"no working backend has {name!r}: {error}", retry_after=None
                )
        near = nearest(name, [entry.name for entry in self._entries()])
        meant = f"; did you mean {near}?" if near else ";"
        return ModelNotFound(
            f"there is no model {name!r}{meant} GET /v1/models lists the models", near
        )

    async def entries(self) -> list[ModelEntry]:
        """Return all models, each name once, in the order of resolution."""
        return await asyncio.to_thread(self._entries)

    def _entries(self) -> list[ModelEntry]:
        discovered = [model.entry for model in self._discovery.scan(self._configured)]
        everything = (*self._configured, *discovered, *embedded_entries(self._registry))
        by_name: dict[str, ModelEntry] = {}
        for entry in everything:
            by_name.setdefault(entry.name, entry)
        return list(by_name.values())

    async def described(self) -> list[ListedModel]:
        """Return all models with the facts of their files."""
        return await asyncio.to_thread(lambda: describe(self._entries(), self._registry))

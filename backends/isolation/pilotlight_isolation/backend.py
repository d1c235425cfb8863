"""A backend whose engines have processes of their own."""

import importlib.metadata
import logging
from collections.abc import Callable
from pathlib import Path

from pilotlight_backend.errors import LoadFailed
from pilotlight_backend.hookspecs import PROJECT
from pilotlight_backend.protocols import Backend
from pilotlight_backend.types import LoadOptions, LoadProgress, ModelFacts
from pilotlight_isolation import wire
from pilotlight_isolation.engine import ENGINES, IsolatedBase
from pilotlight_isolation.problem import rebuild
from pilotlight_isolation.process import Process

_BEAT = 1.0
"""Seconds after which a load that says nothing reports again: who gave it up wants to say so."""


class IsolatedBackend:
    """Another backend; each model that it loads is in a process that it starts for it."""

    def __init__(self, backend: Backend, plugin: str | None = None) -> None:
        """*plugin* is the module with the hook; by default that of *backend*'s entry point."""
        self._backend = backend
        self._plugin = plugin

    @property
    def name(self) -> str:
        """The backend's name."""
        return self._backend.name

    def probe(self, path: Path) -> ModelFacts | None:
        """Return what the files at *path* say; read here, for it needs no native library."""
        return self._backend.probe(path)

    def embedded(self) -> Path | None:
        """Return the small model that ships inside the plugin."""
        return self._backend.embedded()

    def load(
        self,
        facts: ModelFacts,
        options: LoadOptions,
        progress: Callable[[LoadProgress], None],
    ) -> IsolatedBase:
        """Start a process and load the model there; see `Backend.load`.

        Whatever ends the load ends the process with it.
        """
        plugin = self._plugin or _plugin_of(self.name)
        name = facts.path.name
        process = Process(name)
        try:
            process.tell(wire.Load(plugin, facts, options, logging.getLogger().level))
            loaded = _listen(process, progress, LoadProgress("read", 0, facts.size_bytes))
        except BaseException:
            process.kill()
            process.end()
            raise
        if loaded is None:
            raise LoadFailed(f"{name}: the process that loads it {process.end()}")
        return ENGINES[loaded.kind](process, name, loaded)


def _listen(
    process: Process, progress: Callable[[LoadProgress], None], last: LoadProgress
) -> wire.Loaded | None:
    """Pass the reports on until the model is loaded; None where the process ends before.

    *last* is what to report while it says nothing, from its start on: it may hang before it loads.
    """
    while (words := process.hear(_BEAT)) is not None:
        for word in words:
            match word:
                case wire.Progressed():
                    last = word.progress
                    progress(last)
                case wire.NotLoaded():
                    raise rebuild(word.problem)
                case wire.Loaded():
                    return word
        if not words:
            progress(last)
    return None


def _plugin_of(name: str) -> str:
    """Return the module that the entry point *name* names."""
    for found in importlib.metadata.entry_points(group=PROJECT, name=name):
        return found.module
    raise LoadFailed(f"the backend {name!r} has no entry point, so no process can load it")

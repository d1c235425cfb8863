"""A backend whose engines run in processes of their own."""

import logging
from collections.abc import Callable
from pathlib import Path

from pilotlight_backend.errors import LoadFailed
from pilotlight_backend.hookspecs import PROJECT
from pilotlight_backend.plugins import installed
from pilotlight_backend.protocols import Backend
from pilotlight_backend.types import LoadOptions, LoadProgress, ModelFacts
from pilotlight_isolation import wire
from pilotlight_isolation.engine import ENGINES, IsolatedBase
from pilotlight_isolation.problem import rebuild
from pilotlight_isolation.process import EngineProcess

_BEAT = 1.0
"""Seconds after which a silent load repeats its last progress: a caller can cancel only there."""


class IsolatedBackend:
    """Wraps a backend: each load starts a process, and the engine runs there."""

    def __init__(self, backend: Backend, plugin: str | None = None) -> None:
        """*plugin* is the module with the hook; the default is that of *backend*'s entry point."""
        self._backend = backend
        self._plugin = plugin

    @property
    def name(self) -> str:
        """The backend's name."""
        return self._backend.name

    def probe(self, path: Path) -> ModelFacts | None:
        """Return what the files at *path* say; runs here, since it needs no native library."""
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

        A load that fails or is cancelled ends the process too.
        """
        plugin = self._plugin or _plugin_of(self.name)
        name = facts.path.name
        process = EngineProcess(name)
        try:
            process.send(wire.Load(plugin, facts, options, logging.getLogger().level))
            loaded = _await_load(process, progress, LoadProgress("read", 0, facts.size_bytes))
            if loaded is not None:
                return ENGINES[loaded.kind](process, name, loaded)
        except BaseException:
            process.kill()
            process.reap()
            raise
        raise LoadFailed(f"{name}: the process that loads it {process.reap()}")


def _await_load(
    process: EngineProcess, progress: Callable[[LoadProgress], None], last: LoadProgress
) -> wire.Loaded | None:
    """Report progress until the model is loaded; return None where the process ends before.

    *last* is reported while the process is silent: it may hang before it begins to load.
    """
    while (messages := process.receive(_BEAT)) is not None:
        for message in messages:
            match message:
                case wire.Progressed():
                    last = message.progress
                    progress(last)
                case wire.NotLoaded():
                    raise rebuild(message.problem)
                case wire.Loaded():
                    return message
        if not messages:
            progress(last)
    return None


def _plugin_of(name: str) -> str:
    """Return the plugin module of the entry point *name*."""
    for found in installed(PROJECT):
        if found.name == name:
            return found.module
    raise LoadFailed(f"the backend {name!r} has no entry point, which isolation needs")

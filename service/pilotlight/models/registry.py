"""Backends by name: listed from metadata, imported one at a time when a model needs one."""

import importlib.metadata
import logging
from collections.abc import Mapping
from pathlib import Path

import pluggy
from msgspec import Struct

from pilotlight_backend import PROJECT, Backend, ModelFacts, ModelFileInvalid, hookspecs

logger = logging.getLogger(__name__)


class BackendBroken(Exception):
    """A plugin is installed and cannot be used; its cause is logged once and chained."""


class Claim(Struct, frozen=True):
    """A backend that recognises a path, and what it read there."""

    backend: Backend
    facts: ModelFacts


class Registry:
    """The installed backends. Used from threads: probing reads files.

    Not `PluginManager.load_setuptools_entrypoints` for all at once: it calls `ep.load()` with no
    `try`, so one broken plugin would stop the start, and it imports what nobody asked for. Listing
    the names imports nothing.
    """

    def __init__(self, builtin: Mapping[str, Backend] | None = None) -> None:
        """*builtin* backends need no entry point; tests and embedders bring theirs so."""
        self._loaded: dict[str, Backend] = dict(builtin or {})
        self._broken: dict[str, BackendBroken] = {}
        entry_points = importlib.metadata.entry_points(group=PROJECT)
        self._names = sorted({*self._loaded, *(ep.name for ep in entry_points)})

    @property
    def names(self) -> list[str]:
        """Every installed backend's name, sorted."""
        return list(self._names)

    def get(self, name: str) -> Backend:
        """Return the backend *name*, importing its plugin if need be.

        Raises `BackendBroken` where that fails, and `KeyError` where there is no such backend.
        """
        if name in self._loaded:
            return self._loaded[name]
        if name in self._broken:
            raise self._broken[name]
        if name not in self._names:
            raise KeyError(name)
        try:
            backend = self._loaded[name] = _load_plugin(name)
        except Exception as error:  # a plugin's edge: whatever it raises is its own model's error
            logger.exception("the plugin of backend %r cannot be used", name)
            broken = BackendBroken(f"the plugin of backend {name!r} cannot be used")
            broken.__cause__ = error
            self._broken[name] = broken
            raise broken from error
        return backend

    def recognise(self, path: Path) -> Claim | None:
        """Return the first backend, by name, that recognises *path*, or None.

        Raises the contract's `ModelFileInvalid` for a damaged file, and `BackendBroken` where no
        working backend recognises the path and a broken one might have.
        """
        broken: BackendBroken | None = None
        for name in self._names:
            try:
                backend = self.get(name)
            except BackendBroken as error:
                broken = error
                continue
            if facts := backend.probe(path):
                return Claim(backend, facts)
        if broken:
            raise broken
        return None

    def claim(self, path: Path, backend: str | None) -> Claim:
        """Return who serves *path*: the backend of that name, or the first that recognises it.

        Raises `ModelFileInvalid`, or `BackendBroken`.
        """
        if not path.exists():
            raise ModelFileInvalid(path, "there is no such file or folder")
        claim = self.recognise(path) if backend is None else self._claim_by(backend, path)
        if claim is None:
            asked = backend or ", ".join(self._names) or "none is installed"
            raise ModelFileInvalid(path, f"no backend recognises it (asked: {asked})")
        return claim

    def _claim_by(self, name: str, path: Path) -> Claim | None:
        try:
            backend = self.get(name)
        except KeyError:
            raise ModelFileInvalid(path, f"its backend {name!r} is not installed") from None
        facts = backend.probe(path)
        return Claim(backend, facts) if facts else None


def _load_plugin(name: str) -> Backend:
    plugins = pluggy.PluginManager(PROJECT)
    plugins.add_hookspecs(hookspecs)
    plugins.load_setuptools_entrypoints(PROJECT, name=name)
    backends = plugins.hook.pilotlight_register_backend()
    if len(backends) != 1 or not isinstance(backends[0], Backend):
        raise TypeError(f"its hook returned {backends!r} where a backend was expected")
    return backends[0]

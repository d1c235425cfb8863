"""Backends by name: listed from package metadata, each imported when a model needs it."""

import logging
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pluggy
from msgspec import Struct

from pilotlight.models.file_kinds import kind_of
from pilotlight.models.probe_cache import ProbeCache
from pilotlight_backend import (
    PROJECT,
    AdapterFacts,
    AdaptingBackend,
    Backend,
    BackendError,
    ModelFacts,
    ModelFileInvalid,
    ModelUnsupported,
    SeeingBackend,
    SelectiveBackend,
    hookspecs,
)
from pilotlight_backend.plugins import Plugin, installed

logger = logging.getLogger(__name__)


class BackendBroken(Exception):
    """An installed plugin does not work; the cause is logged and chained."""


class Claim(Struct, frozen=True):
    """The backend that recognises a path, and the facts that it read there."""

    backend: Backend
    facts: ModelFacts


class Registry:
    """The installed backends. Used from threads: probing reads files.

    Not by `PluginManager.load_setuptools_entrypoints`: for all at once it calls `ep.load()` with no
    `try`, so one broken plugin would stop the start, and it imports what no model needs; for one
    name it reads the metadata of every distribution again. Listing the names imports nothing.
    """

    def __init__(
        self, builtin: Mapping[str, Backend] | None = None, only: Collection[str] = ()
    ) -> None:
        """*builtin* backends need no entry point, for tests and embedding.

        If *only* is not empty, other backends count as not installed.
        """
        self._loaded: dict[str, Backend] = dict(builtin or {})
        self._broken: dict[str, BaseException] = {}
        """Why a plugin cannot be used. A new error is raised each time: an exception that is raised
        again keeps all its tracebacks."""
        self._loading = threading.Lock()
        self._probed = ProbeCache()
        # Of two with one name the first on the path counts. Reading them costs a file for each
        # distribution that is installed, so it is done once.
        self._plugins: dict[str, Plugin] = {}
        for plugin in installed(PROJECT):
            self._plugins.setdefault(plugin.name, plugin)
        self._installed = self._loaded.keys() | self._plugins.keys()
        self._names = sorted(self._installed & set(only) if only else self._installed)

    @property
    def names(self) -> list[str]:
        """Every installed backend's name, sorted."""
        return list(self._names)

    def get(self, name: str) -> Backend:
        """Return the backend *name*, and import its plugin if need be.

        Raises `BackendBroken` if that fails, and `KeyError` for an unknown name.
        """
        if name not in self._names:
            raise KeyError(name)
        with self._loading:
            if name not in self._loaded and name not in self._broken:
                self._load(name)
            if name in self._broken:
                message = f"the plugin of backend {name!r} cannot be used"
                raise BackendBroken(message) from self._broken[name]
            return self._loaded[name]

    def _load(self, name: str) -> None:
        try:
            self._loaded[name] = _load_plugin(self._plugins[name])
        except (Exception, SystemExit) as error:  # a plugin's edge: only its models fail
            logger.exception("the plugin of backend %r cannot be used: %s", name, error)  # noqa: TRY401 - logged traces omit messages
            self._broken[name] = error

    def recognise(self, path: Path) -> Claim | None:
        """Return the first backend, by name, that recognises *path*, or None.

        Raises `ModelFileInvalid` for a damaged file, `ModelUnsupported` also for a known kind of
        file whose backend is not installed or enabled, and `BackendBroken` if no working backend
        recognises the path and a broken one might.
        """
        broken: BackendBroken | None = None
        for name in self._names:
            try:
                claim = self._probe(name, path)
            except BackendBroken as error:
                broken = error
                continue
            if claim:
                return claim
        if broken:
            raise broken
        self._probed.probe("", self._refuse_known_kind, path)
        return None

    def _refuse_known_kind(self, path: Path) -> None:
        """Raise `ModelUnsupported` if the backend for such files is not installed or enabled."""
        kind = kind_of(path)
        if kind is None or kind.backend in self._names:
            return
        if kind.backend in self._installed:
            used = ", ".join(self._names)
            reason = f"no enabled backend serves {kind.name}: the setting `backends` is {used}"
            raise ModelUnsupported(path, reason)
        raise ModelUnsupported(path, f"no installed backend serves {kind.name}: {kind.advice}")

    def may_be_architecture(self, name: str) -> bool:
        """Return False if no file, folders apart, can be a model of the architecture *name*."""
        for backend_name in self._names:
            try:
                backend = self.get(backend_name)
                with _edge(backend_name):
                    if not isinstance(backend, SelectiveBackend):
                        return True
                    if backend.knows_architecture(name):
                        return True
            except BackendBroken:  # it recognises nothing
                continue
        return False

    def claim(self, path: Path, backend: str | None) -> Claim:
        """Return the backend for *path*: the one of that name, or the first that recognises it.

        Raises `ModelFileInvalid`, or `BackendBroken`.
        """
        if not path.exists():
            raise ModelFileInvalid(path, "no such file or folder")
        claim = self.recognise(path) if backend is None else self._claim_by(backend, path)
        if claim is None:
            tried = backend or ", ".join(self._names) or "none is installed"
            remedy = "; name one of its files" if path.is_dir() else ""
            raise ModelFileInvalid(path, f"no backend recognises it (tried: {tried}){remedy}")
        return claim

    def _claim_by(self, name: str, path: Path) -> Claim | None:
        try:
            return self._probe(name, path)
        except KeyError:
            raise ModelFileInvalid(path, self._missing(name, path)) from None

    def _missing(self, name: str, path: Path) -> str:
        """Return why the backend *name* is not available for *path*."""
        if name in self._installed:
            return f"its backend {name!r} is not in the setting `backends`"
        kind = kind_of(path)
        advice = f": {kind.advice}" if kind and kind.backend == name else ""
        return f"its backend {name!r} is not installed{advice}"

    def _probe(self, name: str, path: Path) -> Claim | None:
        backend = self.get(name)
        with _edge(name):
            facts = self._probed.probe(name, backend.probe, path)
        return Claim(backend, facts) if facts else None

    def probe_projector(self, claim: Claim, path: Path) -> ModelFacts:
        """Return the facts of the model of *claim* with the projector at *path*.

        Raises `ModelFileInvalid`, its `ModelUnsupported`, or `BackendBroken`.
        """
        backend, facts = claim.backend, claim.facts
        if not isinstance(backend, SeeingBackend):
            raise ModelUnsupported(path, f"the backend {backend.name!r} has no projectors (mmproj)")
        if not path.is_file():
            raise ModelFileInvalid(path, "no such file")
        with _edge(backend.name):
            return backend.probe_projector(path, facts)

    def probe_adapter(self, claim: Claim, path: Path) -> AdapterFacts:
        """Return the facts of the adapter at *path*, for the model of *claim*.

        Raises `ModelFileInvalid`, its `ModelUnsupported`, or `BackendBroken`.
        """
        backend, facts = claim.backend, claim.facts
        if not (isinstance(backend, AdaptingBackend) and facts.generates):
            what = f"the backend {backend.name!r}" if facts.generates else "a model of this kind"
            raise ModelUnsupported(path, f"{what} has no LoRA adapters")
        if not path.exists():
            raise ModelFileInvalid(path, "no such file")
        with _edge(backend.name):
            return self._probed.probe(
                f"{backend.name} over {facts.path}",
                lambda path: backend.probe_adapter(path, facts),
                path,
            )

    def embedded(self, name: str) -> Path | None:
        """Return the model that ships with the backend *name*, if any.

        Raises `BackendBroken`.
        """
        backend = self.get(name)
        with _edge(name):
            return backend.embedded()


@contextmanager
def _edge(name: str) -> Iterator[None]:
    """Raise `BackendBroken` for errors that the contract does not allow."""
    try:
        yield
    except (BackendError, OSError):
        raise
    except Exception as error:
        logger.exception("the backend %r raised an unexpected error: %s", name, error)  # noqa: TRY401 - as above
        raise BackendBroken(f"the backend {name!r} has failed") from error


def _load_plugin(plugin: Plugin) -> Backend:
    plugins = pluggy.PluginManager(PROJECT)
    plugins.add_hookspecs(hookspecs)
    plugins.register(plugin.load(), name=plugin.name)
    backends = plugins.hook.pilotlight_register_backend()
    if len(backends) != 1 or not isinstance(backends[0], Backend):
        raise TypeError(f"its hook returned {backends!r}, expected one backend")
    return backends[0]

"""Load models at the start, and report whether the server is ready."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal

from msgspec import Struct

from pilotlight.config import ConfigError
from pilotlight.errors import ModelNotFound, ServiceError, Unavailable
from pilotlight.models.catalog import ModelEntry
from pilotlight.models.loaded import FOREVER, Hold
from pilotlight.models.pool import Pool
from pilotlight.models.resolver import Resolver, normalise
from pilotlight.models.state import ModelStatus

logger = logging.getLogger(__name__)

ALL = "all"


class Readiness(Struct, frozen=True):
    """Whether all models to preload are ready, and the *models* that are not, by name."""

    status: Literal["ready", "loading", "failed"]
    models: Mapping[str, ModelStatus]


class Preload:
    """Loads the models that `--preload` names, one after another.

    A model that was ready once counts as ready, even if it is unloaded later.
    """

    def __init__(
        self,
        names: Sequence[str],
        resolver: Resolver,
        pool: Pool,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._names = names
        self._resolver = resolver
        self._pool = pool
        self._sleep = sleep
        self._waiting: dict[str, ModelEntry | None] = dict.fromkeys(names)
        """The models that are not ready, by name; the entry once the name is resolved."""
        self._failed: dict[str, str] = {}

    async def resolve(self) -> None:
        """Resolve the names; raises `ConfigError` for a name that no model has.

        A name in models.yaml has a model even if its file is missing. A name that is in neither
        models.yaml nor the models folder is an error even if the folder is mounted later: otherwise
        the server would never be ready, and one that exits is restarted.
        """
        for name in self._waiting:
            if name == ALL:
                continue
            try:
                self._waiting[name] = await self._resolver.resolve(name)
            except ModelNotFound as error:
                self._failed[name] = error.message
                meant = f"; did you mean {error.nearest}?" if error.nearest else ";"
                raise ConfigError(
                    f"--preload {name}: no model has this name{meant}"
                    " `pilotlight models` lists the models"
                ) from None
            except ServiceError:  # a broken backend: the load reports it
                continue

    async def run(self) -> None:
        """Load every model; return when each is ready or has failed permanently."""
        if ALL in self._names:
            self._waiting = await self._all()
        while pending := [name for name in self._waiting if name not in self._failed]:
            # A model that has to be retried does not delay the others.
            waits = [await self._load(name) for name in pending]
            if again := [seconds for seconds in waits if seconds is not None]:
                await self._sleep(min(again))

    async def _all(self) -> dict[str, ModelEntry | None]:
        """Return every model that can be served, and log a warning for each that cannot."""
        served: dict[str, ModelEntry | None] = {}
        for model in await self._resolver.described():
            if model.trouble:
                logger.warning("%s is not preloaded: %s", model.entry.name, model.error)
            else:
                served[model.entry.name] = model.entry
        return served

    async def _load(self, name: str) -> float | None:
        """Load a model; return the seconds until a retry, None if no retry is needed or helps."""
        try:
            entry = self._waiting[name] or await self._resolver.resolve(name)
            self._waiting[name] = entry
            await self._pool.ensure_ready(entry, Hold(FOREVER))
        except ServiceError as error:
            if isinstance(error, Unavailable) and error.retry_after is not None:
                return error.retry_after
            logger.error("cannot preload %s: %s", name, error.message)  # noqa: TRY400 - a traceback would not help
            self._failed[name] = error.message
        else:
            del self._waiting[name]
        return None

    @property
    def names(self) -> list[str]:
        """The names of the models that are not ready; as given until they are resolved."""
        return [
            entry.name if entry else normalise(name)
            for name, entry in self._waiting.items()
            if name != ALL
        ]

    def readiness(self) -> Readiness:
        """Return the readiness for probes; reads nothing but memory."""
        models = {name: self._status(name, entry) for name, entry in self._waiting.items()}
        if not models:
            return Readiness("ready", {})
        failed = len(self._failed) == len(models)
        return Readiness("failed" if failed else "loading", models)

    def readiness_of(self, entry: ModelEntry) -> Readiness:
        """Return the readiness of one model, whether it is preloaded or not; loads nothing."""
        model = self._status(entry.name, entry)
        status = model.state if model.state in ("ready", "failed") else "loading"
        return Readiness(status, {entry.name: model})

    def _status(self, name: str, entry: ModelEntry | None) -> ModelStatus:
        if name in self._failed or entry is None:
            error = self._failed.get(name)
            return ModelStatus("failed" if error else "absent", error=error)
        return self._pool.status(entry)

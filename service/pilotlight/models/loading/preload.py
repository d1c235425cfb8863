"""The models that are loaded at the start, and whether the server is ready."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from pilotlight.config import ConfigError
from pilotlight.errors import ModelNotFound, ServiceError, Unavailable
from pilotlight.models.catalog import ModelEntry
from pilotlight.models.loaded import FOREVER, Hold
from pilotlight.models.pool import Pool
from pilotlight.models.resolver import Resolver, normalise
from pilotlight.schema.health import ModelReadiness, Readiness

logger = logging.getLogger(__name__)

ALL = "all"


class Preload:
    """Loads what `--preload` names, one after another, and tells how far it is.

    A model counts as ready once it was; that it is unloaded later, when idle, takes nothing back.
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
        """By name; the entry once the name is resolved."""
        self._failed: dict[str, str] = {}

    async def resolve(self) -> None:
        """Resolve the names. Raises `ConfigError` where no model has one, and then notes it.

        A name of models.yaml has a model, whether its file is there yet or not. One that only the
        models folder could have is refused also where the folder is mounted later: such a server
        was never ready, and one that exits is started again.
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
            except ServiceError:  # a backend that is broken: the load reports it
                continue

    async def run(self) -> None:
        """Load every model; ends when each is ready or has failed for good."""
        if ALL in self._names:
            self._waiting = await self._all()
        while pending := [name for name in self._waiting if name not in self._failed]:
            # One that has to be tried again holds up none of the others.
            waits = [await self._load(name) for name in pending]
            if again := [seconds for seconds in waits if seconds is not None]:
                await self._sleep(min(again))

    async def _all(self) -> dict[str, ModelEntry | None]:
        """Return every model that can be served; the log has a warning of each that cannot."""
        served: dict[str, ModelEntry | None] = {}
        for model in await self._resolver.described():
            if model.trouble:
                logger.warning("%s is not preloaded: %s", model.entry.name, model.error)
            else:
                served[model.entry.name] = model.entry
        return served

    async def _load(self, name: str) -> float | None:
        """Load a model; return the seconds after which to try again, None where that is over."""
        try:
            entry = self._waiting[name] or await self._resolver.resolve(name)
            self._waiting[name] = entry
            await self._pool.ensure_ready(entry, Hold(FOREVER))
        except ServiceError as error:
            if isinstance(error, Unavailable) and error.retry_after is not None:
                return error.retry_after
            logger.error("cannot preload %s: %s", name, error.message)  # noqa: TRY400 - no bug of ours to trace
            self._failed[name] = error.message
        else:
            del self._waiting[name]
        return None

    @property
    def names(self) -> list[str]:
        """The names of the models that are not loaded yet; as given where not resolved yet."""
        return [
            entry.name if entry else normalise(name)
            for name, entry in self._waiting.items()
            if name != ALL
        ]

    def readiness(self) -> Readiness:
        """Return what the probes say; reads memory alone."""
        models = [self._model(name, entry) for name, entry in self._waiting.items()]
        if not models:
            return Readiness(status="ready", models=[])
        failed = len(self._failed) == len(models)
        return Readiness(status="failed" if failed else "loading", models=models)

    def readiness_of(self, entry: ModelEntry) -> Readiness:
        """Return how far one model is, to be preloaded or not; loads nothing."""
        model = self._model(entry.name, entry)
        status = model.state if model.state in ("ready", "failed") else "loading"
        return Readiness(status=status, models=[model])

    def _model(self, name: str, entry: ModelEntry | None) -> ModelReadiness:
        if name in self._failed or entry is None:
            error = self._failed.get(name)
            return ModelReadiness(
                id=name,
                state="failed" if error else "absent",
                progress=0.0,
                retry_after=None,
                error=error,
            )
        status = self._pool.status(entry)
        return ModelReadiness(
            id=name,
            state=status.state,
            progress=status.progress,
            retry_after=status.retry_after,
            error=status.error,
        )

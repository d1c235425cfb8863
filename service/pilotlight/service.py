"""The composition root of everything below HTTP, and its life cycle.

Nothing here imports the web framework, and `generation` is imported when the first endpoint needs
it: models load meanwhile.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from pilotlight.config import ConfigError, Settings, state_address
from pilotlight.deployment import process_age
from pilotlight.errors import ModelNotFound
from pilotlight.model_options import (
    check_attention,
    check_backends,
    check_formats,
    load_options,
    load_timeout,
    step_timeout,
)
from pilotlight.models.adapter_catalog import AdapterCatalog
from pilotlight.models.catalog import ModelEntry
from pilotlight.models.discovery import Discovery
from pilotlight.models.listing import ListedModel, describe
from pilotlight.models.loading.history import LoadHistory
from pilotlight.models.loading.preload import Preload
from pilotlight.models.loading.preload import Readiness as PreloadReadiness
from pilotlight.models.models_file import read_models_file
from pilotlight.models.pool import Pool
from pilotlight.models.prompts import clear_stored_prompts
from pilotlight.models.registry import Registry
from pilotlight.models.resolver import Resolver
from pilotlight.models.state import LoadEnded
from pilotlight.observability.metrics import LoadRecord, Metrics
from pilotlight.observability.model_gauges import AdapterSnapshot, ModelSnapshot
from pilotlight.observability.traces import Traces
from pilotlight.scheduling.admission import Admission
from pilotlight.scheduling.lease import ModelLeases
from pilotlight.scheduling.rate_limits import Limits, RateLimiter
from pilotlight.schema.health import Hanging, Live, ModelReadiness, Readiness
from pilotlight_backend import Backend

if TYPE_CHECKING:
    from pilotlight.generation import Generator
    from pilotlight.generation.embedding import Embedder
    from pilotlight.generation.image_reading import ImageReader
    from pilotlight.generation.pooling_queue import PoolingQueue
    from pilotlight.generation.ranking import Reranker
    from pilotlight.models.adapter_files import AdapterFiles

logger = logging.getLogger(__name__)

_ERROR_GRACE = 1.0
"""Seconds in which requests that were failed can still send their error."""


class Service:
    """The parts that outlive a request. Created on any thread, used on one loop."""

    def __init__(
        self,
        settings: Settings,
        *,
        backends: Mapping[str, Backend] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """*backends* are served beside the installed ones. Raises `ConfigError`."""
        self._settings = settings
        self._clock = clock
        self.registry = Registry(backends, only=settings.backends)
        check_backends(settings, self.registry)
        self._configured = configured = read_models_file(settings.models_file, settings.models_dir)
        self.adapters = AdapterCatalog(configured)
        check_formats(settings, configured)
        check_attention(settings, configured)
        self._load_options = partial(load_options, settings)
        self._state_address = state_address(settings.state_dir)
        self._private_prompts = settings.prompt_cache_scope == "key"
        self.pool = Pool(
            self.registry,
            load_options=self._load_options,
            memory_budget=settings.memory_budget_bytes,
            idle_ttl=settings.idle_ttl,
            history=LoadHistory(_cache_dir(settings)),
            max_held=settings.max_held,
            place=lambda entry, backend: place(settings, entry, backend),
            step_timeout=lambda entry: step_timeout(settings, entry),
            load_timeout=lambda entry: load_timeout(settings, entry),
            on_load=self._note_load,
            clock=clock,
        )
        discovery = Discovery(settings.models_dir, self.registry)
        self.resolver = Resolver(
            self.registry,
            [entry for entry in configured if not entry.adapter],
            discovery,
            lambda: self.pool.loaded,
            lambda: self.adapters.entries,
        )
        self.preload = Preload(settings.preload, self.resolver, self.pool)
        self.admission = Admission()
        self.metrics = Metrics(self._models, self._adapters_in_use)
        self.traces = Traces(settings.otlp_endpoint)
        self.limiter = RateLimiter(_limits(settings), clock)
        self.leases = ModelLeases(
            self.resolver,
            self.pool,
            self.admission,
            self.metrics,
            self.limiter,
            max_queue=settings.max_queue,
            clock=clock,
            adapters=self.adapters,
        )
        self._naming: asyncio.Task[None] | None = None
        self._preloading: asyncio.Task[None] | None = None

    @cached_property
    def generator(self) -> "Generator":
        """What generates; the first use imports it."""
        from pilotlight.generation import Generator  # noqa: PLC0415 - models load meanwhile

        return Generator(
            self.leases,
            special_tokens=self._settings.special_tokens_in_content,
            private_prompts=self._private_prompts,
            images=self._images,
        )

    @cached_property
    def _images(self) -> "ImageReader":
        from pilotlight.generation.image_reading import image_reader  # noqa: PLC0415

        return image_reader(self._settings)

    @cached_property
    def adapter_files(self) -> "AdapterFiles | None":
        """What loads adapters while the server runs; None where the operator names no folder."""
        if self._settings.lora_dir is None:
            return None
        from pilotlight.models.adapter_files import AdapterFiles  # noqa: PLC0415

        return AdapterFiles(
            self._settings.lora_dir,
            catalog=self.adapters,
            resolver=self.resolver,
            registry=self.registry,
            pool=self.pool,
        )

    @cached_property
    def embedder(self) -> "Embedder":
        """What embeds; the first use imports it."""
        from pilotlight.generation.embedding import Embedder  # noqa: PLC0415 - models load meanwhile

        return Embedder(self.leases, self._pooling)

    @cached_property
    def reranker(self) -> "Reranker":
        """What scores documents; the first use imports it."""
        from pilotlight.generation.ranking import Reranker  # noqa: PLC0415 - models load meanwhile

        return Reranker(self.leases, self._pooling, self.resolver)

    @cached_property
    def _pooling(self) -> "PoolingQueue":
        from pilotlight.generation.pooling_queue import PoolingQueue  # noqa: PLC0415

        return PoolingQueue(max_queue=self._settings.max_queue, clock=self._clock)

    def _models(self) -> dict[str, ModelSnapshot]:
        """Return a snapshot of each model that is configured, preloaded or was requested."""
        expected = (*(entry.name for entry in self._configured), *self.preload.names)
        known = dict.fromkeys(expected, ModelSnapshot())
        for entry in self.adapters.entries:
            status = self.pool.status(entry)
            known[entry.name] = ModelSnapshot(state=status.state, progress=status.progress)
        for name, use in self.pool.use().items():
            known[name] = ModelSnapshot(
                state=use.state,
                progress=use.progress,
                held=use.held,
                stats=use.stats,
                prompt_cache=use.prompt_cache,
            )
        return {
            name: replace(model, queued=self.leases.waiting(name)) for name, model in known.items()
        }

    def _adapters_in_use(self) -> AdapterSnapshot:
        """Return the adapters that have requests; as many may run as there are slots."""
        parents = {entry.base.name for entry in self.adapters.entries}
        use = self.pool.use()
        loaded = [use[name].stats for name in parents if name in use]
        return AdapterSnapshot(
            most=sum(stats.slots for stats in loaded if stats is not None),
            running=self.leases.adapter_use.running,
            waiting=self.leases.adapter_use.waiting,
        )

    def _note_load(self, load: LoadEnded) -> None:
        record = LoadRecord(
            model=load.entry.name,
            backend=load.backend,
            outcome=load.outcome,
            phases=load.phases,
            seconds=load.seconds,
        )
        self.metrics.note(record)
        self.traces.load(record)

    def describe(self, entries: Sequence[ModelEntry]) -> list[ListedModel]:
        """Describe *entries* without loading them; run it on a thread, it reads files."""
        return describe(entries, self.registry, self._load_options)

    def begin(self) -> None:
        """Start to preload models; a second call does nothing."""
        if self._preloading is None:
            self._naming = asyncio.create_task(self.preload.resolve(), name="names to preload")
            self._preloading = asyncio.create_task(self._preload(self._naming), name="preload")

    async def _preload(self, naming: asyncio.Task[None]) -> None:
        try:
            await naming
        except ConfigError as error:  # `named` raises it as well
            logger.error("%s", error)  # noqa: TRY400 - no bug of ours to trace
        else:
            await self.preload.run()
        finally:  # also if there is nothing to load
            self.pool.load_under_way.set()

    def wait_for_load(self, seconds: float) -> None:
        """Block until the first preloaded model needs little of the GIL, or *seconds* are over."""
        self.pool.load_under_way.wait(seconds)

    async def named(self) -> None:
        """Return when the models to preload are known; raises `ConfigError` where one is not."""
        if self._naming is not None:
            await asyncio.shield(self._naming)

    async def preloaded(self) -> None:
        """Return when each model to preload is ready or has failed permanently."""
        if self._preloading is not None:
            await asyncio.wait((self._preloading,))

    def opened(self) -> None:
        """Record that the server now accepts requests."""
        self.metrics.started_in = process_age()

    def liveness(self) -> Live:
        """Return the liveness: a process in which something hangs is worth a restart.

        A process that shuts down is alive: the platform need not end it twice.
        """
        hanging = self._hanging()
        restart = hanging and not self.admission.closed
        return Live(status="hanging" if restart else "ok", hanging=hanging)

    def _hanging(self) -> list[Hanging]:
        return [
            Hanging(id=hang.entry.name, during=hang.during, memory_bytes=hang.need)
            for hang in self.pool.hangs
        ]

    async def readiness(self, model: str | None) -> Readiness:
        """Return the readiness, of one *model* if it is given; raises `ModelNotFound`."""
        return replace(await self._readiness(model), hanging=self._hanging())

    async def _readiness(self, model: str | None) -> Readiness:
        if self.admission.closed:
            return Readiness(status="draining", models=[])
        if model is None:
            return _readiness(self.preload.readiness())
        try:
            return _readiness(self.preload.readiness_of(await self.resolver.resolve(model)))
        except ModelNotFound:  # the probes need no key, so their answer suggests no other name
            raise ModelNotFound(
                f"there is no model {model!r}; GET /v1/models lists the models"
            ) from None

    async def clear_prompts(self, caller: str) -> None:
        """Delete the cached prompts of *caller*, or all where callers share them.

        They are deleted in slots, in memory and in storage, of every model. Raises
        `StorageUnavailable`.
        """
        owner = caller if self._private_prompts else None
        await self.pool.clear_prompts(owner)
        if self._state_address is not None:
            await clear_stored_prompts(self._state_address, owner)

    async def drain(self, grace: float) -> None:
        """Admit no more requests, give those in flight *grace* seconds, then fail them.

        They get an error: a stream as an event before `[DONE]`.
        """
        self.admission.close()
        began = self._clock()
        if not await self.admission.drained(grace):
            logger.warning("the grace period of %g s is over: requests in flight fail", grace)
        await self.pool.save_prompts(grace - (self._clock() - began))
        await self.pool.close(save=0.0)
        await self.admission.drained(_ERROR_GRACE)

    async def end(self) -> None:
        """Cancel the loads, and close every model."""
        if self._preloading is not None:
            self._preloading.cancel()
            with suppress(asyncio.CancelledError):
                await self._preloading
        await self.pool.close()
        if "_images" in vars(self):
            await self._images.close()
        await self.traces.close()


def _readiness(preload: PreloadReadiness) -> Readiness:
    return Readiness(
        status=preload.status,
        models=[
            ModelReadiness(
                id=name,
                state=model.state,
                progress=model.progress,
                retry_after=model.retry_after,
                error=model.error,
            )
            for name, model in preload.models.items()
        ],
    )


def _limits(settings: Settings) -> Limits:
    return Limits(
        requests_per_minute=settings.requests_per_minute,
        tokens_per_minute=settings.tokens_per_minute,
        concurrent_requests=settings.concurrent_requests,
    )


def _cache_dir(settings: Settings) -> Path | None:
    """Return the folder for load times; None if there is no home folder to expand its `~`."""
    return None if settings.cache_dir.parts[:1] == ("~",) else settings.cache_dir


def place(settings: Settings, entry: ModelEntry, backend: Backend) -> Backend:
    """Return what loads *entry*: its *backend*, in this process or in one of its own."""
    if (entry.options.isolation or settings.isolation) == "none":
        return backend
    # Imported late: most servers start no other process.
    from pilotlight_isolation.backend import IsolatedBackend  # noqa: PLC0415

    return IsolatedBackend(backend)

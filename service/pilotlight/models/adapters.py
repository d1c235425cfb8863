"""The LoRA adapters of loaded models: loaded at their first request, unloaded when asked to.

They are the small children of a model: it stays loaded while one of them is used or loads, its
memory grows by theirs, and they go when it is unloaded. An adapter that cannot be loaded is an
error of its own name alone.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from pilotlight.errors import (
    InsufficientMemory,
    ModelLoadFailed,
    ModelLoading,
    ShuttingDown,
    Unavailable,
    shutting_down,
)
from pilotlight.models.catalog import ModelEntry
from pilotlight.models.loaded import FOREVER, Hold, LoadedModel
from pilotlight.models.loading.failure import COOL_DOWN, load_failed
from pilotlight.models.loading.loader import fetch_origins
from pilotlight.models.memory import Memory
from pilotlight.models.registry import Claim, Registry
from pilotlight.models.state import ModelStatus, PooledModel
from pilotlight.retry_after import after_load
from pilotlight_backend import AdaptingEngine, BackendError, ModelUnsupported

logger = logging.getLogger(__name__)

Lease = Callable[[ModelEntry, Hold], AbstractAsyncContextManager[LoadedModel]]


@dataclass(eq=False)
class PooledAdapter:
    """What is known of one adapter of one loaded model. Used on the event loop alone."""

    entry: ModelEntry
    load: asyncio.Task[None] | None = None
    """While loading."""
    id: str | None = None
    """The engine's, once it is loaded."""
    size: int = 0
    """Bytes that it has reserved."""
    users: int = 0
    last_used: float = 0.0
    is_removed: bool = False
    failure: Unavailable | None = None
    failed_at: float = 0.0

    @property
    def status(self) -> ModelStatus:
        """Its state."""
        if self.load is not None:
            return ModelStatus("loading")
        if self.failure is not None:
            return ModelStatus("failed", error=self.failure.message)
        return ModelStatus("absent") if self.id is None else ModelStatus("ready", progress=1.0)


class Adapters:
    """Loads adapters over loaded models. Used on one loop."""

    def __init__(
        self,
        registry: Registry,
        memory: Memory,
        *,
        lease: Lease,
        pooled: Callable[[ModelEntry], PooledModel],
        clock: Callable[[], float],
        jitter: Callable[[], float],
    ) -> None:
        """*lease* keeps a model loaded; *pooled* returns what the pool knows of one."""
        self._registry = registry
        self._memory = memory
        self._lease = lease
        self._pooled = pooled
        self._clock = clock
        self._jitter = jitter
        self._adapters: WeakKeyDictionary[LoadedModel, dict[str, PooledAdapter]] = (
            WeakKeyDictionary()
        )
        self._tasks: set[asyncio.Task[None]] = set()

    def status(self, entry: ModelEntry) -> ModelStatus:
        """Return the state of the adapter *entry*."""
        model = self._pooled(entry.base).loaded
        one = self._adapters.get(model, {}).get(entry.name) if model else None
        return one.status if one is not None and one.entry == entry else ModelStatus("absent")

    @asynccontextmanager
    async def use(self, model: LoadedModel, entry: ModelEntry, hold: Hold) -> AsyncIterator[str]:
        """Keep the adapter *entry* of *model* loaded while the context lasts; yield its id.

        Raises `ModelLoadFailed`, `ModelLoading` or `ShuttingDown`.
        """
        one = self._one(model, entry)
        one.users += 1
        try:
            yield await self._ready(model, one, hold)
        finally:
            one.users -= 1
            one.last_used = self._clock()
            if one.is_removed and not one.users:
                self._start(self._drop(model, one))

    def _one(self, model: LoadedModel, entry: ModelEntry) -> PooledAdapter:
        adapters = self._adapters.setdefault(model, {})
        one = adapters.get(entry.name)
        if one is None or one.entry != entry:  # another file has its name now
            if one is not None:
                self._remove(model, one)
            one = adapters[entry.name] = PooledAdapter(entry)
        return one

    async def _ready(self, model: LoadedModel, one: PooledAdapter, hold: Hold) -> str:
        """Return the id of *one*, and load it if need be; a load continues without its waiters."""
        if one.failure is not None:
            left = one.failed_at + COOL_DOWN - self._clock()
            if left > 0:
                raise self._again(one.failure, left)
            one.failure = None
        if one.id is None:
            if one.load is None:
                one.load = self._start(self._load(model, one))
            done, _ = await asyncio.wait((one.load,), timeout=hold.seconds)
            if not done:
                raise ModelLoading(
                    f"the adapter {one.entry.name!r} is loading",
                    retry_after=after_load(None, self._jitter()),
                )
        if one.failure is not None:
            raise self._again(one.failure, COOL_DOWN)
        assert one.id is not None  # noqa: S101 - its load has ended, without a failure
        return one.id

    def _again(self, failure: Unavailable, left: float) -> Unavailable:
        """Return a new error: one that is raised again keeps every traceback."""
        retry_after = None if failure.retry_after is None else after_load(left, self._jitter())
        return type(failure)(failure.message, retry_after=retry_after)

    # ── loading ────────────────────────────────────────────────────────────────────────────────

    async def _load(self, model: LoadedModel, one: PooledAdapter) -> None:
        """Load *one* and leave it ready or failed."""
        began = self._clock()
        try:
            async with self._lease(one.entry.base, Hold(FOREVER)) as loaded:
                one.id = await self._load_over(model, one, loaded)
        except asyncio.CancelledError:
            one.failure = shutting_down()
            raise
        except (ModelLoadFailed, ShuttingDown) as error:
            one.failure = error
        except Exception as error:  # noqa: BLE001 - a plugin's edge
            one.failure = load_failed(one.entry, error)
        else:
            took = self._clock() - began
            logger.info("loaded the adapter %s in %.2f s", one.entry.name, took)
        finally:
            one.load = None
            one.failed_at = self._clock()
        if one.failure is not None:
            self._give_back(model, one)
            logger.warning("cannot load the adapter %s: %s", one.entry.name, one.failure.message)
        elif one.is_removed and not one.users:
            await self._drop(model, one)

    async def _load_over(self, model: LoadedModel, one: PooledAdapter, leased: LoadedModel) -> str:
        entry, engine = one.entry, model.base
        if leased is not model:  # it was unloaded meanwhile, and loaded again
            raise ModelLoadFailed("the model was unloaded", retry_after=COOL_DOWN)
        if entry.origins:
            await fetch_origins(entry.origins)
        claim = Claim(self._registry.get(model.backend), model.facts)
        facts = await asyncio.to_thread(self._registry.probe_adapter, claim, entry.path)
        if not isinstance(engine, AdaptingEngine):
            raise ModelUnsupported(
                entry.path, f"the backend {model.backend!r} has no LoRA adapters"
            )
        await self._reserve(model, one, facts.size_bytes)
        return await self._memory.load(
            entry.name, lambda: model.calls.run(partial(engine.load_adapter, entry.path))
        )

    async def _reserve(self, model: LoadedModel, one: PooledAdapter, size: int) -> None:
        """Reserve memory; where there is none, idle adapters of the model go, the oldest first."""
        while True:
            try:
                await self._memory.grow(self._pooled(model.entry), size, one.entry.name)
            except InsufficientMemory:
                if (idle := self._longest_idle(model)) is None:
                    raise
                self._adapters[model].pop(idle.entry.name)
                idle.is_removed = True
                await self._drop(model, idle)
            else:
                one.size = size
                return

    def _longest_idle(self, model: LoadedModel) -> PooledAdapter | None:
        idle = [
            one
            for one in self._adapters.get(model, {}).values()
            if one.id is not None and not one.users
        ]
        return min(idle, key=lambda one: one.last_used, default=None)

    # ── unloading ──────────────────────────────────────────────────────────────────────────────

    def remove(self, entry: ModelEntry) -> None:
        """Unload the adapter *entry* when its last request has ended."""
        model = self._pooled(entry.base).loaded
        if model is not None and (one := self._adapters.get(model, {}).pop(entry.name, None)):
            self._remove(model, one)

    def _remove(self, model: LoadedModel, one: PooledAdapter) -> None:
        one.is_removed = True
        if not one.users and one.load is None:
            self._start(self._drop(model, one))

    async def _drop(self, model: LoadedModel, one: PooledAdapter) -> None:
        """Unload *one* from the engine, and give its memory back."""
        adapter, one.id = one.id, None
        if adapter is None or not isinstance(model.base, AdaptingEngine):
            return
        with suppress(BackendError):  # the engine is closed, or has died
            await model.calls.run(partial(model.base.unload_adapter, adapter))
        self._give_back(model, one)
        logger.info("unloaded the adapter %s", one.entry.name)

    def _give_back(self, model: LoadedModel, one: PooledAdapter) -> None:
        pooled = self._pooled(model.entry)
        if pooled.loaded is model:
            self._memory.shrink(pooled, one.size)
        one.size = 0

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name="adapter")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """Cancel every load."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

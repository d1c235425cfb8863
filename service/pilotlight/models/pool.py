"""Lease models to requests: load them on the first request, unload them when idle.

`Pool.ensure_ready` makes every decision. It runs on the event loop and decides between two awaits,
so what it reads is still true when it acts; loads and closes run in threads. All waiters share one
load, which continues when they leave. A waiting request counts as a user: otherwise two models that
do not fit together would evict each other before either serves a request.
"""

import asyncio
import logging
import random
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial

from pilotlight.errors import ModelLoading, shutting_down
from pilotlight.models.adapters import Adapters
from pilotlight.models.catalog import ModelEntry
from pilotlight.models.health.watchdog import Watchdog, close_when_unblocked, kill
from pilotlight.models.idle import IdleTimer
from pilotlight.models.loaded import Hang, Hold, LoadedModel
from pilotlight.models.loading.history import LoadHistory
from pilotlight.models.loading.loader import Loader
from pilotlight.models.loading.runner import LoadRunner
from pilotlight.models.memory import Memory
from pilotlight.models.prompts import AT_UNLOAD, clear_prompts, save_prompts
from pilotlight.models.registry import Registry
from pilotlight.models.state import ModelStatus, ModelUse, OnLoad, PooledModel
from pilotlight.retry_after import after_load
from pilotlight_backend import Backend, InferenceFailed, LoadOptions
from pilotlight_backend.cgroup import available_memory

logger = logging.getLogger(__name__)

_ENDING = 5.0
"""Seconds that loads and engines have to end when the pool is closed. Platforms kill a process some
seconds after they asked it to end: Cloud Run ten."""


class Pool:
    """Every model that was ever requested, and the memory they share."""

    def __init__(
        self,
        registry: Registry,
        *,
        load_options: Callable[[ModelEntry], LoadOptions],
        memory_budget: int | None,
        idle_ttl: float,
        clock: Callable[[], float],
        history: LoadHistory,
        max_held: int,
        place: Callable[[ModelEntry, Backend], Backend] = lambda _, backend: backend,
        step_timeout: Callable[[ModelEntry], float] = lambda _: 0.0,
        load_timeout: Callable[[ModelEntry], float] = lambda _: 0.0,
        on_load: OnLoad = lambda _: None,
        available: Callable[[], int | None] = available_memory,
        jitter: Callable[[], float] = random.random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """*clock* returns seconds; *memory_budget* is bytes, *idle_ttl* seconds, 0 for never.

        *max_held* requests may wait for loads at a time. *on_load* gets each load that ended.
        *place* returns what loads a model, given its backend. *step_timeout* and *load_timeout*
        are seconds, 0 for unlimited. *available* returns the bytes of memory that are left, None
        if that is unknown.
        """
        self._clock = clock
        self._jitter = jitter
        self._max_held = max_held
        self._held = 0
        self._closed = False
        self._models: dict[ModelEntry, PooledModel] = {}
        self._memory = Memory(memory_budget, self._models, available)
        self._idle = IdleTimer(self._models, idle_ttl, unload=self._memory.unload, clock=clock)
        loader = Loader(
            registry,
            history,
            load_options=load_options,
            place=place,
            timeout=load_timeout,
            memory_budget=memory_budget,
            clock=clock,
            sleep=sleep,
        )
        self._loads = LoadRunner(
            loader, self._memory, clock=clock, on_ready=self._idle.schedule, on_load=on_load
        )
        self._adapters = Adapters(
            registry,
            self._memory,
            lease=self.lease,
            pooled=self._model,
            clock=clock,
            jitter=jitter,
        )
        self._watchdog = Watchdog(
            busy=self._busy, timeout=step_timeout, on_hang=self._give_up, clock=clock
        )

    # ── looking ────────────────────────────────────────────────────────────────────────────────

    @property
    def loaded(self) -> list[ModelEntry]:
        """The entries of the models that are loaded or loading."""
        return [m.entry for m in self._models.values() if m.state in ("loading", "ready")]

    def status(self, entry: ModelEntry) -> ModelStatus:
        """Return the state of the model of *entry*, or of the adapter."""
        if entry.adapter:
            return self._adapters.status(entry)
        model = self._models.get(entry)
        return ModelStatus("absent") if model is None else model.status()

    def use(self) -> dict[str, ModelUse]:
        """Return how much each model that was ever requested is used, by its name."""
        return {entry.name: _use(model) for entry, model in self._models.items()}

    @property
    def load_under_way(self) -> threading.Event:
        """Set once a load needs little of this process's GIL; see `LoadRunner.under_way`."""
        return self._loads.under_way

    @property
    def hangs(self) -> Sequence[Hang]:
        """What hangs in this process, until it continues by itself or the process ends."""
        return self._memory.hangs

    # ── leasing ────────────────────────────────────────────────────────────────────────────────

    @asynccontextmanager
    async def lease(self, entry: ModelEntry, hold: Hold) -> AsyncIterator[LoadedModel]:
        """Keep a model loaded while the context lasts, and wait for its load as *hold* says.

        Raises what `ensure_ready` raises.
        """
        model = self._model(entry)
        model.users += 1
        try:
            await self.ensure_ready(entry, hold)
            assert model.loaded  # noqa: S101 - it was ready just now, with no await since
            self._watchdog.wake()
            yield model.loaded
        finally:
            model.users -= 1
            model.last_used = self._clock()
            self._memory.changed()
            self._idle.schedule()

    @asynccontextmanager
    async def lease_adapter(
        self, model: LoadedModel, entry: ModelEntry, hold: Hold
    ) -> AsyncIterator[str]:
        """Keep an adapter of a leased *model* loaded while the context lasts; yield its id.

        Raises what `Adapters.use` raises.
        """
        async with self._adapters.use(model, entry, hold) as adapter:
            yield adapter

    def remove_adapter(self, entry: ModelEntry) -> None:
        """Unload the adapter *entry* when its last request has ended."""
        self._adapters.remove(entry)

    async def load_adapter(self, entry: ModelEntry, hold: Hold) -> None:
        """Return when the adapter *entry* and its model are loaded; raises as a lease does."""
        async with self.lease(entry.base, hold) as model, self._adapters.use(model, entry, hold):
            return

    async def ensure_ready(self, entry: ModelEntry, hold: Hold) -> None:
        """Return when the model of *entry* is ready, and load it if need be.

        | state    | decision                                                      |
        |----------|---------------------------------------------------------------|
        | ready    | (1) return; if its engine has died, unload it, then (3)       |
        | failed   | (2) raise the failure during the cool-down, and while the     |
        |          | load's thread hangs; then (4)                                 |
        | draining | (3) wait until it is absent, then (4)                         |
        | absent   | (4) start a load, then (5)                                    |
        | loading  | (5) wait for the load; at the deadline raise ModelLoading     |

        (6) A request raises ModelLoading at once if `max_held` requests wait already, or, where
        *hold* allows it, if the estimate says that the load ends after the deadline.

        Raises `ModelLoadFailed`, `ModelLoading`, or `ShuttingDown` if the pool is closed.
        """
        if entry.adapter:
            await self.load_adapter(entry, hold)
            return
        model = self._model(entry)
        deadline = self._clock() + hold.seconds
        while True:
            if self._closed:
                raise shutting_down()
            if model.has_died:  # (1)
                self._fail_engine(model, f"the engine of {entry.name!r} has died")
            if model.state == "ready":
                return
            if model.state == "failed":  # (2)
                self._raise_while_cooling(model)
                model.state = "absent"
            if model.state == "draining":  # (3)
                assert model.closing  # noqa: S101 - true while draining
                await self._wait(model, model.closing, deadline)
                continue
            if model.state == "absent":  # (4)
                self._loads.start(model)
            assert model.load  # noqa: S101 - true while loading
            if hold.may_give_up and self._ends_after(model, deadline):  # (6)
                raise self._loading(model)
            await self._wait(model, model.load, deadline)  # (5)

    def _model(self, entry: ModelEntry) -> PooledModel:
        return self._models.setdefault(entry, PooledModel(entry))

    async def _wait(self, model: PooledModel, task: asyncio.Task[None], deadline: float) -> None:
        left = max(deadline - self._clock(), 0.0)
        if self._held >= self._max_held:  # (6)
            raise self._loading(model)
        self._held += 1
        model.held += 1
        try:
            done, _ = await asyncio.wait((task,), timeout=left)
        finally:
            self._held -= 1
            model.held -= 1
        if not done:
            raise self._loading(model)

    def _ends_after(self, model: PooledModel, deadline: float) -> bool:
        left = model.remaining
        return left is not None and self._clock() + left > deadline

    def _raise_while_cooling(self, model: PooledModel) -> None:
        assert model.failure  # noqa: S101 - true while failed
        left = model.cooling(self._clock())
        if left <= 0:
            return
        failure = model.failure
        permanent = failure.retry_after is None
        # A new error for each request: one that is raised again keeps every traceback.
        raise type(failure)(
            failure.message,
            retry_after=None if permanent else after_load(left, self._jitter()),
        )

    def _loading(self, model: PooledModel) -> ModelLoading:
        return ModelLoading(
            f"the model {model.entry.name!r} is loading",
            retry_after=after_load(model.remaining, self._jitter()),
        )

    # ── engines that fail ──────────────────────────────────────────────────────────────────────

    def _busy(self) -> list[LoadedModel]:
        models = self._models.values()
        return [m.loaded for m in models if m.state == "ready" and m.users and m.loaded]

    def _fail_engine(self, model: PooledModel, reason: str) -> None:
        """Fail the requests of an engine that has died, and unload it."""
        assert model.loaded  # noqa: S101 - true while ready
        logger.error("%s", reason)
        model.loaded.fail(InferenceFailed(reason))
        self._memory.unload(model)

    def _give_up(self, loaded: LoadedModel, timeout: float) -> None:
        """Fail the requests of an engine that hangs, and kill its process if it has one.

        A thread that hangs keeps its memory until it continues or the process ends.
        """
        model = self._models[loaded.entry]
        reason = f"the engine of {loaded.entry.name!r} hangs: a step took more than {timeout:g} s"
        if kill(loaded.base, reason):
            self._fail_engine(model, reason)
            return
        logger.error("%s; its thread and its memory stay until this process ends", reason)
        loaded.fail(InferenceFailed(reason))
        hang = Hang(model.entry, "step", model.need)
        self._memory.add_hang(hang)
        model.forget_engine()
        model.need, model.state = 0, "absent"
        loop = asyncio.get_running_loop()
        close_when_unblocked(loaded.base, partial(_call, loop, partial(self._unblocked, hang)))

    def _unblocked(self, hang: Hang) -> None:
        logger.info("a hanging engine of %s has continued, and is closed", hang.entry.name)
        self._memory.remove_hang(hang)

    # ── closing ────────────────────────────────────────────────────────────────────────────────

    def sweep(self) -> None:
        """Unload every model that is idle for `idle_ttl`, and schedule the next sweep."""
        self._idle.sweep()

    async def save_prompts(self, seconds: float) -> None:
        """Write the cached prompts of all models to storage, for *seconds* at the most.

        For a server that shuts down. Engines are written side by side.
        """
        if seconds > 0:
            models = [m.loaded for m in self._models.values() if m.state == "ready" and m.loaded]
            await asyncio.gather(*(save_prompts(model.base, seconds) for model in models))

    async def clear_prompts(self, owner: str | None) -> None:
        """Forget the cached prompts of *owner*, or all, of every loaded model.

        A model that is being unloaded writes its prompts to storage: this waits until it is gone.
        """
        models = [model for model in self._models.values() if model.loaded]
        await asyncio.gather(*(clear_prompts(m.loaded, owner) for m in models if m.loaded))
        if closings := [model.closing for model in models if model.closing]:
            await asyncio.wait(closings)

    async def close(self, *, save: float = AT_UNLOAD) -> None:
        """Cancel every load and close every engine; running requests fail.

        Prompts are written to storage for *save* seconds at the most. Returns when their threads
        have ended: a load's at its next progress report. Threads that hang are not waited for: a
        load or a step may hang that was not declared to yet, or never is.
        """
        self._closed = True
        self._watchdog.close()
        self._idle.close()
        await self._adapters.close()
        loads = [model.load for model in self._models.values() if model.load]
        for load in loads:
            load.cancel()
        closings = self._closings(save)
        await _end([*loads, *closings], save + _ENDING)
        late = [closing for closing in self._closings(0.0) if closing not in closings]
        await _end(late, _ENDING)  # of what was loaded nevertheless
        await self._loads.close()

    def _closings(self, save: float) -> list[asyncio.Task[None]]:
        """Begin to unload what is loaded; return the tasks of all that is being unloaded."""
        for model in self._models.values():
            if model.state == "ready":
                self._memory.unload(model, save=save)
        return [model.closing for model in self._models.values() if model.closing]


def _use(model: PooledModel) -> ModelUse:
    ready = model.state == "ready"
    stats = model.loaded.base.stats() if ready and model.loaded else None
    return ModelUse(model.state, model.status().progress, model.held, stats, model.prompt_cache)


async def _end(tasks: Sequence[asyncio.Task[None]], seconds: float) -> None:
    """Wait for *tasks* to end, for so many *seconds* at the most; say which do not."""
    if not tasks:
        return
    _, left = await asyncio.wait(tasks, timeout=seconds)
    for task in left:
        logger.error("%s hangs; its thread ends with the process", task.get_name())


def _call(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    with suppress(RuntimeError):  # the loop is closed, and the pool with it
        loop.call_soon_threadsafe(function)

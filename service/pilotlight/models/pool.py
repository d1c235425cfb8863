"""The life of a model: absent → loading → ready → draining → absent, or failed with a cool-down.

`ensure_ready` owns every decision. It runs on the event loop and decides between two awaits, so
what it reads is still true when it acts; loading and closing run in threads. Waiters share one
load, which goes on when they leave. Who waits counts as a user, or two models that do not fit
together would evict each other before anybody gets an answer.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial

from pilotlight.deployment import process_age
from pilotlight.errors import (
    InsufficientMemory,
    ModelLoadFailed,
    ModelLoading,
    ModelUnsupported,
)
from pilotlight.models import eviction
from pilotlight.models.catalog import ModelEntry
from pilotlight.models.health.watchdog import Watchdog, close_when_unblocked, kill
from pilotlight.models.loaded import Hanging, Hold, LoadedModel, ModelStatus
from pilotlight.models.loading.abandon import on_own_thread
from pilotlight.models.loading.failure import COOL_DOWN, load_failed, shutting_down
from pilotlight.models.loading.history import LoadHistory
from pilotlight.models.loading.loader import Loader, LoadStuck, Order
from pilotlight.models.loading.progress import LoadTimes, LoadWatch
from pilotlight.models.registry import Registry
from pilotlight.observability.metrics import LoadRecord
from pilotlight.observability.model_gauges import ModelSnapshot
from pilotlight.retry_after import after_load
from pilotlight.schema.models import ModelState
from pilotlight_backend import Backend, EngineStats, InferenceFailed, LoadOptions
from pilotlight_backend.cgroup import memory_size

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class _Model:
    """What the pool knows of one model. Touched on the event loop alone."""

    entry: ModelEntry
    state: ModelState = "absent"
    load: asyncio.Task[None] | None = None
    """While loading."""
    watch: LoadWatch | None = None
    """While loading."""
    loaded: LoadedModel | None = None
    """While ready or draining."""
    closing: asyncio.Task[None] | None = None
    """While draining."""
    need: int = 0
    """Bytes that it takes or is about to take."""
    held: int = 0
    """Requests that wait for a load of it."""
    users: int = 0
    """Leases, and requests that wait for one."""
    last_used: float = 0.0
    failure: ModelLoadFailed | None = None
    failed_at: float = 0.0
    stuck: Hanging | None = None
    """A load that was given up, while its thread has not ended: no other is begun meanwhile."""
    earlier_loads: Sequence[LoadTimes] = ()


class Pool:
    """Every model that was ever asked for, and the memory they share."""

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
        on_load: Callable[[LoadRecord], None] = lambda _: None,
        jitter: Callable[[], float] = random.random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """*clock* gives seconds; *memory_budget* is bytes, *idle_ttl* seconds, 0 for never.

        *max_held* requests may wait for loads at a time; *on_load* is told of each that ended.
        *place* says what loads a model, given its backend. *step_timeout* and *load_timeout* are
        seconds, 0 for never.
        """
        self._loader = Loader(
            registry,
            history,
            load_options=load_options,
            place=place,
            timeout=load_timeout,
            clock=clock,
            sleep=sleep,
        )
        self._memory_budget = memory_budget
        self._idle_ttl = idle_ttl
        self._clock = clock
        self._max_held = max_held
        self._held = 0
        self._loads = 0
        """Those that succeeded."""
        self._on_load = on_load
        self._jitter = jitter
        self._models: dict[ModelEntry, _Model] = {}
        self._room = asyncio.Event()
        """Set when a model may have become idle or is gone: who waits for memory looks again."""
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False
        self._hanging: set[Hanging] = set()
        self._watchdog = Watchdog(
            busy=self._busy, timeout=step_timeout, on_hang=self._give_up, clock=clock
        )

    # ── looking ────────────────────────────────────────────────────────────────────────────────

    @property
    def loaded(self) -> list[ModelEntry]:
        """The entries of the models that are loaded or being loaded."""
        return [m.entry for m in self._models.values() if m.state in ("loading", "ready")]

    def status(self, entry: ModelEntry) -> ModelStatus:
        """Return how far *entry* is."""
        model = self._models.get(entry)
        if model is None:
            return ModelStatus("absent")
        if model.state == "loading":
            share = model.watch.share(model.earlier_loads) if model.watch else 0.0
            return ModelStatus("loading", share, self._remaining(model))
        if _has_died(model):
            return ModelStatus("absent")
        if model.state == "failed" and model.failure:
            return ModelStatus("failed", error=model.failure.message)
        return ModelStatus(model.state, progress=1.0 if model.state == "ready" else 0.0)

    def engines(self) -> dict[str, EngineStats]:
        """Return a snapshot of each loaded model's engine, by the model's name."""
        loaded = [model.loaded for model in self._models.values() if model.state == "ready"]
        return {model.entry.name: model.base.stats() for model in loaded if model}

    def snapshots(self) -> dict[str, ModelSnapshot]:
        """Return how each model is that was ever asked for, by its name."""
        engines = self.engines()
        return {
            entry.name: ModelSnapshot(
                state=model.state,
                progress=self.status(entry).progress,
                held=model.held,
                stats=engines.get(entry.name),
            )
            for entry, model in self._models.items()
        }

    @property
    def hanging(self) -> Sequence[Hanging]:
        """What hangs in this process, and stays until it goes on by itself or the process ends."""
        return sorted(self._hanging, key=lambda one: (one.entry.name, one.during))

    # ── asking ─────────────────────────────────────────────────────────────────────────────────

    @asynccontextmanager
    async def lease(self, entry: ModelEntry, hold: Hold) -> AsyncIterator[LoadedModel]:
        """Keep a model loaded for the time of a request; waits for it as *hold* says.

        Raises what `ensure_ready` raises.
        """
        model = self._model(entry)
        model.users += 1
        try:
            await self.ensure_ready(entry, hold)
            assert model.loaded  # noqa: S101 - it was ready just now, and nothing was awaited since
            self._watchdog.wake()
            yield model.loaded
        finally:
            model.users -= 1
            model.last_used = self._clock()
            self._room.set()
            self._schedule_sweep()

    async def ensure_ready(self, entry: ModelEntry, hold: Hold) -> None:
        """Return when *entry*'s model is in state ready, loading it if need be.

        | state    | decision                                                  |
        |----------|-----------------------------------------------------------|
        | ready    | (1) return; where its engine has died, unload and (3)     |
        | failed   | (2) raise the failure until it has cooled down, and while |
        |          | its thread hangs; then (4)                                |
        | draining | (3) wait until it is absent, then (4)                     |
        | absent   | (4) start the one load, then (5)                          |
        | loading  | (5) wait for the load; at the deadline raise ModelLoading |

        (6) A wait that the estimate says is in vain is not begun, where *hold* lets it be so, nor
        one more than `max_held`: both raise ModelLoading at once.

        Raises `ModelLoadFailed` or `ModelLoading`; once the pool is closed, no load is started.
        """
        model = self._model(entry)
        deadline = self._clock() + hold.seconds
        while True:
            if self._closed:
                raise shutting_down()
            if _has_died(model):  # (1)
                self._fail_engine(model, f"the engine of {entry.name!r} has died")
            if model.state == "ready":
                return
            if model.state == "failed":  # (2)
                self._raise_while_cooling(model)
                model.state = "absent"
            if model.state == "draining":  # (3)
                assert model.closing  # noqa: S101 - what draining means
                await self._wait(model, model.closing, deadline)
                continue
            if model.state == "absent":  # (4)
                self._start_load(model)
            assert model.load  # noqa: S101 - what loading means
            if hold.may_give_up and self._is_in_vain(model, deadline):  # (6)
                raise self._loading(model)
            await self._wait(model, model.load, deadline)  # (5)

    def _model(self, entry: ModelEntry) -> _Model:
        return self._models.setdefault(entry, _Model(entry))

    async def _wait(self, model: _Model, task: asyncio.Task[None], deadline: float) -> None:
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

    def _is_in_vain(self, model: _Model, deadline: float) -> bool:
        left = self._remaining(model)
        return left is not None and self._clock() + left > deadline

    def _raise_while_cooling(self, model: _Model) -> None:
        assert model.failure  # noqa: S101 - what failed means
        left = COOL_DOWN if model.stuck else model.failed_at + COOL_DOWN - self._clock()
        if left <= 0:
            return
        failure = model.failure
        permanent = failure.retry_after is None
        raise type(failure)(
            failure.message,
            retry_after=None if permanent else after_load(left, self._jitter()),
        )

    def _loading(self, model: _Model) -> ModelLoading:
        return ModelLoading(
            f"the model {model.entry.name!r} is loading",
            retry_after=after_load(self._remaining(model), self._jitter()),
        )

    def _remaining(self, model: _Model) -> float | None:
        return model.watch.remaining(model.earlier_loads) if model.watch else None

    # ── loading ────────────────────────────────────────────────────────────────────────────────

    def _start_load(self, model: _Model) -> None:
        model.state = "loading"
        model.failure = None
        model.watch = LoadWatch(self._clock)
        model.load = asyncio.create_task(
            self._load(model, model.watch), name=f"load {model.entry.name}"
        )

    async def _load(self, model: _Model, watch: LoadWatch) -> None:
        """Load *model* and leave it ready or failed; raises only when the pool closes."""
        logger.info("loading %s", model.entry.name)
        began_at = process_age()
        try:
            order = await self._loader.order(model.entry, watch)
            await self._make_room(model, order)
            model.earlier_loads = await self._loader.earlier(order)
            engine = await self._loader.load(order, watch)
            facts = engine.facts
        except asyncio.CancelledError:
            self._fail(model, shutting_down(), logging.INFO)  # nothing went wrong
            raise
        except LoadStuck as stuck:
            self._fail(model, self._load_stuck(model, stuck))
        except ModelLoadFailed as error:
            self._fail(model, error)
        except Exception as error:  # noqa: BLE001 - a plugin's edge
            failure = load_failed(model.entry, error)
            # Whoever asks for a projector makes no error of ours.
            unsupported = isinstance(failure, ModelUnsupported)
            self._fail(model, failure, logging.WARNING if unsupported else logging.ERROR)
        else:
            took, age, phases = watch.elapsed, watch.age, watch.end()
            reading = phases.get("read", took)
            times = LoadTimes(reading, took - reading)
            model.earlier_loads = (*model.earlier_loads, times)
            self._loader.remember(order, times)
            model.loaded = LoadedModel(
                model.entry, order.name, facts, engine, phases, began_at, first=not self._loads
            )
            logger.info("loaded %s with %s in %.2f s", model.entry.name, order.name, took)
            self._ready(model, age)
        finally:
            model.load = model.watch = None

    def _ready(self, model: _Model, seconds: float) -> None:
        assert model.loaded  # noqa: S101 - what ready means
        self._loads += 1
        model.last_used = self._clock()
        model.state = "ready"
        self._room.set()  # where its waiters have left, it is idle from the start
        self._on_load(
            LoadRecord(
                model=model.entry.name,
                backend=model.loaded.backend,
                outcome="ready",
                phases=model.loaded.phases,
                seconds=seconds,
            )
        )
        self._schedule_sweep()

    def _load_stuck(self, model: _Model, stuck: LoadStuck) -> ModelLoadFailed:
        """Return why *model* is not loaded, and keep it from being loaded beside what hangs."""
        what = f"loading {model.entry.name!r} has made no progress for {stuck.seconds:g} s"
        if stuck.ended.done():
            return ModelLoadFailed(f"{what}, and its process was killed", retry_after=COOL_DOWN)
        model.stuck = Hanging(model.entry, "load", model.need)
        self._hanging.add(model.stuck)
        stuck.ended.add_done_callback(partial(self._load_ended, model, model.stuck))
        return ModelLoadFailed(
            f"{what} and cannot be ended; the model is not loaded again until it ends,"
            " or this process does",
            retry_after=COOL_DOWN,
        )

    def _load_ended(self, model: _Model, stuck: Hanging, ended: asyncio.Task[None]) -> None:
        if ended.cancelled():  # the pool was closed, and the thread is as it was
            return
        logger.info("a load of %s hung, and has ended now", model.entry.name)
        model.stuck = None
        self._hanging.discard(stuck)
        self._room.set()

    def _fail(self, model: _Model, failure: ModelLoadFailed, level: int = logging.ERROR) -> None:
        model.failure = failure
        model.failed_at = self._clock()
        model.need = 0
        model.state = "failed"
        self._room.set()
        logger.log(level, "cannot load %s: %s", model.entry.name, failure.message)
        self._on_load(
            LoadRecord(
                model=model.entry.name,
                backend="",
                outcome=failure.code,
                phases={},
                seconds=model.watch.age if model.watch else 0.0,
            )
        )

    # ── memory ─────────────────────────────────────────────────────────────────────────────────

    async def _make_room(self, model: _Model, order: Order) -> None:
        """Reserve what *order* needs of the budget, unloading idle models, awaiting busy ones."""
        need, budget = order.need, self._memory_budget
        if budget is not None and need > budget:
            raise InsufficientMemory(
                f"the model {model.entry.name!r} needs {memory_size(need)} of memory,"
                f" the budget is {memory_size(budget)}; {order.fitting(budget)}",
                retry_after=None,
            )
        if budget is not None and need + self._held_by_hanging > budget:
            raise InsufficientMemory(
                f"the model {model.entry.name!r} needs {memory_size(need)} of memory, and of the"
                f" budget of {memory_size(budget)} engines that hang hold"
                f" {memory_size(self._held_by_hanging)}",
                retry_after=COOL_DOWN,
            )
        while (evicted := eviction.choose(self._residents(), need, budget)) is None:
            self._room.clear()
            await self._room.wait()
        model.need = need
        closings = [self._drain(self._models[entry]) for entry in evicted]
        if closings:
            await asyncio.wait(closings)

    @property
    def _held_by_hanging(self) -> int:
        return sum(one.need for one in self._hanging)

    def _residents(self) -> list[eviction.Resident]:
        """Return who takes memory; who loads or drains does too, and cannot be evicted."""
        hanging = [eviction.Resident(one.entry, one.need, 1, 0.0) for one in self._hanging]
        return hanging + [
            eviction.Resident(
                model.entry,
                model.need,
                model.users if model.state == "ready" else 1,
                model.last_used,
            )
            for model in self._models.values()
            if model.need
        ]

    def _drain(self, model: _Model) -> asyncio.Task[None]:
        """Begin to unload a ready model."""
        model.state = "draining"
        model.closing = asyncio.create_task(self._close(model), name=f"close {model.entry.name}")
        return model.closing

    async def _close(self, model: _Model) -> None:
        assert model.loaded  # noqa: S101 - what draining means
        try:
            await on_own_thread(model.loaded.base.close, f"close {model.entry.name}")
        except Exception:  # a plugin's edge
            logger.exception("closing %s failed", model.entry.name)
        model.loaded = None
        model.closing = None
        model.need = 0
        model.state = "absent"
        self._room.set()
        logger.info("unloaded %s", model.entry.name)

    # ── engines that fail ──────────────────────────────────────────────────────────────────────

    def _busy(self) -> list[LoadedModel]:
        models = self._models.values()
        return [m.loaded for m in models if m.state == "ready" and m.users and m.loaded]

    def _fail_engine(self, model: _Model, reason: str) -> None:
        """End the requests of an engine that has died, and unload it."""
        assert model.loaded  # noqa: S101 - what ready means
        logger.error("%s", reason)
        model.loaded.fail(InferenceFailed(reason))
        self._drain(model)

    def _give_up(self, loaded: LoadedModel, timeout: float) -> None:
        """End the requests of an engine that hangs: its process, or else the wait for its thread.

        What hangs in a thread stays there, with its memory, until it goes on or the process ends.
        """
        model = self._models[loaded.entry]
        reason = f"the engine of {loaded.entry.name!r} hangs: a step took more than {timeout:g} s"
        if kill(loaded.base, reason):
            self._fail_engine(model, reason)
            return
        logger.error("%s; its thread and its memory stay until this process ends", reason)
        loaded.fail(InferenceFailed(reason))
        hanging = Hanging(model.entry, "step", model.need)
        self._hanging.add(hanging)
        model.loaded, model.need, model.state = None, 0, "absent"
        loop = asyncio.get_running_loop()
        close_when_unblocked(loaded.base, partial(_call, loop, partial(self._recovered, hanging)))

    def _recovered(self, hanging: Hanging) -> None:
        logger.info("an engine of %s hung, and is closed now", hanging.entry.name)
        self._hanging.discard(hanging)
        self._room.set()

    # ── idleness ───────────────────────────────────────────────────────────────────────────────

    def sweep(self) -> None:
        """Unload every model that was idle for `idle_ttl`, and look again when the next may be."""
        self._sweeper = None
        now = self._clock()
        for model in self._models.values():
            idle = model.state == "ready" and not model.users
            if idle and now - model.last_used >= self._idle_ttl:
                self._drain(model)
        self._schedule_sweep()

    def _schedule_sweep(self) -> None:
        if not self._idle_ttl or self._sweeper or self._closed:
            return
        idle = [m.last_used for m in self._models.values() if m.state == "ready" and not m.users]
        if not idle:
            return  # the end of a lease looks again
        wait = max(min(idle) + self._idle_ttl - self._clock(), 0.0)
        self._sweeper = asyncio.get_running_loop().call_later(wait, self.sweep)

    # ── the end ────────────────────────────────────────────────────────────────────────────────

    async def close(self) -> None:
        """End every load and close every engine; requests that still run end with an error.

        Returns when their threads are done: a load's at its next report of progress. Those that
        hang are not waited for.
        """
        self._closed = True
        self._watchdog.close()
        if self._sweeper:
            self._sweeper.cancel()
        loads = [model.load for model in self._models.values() if model.load]
        for load in loads:
            load.cancel()
        if loads:
            await asyncio.wait(loads)
        closings = [self._drain(m) for m in self._models.values() if m.state == "ready"]
        closings += [m.closing for m in self._models.values() if m.closing]
        if closings:
            await asyncio.wait(closings)
        await self._loader.close()


def _has_died(model: _Model) -> bool:
    return model.state == "ready" and model.loaded is not None and model.loaded.base.stats().dead


def _call(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    with suppress(RuntimeError):  # the loop is closed, and the pool with it
        loop.call_soon_threadsafe(function)

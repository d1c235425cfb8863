"""Run the load of a model as a task, which leaves it ready or failed."""

import asyncio
import logging
import threading
from collections.abc import Callable
from functools import partial

from pilotlight.deployment import process_age
from pilotlight.errors import ModelLoadFailed, ModelUnsupported, Unavailable, shutting_down
from pilotlight.models.loaded import Hang, LoadedModel
from pilotlight.models.loading.failure import COOL_DOWN, load_failed
from pilotlight.models.loading.loader import Loader, LoadStalled
from pilotlight.models.loading.progress import LoadTimes, LoadTracker
from pilotlight.models.memory import Memory
from pilotlight.models.state import LoadEnded, OnLoad, PooledModel

logger = logging.getLogger(__name__)


class LoadRunner:
    """Starts loads. Each continues when the requests that wait for it leave. Used on one loop."""

    def __init__(
        self,
        loader: Loader,
        memory: Memory,
        *,
        clock: Callable[[], float],
        on_ready: Callable[[], None],
        on_load: OnLoad,
    ) -> None:
        """*on_load* gets every load that ended, *on_ready* is called after those that succeeded."""
        self._loader = loader
        self._memory = memory
        self._clock = clock
        self._on_ready = on_ready
        self._on_load = on_load
        self._succeeded = 0
        self.under_way = threading.Event()
        """Set once a load needs little of this process's GIL: its backend reads or computes in
        native code, which it reports, or in another process, or it has ended."""

    def start(self, model: PooledModel) -> None:
        """Start the load of an absent model."""
        model.state = "loading"
        model.failure = None
        model.tracker = LoadTracker(self._clock, reported=self.under_way)
        model.load = asyncio.create_task(
            self._load(model, model.tracker), name=f"load {model.entry.name}"
        )

    async def _load(self, model: PooledModel, tracker: LoadTracker) -> None:
        """Load *model* and leave it ready or failed; raises only if the pool closes."""
        logger.info("loading %s", model.entry.name)
        began_at = process_age()
        try:
            plan = await self._loader.plan(model.entry, tracker)
            await self._memory.reserve(model, plan)
            model.earlier_loads = await self._loader.earlier(plan)
            if plan.own_process:
                self.under_way.set()
            engine = await self._memory.load(
                model.entry.name, partial(self._loader.load, plan, tracker)
            )
            facts = engine.facts
        except asyncio.CancelledError:
            self._fail(model, shutting_down(), logging.INFO)  # no error: the pool closes
            raise
        except LoadStalled as stalled:
            self._fail(model, self._stalled(model, stalled))
        except ModelLoadFailed as error:
            self._fail(model, error)
        except Exception as error:  # noqa: BLE001 - a plugin's edge
            failure = load_failed(model.entry, error)
            # A client can name a file that no backend serves: no error of this server.
            unsupported = isinstance(failure, ModelUnsupported)
            self._fail(model, failure, logging.WARNING if unsupported else logging.ERROR)
        else:
            took, age, phases = tracker.elapsed, tracker.age, tracker.end()
            reading = phases.get("read", took)
            times = LoadTimes(reading, took - reading)
            model.earlier_loads = (*model.earlier_loads, times)
            self._loader.remember(plan, times)
            model.loaded = LoadedModel(
                model.entry,
                plan.name,
                facts,
                engine,
                phases,
                began_at,
                first=not self._succeeded,
            )
            logger.info("loaded %s with %s in %.2f s", model.entry.name, plan.name, took)
            self._ready(model, model.loaded, age)
        finally:
            self.under_way.set()
            model.load = model.tracker = None

    def _ready(self, model: PooledModel, loaded: LoadedModel, seconds: float) -> None:
        self._succeeded += 1
        model.last_used = self._clock()
        model.state = "ready"
        self._memory.changed()  # if its waiters have left, it is idle from the start
        self._on_load(
            LoadEnded(
                entry=model.entry,
                outcome="ready",
                seconds=seconds,
                backend=loaded.backend,
                phases=loaded.phases,
            )
        )
        self._on_ready()

    def _fail(self, model: PooledModel, failure: Unavailable, level: int = logging.ERROR) -> None:
        model.failure = failure
        model.failed_at = self._clock()
        model.need = 0
        model.state = "failed"
        self._memory.changed()
        logger.log(level, "cannot load %s: %s", model.entry.name, failure.message)
        seconds = model.tracker.age if model.tracker else 0.0
        self._on_load(
            LoadEnded(entry=model.entry, outcome=failure.code, seconds=seconds, phases={})
        )

    def _stalled(self, model: PooledModel, stalled: LoadStalled) -> ModelLoadFailed:
        """Return why *model* is not loaded, and block other loads of it while this one hangs."""
        what = f"loading {model.entry.name!r} has made no progress for {stalled.seconds:g} s"
        if stalled.ended.done():
            return ModelLoadFailed(f"{what}, and its process was killed", retry_after=COOL_DOWN)
        model.stalled = Hang(model.entry, "load", model.need)
        self._memory.add_hang(model.stalled)
        stalled.ended.add_done_callback(partial(self._unblocked, model, model.stalled))
        return ModelLoadFailed(
            f"{what} and cannot be stopped; the model is not loaded again until this load ends"
            " or the server restarts",
            retry_after=COOL_DOWN,
        )

    def _unblocked(self, model: PooledModel, hang: Hang, ended: asyncio.Task[None]) -> None:
        if ended.cancelled():  # the pool was closed, and the thread still hangs
            return
        logger.info("a hanging load of %s has ended", model.entry.name)
        model.stalled = None
        self._memory.remove_hang(hang)

    async def close(self) -> None:
        """Return when the load times are written; loads that hang are not waited for."""
        await self._loader.close()

"""The memory that all models share: reserve it for a load, evict idle models, unload."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from pilotlight.errors import InsufficientMemory
from pilotlight.models import eviction
from pilotlight.models.catalog import ModelEntry
from pilotlight.models.health.watchdog import kill
from pilotlight.models.loaded import Hang
from pilotlight.models.loading.failure import COOL_DOWN
from pilotlight.models.loading.loader import LoadPlan
from pilotlight.models.loading.threads import on_own_thread
from pilotlight.models.prompts import AT_UNLOAD, save_prompts
from pilotlight.models.state import PooledModel
from pilotlight_backend import BaseEngine
from pilotlight_backend import InsufficientMemory as TooLittleMemory
from pilotlight_backend.cgroup import available_memory, memory_size

logger = logging.getLogger(__name__)

T = TypeVar("T")

_UNLOADING = 60.0
"""Seconds after which an engine that is being closed hangs: it has nothing left to compute."""


class Memory:
    """Reserves memory within a budget. Used on one loop."""

    def __init__(
        self,
        budget: int | None,
        models: Mapping[ModelEntry, PooledModel],
        available: Callable[[], int | None] = available_memory,
    ) -> None:
        """*budget* is bytes, None for unlimited; *models* are the pool's, a live view.

        *available* returns the bytes that the machine has left, None if that is unknown.
        """
        self._budget = budget
        self._models = models
        self._available = available
        self._hangs: set[Hang] = set()
        self._changed = asyncio.Event()
        """Set when a model may have become idle or was unloaded: who waits for memory checks."""

    def changed(self) -> None:
        """Let the loads that wait for memory check again."""
        self._changed.set()

    # ── reserving ──────────────────────────────────────────────────────────────────────────────

    async def reserve(self, model: PooledModel, plan: LoadPlan) -> None:
        """Reserve what *plan* needs for *model*: unload idle models, and wait for those in use.

        Raises `InsufficientMemory` if *model* can never fit.
        """
        need = plan.need
        self._check(plan)
        while (evicted := eviction.choose(self._residents(), need, self._budget)) is None:
            self._changed.clear()
            await self._changed.wait()
            self._check(plan)  # what it waited for may hang now
        model.need = need
        if closings := [self.unload(self._models[entry]) for entry in evicted]:
            await asyncio.wait(closings)
            self._check(plan)  # one of them may hang

    async def grow(self, model: PooledModel, size: int, name: str) -> None:
        """Reserve *size* more bytes for *model*, which is in use: unload idle models.

        For its adapter *name*. Does not wait for models in use: two that wait for each other would
        do so for ever. Raises `InsufficientMemory`.
        """
        evicted = eviction.choose(self._residents(), size, self._budget)
        if evicted is None:
            raise InsufficientMemory(
                f"the adapter {name!r} needs {memory_size(size)} of memory, and the budget of"
                f" {memory_size(self._budget or 0)} is in use",
                retry_after=COOL_DOWN,
            )
        model.need += size
        if closings := [self.unload(self._models[entry]) for entry in evicted]:
            await asyncio.wait(closings)

    def shrink(self, model: PooledModel, size: int) -> None:
        """Give back what `grow` has reserved."""
        model.need = max(0, model.need - size)
        self.changed()

    async def load(self, name: str, load: Callable[[], Awaitable[T]]) -> T:
        """Return what *load* returns, the load of the model or adapter *name*.

        If its backend finds too little memory, idle models are unloaded and it is tried once more:
        without a budget, or with one above what the machine has, nothing else makes room. Raises
        what *load* raises.
        """
        try:
            return await load()
        except TooLittleMemory as error:
            if not (unloaded := await self._free(error.required)):
                raise
            names = ", ".join(entry.name for entry in unloaded)
            logger.warning("loading %s again without %s: %s", name, names, error)
        return await load()

    async def _free(self, required: int) -> list[ModelEntry]:
        """Unload idle models until *required* bytes are available; return which, if there are any.

        None is unloaded if all of them would not be enough: each request for a model that is too
        large would unload the others. Those that are being unloaded anyway come first.
        What is available is measured: the mapped weights of an idle model count as available
        already, and do not make room.
        """
        unloaded: list[ModelEntry] = []
        if not self._can_free(required):
            return unloaded
        while closing := self._closing() or [
            self._models[one.entry] for one in eviction.idle(self._residents())[:1]
        ]:
            unloaded += [model.entry for model in closing]
            await asyncio.wait([model.closing or self.unload(model) for model in closing])
            if (self._available() or 0) >= required:
                break
        return unloaded

    def _can_free(self, required: int) -> bool:
        """Return whether *required* bytes may be available without any idle model."""
        available = self._available()
        if available is None:
            return True
        closing = sum(model.need for model in self._closing())
        idle = sum(one.need for one in eviction.idle(self._residents()))
        return required <= available + closing + idle

    def _closing(self) -> list[PooledModel]:
        return [model for model in self._models.values() if model.closing]

    def _check(self, plan: LoadPlan) -> None:
        budget = self._budget
        if budget is None:
            return
        needs = f"the model {plan.entry.name!r} needs {memory_size(plan.need)} of memory"
        if plan.need > budget:
            raise InsufficientMemory(
                f"{needs}, the budget is {memory_size(budget)}; {plan.fitting(budget)}",
                retry_after=None,
            )
        hanging = sum(hang.need for hang in self._hangs)
        if plan.need + hanging > budget:
            raise InsufficientMemory(
                f"{needs}, and hanging engines hold {memory_size(hanging)} of the budget of"
                f" {memory_size(budget)}",
                retry_after=COOL_DOWN,
            )

    def _residents(self) -> list[eviction.Resident]:
        """Return the models in memory; those that load, drain or hang cannot be evicted."""
        hanging = [eviction.Resident(hang.entry, hang.need, 1, 0.0) for hang in self._hangs]
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

    # ── unloading ──────────────────────────────────────────────────────────────────────────────

    def unload(self, model: PooledModel, *, save: float = AT_UNLOAD) -> asyncio.Task[None]:
        """Start to unload a ready model, and return the task.

        Its prompts are written to storage for *save* seconds at the most.
        """
        model.state = "draining"
        closing = self._close(model, save)
        model.closing = asyncio.create_task(closing, name=f"close {model.entry.name}")
        return model.closing

    async def _close(self, model: PooledModel, save: float) -> None:
        assert model.loaded  # noqa: S101 - true while draining
        if save > 0 and not model.has_died:
            await save_prompts(model.loaded.base, save)
        engine = model.loaded.base
        closing = on_own_thread(engine.close, f"close {model.entry.name}")
        await asyncio.wait((closing,), timeout=_UNLOADING)
        if not closing.done():
            self._give_up(model, engine, closing)
        elif error := closing.exception():  # a plugin's edge
            logger.error("cannot close the engine of %s", model.entry.name, exc_info=error)
        model.forget_engine()
        model.closing = None
        model.need = 0
        model.state = "absent"
        self.changed()
        logger.info("unloaded %s", model.entry.name)

    def _give_up(
        self, model: PooledModel, engine: BaseEngine, closing: asyncio.Future[None]
    ) -> None:
        """Leave an engine that does not close to its thread, or kill its process if it has one."""
        reason = f"unloading {model.entry.name!r} hangs: it took more than {_UNLOADING:g} s"
        if kill(engine, reason):
            logger.error("%s; its process was killed", reason)
            return
        logger.error("%s; its thread and its memory stay until this process ends", reason)
        hang = Hang(model.entry, "unload", model.need)
        self.add_hang(hang)
        closing.add_done_callback(lambda _: self.remove_hang(hang))

    # ── memory that hangs ──────────────────────────────────────────────────────────────────────

    @property
    def hangs(self) -> Sequence[Hang]:
        """The loads and steps that hang in this process, sorted."""
        return sorted(self._hangs, key=lambda hang: (hang.entry.name, hang.during))

    def add_hang(self, hang: Hang) -> None:
        """Count the memory of *hang* as used until `remove_hang`."""
        self._hangs.add(hang)
        self.changed()

    def remove_hang(self, hang: Hang) -> None:
        """Count the memory of *hang* as free again."""
        self._hangs.discard(hang)
        self.changed()

"""One load: fetch the files, find the backend, load on a thread, give up if it stalls."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from pilotlight.models import eviction
from pilotlight.models.baked import warn_of_unused, with_baked
from pilotlight.models.catalog import ModelEntry
from pilotlight.models.fetch.address import Origin
from pilotlight.models.loading.history import LoadHistory, model_key
from pilotlight.models.loading.progress import LoadTimes, LoadTracker, stall
from pilotlight.models.loading.threads import Stalled, in_thread
from pilotlight.models.projectors import served_facts
from pilotlight.models.registry import Claim, Registry
from pilotlight_backend import (
    Backend,
    BackendError,
    BaseEngine,
    LoadOptions,
    ModelFacts,
    capacity,
)

if TYPE_CHECKING:
    from pilotlight.models.fetch.progress import FetchProgress

_KILLED_WITHIN = 5.0
"""Seconds in which the killed process of a stalled load ends; after that it counts as hanging."""


class LoadPlan(Struct, frozen=True):
    """What to load, and with what."""

    entry: ModelEntry
    name: str
    """The name of the backend that serves it."""
    backend: Backend
    """That backend, or one that runs its engines in processes of their own."""
    own_process: bool
    facts: ModelFacts
    options: LoadOptions
    beside: int = 0
    """The bytes of the slots of its draft model."""

    @property
    def need(self) -> int:
        """The bytes of memory that the model will use."""
        return eviction.memory_need(self.facts, self.options) + self._beside

    def fitting(self, room: int) -> str:
        """Return which options would let it fit into *room* bytes, for people."""
        return capacity.fitting(self.facts, self.options, room - self._beside)

    @property
    def _beside(self) -> int:
        return self.beside + (eviction.PROCESS_BYTES if self.own_process else 0)

    @property
    def key(self) -> str:
        """The key of its load times in the history."""
        return model_key(self.name, self.facts)


def within(
    options: LoadOptions, facts: ModelFacts, budget: int | None, *, beside: int = 0
) -> LoadOptions:
    """Return *options* with a prompt cache that fits into *budget*, bytes for all models.

    *beside* is the bytes of what is loaded with the model.

    Without a budget the engine takes a part of all the memory that is left.
    """
    cache = options.prompt_cache
    if budget is None or cache.memory_bytes is not None:
        return options
    left = max(budget - eviction.memory_need(facts, options) - beside, 0)
    memory = left // capacity.PROMPT_CACHE_SHARE
    return replace(options, prompt_cache=replace(cache, memory_bytes=memory))


class LoadStalled(Exception):
    """A load was given up; the task *ended* is done once its thread has ended."""

    def __init__(self, seconds: float, ended: asyncio.Task[None]) -> None:
        super().__init__(f"no progress for {seconds:g} s")
        self.seconds = seconds
        self.ended = ended


class Loader:
    """Loads models, and remembers how long each load took."""

    def __init__(
        self,
        registry: Registry,
        history: LoadHistory,
        *,
        load_options: Callable[[ModelEntry], LoadOptions],
        place: Callable[[ModelEntry, Backend], Backend],
        timeout: Callable[[ModelEntry], float],
        memory_budget: int | None = None,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        """*place* returns what loads a model, given its backend; *timeout* is seconds, 0: none.

        *memory_budget* is bytes for all models, None for any.
        """
        self._memory_budget = memory_budget
        self._registry = registry
        self._history = history
        self._load_options = load_options
        self._place = place
        self._timeout = timeout
        self._clock = clock
        self._sleep = sleep
        self._writes: set[asyncio.Task[None]] = set()
        self._stalled: set[asyncio.Task[None]] = set()
        """Done once the threads of stalled loads have ended."""

    async def plan(self, entry: ModelEntry, tracker: LoadTracker) -> LoadPlan:
        """Fetch the files of *entry* and find its backend; raises what either raises."""
        if entry.origins:
            tracker.fetched(brought=await fetch_origins(entry.origins, tracker.note_fetch))
        options = self._load_options(entry)
        claim, draft = await asyncio.to_thread(self._claims, entry, options)
        beside = capacity.draft_slots(draft, claim.facts, options) if draft else 0
        backend = self._place(entry, claim.backend)
        return LoadPlan(
            entry=entry,
            name=claim.backend.name,
            backend=backend,
            own_process=backend is not claim.backend,
            facts=claim.facts,
            options=within(options, claim.facts, self._memory_budget, beside=beside),
            beside=beside,
        )

    def _claims(self, entry: ModelEntry, options: LoadOptions) -> tuple[Claim, ModelFacts | None]:
        """Return the claim of *entry*, and the facts of its draft model."""
        claim = self._registry.claim(entry.path, entry.options.backend)
        claim = replace(claim, facts=served_facts(entry, claim, self._registry))
        if options.speculation != "draft" or options.draft_model is None:
            return claim, None
        try:
            return claim, self._registry.claim(options.draft_model, claim.backend.name).facts
        except (BackendError, OSError):  # the load reports it
            return claim, None

    async def earlier(self, plan: LoadPlan) -> Sequence[LoadTimes]:
        """Return how long earlier loads of the same model took."""
        return await asyncio.to_thread(self._history.of, plan.key)

    async def load(self, plan: LoadPlan, tracker: LoadTracker) -> BaseEngine:
        """Load the model; raises what the backend raises, or `LoadStalled`.

        A stalled load in a process of its own is killed at its next report, which comes however the
        process hangs. A stalled load in this process ends with its next report, if there ever is
        one: its thread stays, so no other load of the model may start.
        """
        options = await asyncio.to_thread(with_baked, plan.options, plan.entry, plan.facts)
        tracker.begin()
        work = partial(plan.backend.load, plan.facts, options)
        timeout = self._timeout(plan.entry)
        stalls = partial(
            stall, lambda: tracker.moves, timeout, clock=self._clock, sleep=self._sleep
        )
        try:
            engine = await in_thread(
                work, tracker.note, undo=_close, stalls=stalls if timeout else None
            )
        except Stalled as stalled:
            self._stalled.add(stalled.ended)
            stalled.ended.add_done_callback(self._stalled.discard)
            if plan.own_process:
                await asyncio.wait((stalled.ended,), timeout=_KILLED_WITHIN)
            raise LoadStalled(timeout, stalled.ended) from None
        warn_of_unused(options, engine, plan.name)
        return engine

    def remember(self, plan: LoadPlan, times: LoadTimes) -> None:
        """Write how long a load took to the history, in the background."""
        write = asyncio.create_task(asyncio.to_thread(self._history.add, plan.key, times))
        self._writes.add(write)
        write.add_done_callback(self._writes.discard)

    async def close(self) -> None:
        """Return when the history is written; stalled loads are not waited for."""
        if self._writes:
            await asyncio.wait(self._writes)
        for ended in self._stalled:
            ended.cancel()


async def fetch_origins(
    origins: Sequence[Origin], note: Callable[["FetchProgress"], None] = lambda _: None
) -> bool:
    """Fetch the files that are not on this machine, and return whether there were any."""
    from pilotlight.models.fetch.fetch import fetch  # noqa: PLC0415 - few models need it

    return bool(await in_thread(partial(fetch, origins), note))


def _close(engine: BaseEngine) -> None:
    engine.close()

"""One load: the files are brought, a backend is found, and it loads in a thread, in time."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from msgspec import Struct

from pilotlight.models import eviction
from pilotlight.models.baked import warn_of_unused, with_baked
from pilotlight.models.catalog import ModelEntry, Origin
from pilotlight.models.loading.abandon import Stalled, in_thread
from pilotlight.models.loading.history import LoadHistory, model_key
from pilotlight.models.loading.progress import LoadTimes, LoadWatch, stall
from pilotlight.models.registry import Registry
from pilotlight_backend import Backend, BaseEngine, LoadOptions, ModelFacts, capacity

_KILLED_WITHIN = 5.0
"""Seconds in which the process of a load that is given up ends; else it counts as hanging."""


class Order(Struct, frozen=True):
    """What is about to be loaded, and with what."""

    entry: ModelEntry
    name: str
    """The backend's."""
    backend: Backend
    """Itself, or what gives its engines processes of their own."""
    own_process: bool
    facts: ModelFacts
    options: LoadOptions

    @property
    def need(self) -> int:
        """Bytes of memory that it will take."""
        return eviction.memory_need(self.facts, self.options) + self._process

    def fitting(self, room: int) -> str:
        """Return which options would let it fit into *room* bytes, for people."""
        return capacity.fitting(self.facts, self.options, room - self._process)

    @property
    def _process(self) -> int:
        return eviction.PROCESS_BYTES if self.own_process else 0

    @property
    def key(self) -> str:
        """What its earlier loads are remembered under."""
        return model_key(self.name, self.facts)


class LoadStuck(Exception):
    """A load was given up; *ended* is done once its thread has ended after all."""

    def __init__(self, seconds: float, ended: asyncio.Task[None]) -> None:
        super().__init__(f"no progress for {seconds:g} s")
        self.seconds = seconds
        self.ended = ended


class Loader:
    """Loads models, and remembers how long that took."""

    def __init__(
        self,
        registry: Registry,
        history: LoadHistory,
        *,
        load_options: Callable[[ModelEntry], LoadOptions],
        place: Callable[[ModelEntry, Backend], Backend],
        timeout: Callable[[ModelEntry], float],
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        """*place* says what loads a model, given its backend; *timeout* is in seconds, 0: never."""
        self._registry = registry
        self._history = history
        self._load_options = load_options
        self._place = place
        self._timeout = timeout
        self._clock = clock
        self._sleep = sleep
        self._notes: set[asyncio.Task[None]] = set()
        self._stuck: set[asyncio.Task[None]] = set()
        """They end when the threads of loads do that were given up."""

    async def order(self, entry: ModelEntry, watch: LoadWatch) -> Order:
        """Bring *entry*'s files here and find who loads them; raises what either does."""
        if entry.origin:
            watch.fetched(brought=await _fetch(entry.origin, watch))
        claim = await asyncio.to_thread(self._registry.claim, entry.path, entry.options.backend)
        backend = self._place(entry, claim.backend)
        return Order(
            entry=entry,
            name=claim.backend.name,
            backend=backend,
            own_process=backend is not claim.backend,
            facts=claim.facts,
            options=self._load_options(entry),
        )

    async def earlier(self, order: Order) -> Sequence[LoadTimes]:
        """Return what earlier loads of the same took."""
        return await asyncio.to_thread(self._history.of, order.key)

    async def load(self, order: Order, watch: LoadWatch) -> BaseEngine:
        """Load it; raises what the backend does, or `LoadStuck` where it makes no progress.

        A load in a process of its own ends at its next report, which comes whatever the process
        does, and the process with it. One that is here ends if it ever reports again; until then
        its thread stays, which is why no other is to be begun.
        """
        options = await asyncio.to_thread(with_baked, order.options, order.entry, order.facts)
        watch.begin()
        work = partial(order.backend.load, order.facts, options)
        timeout = self._timeout(order.entry)
        stalls = partial(stall, lambda: watch.moves, timeout, clock=self._clock, sleep=self._sleep)
        try:
            engine = await in_thread(
                work, watch.note, undo=_close, stalls=stalls if timeout else None
            )
        except Stalled as stalled:
            self._stuck.add(stalled.ended)
            stalled.ended.add_done_callback(self._stuck.discard)
            if order.own_process:
                await asyncio.wait((stalled.ended,), timeout=_KILLED_WITHIN)
            raise LoadStuck(timeout, stalled.ended) from None
        warn_of_unused(options, engine, order.name)
        return engine

    def remember(self, order: Order, times: LoadTimes) -> None:
        """Note what a load took; nobody waits for the file to be written."""
        note = asyncio.create_task(asyncio.to_thread(self._history.add, order.key, times))
        self._notes.add(note)
        note.add_done_callback(self._notes.discard)

    async def close(self) -> None:
        """Return when everything is written; loads that hang are not waited for."""
        if self._notes:
            await asyncio.wait(self._notes)
        for ended in self._stuck:
            ended.cancel()


async def _fetch(origin: Origin, watch: LoadWatch) -> bool:
    """Bring the files here where they are not, and tell whether any were brought."""
    from pilotlight.models.fetch.fetch import fetch  # noqa: PLC0415 - few models need it

    return await in_thread(partial(fetch, origin.address, origin.root), watch.note_fetch)


def _close(engine: BaseEngine) -> None:
    engine.close()

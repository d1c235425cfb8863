"""Lease a loaded model to a request: admit it, resolve the name, wait for the load, record it."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import NamedTuple
from weakref import WeakKeyDictionary

from pilotlight.errors import (
    InferenceError,
    InvalidRequest,
    ServiceError,
    TimeLimitExceeded,
    shutting_down,
)
from pilotlight.models.adapter_catalog import AdapterCatalog
from pilotlight.models.catalog import ModelEntry
from pilotlight.models.loaded import Hold, LoadedModel
from pilotlight.models.pool import Pool
from pilotlight.models.resolver import Resolver
from pilotlight.models.state import ModelStatus
from pilotlight.observability.answer_recorder import AnswerRecorder
from pilotlight.observability.metrics import Metrics
from pilotlight.observability.request_context import note_answer, overdue
from pilotlight.observability.timing import Phases
from pilotlight.scheduling.adapter_use import AdapterUse
from pilotlight.scheduling.admission import Admission
from pilotlight.scheduling.fair_queue import SlotQueue
from pilotlight.scheduling.rate_limits import RateLimiter
from pilotlight_backend import Adapter, BackendError, EngineClosed


class Lease(NamedTuple):
    """A loaded model for one request, and the request's recorder."""

    model: LoadedModel
    recorder: AnswerRecorder
    adapters: tuple[Adapter, ...] = ()
    """What changes the model's weights for it."""


class WantedAdapter(NamedTuple):
    """An adapter as llama-server's clients name it: by its index among those of the model."""

    id: int
    scale: float


class ModelLeases:
    """Leases models, and slots of their engines, to requests."""

    def __init__(
        self,
        resolver: Resolver,
        pool: Pool,
        admission: Admission,
        metrics: Metrics,
        limiter: RateLimiter,
        *,
        max_queue: int,
        clock: Callable[[], float],
        adapters: AdapterCatalog | None = None,
    ) -> None:
        self._adapters = adapters or AdapterCatalog()
        self.adapter_use = AdapterUse()
        self._resolver = resolver
        self._pool = pool
        self._admission = admission
        self._metrics = metrics
        self._limiter = limiter
        self._max_queue = max_queue
        self._clock = clock
        self._queues: WeakKeyDictionary[LoadedModel, SlotQueue] = WeakKeyDictionary()

    async def status(self, name: str) -> ModelStatus:
        """Return the state of the model that requests call *name*; raises `ModelNotFound`."""
        return self._pool.status(await self._resolver.resolve(name))

    @asynccontextmanager
    async def lease(
        self,
        name: str,
        hold: Hold,
        caller: str = "",
        wanted: Sequence[WantedAdapter] | None = None,
    ) -> AsyncIterator[Lease]:
        """Yield the loaded model that requests call *name*, and the recorder of this request.

        The model of an adapter is its parent. The *wanted* adapters replace what the name says.

        *hold* is how long to wait for a load; the request counts against the limits of *caller*.
        The model stays loaded while the context lasts. An exception in the context is recorded as
        the request's outcome. Raises a `ServiceError`.
        """
        recorder = AnswerRecorder(self._clock)
        try:
            with self._admission.request(), self._limiter.request(caller) as charge:
                entry = await self._resolver.resolve(name)
                recorder.model = entry.name
                recorder.waits = cold = self._pool.status(entry).state != "ready"
                chosen = self._chosen(entry, wanted)
                recorder.adapters = [one.name for one, _ in chosen]
                deadline = self._clock() + hold.seconds
                async with (
                    self._pool.lease(entry.base, hold) as model,
                    self._adapted(model, chosen, deadline) as adapters,
                ):
                    if cold:
                        recorder.cold(self._load_phases(model))
                    try:
                        yield Lease(model, recorder, adapters)
                    finally:
                        charge.tokens = recorder.tokens
        except ServiceError as error:
            recorder.outcome = error.code
            raise
        except BackendError as error:
            raised = self._service_error(error)
            recorder.outcome = raised.code
            raise raised from error
        except Exception:
            recorder.outcome = InferenceError.code
            raise
        except BaseException:  # cancelled, or a generator that is closed
            if overdue():
                recorder.outcome = TimeLimitExceeded.code
            raise
        finally:
            record = recorder.record()
            self._metrics.note(record)
            note_answer(record)

    def _chosen(
        self, entry: ModelEntry, wanted: Sequence[WantedAdapter] | None
    ) -> list[tuple[ModelEntry, float]]:
        """Return the adapters that a request for *entry* has, with their scales."""
        if wanted is None:
            return [(entry, entry.adapter.scale)] if entry.adapter else []
        there = self._adapters.of(entry)
        for index, one in enumerate(wanted):
            if one.id >= len(there):
                has = f"adapters with the ids 0 to {len(there) - 1}" if there else "no adapters"
                raise InvalidRequest(
                    f"lora[{index}].id: the model {entry.base.name!r} has {has}, got {one.id}",
                    param=f"lora[{index}].id",
                )
        return [(there[one.id], one.scale) for one in wanted if one.scale]

    @asynccontextmanager
    async def _adapted(
        self, model: LoadedModel, chosen: Sequence[tuple[ModelEntry, float]], deadline: float
    ) -> AsyncIterator[tuple[Adapter, ...]]:
        """Keep the *chosen* adapters of *model* loaded while the context lasts."""
        async with AsyncExitStack() as stack:
            adapters: dict[str, float] = {}
            for entry, scale in chosen:
                hold = Hold(max(deadline - self._clock(), 0.0))
                adapter = await stack.enter_async_context(
                    self._pool.lease_adapter(model, entry, hold)
                )
                # Two names may have one file: it is applied once, as strongly as both.
                adapters[adapter] = adapters.get(adapter, 0.0) + scale
            yield tuple(Adapter(one, scale) for one, scale in adapters.items())

    @asynccontextmanager
    async def slots(
        self, model: LoadedModel, caller: str = "", slots: int = 1, adapters: Sequence[str] = ()
    ) -> AsyncIterator[None]:
        """Wait in *caller*'s queue for *slots* of *model*, and hold them; raises `QueueFull`.

        The request counts as one of *adapters*.
        """
        async with AsyncExitStack() as stack:
            with self.adapter_use.waits(adapters):
                await stack.enter_async_context(self._acquired(model, caller, slots))
            with self.adapter_use.runs(adapters):
                yield

    def _acquired(
        self, model: LoadedModel, caller: str, slots: int
    ) -> AbstractAsyncContextManager[None]:
        queue = self._queues.get(model)
        if queue is None:
            total = model.base.stats().slots
            queue = SlotQueue(total, max_queue=self._max_queue, clock=self._clock)
            self._queues[model] = queue
        return queue.acquire(caller, slots)

    def waiting(self, name: str) -> int:
        """Return how many requests wait for a slot of the model *name*, outside its engine."""
        return sum(
            queue.waiting for model, queue in self._queues.items() if model.entry.name == name
        )

    def _service_error(self, error: BackendError) -> ServiceError:
        """Return what a client gets for *error* of its engine.

        A shutdown closes the engine under a request that has just got its slot.
        """
        if isinstance(error, EngineClosed) and self._admission.closed:
            return shutting_down()
        return InferenceError(str(error))

    def _load_phases(self, model: LoadedModel) -> Phases:
        """Return the phases of *model*'s load, of the first model from exec on."""
        if model.first and self._metrics.started_in is not None:
            began = {} if model.began_at is None else {"begin": model.began_at}
            return {"import": self._metrics.started_in, **began, **model.phases}
        return model.phases

"""What every request to a model goes through: admitted, resolved, held for its model, noted."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from weakref import WeakKeyDictionary

from pilotlight.errors import InferenceError, ServiceError, TimeLimitExceeded
from pilotlight.models.loaded import Hold, LoadedModel, ModelStatus
from pilotlight.models.pool import Pool
from pilotlight.models.resolver import Resolver
from pilotlight.observability.answer_watch import AnswerWatch
from pilotlight.observability.metrics import Metrics
from pilotlight.observability.request_watch import note_answer, overdue
from pilotlight.observability.timing import Phases
from pilotlight.scheduling.admission import Admission, shutting_down
from pilotlight.scheduling.fair_queue import Turnstile
from pilotlight.scheduling.rate_limits import RateLimiter
from pilotlight_backend import BackendError, EngineClosed


class Reception:
    """Gives requests their models."""

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
    ) -> None:
        self._resolver = resolver
        self._pool = pool
        self._admission = admission
        self._metrics = metrics
        self._limiter = limiter
        self._max_queue = max_queue
        self._clock = clock
        self._turnstiles: WeakKeyDictionary[LoadedModel, Turnstile] = WeakKeyDictionary()

    async def status(self, name: str) -> ModelStatus:
        """Return how far the model is that requests call *name*; raises `ModelNotFound`."""
        return self._pool.status(await self._resolver.resolve(name))

    @asynccontextmanager
    async def model(
        self, name: str, hold: Hold, caller: str = ""
    ) -> AsyncIterator[tuple[LoadedModel, AnswerWatch]]:
        """Yield the model that requests call *name*, loaded, and the watch over this request.

        *hold* is how long to wait for a model that is loading, *caller* whose limits it counts
        against. The model stays for as long as the context lasts; what goes wrong there is the
        request's outcome. Raises a `ServiceError`.
        """
        watch = AnswerWatch(self._clock)
        try:
            with self._admission.request(), self._limiter.request(caller) as visit:
                entry = await self._resolver.resolve(name)
                watch.model = entry.name
                watch.waits = cold = self._pool.status(entry).state != "ready"
                async with self._pool.lease(entry, hold) as model:
                    if cold:
                        watch.cold(self._load_phases(model))
                    try:
                        yield model, watch
                    finally:
                        visit.tokens = watch.tokens
        except ServiceError as error:
            watch.outcome = error.code
            raise
        except BackendError as error:
            told = self._told(error)
            watch.outcome = told.code
            raise told from error
        except Exception:
            watch.outcome = InferenceError.code
            raise
        except BaseException:  # cancelled, or a generator that is closed
            if overdue():
                watch.outcome = TimeLimitExceeded.code
            raise
        finally:
            record = watch.record()
            self._metrics.note(record)
            note_answer(record)

    def turn(
        self, model: LoadedModel, caller: str = "", places: int = 1
    ) -> AbstractAsyncContextManager[None]:
        """Wait for *caller*'s turn to have *places* of *model*'s engine; raises `QueueFull`."""
        turnstile = self._turnstiles.get(model)
        if turnstile is None:
            slots = model.base.stats().slots
            turnstile = Turnstile(slots, max_queue=self._max_queue, clock=self._clock)
            self._turnstiles[model] = turnstile
        return turnstile.turn(caller, places)

    def waiting(self, name: str) -> int:
        """Return how many requests wait here for the engine of the model *name*."""
        return sum(
            turnstile.waiting
            for model, turnstile in self._turnstiles.items()
            if model.entry.name == name
        )

    def _told(self, error: BackendError) -> ServiceError:
        """Return what a request is told whose engine cannot answer it.

        An engine is closed under a request whose turn has come where the server ends.
        """
        if isinstance(error, EngineClosed) and self._admission.closed:
            return shutting_down()
        return InferenceError(str(error))

    def _load_phases(self, model: LoadedModel) -> Phases:
        """Return what *model*'s cold start took, from exec on where it was the process's own."""
        if model.first and self._metrics.started_in is not None:
            began = {} if model.began_at is None else {"begin": model.began_at}
            return {"import": self._metrics.started_in, **began, **model.phases}
        return model.phases

"""What every request to a model goes through: admitted, resolved, held for its model, noted."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from pilotlight.admission import Admission
from pilotlight.answer_watch import AnswerWatch
from pilotlight.errors import InferenceError, ServiceError
from pilotlight.metrics import Metrics
from pilotlight.models.pool import Hold, LoadedModel, ModelStatus, Pool
from pilotlight.models.resolver import Resolver
from pilotlight.receipt import Phases
from pilotlight_backend import BackendError


class Reception:
    """Gives requests their models."""

    def __init__(
        self,
        resolver: Resolver,
        pool: Pool,
        admission: Admission,
        metrics: Metrics,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._resolver = resolver
        self._pool = pool
        self._admission = admission
        self._metrics = metrics
        self._clock = clock

    async def status(self, name: str) -> ModelStatus:
        """Return how far the model is that requests call *name*; raises `ModelNotFound`."""
        return self._pool.status(await self._resolver.resolve(name))

    @asynccontextmanager
    async def model(self, name: str, hold: Hold) -> AsyncIterator[tuple[LoadedModel, AnswerWatch]]:
        """Yield the model that requests call *name*, loaded, and the watch over this request.

        *hold* is how long to wait for a model that is loading. The model stays for as long as the
        context lasts; what goes wrong there is the request's outcome. Raises a `ServiceError`.
        """
        watch = AnswerWatch(self._clock)
        try:
            with self._admission.request():
                entry = await self._resolver.resolve(name)
                watch.model = entry.name
                cold = self._pool.status(entry).state != "ready"
                async with self._pool.lease(entry, hold) as model:
                    if cold:
                        watch.cold(self._load_phases(model))
                    yield model, watch
        except BackendError as error:  # what is asked beside answers, tokens say, failed
            watch.outcome = InferenceError.code
            raise InferenceError(str(error)) from error
        except ServiceError as error:
            watch.outcome = error.code
            raise
        except Exception:
            watch.outcome = InferenceError.code
            raise
        finally:
            self._metrics.note(watch.record())

    def _load_phases(self, model: LoadedModel) -> Phases:
        """Return what *model*'s cold start took, from exec on where it was the process's own."""
        if model.first and self._metrics.started_in is not None:
            began = {} if model.began_at is None else {"begin": model.began_at}
            return {"import": self._metrics.started_in, **began, **model.phases}
        return model.phases

"""What the pool gives and tells: a model that can be asked, how far one is, what hangs."""

from typing import Literal

from msgspec import Struct, field

from pilotlight.errors import InvalidRequest
from pilotlight.models.catalog import ModelEntry
from pilotlight.models.engine_calls import EngineCalls
from pilotlight.models.health.watchdog import EngineFailure
from pilotlight.observability.timing import Phases
from pilotlight.schema.models import ModelState
from pilotlight_backend import (
    BackendError,
    BaseEngine,
    EmbeddingEngine,
    Engine,
    ModelFacts,
    RemoteEngine,
    Step,
)

FOREVER = 86_400.0
"""A hold that ends with the load; in seconds."""


class LoadedModel(Struct, frozen=True, eq=False, weakref=True):
    """A model that can be asked. It stays loaded while its lease is held."""

    entry: ModelEntry
    backend: str
    facts: ModelFacts
    base: BaseEngine
    phases: Phases
    """What its load took."""
    began_at: float | None = None
    """Seconds from the process's start until the load began."""
    first: bool = False
    """Whether it is the first that this process loaded."""
    failure: EngineFailure = field(default_factory=EngineFailure)
    """Tells when the engine hangs or has died."""
    calls: EngineCalls = field(default_factory=EngineCalls)
    """Runs what of the engine may block."""

    @property
    def under_way(self) -> tuple[Step, ...]:
        """What the engine has begun and not ended: its steps, and the calls to it.

        An engine in another process counts its calls itself.
        """
        steps = self.base.stats().under_way
        return steps if isinstance(self.base, RemoteEngine) else (*steps, *self.calls.under_way)

    def fail(self, error: BackendError) -> None:
        """End everything that waits for the engine with *error*: it hangs, or has died."""
        self.calls.fail(error)
        self.failure.notify(error)

    @property
    def engine(self) -> Engine:
        """The engine, as one that writes answers; raises `InvalidRequest` where it does not."""
        if isinstance(self.base, Engine):
            return self.base
        raise InvalidRequest(
            f"the model {self.entry.name!r} makes embeddings and writes no answers", param="model"
        )

    @property
    def embedder(self) -> EmbeddingEngine:
        """The engine, as one that makes vectors; raises `InvalidRequest` where it does not."""
        if isinstance(self.base, EmbeddingEngine):
            return self.base
        raise InvalidRequest(
            f"the model {self.entry.name!r} writes answers and makes no embeddings", param="model"
        )


class Hanging(Struct, frozen=True, eq=False):
    """What hangs in this process and cannot be ended: its thread stays, and its memory with it."""

    entry: ModelEntry
    during: Literal["load", "step"]
    need: int
    """Bytes that cannot be had back."""


class Hold(Struct, frozen=True):
    """How long a request waits for a model, in seconds, and whether it may give up at once."""

    seconds: float
    may_give_up: bool = False
    """Where the estimate says that the wait cannot be enough."""


class ModelStatus(Struct, frozen=True):
    """A model's state for those who look; *retry_after* in seconds where a load is under way."""

    state: ModelState
    progress: float = 0.0
    retry_after: float | None = None
    error: str | None = None

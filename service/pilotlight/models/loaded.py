"""What the pool leases: a loaded model; how long to wait for one; and what hangs."""

from typing import Literal

from msgspec import Struct, field

from pilotlight.errors import InvalidRequest
from pilotlight.models.catalog import ModelEntry
from pilotlight.models.engine_calls import EngineCalls
from pilotlight.models.health.watchdog import EngineFailure
from pilotlight.models.loading.progress import Phases
from pilotlight_backend import (
    BackendError,
    BaseEngine,
    EmbeddingEngine,
    Engine,
    ModelFacts,
    RankingEngine,
    RemoteEngine,
    Step,
)

FOREVER = 86_400.0
"""Seconds of a hold that lasts until the load ends."""


class LoadedModel(Struct, frozen=True, eq=False, weakref=True):
    """A model that serves requests. It stays loaded while a request leases it."""

    entry: ModelEntry
    backend: str
    facts: ModelFacts
    base: BaseEngine
    phases: Phases
    """How long its load took."""
    began_at: float | None = None
    """Seconds from the process's start until the load began."""
    first: bool = False
    """Whether it is the first model that this process loaded."""
    failure: EngineFailure = field(default_factory=EngineFailure)
    """Notifies its listeners when the engine hangs or has died."""
    calls: EngineCalls = field(default_factory=EngineCalls)
    """Runs the calls to the engine that may block."""

    @property
    def under_way(self) -> tuple[Step, ...]:
        """The unfinished steps of the engine, and the calls to it.

        An engine in another process reports its calls as steps itself.
        """
        steps = self.base.stats().under_way
        return steps if isinstance(self.base, RemoteEngine) else (*steps, *self.calls.under_way)

    def fail(self, error: BackendError) -> None:
        """Raise *error* in everything that waits for the engine: it hangs, or has died."""
        self.calls.fail(error)
        self.failure.notify(error)

    @property
    def engine(self) -> Engine:
        """The engine, if it generates text; raises `InvalidRequest` if not."""
        if isinstance(self.base, Engine):
            return self.base
        raise self._other_kind("generate text", "completion")

    @property
    def embedder(self) -> EmbeddingEngine:
        """The engine, if it makes embeddings; raises `InvalidRequest` if not."""
        if isinstance(self.base, EmbeddingEngine):
            return self.base
        raise self._other_kind("make embeddings", "embedding")

    @property
    def ranker(self) -> RankingEngine:
        """The engine, if it ranks documents; raises `InvalidRequest` if not."""
        if isinstance(self.base, RankingEngine):
            return self.base
        raise self._other_kind("rank documents", "rerank")

    def _other_kind(self, wanted: str, capability: str) -> InvalidRequest:
        match self.base:
            case EmbeddingEngine():
                does = "makes embeddings"
            case RankingEngine():
                does = "ranks documents"
            case _:
                does = "generates text"
        return InvalidRequest(
            f"model: {self.entry.name!r} {does} and does not {wanted}; expected a model whose"
            f" capabilities in GET /v1/models have {capability}",
            param="model",
        )


class Hang(Struct, frozen=True, eq=False):
    """A load, a step or an unload that hangs in this process: its thread cannot be ended."""

    entry: ModelEntry
    during: Literal["load", "step", "unload"]
    need: int
    """Bytes of memory that stay in use."""


class Hold(Struct, frozen=True):
    """How many seconds a request waits for a model, and whether it may give up at once."""

    seconds: float
    may_give_up: bool = False
    """If the estimate says that the load takes longer than that."""

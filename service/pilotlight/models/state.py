"""The state of one model in the pool, and what follows from it. Nothing here waits or acts.

absent → loading → ready → draining → absent, or from loading to failed, and after a cool-down to
absent again.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from msgspec import Struct

from pilotlight.errors import Unavailable
from pilotlight.models.catalog import ModelEntry
from pilotlight.models.loaded import Hang, LoadedModel
from pilotlight.models.loading.failure import COOL_DOWN
from pilotlight.models.loading.progress import LoadPhase, LoadTimes, LoadTracker, Phases
from pilotlight.models.prompts import only_counts, with_earlier
from pilotlight_backend import EngineStats, PromptCacheStats

ModelState: TypeAlias = Literal["absent", "loading", "ready", "draining", "failed"]


class ModelStatus(Struct, frozen=True):
    """A model's state for those who do not lease it; *retry_after* in seconds during a load."""

    state: ModelState
    progress: float = 0.0
    retry_after: float | None = None
    error: str | None = None
    phase: LoadPhase | None = None
    """Of a load, while one is under way."""


class ModelUse(Struct, frozen=True):
    """How much a model is used at one moment: requests *held* for its load, and its engine."""

    state: ModelState
    progress: float
    held: int
    stats: EngineStats | None
    prompt_cache: PromptCacheStats
    """Counts of all its loads in this process; sizes of the present one."""


class LoadEnded(Struct, frozen=True, kw_only=True):
    """The pool's event for each load that ended."""

    entry: ModelEntry
    outcome: str
    """`ready`, or the code of the error."""
    seconds: float
    """From the decision to load until the model was ready, or had failed."""
    backend: str = ""
    phases: Phases
    """Of a load that succeeded."""


@dataclass(eq=False)
class PooledModel:
    """What the pool knows of one model. Used on the event loop alone."""

    entry: ModelEntry
    state: ModelState = "absent"
    load: asyncio.Task[None] | None = None
    """While loading."""
    tracker: LoadTracker | None = None
    """While loading."""
    loaded: LoadedModel | None = None
    """While ready or draining."""
    closing: asyncio.Task[None] | None = None
    """While draining."""
    need: int = 0
    """Bytes that it uses or has reserved."""
    held: int = 0
    """Requests that wait for its load."""
    users: int = 0
    """Leases, and requests that wait for one."""
    last_used: float = 0.0
    failure: Unavailable | None = None
    failed_at: float = 0.0
    stalled: Hang | None = None
    """A load that was given up and whose thread has not ended; no other load starts meanwhile."""
    earlier_loads: Sequence[LoadTimes] = ()
    earlier_prompts: PromptCacheStats = field(default_factory=PromptCacheStats)
    """Counts of the prompt caches of its earlier loads in this process."""

    @property
    def is_idle(self) -> bool:
        """Whether it can be unloaded without failing a request."""
        return self.state == "ready" and not self.users

    @property
    def has_died(self) -> bool:
        """Whether the process of its engine has ended."""
        return self.state == "ready" and bool(self.loaded and self.loaded.base.stats().dead)

    @property
    def remaining(self) -> float | None:
        """Seconds until its load is likely to end; None if that is unknown."""
        return self.tracker.remaining(self.earlier_loads) if self.tracker else None

    @property
    def prompt_cache(self) -> PromptCacheStats:
        """Counts of all its loads in this process; sizes of the present one."""
        if self.loaded is None:
            return self.earlier_prompts
        return with_earlier(self.loaded.base.stats().prompt_cache, self.earlier_prompts)

    def forget_engine(self) -> None:
        """Record that the engine is closed, or given up. Its counts are kept."""
        self.earlier_prompts = only_counts(self.prompt_cache)
        self.loaded = None

    def cooling(self, now: float) -> float:
        """Return the seconds until a failed model may be loaded again, at most 0 if it may now."""
        return COOL_DOWN if self.stalled else self.failed_at + COOL_DOWN - now

    def status(self) -> ModelStatus:
        """Return the state for those who do not lease it."""
        if self.state == "loading":
            share = self.tracker.share(self.earlier_loads) if self.tracker else 0.0
            phase = self.tracker.phase if self.tracker else None
            return ModelStatus("loading", share, self.remaining, phase=phase)
        if self.has_died:  # the next request loads it again
            return ModelStatus("absent")
        if self.state == "failed" and self.failure:
            return ModelStatus("failed", error=self.failure.message)
        return ModelStatus(self.state, progress=1.0 if self.state == "ready" else 0.0)


OnLoad: TypeAlias = Callable[[LoadEnded], None]

"""Save and clear cached prompts: those of engines, and those in storage."""

import asyncio
import logging
from functools import partial

from msgspec.structs import replace

from pilotlight.errors import StorageUnavailable
from pilotlight.models.loaded import LoadedModel
from pilotlight.models.loading.threads import on_own_thread
from pilotlight_backend import (
    BackendError,
    BaseEngine,
    CachingEngine,
    LoadOptions,
    PromptCacheStats,
)

logger = logging.getLogger(__name__)

AT_UNLOAD = 10.0
"""Seconds that a model which is unloaded may take for it; others may wait for its memory."""
_TRY_AGAIN = 30.0
"""Seconds after which deleting from a storage that fails is worth another try: the prompt cache
leaves it alone for as long."""

_SIZES = frozenset({"memory_bytes", "memory_entries", "storage_bytes", "storage_entries"})
_COUNTS = tuple(name for name in PromptCacheStats.__struct_fields__ if name not in _SIZES)


def with_earlier(stats: PromptCacheStats, earlier: PromptCacheStats) -> PromptCacheStats:
    """Return *stats* with the counts of *earlier* added."""
    counts = {name: getattr(stats, name) + getattr(earlier, name) for name in _COUNTS}
    return replace(stats, **counts)


def only_counts(stats: PromptCacheStats) -> PromptCacheStats:
    """Return *stats* of an engine that is closed: nothing is kept any more."""
    return replace(stats, **dict.fromkeys(_SIZES, 0))


async def save_prompts(engine: BaseEngine, seconds: float) -> None:
    """Write what the slots of *engine* hold to storage, for *seconds* at the most."""
    if not isinstance(engine, CachingEngine):
        return
    try:
        await on_own_thread(lambda: engine.save_prompts(seconds), "save prompts")
    except Exception:  # a plugin's edge
        logger.exception("cached prompts cannot be saved")


async def clear_prompts(model: LoadedModel, owner: str | None) -> None:
    """Have the engine of *model* forget the prompts of *owner*, or all."""
    engine = model.base
    if not isinstance(engine, CachingEngine):
        return
    try:
        # It waits for the running step: it counts as hanging when that does.
        await model.calls.run(partial(engine.clear_prompts, owner), LoadOptions().chunk)
    except BackendError as error:  # it is closed, hangs or has died, and its prompts with it
        logger.info("%s: its prompts are gone with its engine: %s", model.entry.name, error)


async def clear_stored_prompts(address: str, owner: str | None) -> None:
    """Delete the states at *address*, or those of *owner*, for every model, loaded or not.

    Raises `StorageUnavailable`.
    """
    # Imported late: most servers have no storage.
    from pilotlight_backend.prompt_cache.deletion import delete_states  # noqa: PLC0415

    try:
        deleted = await asyncio.to_thread(delete_states, address, owner)
    except OSError as error:  # its message may name files and endpoints
        logger.warning("cached prompts cannot be deleted from storage: %s", error)
        raise StorageUnavailable(
            "the cached prompts in storage cannot be deleted; the server's log has the reason",
            retry_after=_TRY_AGAIN,
        ) from None
    logger.info("deleted cached prompts from storage: %d files", deleted.files)

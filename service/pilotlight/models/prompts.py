"""Write an engine's cached prompts to storage, before its memory is freed."""

import logging

from pilotlight.models.loading.threads import on_own_thread
from pilotlight_backend import BaseEngine, CachingEngine

logger = logging.getLogger(__name__)

AT_UNLOAD = 10.0
"""Seconds that a model which is unloaded may take for it; others may wait for its memory."""


async def save_prompts(engine: BaseEngine, seconds: float) -> None:
    """Write what the slots of *engine* hold to storage, for *seconds* at the most."""
    if not isinstance(engine, CachingEngine):
        return
    try:
        await on_own_thread(lambda: engine.save_prompts(seconds), "save prompts")
    except Exception:  # a plugin's edge
        logger.exception("cached prompts cannot be saved")

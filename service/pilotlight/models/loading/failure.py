"""Map the error of a failed load to the client's."""

import logging

from pilotlight.errors import InsufficientMemory, ModelLoadFailed, ModelUnsupported
from pilotlight.models.catalog import ModelEntry
from pilotlight.models.fetch.failure import FetchFailed
from pilotlight.models.registry import BackendBroken
from pilotlight_backend import BackendError, ModelFileInvalid
from pilotlight_backend import InsufficientMemory as TooLittleMemory
from pilotlight_backend import ModelUnsupported as FileUnsupported
from pilotlight_backend.redaction import without_folders

logger = logging.getLogger(__name__)

COOL_DOWN = 10.0
"""Seconds after a failed load in which the model is not loaded again, whatever clients retry."""


def load_failed(entry: ModelEntry, error: Exception) -> ModelLoadFailed:
    """Return the client's error for what a load raised; without *retry_after* it is permanent.

    If the client gets a shortened message, the complete one is logged.
    """
    message = without_folders(str(error), entry.path)
    if message != str(error) and isinstance(error, BackendError | FetchFailed | BackendBroken):
        logger.error("%s: %s", entry.name, error)
    if isinstance(error, TooLittleMemory):
        return InsufficientMemory(f"{entry.name}: {message}", retry_after=COOL_DOWN)
    if isinstance(error, FetchFailed):
        return ModelLoadFailed(
            f"{entry.name}: {message}", retry_after=None if error.permanent else COOL_DOWN
        )
    if isinstance(error, FileUnsupported):
        return ModelUnsupported(f"the model {entry.name!r} cannot be served: {error.reason}")
    if isinstance(error, BackendError | BackendBroken):
        permanent = isinstance(error, ModelFileInvalid | BackendBroken)
        return ModelLoadFailed(message, retry_after=None if permanent else COOL_DOWN)
    if isinstance(error, OSError) and error.strerror:
        logger.error("%s: %s", entry.name, error)
        return ModelLoadFailed(
            f"the model {entry.name!r} cannot be read: {error.strerror}", retry_after=COOL_DOWN
        )
    logger.error("loading %s failed: %s", entry.name, error, exc_info=error)
    return ModelLoadFailed(f"the model {entry.name!r} could not be loaded", retry_after=COOL_DOWN)

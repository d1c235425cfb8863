"""The storage behind a prompt cache, with the threads that use it."""

from typing import TYPE_CHECKING, NamedTuple

from pilotlight_backend.prompt_cache.worker import Worker

if TYPE_CHECKING:  # most servers have no storage
    from pilotlight_backend.prompt_cache.guarded import GuardedStorage


class Tier(NamedTuple):
    """The storage with its threads: one reads for requests, while the other one writes."""

    files: "GuardedStorage"
    reader: Worker
    writer: Worker

    @classmethod
    def of(cls, files: "GuardedStorage") -> "Tier":
        """Start the threads for *files*."""
        return cls(files, Worker("prompt cache reader"), Worker("prompt cache writer"))

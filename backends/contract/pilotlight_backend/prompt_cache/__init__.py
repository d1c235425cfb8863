"""The prompt cache: states of prompts, kept after their slot was taken, in memory and in storage.

One question is asked of it: how much of this prompt does the cache have? `entry` and `index` answer
it, `policy` decides what is worth its bytes; all three are pure. `storage` keeps files that any
number of instances share. `cache` puts them together, with the thread that reads and writes.

An engine asks on its own thread, where the context is (`find`, `put`), and when a request arrives
(`fetch`), so that a state is read from storage before the request has a slot. The cache runs in the
engine's process, so no state crosses the pipe of an isolated one.
"""

import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from pilotlight_backend import cgroup
from pilotlight_backend.capacity import PROMPT_CACHE_SHARE
from pilotlight_backend.prompt_cache.cache import PromptCache
from pilotlight_backend.prompt_cache.entry import Checkpoint, Found, Snapshot, owner_of
from pilotlight_backend.types import PromptCacheOptions

if TYPE_CHECKING:
    from pilotlight_backend.prompt_cache.recent import RecentLengths

__all__ = ["Checkpoint", "Found", "PromptCache", "Snapshot", "open_cache", "owner_of", "prepare"]


def prepare(options: PromptCacheOptions) -> "RecentLengths | None":
    """Begin what takes time before `open_cache`, while the weights are read.

    A bucket's library is imported, which may take 1.6 CPU seconds (`fsspec_bucket`). Of a folder
    the lengths of recent states are returned, which its thread is still reading. A storage that
    cannot be opened is reported when it is used.
    """
    if options.storage is None:
        return None
    if "://" not in options.storage:
        from pilotlight_backend.prompt_cache.recent import RecentLengths  # noqa: PLC0415

        return RecentLengths(options.storage)
    threading.Thread(
        target=_import_storage, args=(options.storage,), name="prompt cache", daemon=True
    ).start()
    return None


def _import_storage(address: str) -> None:
    from pilotlight_backend.prompt_cache.storage import open_storage  # noqa: PLC0415

    with suppress(ImportError, OSError, ValueError):
        open_storage(address)


def open_cache(
    options: PromptCacheOptions, identity: str, on_written: Callable[[], None] = lambda: None
) -> PromptCache | None:
    """Return the cache that *options* ask for, None where they ask for none.

    *identity* is a short hex digest of whatever a state depends on. *on_written* is called on a
    thread of the cache's when it can take another state for the storage.
    """
    memory = options.memory_bytes
    if memory is None:
        memory = (cgroup.available_memory() or 0) // PROMPT_CACHE_SHARE
    if not memory and options.storage is None:
        return None
    files = None
    if options.storage is not None:
        # Imported late: most servers have no storage.
        from pilotlight_backend.prompt_cache.guarded import GuardedStorage  # noqa: PLC0415
        from pilotlight_backend.prompt_cache.storage import open_storage  # noqa: PLC0415

        files = GuardedStorage(
            partial(open_storage, options.storage),
            prefix=f"{identity}-",
            limit=options.storage_bytes,
            ttl=options.ttl,
        )
    return PromptCache(
        identity=identity,
        memory_limit=memory,
        files=files,
        on_written=on_written,
    )

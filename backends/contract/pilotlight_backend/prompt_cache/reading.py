"""Reads of stored states: which files there are, and their bytes when a prompt asks for them."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

from pilotlight_backend.prompt_cache.entry import WORTH_RESTORING, Entry, Found
from pilotlight_backend.prompt_cache.once import Once
from pilotlight_backend.prompt_cache.states import States
from pilotlight_backend.prompt_cache.tier import Tier

_RELIST = 5.0
"""Seconds between two listings of the storage, for what other instances have written."""

_LEAST_PATIENCE = 1.0
"""Seconds that a request waits for its state in any case."""


class Reading:
    """Reads for one cache, on its reader's thread. No method blocks."""

    def __init__(
        self,
        tier: Tier,
        states: States,
        lock: threading.Lock,
        counts: Counter[str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin to list the storage. *lock* guards *states* and *counts*, which are the cache's."""
        self._files = tier.files
        self._worker = tier.reader
        self._states = states
        self._lock = lock
        self._counts = counts
        self._clock = clock
        self._listed_at: float | None = None
        self._overdue = 0
        """Reads that took longer than a request waits, and still do."""
        self._worker.submit(self._list)

    def begin(
        self,
        seed: bytes,
        prompt: Sequence[int],
        most: int,
        *,
        have: int,
        seconds_per_token: float,
        done: Callable[[Found | None], None],
    ) -> bool:
        """Begin to read what saves more than *have* tokens of *prompt*: see `PromptCache.fetch`."""
        if most - have < WORTH_RESTORING or not self._files.is_readable:
            return False
        if self._overdue:  # the storage hangs: do not wait again for what it does not give
            return False
        least = have + WORTH_RESTORING
        with self._lock:
            is_known = self._saving(seed, prompt, most, least) is not None
        if not (is_known or self._is_list_old()):
            return False
        once = Once(
            done, max(_LEAST_PATIENCE, (most - have) * seconds_per_token), self._note_overdue
        )

        def read() -> None:
            found = None
            try:
                found = self._read(seed, prompt, most, least)
            finally:
                if not once(found):
                    self._note_overdue(-1)

        self._worker.submit(read)
        return True

    def _note_overdue(self, change: int = 1) -> None:
        with self._lock:
            self._overdue += change

    def _saving(
        self, seed: bytes, prompt: Sequence[int], most: int, least: int
    ) -> tuple[Entry, int] | None:
        """Return the entry that saves most of *prompt*, if that is *least* tokens or more."""
        found = self._states.index.longest(seed, prompt, most)
        return found if found is not None and found[1] >= least else None

    def _read(self, seed: bytes, prompt: Sequence[int], most: int, least: int) -> Found | None:
        """Return the state that saves most of *prompt*, read from its file if it has to be."""
        if self._is_list_old():
            self._list()
        with self._lock:
            known = self._saving(seed, prompt, most, least)
        if known is None:
            return None
        entry, tokens = known
        snapshot, name = entry.snapshot, entry.file
        if snapshot is not None:
            return Found(entry, snapshot, tokens, "memory")
        snapshot = None if name is None else self._files.read(name)
        lengths = () if snapshot is None else tuple(one.tokens for one in snapshot.checkpoints)
        with self._lock:
            if entry not in self._states.index:  # it was cleared meanwhile
                return None
            if snapshot is None or lengths != entry.checkpoints:
                if name is not None and self._files.is_readable:
                    self._states.lose(name)
                return None
            self._counts["storage_reads"] += 1
            self._states.keep(entry, snapshot)
        return Found(entry, snapshot, tokens, "storage")

    def _is_list_old(self) -> bool:
        return self._listed_at is None or self._clock() - self._listed_at > _RELIST

    def _list(self) -> None:
        """Learn which files there are: those of other instances too."""
        with self._lock:  # before: what is written meanwhile may not be listed
            known = set(self._states.files)
        listed = self._files.files()
        if listed is None:
            self._listed_at = self._clock()
            return
        with self._lock:
            for name in known.difference(file.name for file in listed):
                self._states.lose(name)
        for name, entry in self._files.entries([one for one in listed if one.name not in known]):
            with self._lock:
                if name not in self._states.files:
                    self._states.stored(self._states.known(entry), name)
        # Not before: a request that comes meanwhile waits for the list.
        self._listed_at = self._clock()

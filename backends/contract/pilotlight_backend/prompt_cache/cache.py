"""The prompt cache of one loaded model: memory, storage behind it, and the threads between them.

A state is saved when its slot is taken, or while nothing runs; it is found by the longest prefix of
a prompt. Storage is written behind and read ahead, and whatever goes wrong there costs no more than
the cache: a file that is damaged, foreign or gone is a miss.
"""

import logging
import threading
import time
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from pilotlight_backend.prompt_cache.entry import (
    WORTH_RESTORING,
    Entry,
    Found,
    Snapshot,
    file_name,
    file_size,
    owner_digest,
    seed_of,
)
from pilotlight_backend.prompt_cache.reading import Reading
from pilotlight_backend.prompt_cache.states import States
from pilotlight_backend.prompt_cache.tier import Tier
from pilotlight_backend.types import PromptCacheStats

if TYPE_CHECKING:
    from pilotlight_backend.prompt_cache.guarded import GuardedStorage

logger = logging.getLogger("pilotlight.backend")


class PromptCache:
    """States by the prompts that they are of. Any thread; only `wait` and `close` block.

    *scope* says who may find a state: a prompt finds those of its own scope alone.
    """

    def __init__(
        self,
        *,
        identity: str,
        memory_limit: int,
        files: "GuardedStorage | None" = None,
        on_written: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """*identity* is a short hex digest of what a state depends on: model, build, settings.

        *memory_limit* is in bytes; *files* is where states are stored, None for nowhere.
        *on_written* is called on a thread of the cache's after each attempt to write.
        """
        self._identity = identity
        self._on_written = on_written
        self._lock = threading.Lock()
        self._written = threading.Condition(self._lock)
        self._states = States(memory_limit, self._spill)
        self._counts: Counter[str] = Counter()
        self._closing = False
        self._idle_bytes = 0
        """Bytes that were written since something ran."""
        self._tier = None if files is None else Tier.of(files)
        self._reading = None
        if self._tier is not None:
            self._reading = Reading(self._tier, self._states, self._lock, self._counts, clock)

    # ── finding ────────────────────────────────────────────────────────────────────────────────

    def find(self, scope: str, prompt: Sequence[int], most: int) -> Found | None:
        """Return the state in memory that saves most of *prompt*, at the most *most* tokens."""
        seed = seed_of(self._identity, scope)
        with self._lock:
            self._states.ask(seed, prompt)
            found = self._states.index.longest(seed, prompt, most, in_memory=True)
            if found is None or found[0].snapshot is None or found[1] < WORTH_RESTORING:
                return None
            return Found(found[0], found[0].snapshot, found[1], "memory")

    def used(self, found: Found) -> None:
        """Note that *found* is restored into a slot, whose old state may take its place here."""
        with self._lock:
            self._states.use(found.entry)
            self._states.wanted_again(file_name(self._identity, found.entry))
            self._counts["restores"] += 1
            self._counts[f"{found.tier}_hits"] += 1
            self._counts[f"{found.tier}_tokens"] += found.tokens
            name = found.entry.file
        if name is not None and self._tier is not None:
            self._tier.reader.submit(partial(self._tier.files.touch, name))

    def fetch(
        self,
        scope: str,
        prompt: Sequence[int],
        most: int,
        *,
        have: int,
        seconds_per_token: float,
        done: Callable[[Found | None], None],
    ) -> bool:
        """Begin to read what saves more than *have* tokens of *prompt*; False: there is no such.

        Then *done* is called once, on any thread, with what was found or None: when it is read,
        when that has failed, or when it takes longer than evaluating the tokens would.
        """
        if self._reading is None:
            return False
        return self._reading.begin(
            seed_of(self._identity, scope),
            prompt,
            most,
            have=have,
            seconds_per_token=seconds_per_token,
            done=done,
        )

    # ── saving ─────────────────────────────────────────────────────────────────────────────────

    @property
    def stores(self) -> bool:
        """Whether there is a storage, and it takes what is saved."""
        return self._tier is not None and self._tier.files.is_writable

    @property
    def is_writing(self) -> bool:
        """Whether a state waits to be written, or is."""
        return bool(self._states.saving)

    def busy(self) -> None:
        """Note that something runs: what is idle next may be written.

        In one idle time no more is written than the storage keeps. The most valuable is written
        first, and would be the first to make room.
        """
        self._idle_bytes = 0

    def wants(
        self,
        scope: str,
        tokens: Sequence[int],
        *,
        least: int,
        checkpoints: tuple[int, ...] = (),
        size: int,
        age: int = 0,
        store: bool = False,
    ) -> bool:
        """Tell whether a state would be kept: it is not here yet, and worth its bytes.

        With *store* it is meant for the storage, and need not fit into memory for longer than that
        takes; one is written at a time.
        """
        if len(tokens) < WORTH_RESTORING or self._closing:
            return False
        entry = self._entry(scope, tokens, least, checkpoints, size)
        with self._lock:
            states = self._states
            covering = states.index.covering(entry) or states.index.same(entry)
            if store and self.stores:
                is_stored = covering is not None and covering.file is not None
                return not (is_stored or states.saving) and self._is_storable(entry)
            if covering is not None and covering.snapshot is not None:
                covering.is_in_slot = False
                return False
            states.date(entry, age)
            fits = states.fits(entry)
            if not fits:  # the slot is given away, and what it was restored from is all there is
                for one in states.index.covered(entry):
                    one.is_in_slot = False
            return fits

    def _is_storable(self, entry: Entry) -> bool:
        """Tell whether the storage would keep *entry* if it is written. The lock is held."""
        if self._tier is None or not self._tier.files.takes(self._idle_bytes + file_size(entry)):
            return False
        return not self._states.made_room(file_name(self._identity, entry))

    def put(
        self,
        scope: str,
        tokens: Sequence[int],
        snapshot: Snapshot,
        *,
        least: int,
        age: int = 0,
        store: bool = False,
        stays: bool = False,
    ) -> None:
        """Keep a state in memory, as far as it is worth it; with *store* write it behind too.

        Its slot was last used *age* requests ago; *stays* says whether the slot keeps the state.
        """
        lengths = tuple(one.tokens for one in snapshot.checkpoints)
        entry = self._entry(scope, tokens, least, lengths, snapshot.size)
        states = self._states
        with self._lock:
            if self._closing:
                return
            states.date(entry, age)
            entry = states.known(entry)
            entry.is_in_slot = stays
            self._counts["saves"] += 1
            is_written = store and entry.file is None and self._is_storable(entry)
            if is_written:  # first: then nothing that is evicted is written at the same time
                states.index.add(entry)
                self._begin_to_write(entry, snapshot)
            is_kept = states.keep(entry, snapshot)
            if is_kept or is_written:
                states.supersede(entry)

    def store_next(self) -> bool:
        """Begin to write the most valuable state that memory has and storage lacks, if there is."""
        states, tier = self._states, self._tier
        with self._lock:
            if tier is None or not tier.files.is_writable or states.saving:
                return False
            entry = states.most_valuable(lambda one: one.file is None and self._is_storable(one))
            if entry is None or entry.snapshot is None:
                return False
            self._begin_to_write(entry, entry.snapshot)
        return True

    def _spill(self, entry: Entry) -> None:
        """Begin to write *entry*, which memory evicts, if it is expected again; the lock is held.

        While requests never end there is no idle time in which it would be written. Of those that
        come once nothing is: each takes the place of another, and to write it takes CPU time of
        the requests that run.
        """
        snapshot = entry.snapshot
        if snapshot is None or entry.file is not None or entry.is_in_slot:
            return
        may_write = self.stores and not self._states.saving
        if may_write and self._states.is_expected(entry) and self._is_storable(entry):
            self._begin_to_write(entry, snapshot)

    def _begin_to_write(self, entry: Entry, snapshot: Snapshot) -> None:
        """Have *snapshot* written, which stays in memory until then. The lock is held."""
        if self._tier is None:
            raise AssertionError("only what is storable is written")
        self._idle_bytes += file_size(entry)
        self._states.saving[entry] = snapshot
        self._tier.writer.submit(partial(self._write, self._tier.files, entry))

    def _entry(
        self,
        scope: str,
        tokens: Sequence[int],
        least: int,
        checkpoints: tuple[int, ...],
        size: int,
    ) -> Entry:
        return Entry(
            seed=seed_of(self._identity, scope),
            tokens=array("i", tokens),
            least=least,
            checkpoints=checkpoints,
            size=size,
        )

    # ── storage, on the workers' threads ───────────────────────────────────────────────────────

    def _write(self, files: "GuardedStorage", entry: Entry) -> None:
        with self._lock:
            snapshot = self._states.saving.get(entry)
        if snapshot is None:  # it was cleared meanwhile
            return
        name = file_name(self._identity, entry)
        deleted = None
        try:
            deleted = files.write(name, entry, snapshot)
        finally:
            self._note_written(files, entry, name, deleted)

    def _note_written(
        self, files: "GuardedStorage", entry: Entry, name: str, deleted: list[str] | None
    ) -> None:
        is_there = deleted is not None and name not in deleted
        with self._lock:
            for one in deleted or ():
                self._states.pruned(one)
            self._counts["storage_evictions"] += len(deleted or ())
            was_cleared = self._states.saving.pop(entry, None) is None
            if is_there and not was_cleared:
                self._states.stored(entry, name)
                self._counts["stored"] += 1
                self._states.supersede(entry)
            self._states.drop(entry)
            self._written.notify_all()
        if is_there and was_cleared:
            files.delete(name)
        self._on_written()

    # ── the end, and what operators ask for ────────────────────────────────────────────────────

    def clear(self, owner: str | None = None) -> None:
        """Delete every state, in memory and in storage, or those in the scopes of *owner*."""
        digest = None if owner is None else owner_digest(self._identity, owner)
        with self._lock:
            names = self._states.clear(digest)
            self._written.notify_all()
        if self._tier is not None:
            for name in names:
                self._tier.writer.submit(partial(self._tier.files.delete, name))

    def stats(self) -> PromptCacheStats:
        """Return a snapshot of what is kept, and counts since the load."""
        with self._lock:
            states = self._states
            return PromptCacheStats(
                memory_bytes=states.memory,
                memory_entries=sum(one.snapshot is not None for one in states.index),
                storage_bytes=sum(one.size for one in states.files.values()),
                storage_entries=len(states.files),
                evictions=states.evictions,
                storage_errors=self._tier.files.errors if self._tier else 0,
                **self._counts,
            )

    def wait(self, seconds: float) -> bool:
        """Wait until everything is written, *seconds* at the most; tell whether it is."""
        with self._written:
            return self._written.wait_for(lambda: not self._states.saving, seconds)

    def close(self, seconds: float = 0.0) -> None:
        """Take nothing more, and write what waits to be written, for *seconds* at the most."""
        self._closing = True
        if self._tier is None:
            return
        if not self._tier.writer.close(seconds):
            with self._lock:
                left = len(self._states.saving)
                self._states.saving.clear()
                self._written.notify_all()
            if left:
                logger.warning("cached states that were not written in time: %d", left)
        self._tier.reader.close(0.0)

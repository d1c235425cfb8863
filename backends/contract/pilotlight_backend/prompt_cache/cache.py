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
from typing import Literal, NamedTuple

from pilotlight_backend.prompt_cache import state_file
from pilotlight_backend.prompt_cache.entry import Entry, Snapshot, name_of, seed_of
from pilotlight_backend.prompt_cache.state_file import Damaged
from pilotlight_backend.prompt_cache.states import States
from pilotlight_backend.prompt_cache.storage import SUFFIX, Storage, StoredFile, prune
from pilotlight_backend.prompt_cache.worker import Worker
from pilotlight_backend.types import PromptCacheStats

logger = logging.getLogger("pilotlight.backend")

WORTH_RESTORING = 64
"""Tokens of a prompt for which a state is saved, read or restored."""

_RELIST = 5.0
"""Seconds between two listings of the storage, for what other instances have written."""

_COOL_DOWN = 30.0
"""Seconds in which a storage that has failed is left alone, so that no request waits for it."""

_LEAST_PATIENCE = 1.0
"""Seconds that a request waits for its state in any case."""


class Found(NamedTuple):
    """A state that begins as a prompt does."""

    entry: Entry
    snapshot: Snapshot
    tokens: int
    """How many of the prompt's tokens it saves."""
    tier: Literal["memory", "storage"]
    """Where it was when the request came."""


class PromptCache:
    """States by the prompts that they are of. Any thread; only `wait` and `close` block.

    *scope* says who may find a state: a prompt finds those of its own scope alone.
    """

    def __init__(
        self,
        *,
        identity: str,
        memory_limit: int,
        storage: Storage | None = None,
        storage_limit: int | None = None,
        ttl: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """*identity* is a short hex digest of what a state depends on: model, build, settings.

        *memory_limit* and *storage_limit* are bytes; *ttl* is in seconds, None for any age.
        """
        self._identity = identity
        self._storage = storage
        self._storage_limit = storage_limit
        self._ttl = ttl
        self._clock = clock
        self._wall_clock = wall_clock
        self._lock = threading.Lock()
        self._written = threading.Condition(self._lock)
        self._states = States(memory_limit)
        self._unfit: set[str] = set()
        """Files that were damaged, and may not have been deleted."""
        self._counts: Counter[str] = Counter()
        self._closing = False
        self._failed_at: float | None = None
        self._listed_at: float | None = None
        self._reader: Worker | None = None
        self._writer: Worker | None = None
        if storage is not None:
            self._reader = Worker("prompt cache reader")
            self._writer = Worker("prompt cache writer")
            self._reader.submit(self._list)

    # ── finding ────────────────────────────────────────────────────────────────────────────────

    def find(self, scope: str, prompt: Sequence[int], most: int) -> Found | None:
        """Return the state in memory that saves most of *prompt*, at the most *most* tokens."""
        seed = seed_of(self._identity, scope)
        with self._lock:
            self._states.now += 1
            found = self._states.longest(seed, prompt, most, WORTH_RESTORING)
            if found is None or found[0].snapshot is None:
                return None
            entry, tokens = found
            return Found(entry, found[0].snapshot, tokens, "memory")

    def used(self, found: Found) -> None:
        """Note that *found* was restored into a slot."""
        with self._lock:
            found.entry.used = self._states.now
            self._counts["restores"] += 1
            self._counts[f"{found.tier}_hits"] += 1
            self._counts[f"{found.tier}_tokens"] += found.tokens
            name = found.entry.file
        if name is not None and self._reader is not None:
            self._reader.submit(partial(self._touch, name))

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
        if self._reader is None or most - have < WORTH_RESTORING or self._is_failing():
            return False
        seed = seed_of(self._identity, scope)
        least = have + WORTH_RESTORING
        with self._lock:
            is_known = self._states.longest(seed, prompt, most, least) is not None
        if not (is_known or self._is_list_old()):
            return False
        once = _Once(done, max(_LEAST_PATIENCE, (most - have) * seconds_per_token))
        self._reader.submit(lambda: once(self._read(seed, prompt, most, least)))
        return True

    def _read(self, seed: bytes, prompt: Sequence[int], most: int, least: int) -> Found | None:
        """Return the state that saves most of *prompt*, read from its file if it has to be."""
        if self._is_list_old():
            self._list()
        with self._lock:
            known = self._states.longest(seed, prompt, most, least)
        if known is None:
            return None
        entry, tokens = known
        snapshot, name = entry.snapshot, entry.file
        if snapshot is not None:
            return Found(entry, snapshot, tokens, "memory")
        if name is None or (snapshot := self._load(entry, name)) is None:
            return None
        with self._lock:
            self._states.keep(entry, snapshot)
        return Found(entry, snapshot, tokens, "storage")

    def _load(self, entry: Entry, name: str) -> Snapshot | None:
        """Return a file's states; None where it is gone, damaged, or another one than before."""
        try:
            snapshot = state_file.read_snapshot(self._open().read(name))
        except FileNotFoundError:
            self._lose(name)
            return None
        except OSError as error:
            self._fail("read", error)
            return None
        except Damaged as error:
            self._discard(name, error)
            return None
        self._recover()
        if tuple(one.tokens for one in snapshot.checkpoints) != entry.checkpoints:
            self._lose(name)
            return None
        return snapshot

    # ── saving ─────────────────────────────────────────────────────────────────────────────────

    @property
    def stores(self) -> bool:
        """Whether there is a storage, and it takes what is saved."""
        return self._storage is not None and not self._is_failing()

    def wants(
        self,
        scope: str,
        tokens: Sequence[int],
        *,
        least: int,
        checkpoints: tuple[int, ...] = (),
        size: int,
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
            covering = self._states.index.covering(entry)
            if store and self.stores:
                return (covering is None or covering.file is None) and not self._states.saving
            if covering is not None and covering.snapshot is not None:
                return False
            return self._states.fits(entry)

    def put(
        self,
        scope: str,
        tokens: Sequence[int],
        snapshot: Snapshot,
        *,
        least: int,
        store: bool = False,
    ) -> None:
        """Keep a state in memory, as far as it is worth it; with *store* write it behind too."""
        lengths = tuple(one.tokens for one in snapshot.checkpoints)
        entry = self._entry(scope, tokens, least, lengths, snapshot.size)
        states = self._states
        with self._lock:
            if self._closing:
                return
            states.now += 1
            entry.used = states.now
            entry = states.known(entry)
            self._counts["saves"] += 1
            is_kept = states.keep(entry, snapshot)
            is_written = store and self._writer is not None and entry.file is None
            if is_written:
                states.saving[entry] = snapshot
                states.index.add(entry)
            if not (is_kept or is_written):
                return
            states.supersede(entry)
        if is_written and self._writer is not None:
            self._writer.submit(partial(self._write, entry))

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

    def _write(self, entry: Entry) -> None:
        with self._lock:
            snapshot = self._states.saving.get(entry)
        if snapshot is None:  # it was cleared meanwhile
            return
        name = f"{self._identity}-{name_of(entry.seed, entry.tokens)}{SUFFIX}"
        is_stored = not self._is_failing() and self._store(name, entry, snapshot)
        with self._lock:
            was_cleared = self._states.saving.pop(entry, None) is None
            if is_stored and not was_cleared:
                self._states.stored(entry, name)
                self._counts["stored"] += 1
                self._states.supersede(entry)
            self._states.drop(entry)
            self._written.notify_all()
        if is_stored and was_cleared:
            self._delete(name)

    def _store(self, name: str, entry: Entry, snapshot: Snapshot) -> bool:
        """Write a file, and prune; tell whether the file is there afterwards."""
        storage = self._open()
        try:
            storage.write(name, state_file.pieces(entry, snapshot))
            deleted = prune(
                storage, limit=self._storage_limit, ttl=self._ttl, now=self._wall_clock()
            )
        except OSError as error:
            self._fail("written", error)
            return False
        self._recover()
        for one in deleted:
            self._lose(one)
        return name not in deleted

    def _is_list_old(self) -> bool:
        return self._listed_at is None or self._clock() - self._listed_at > _RELIST

    def _list(self) -> None:
        """Learn which files there are: those of other instances too."""
        if self._is_failing():
            return
        self._listed_at = self._clock()
        storage = self._open()
        try:
            files = [file for file in storage.files() if self._is_ours(file)]
            with self._lock:
                known = set(self._states.files)
                for name in known.difference(file.name for file in files):
                    self._states.lose(name)
            for file, start in storage.starts([file for file in files if file.name not in known]):
                self._learn(file, start)
        except OSError as error:
            self._fail("listed", error)
        else:
            self._recover()

    def _is_ours(self, file: StoredFile) -> bool:
        is_old = self._ttl is not None and self._wall_clock() - file.used > self._ttl
        is_fit = file.name.startswith(f"{self._identity}-") and file.name not in self._unfit
        return is_fit and not is_old

    def _learn(self, file: StoredFile, start: bytes) -> None:
        try:
            entry = state_file.read_header(file.name, start, file.size)
        except Damaged as error:
            self._discard(file.name, error)
            return
        with self._lock:
            if file.name not in self._states.files:
                self._states.stored(self._states.known(entry), file.name)

    def _lose(self, name: str) -> None:
        with self._lock:
            self._states.lose(name)

    def _discard(self, name: str, error: Damaged) -> None:
        """Delete a damaged file, so that nobody meets it again."""
        logger.warning("the cached state %s is deleted: %s", name, error)
        self._unfit.add(name)
        self._lose(name)
        self._delete(name)

    def _delete(self, name: str) -> None:
        try:
            self._open().delete(name)
        except OSError as error:
            self._fail("changed", error)

    def _touch(self, name: str) -> None:
        try:
            self._open().touch(name)
        except OSError:  # a folder that is read-only serves all the same
            logger.debug("%s cannot be touched", name, exc_info=True)

    def _open(self) -> Storage:
        if self._storage is None:
            raise AssertionError("only a cache with a storage has workers")
        return self._storage

    # ── a storage that fails ───────────────────────────────────────────────────────────────────

    def _is_failing(self) -> bool:
        return self._failed_at is not None and self._clock() - self._failed_at < _COOL_DOWN

    def _fail(self, what: str, error: OSError) -> None:
        """Leave the storage alone for a while, and log that once."""
        if self._failed_at is None:
            logger.warning(
                "the prompt cache's storage cannot be %s: %s; requests are served without it",
                what,
                error.strerror or error,
            )
        self._failed_at = self._clock()
        with self._lock:
            self._counts["storage_errors"] += 1

    def _recover(self) -> None:
        if self._failed_at is not None:
            self._failed_at = None
            logger.info("the prompt cache's storage works again")

    # ── the end, and what operators ask for ────────────────────────────────────────────────────

    def clear(self, scope: str | None = None) -> None:
        """Delete every state, in memory and in storage, or those of *scope* alone."""
        with self._lock:
            names = self._states.clear(None if scope is None else seed_of(self._identity, scope))
        if self._writer is not None:
            for name in names:
                self._writer.submit(partial(self._delete, name))

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
                **self._counts,
            )

    def wait(self, seconds: float) -> bool:
        """Wait until everything is written, *seconds* at the most; tell whether it is."""
        with self._written:
            return self._written.wait_for(lambda: not self._states.saving, seconds)

    def close(self, seconds: float = 0.0) -> None:
        """Take nothing more, and write what waits to be written, for *seconds* at the most."""
        self._closing = True
        if self._writer is not None and not self._writer.close(seconds):
            with self._lock:
                left = len(self._states.saving)
                self._states.saving.clear()
            if left:
                logger.warning("cached states that were not written in time: %d", left)
        if self._reader is not None:
            self._reader.close(0.0)


class _Once:
    """Calls a function once: with a value, or with None when that does not come in time."""

    def __init__(self, function: Callable[[Found | None], None], patience: float) -> None:
        self._function = function
        self._lock = threading.Lock()
        self._called = False
        self._timer = threading.Timer(patience, self, (None,))
        self._timer.daemon = True
        self._timer.start()

    def __call__(self, found: Found | None) -> None:
        with self._lock:
            if self._called:
                return
            self._called = True
        self._timer.cancel()
        self._function(found)

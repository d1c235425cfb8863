"""The contract's own prompt cache in the fake engine: a state is nothing but its tokens."""

import hashlib
import time
from array import array
from collections.abc import Iterable, Sequence
from threading import Event

from pilotlight_backend.prompt_cache import Found, Snapshot, open_cache
from pilotlight_backend.testing.fake_sequence import FakeSlot
from pilotlight_backend.types import ModelFacts, PromptCacheOptions, PromptCacheStats


class FakePrompts:
    """What slots held, where the load's options ask for it."""

    def __init__(self, options: PromptCacheOptions, facts: ModelFacts) -> None:
        identity = hashlib.sha256(facts.path.read_bytes()).hexdigest()[:16]
        self._cache = open_cache(options, identity)

    def restore(self, scope: str, prompt: Sequence[int], held: int) -> int:
        """Return how many tokens of *prompt* are cached: *held* ones, or more from here."""
        if self._cache is None:
            return held
        found = self._cache.find(scope, prompt, len(prompt) - 1)
        found = self._fetched(scope, prompt, max(held, found.tokens if found else 0)) or found
        if found is None or found.tokens <= held:
            return held
        self._cache.used(found)
        return found.tokens

    def _fetched(self, scope: str, prompt: Sequence[int], have: int) -> Found | None:
        if self._cache is None:
            return None
        read, results = Event(), list[Found | None]()

        def done(found: Found | None) -> None:
            results.append(found)
            read.set()

        most = len(prompt) - 1
        if not self._cache.fetch(scope, prompt, most, have=have, seconds_per_token=1.0, done=done):
            return None
        read.wait()
        return results[0]

    def keep(self, slot: FakeSlot, *, store: bool = False) -> None:
        """Keep what *slot* holds; with *store* in the storage too."""
        if self._cache is None:
            return
        snapshot = Snapshot(state=array("i", slot.held).tobytes())
        if self._cache.wants(slot.scope, slot.held, least=1, size=snapshot.size, store=store):
            self._cache.put(slot.scope, slot.held, snapshot, least=1, store=store)

    def store(self, slots: Iterable[FakeSlot], seconds: float) -> None:
        """Write what *slots* hold to the storage, for *seconds* at the most."""
        if self._cache is None or not self._cache.stores:
            return
        deadline = time.monotonic() + seconds
        for slot in slots:
            self.keep(slot, store=True)
            self._cache.wait(max(0.0, deadline - time.monotonic()))

    def clear(self, owner: str | None) -> None:
        """Forget everything, or what *owner* has."""
        if self._cache is not None:
            self._cache.clear(owner)

    def stats(self) -> PromptCacheStats:
        """Return the cache's counts."""
        return PromptCacheStats() if self._cache is None else self._cache.stats()

    def close(self) -> None:
        """End the cache's threads."""
        if self._cache is not None:
            self._cache.close()

"""What slots hold, saved into the prompt cache and restored from it. The engine's thread alone.

Saving and restoring copy memory: 2,000 tokens of Qwen3-0.6B, 230 MB, took 30 ms. Reading a state
from storage and writing it is left to the cache's threads.
"""

import hashlib
import logging
import time
from collections.abc import Callable, Iterable

import msgspec

from pilotlight_backend import BackendError, LoadOptions, ModelFacts
from pilotlight_backend.placement import worth
from pilotlight_backend.prompt_cache import Found, PromptCache, Snapshot
from pilotlight_llama_cpp.baking import digest, origin
from pilotlight_llama_cpp.decoder import GenerationDecoder
from pilotlight_llama_cpp.model import LlamaModel
from pilotlight_llama_cpp.sequence import Sequence
from pilotlight_llama_cpp.slots import Displaced, Slot

logger = logging.getLogger("pilotlight.llama_cpp")

_IDLE = 5.0
"""Seconds that nothing runs before what slots hold is written: the next turn of a conversation
would write its beginning again."""


def state_identity(model: LlamaModel, facts: ModelFacts, options: LoadOptions) -> str:
    """Return what a state depends on, as far as other processes may find it."""
    if options.prompt_cache.storage is None:
        return ""
    made_of = origin(model, facts, options, template="")
    identity = hashlib.sha256(msgspec.json.encode(made_of))
    if facts.projector is not None:
        identity.update(digest(model, [facts.projector]).encode())
    return identity.hexdigest()[:16]


class PromptStates:
    """Moves states between the slots of one engine and its prompt cache."""

    def __init__(
        self,
        cache: PromptCache,
        decoder: GenerationDecoder,
        *,
        least: Callable[[int], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """*least* says to how few tokens a state of so many can be cut back."""
        self._cache = cache
        self._decoder = decoder
        self._least = least
        self._clock = clock
        self._idle_since: float | None = None
        self._is_stored = False
        """Whether storage has all that idle slots hold, as far as is known."""

    # ── what a prompt starts from ──────────────────────────────────────────────────────────────

    def find(self, sequence: Sequence) -> None:
        """Look for the prompt in memory."""
        sequence.stored = self._cache.find(sequence.scope, sequence.prompt, sequence.most)

    def fetch(
        self, sequence: Sequence, held: int, seconds_per_token: float, done: Callable[[], None]
    ) -> None:
        """Begin to read from storage what saves more than the *held* tokens, if it has such.

        `sequence.fetching` is set until then; *done* is called on any thread when it is not.
        """

        def fetched(found: Found | None) -> None:
            if found is not None:
                sequence.stored = found
            sequence.fetching = False
            done()

        have = held if sequence.stored is None else max(held, sequence.stored.tokens)
        sequence.fetching = True
        if not self._cache.fetch(
            sequence.scope,
            sequence.prompt,
            sequence.most,
            have=have,
            seconds_per_token=seconds_per_token,
            done=fetched,
        ):
            sequence.fetching = False

    def take(self, sequence: Sequence) -> None:
        """Note that what the cache has of the prompt goes into a slot, before that is saved."""
        if sequence.stored is not None:
            self._cache.used(sequence.stored)

    def restore(self, slot: Slot, sequence: Sequence) -> bool:
        """Put what the cache has of the prompt into *slot*; False: it is empty now."""
        found = sequence.stored
        if found is None:
            raise AssertionError("only a state that was found is restored")
        snapshot, whole = found.snapshot, len(found.entry)
        if not self._decoder.put(slot.id, memoryview(snapshot.state), whole):
            logger.warning("llama.cpp refuses a cached state of %d tokens", whole)
            return False
        slot.checkpoints = [one for one in snapshot.checkpoints if one.tokens <= found.tokens]
        length = sequence.cached_tokens
        if length == whole:
            return True
        if length >= found.entry.least:
            return self._decoder.truncate(slot.id, length)
        last = next((one for one in reversed(slot.checkpoints) if one.tokens == length), None)
        if last is None:
            self._decoder.truncate(slot.id, 0)
            return False
        return self._decoder.rewind(slot.id, length, memoryview(last.state))

    # ── what is kept ───────────────────────────────────────────────────────────────────────────

    def save(self, slot: Slot, displaced: Displaced) -> None:
        """Keep what *slot* still holds, before it is given away."""
        if not self._save(slot, displaced, store=False, stays=False) and self._cache.stores:
            self._save(slot, displaced, store=True, stays=False)

    def _save(self, slot: Slot, held: Displaced, *, store: bool, stays: bool) -> bool:
        if not self._decoder.is_settled(slot.id):
            return False
        tokens = held.tokens
        checkpoints = tuple(one for one in held.checkpoints if one.tokens < len(tokens))
        wanted = self._cache.wants(
            held.scope,
            tokens,
            least=self._least(len(tokens)),
            checkpoints=tuple(one.tokens for one in checkpoints),
            size=self._decoder.state_size(slot.id),
            age=held.age,
            store=store,
        )
        if not wanted:
            return False
        try:
            state = self._decoder.save(slot.id)
        except (BackendError, MemoryError) as error:
            logger.warning("a slot's state cannot be saved: %s", error)
            return False
        self._cache.put(
            held.scope,
            tokens,
            Snapshot(state=state, checkpoints=checkpoints),
            least=self._least(len(tokens)),
            age=held.age,
            store=store,
            stays=stays,
        )
        return True

    # ── storage ────────────────────────────────────────────────────────────────────────────────

    @property
    def idle_timeout(self) -> float | None:
        """Seconds until `write_behind` is to be called; None while there is no need to."""
        if self._is_stored or not self._cache.stores:
            return None
        now = self._clock()
        if self._idle_since is None:
            self._idle_since = now
        return max(0.0, self._idle_since + _IDLE - now)

    @property
    def is_writing(self) -> bool:
        """Whether the cache is writing a state: it takes one at a time."""
        return self._cache.is_writing

    def busy(self) -> None:
        """Note that something runs."""
        self._idle_since = None
        self._is_stored = False
        self._cache.busy()

    def written(self) -> None:
        """Note that the cache has written a state, and can take another one; any thread."""
        self._is_stored = False

    def write_behind(self, idle: Iterable[Slot]) -> bool:
        """Begin to write the most valuable state that storage lacks, of *idle* slots first."""
        slots = [slot for slot in idle if slot.held]
        now = max((slot.last_used for slot in slots), default=0) + 1
        slots.sort(key=lambda slot: worth(len(slot.held), now - slot.last_used), reverse=True)
        for slot in slots:
            age = now - 1 - slot.last_used
            held = Displaced(slot.scope, tuple(slot.held), tuple(slot.checkpoints), age)
            if self._save(slot, held, store=True, stays=True):
                return True
        if self._cache.store_next():
            return True
        self.settle()
        return False

    def settle(self) -> None:
        """Do not write before something runs again."""
        self._is_stored = True

    def clear(self, owner: str | None) -> None:
        """Forget what the cache has, of *owner* or of all."""
        self._cache.clear(owner)

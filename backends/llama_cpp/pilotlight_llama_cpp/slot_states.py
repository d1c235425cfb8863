"""What slots hold, changed in the KV cache and in the record of it. The engine's thread alone."""

import logging
from collections.abc import Sequence

from pilotlight_backend import BackendError
from pilotlight_backend.prompt_cache import Checkpoint, owner_of
from pilotlight_llama_cpp.branches import thinned
from pilotlight_llama_cpp.decoder import GenerationDecoder
from pilotlight_llama_cpp.generation_job import GenerationJob
from pilotlight_llama_cpp.prompt_states import PromptStates
from pilotlight_llama_cpp.runs import PlannedRun
from pilotlight_llama_cpp.slots import Slot

logger = logging.getLogger("pilotlight.llama_cpp")


class SlotStates:
    """The contents of one context's slots."""

    def __init__(
        self, decoder: GenerationDecoder, slots: Sequence[Slot], *, most_checkpoints: int
    ) -> None:
        """*most_checkpoints* is those of a slot."""
        self._decoder = decoder
        self._slots = slots
        self._most_checkpoints = most_checkpoints

    def begin(self, slot: Slot, job: GenerationJob, states: PromptStates | None) -> bool:
        """Leave in *slot* what *job* starts from; return whether that came from the prompt cache.

        What the slot still holds is saved first. A restore or a copy takes less time than a chunk
        of prefill, so it delays running streams by less than any request without a cached prefix.
        """
        is_restored = job.offer.source == "cache" and states is not None
        if states is not None:
            # Memory gives up a state that goes into the slot, so that the other has its place.
            if is_restored:
                states.take(job)
            if job.displaced is not None:
                states.save(slot, job.displaced)
        if self._prepare(slot, job, states):
            return is_restored
        slot.forget()
        return False

    def _prepare(self, slot: Slot, job: GenerationJob, states: PromptStates | None) -> bool:
        """Leave the cached tokens in the slot and no others; False if it had to be cleared."""
        offer = job.offer
        state = None if offer.checkpoint is None else memoryview(offer.checkpoint.state)
        if offer.copied_from is not None:
            return self._decoder.copy(offer.copied_from, slot.id, offer.tokens, state)
        if offer.source == "baked":
            return self._decoder.restore(slot.id)
        if offer.source == "cache" and states is not None:
            return states.restore(slot, job)
        if state is not None:
            return self._decoder.rewind(slot.id, offer.tokens, state)
        return self._decoder.truncate(slot.id, offer.tokens)

    def take_checkpoint(self, job: GenerationJob) -> None:
        """Save the part of a state that cannot be cut back, where later prompts may part."""
        slot = job.slot
        if slot is None or len(slot.held) not in job.branches:
            return
        try:
            state = self._decoder.save(slot.id, partial=True)
        except (BackendError, MemoryError) as error:  # the request needs none
            logger.warning("a checkpoint of a slot cannot be saved: %s", error)
            return
        slot.checkpoints = thinned(
            [*slot.checkpoints, Checkpoint(len(slot.held), state)], self._most_checkpoints
        )

    def recover(self, runs: Sequence[PlannedRun[GenerationJob]]) -> None:
        """Leave in each slot what it held before an aborted step."""
        for run in runs:
            self._recover(self._slots[run.slot], run.sequence, run.start)

    def _recover(self, slot: Slot, job: GenerationJob, length: int) -> None:
        job.image_rows = 0
        if not self._decoder.recover(slot.id, length):
            slot.forget()

    def trim(self, number: int) -> bool:
        """Remove a refused draft from the slot of that *number*; False if it had to be cleared."""
        slot = self._slots[number]
        if self._decoder.truncate(slot.id, len(slot.held)):
            return True
        slot.forget()
        return False

    def release(self, slot: Slot, job: GenerationJob) -> None:
        """Take what is not complete out of *slot*, which *job* leaves, or all if it is cleared."""
        if job.image_rows:
            self._recover(slot, job, len(slot.held))
        if slot.is_cleared:
            slot.is_cleared = False
            self.clear(slot)

    def clear(self, slot: Slot) -> None:
        """Empty *slot*."""
        self._decoder.truncate(slot.id, 0)
        slot.forget()

    def clear_of(self, owner: str | None) -> None:
        """Empty the slots of *owner*, or all; those that are in use when their requests end."""
        for slot in self._slots:
            if owner is None or owner_of(slot.scope) == owner:
                if slot.is_idle:
                    self.clear(slot)
                else:
                    slot.is_cleared = True

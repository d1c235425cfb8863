"""A state that cannot be restored leaves its slot empty."""

from array import array

import pytest

from pilotlight_backend.prompt_cache import Checkpoint, Found, PromptCache, Snapshot
from pilotlight_backend.prompt_cache.entry import Entry
from pilotlight_llama_cpp.prompt_states import PromptStates
from pilotlight_llama_cpp.sequence import Sequence
from pilotlight_llama_cpp.slots import Slot


class Decoder:
    """Has the length of each slot."""

    def __init__(self, takes):
        self.held = {0: 0}
        self._takes = takes

    def put(self, slot, _state, length):
        self.held[slot] = length if self._takes else 0
        return self._takes

    def truncate(self, slot, length):
        self.held[slot] = length
        return True

    def rewind(self, slot, length, _state):
        self.held[slot] = length
        return True


@pytest.mark.parametrize(
    ("takes", "checkpoints", "held"), [(True, (70,), 70), (True, (), 0), (False, (70,), 0)]
)
def test_a_slot_has_what_is_restored_or_nothing(takes, checkpoints, held):
    entry = Entry(seed=b"", tokens=array("i", range(100)), least=100, checkpoints=(70,), size=10)
    state = Snapshot(
        state=b"s", checkpoints=tuple(Checkpoint(tokens=one, state=b"c") for one in checkpoints)
    )
    decoder = Decoder(takes)
    states = PromptStates(
        PromptCache(identity="", memory_limit=0), decoder, least=lambda length: length
    )
    sequence = Sequence(tuple(range(90)), 1)
    sequence.stored = Found(entry, state, 70, "memory")
    sequence.cached_tokens = 70
    assert states.restore(Slot(0), sequence) is bool(held)
    assert decoder.held[0] == held

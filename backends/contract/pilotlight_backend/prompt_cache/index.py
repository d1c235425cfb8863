"""The longest prefix of a prompt that any entry has. Pure.

Prompts are hashed in blocks, each hash continuing the one before, so the hash of a block stands for
everything up to its end. A lookup walks the prompt's own hashes while entries know them: a few
dictionary reads, however many entries there are.
"""

from collections.abc import Iterator, Sequence
from itertools import islice

from pilotlight_backend.prompt_cache.entry import BLOCK, Entry, chain

_COMPARED = 8
"""Entries of use that are looked at where several have all blocks up to one. What they are of use
for differs by less than a block."""


_LOOKED_AT = 256
"""Entries that are looked at for them, the newest first. Thousands may share a system prompt that
ends behind a date, each with its checkpoint there, and be of no use the next day."""


class PrefixIndex:
    """Entries by the hashes of their prefixes. Whoever uses it holds a lock."""

    def __init__(self) -> None:
        self._entries: dict[Entry, None] = {}
        self._at: dict[bytes, dict[Entry, None]] = {}
        """Entries that are of use for a prompt that has the blocks up to this hash. The key of an
        entry without a whole block is its seed."""

        self._ends: dict[bytes, dict[Entry, None]] = {}
        """Entries by the hash of their last whole block."""

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, entry: Entry) -> bool:
        return entry in self._entries

    def add(self, entry: Entry) -> None:
        """Add *entry*; its tokens and lengths do not change afterwards."""
        self._entries[entry] = None
        self._ends.setdefault(entry.hashes[-1], {})[entry] = None
        for key in _keys(entry):
            self._at.setdefault(key, {})[entry] = None

    def remove(self, entry: Entry) -> None:
        """Remove *entry*; a no-op for one that is not here."""
        if self._entries.pop(entry, self) is self:
            return
        _remove(self._ends, entry.hashes[-1], entry)
        for key in _keys(entry):
            _remove(self._at, key, entry)

    def longest(
        self, seed: bytes, prompt: Sequence[int], most: int, *, in_memory: bool = False
    ) -> tuple[Entry, int] | None:
        """Return the entry that saves most of *prompt*, and how many tokens; None for nothing.

        At the most *most* tokens are of use, and a block at the least. Of entries that save as
        many, one in memory comes first, then the one that was used last. With *in_memory* those
        with a snapshot alone are looked at.
        """
        keys = list(chain(seed, prompt[:most]))
        for depth in range(len(keys), 0, -1):
            here = islice(reversed(self._at.get(keys[depth - 1], {})), _LOOKED_AT)
            usable = (
                (one, one.usable(prompt, most)) for one in here if one.snapshot or not in_memory
            )
            # One that is of use for less is here for a prompt that goes on in another way.
            candidates = list(islice((one for one in usable if one[1] >= depth * BLOCK), _COMPARED))
            if candidates:
                return max(
                    candidates, key=lambda one: (one[1], one[0].snapshot is not None, one[0].used)
                )
        return None

    def covering(self, entry: Entry) -> Entry | None:
        """Return an entry that is of use for whatever *entry* is, *entry* itself apart."""
        (*_, last) = _keys(entry)
        others = self._at.get(last, {})
        return next((one for one in others if one is not entry and one.covers(entry)), None)

    def covered(self, entry: Entry) -> list[Entry]:
        """Return the entries that *entry* makes needless."""
        near = (one for key in entry.hashes for one in self._ends.get(key, ()))
        return [one for one in near if one is not entry and entry.covers(one)]

    def same(self, entry: Entry) -> Entry | None:
        """Return the entry of the same tokens that is of use at the same lengths, if there is."""
        lengths = tuple(entry.lengths)
        for one in self._ends.get(entry.hashes[-1], ()):
            if one.tokens == entry.tokens and tuple(one.lengths) == lengths:
                return one
        return None

    def shared(self, entry: Entry) -> int:
        """Return how many tokens of *entry* another entry has too, in whole blocks."""
        hashes = entry.hashes
        for depth in range(len(hashes) - 1, 0, -1):
            here = self._at.get(hashes[depth], ())
            if len(here) > (entry in here):
                return depth * BLOCK
        return 0


def _remove(index: dict[bytes, dict[Entry, None]], key: bytes, entry: Entry) -> None:
    entries = index[key]
    entries.pop(entry, None)
    if not entries:
        del index[key]


def _keys(entry: Entry) -> list[bytes]:
    """Return the hashes below which *entry* is of use, in the order of their depth."""
    hashes = entry.hashes
    depths = {length // BLOCK: None for length in entry.lengths}
    # One that can be cut back is of use from its shortest length on, at every further block.
    depths |= dict.fromkeys(range(entry.least // BLOCK, len(hashes)))
    return [hashes[depth] for depth in depths]

"""The states that are known: which are in memory, which in files, and which make room. Pure.

Whoever uses it holds a lock.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence

from pilotlight_backend.prompt_cache import policy
from pilotlight_backend.prompt_cache.entry import BLOCK, Entry, Snapshot, chain
from pilotlight_backend.prompt_cache.ghosts import Ghosts
from pilotlight_backend.prompt_cache.index import PrefixIndex

_STORED = 8
"""How much less a state in memory is worth that storage has too. Reading 230 MB from a disk took a
tenth of a second, evaluating its 2,000 tokens a hundred times as long."""

_MOST_PRUNED = 1024
"""Names of files that are remembered without the file."""


class States:
    """Entries, with what they take of memory."""

    def __init__(
        self, memory_limit: int, on_eviction: Callable[[Entry], None] = lambda _: None
    ) -> None:
        """*memory_limit* is in bytes. *on_eviction* is called with what is about to make room."""
        self._memory_limit = memory_limit
        self._on_eviction = on_eviction
        self.index = PrefixIndex()
        self.memory = 0
        """Bytes of the states in memory, without those that only wait to be written."""
        self.files: dict[str, Entry] = {}
        """The entries whose files are known, by name."""
        self.saving: dict[Entry, Snapshot] = {}
        """What waits to be written; the snapshot stays in memory until then."""
        self.evictions = 0
        self._pruned: OrderedDict[str, None] = OrderedDict()
        """Files that made room for others."""
        self._ghosts = Ghosts()
        self._cycle: int | None = None
        """Requests after which a conversation is expected that has not come back yet."""
        self.now = 0
        """Requests so far: the clock of `Entry.used`."""

    def known(self, entry: Entry) -> Entry:
        """Return the entry for what *entry* is of, if there is one, else itself.

        One with other checkpoints is another: it is not of use where *entry* is.
        """
        return self.index.same(entry) or entry

    def fits(self, entry: Entry) -> bool:
        """Return whether memory would keep *entry*."""
        return self._victims(entry) is not None

    def keep(self, entry: Entry, snapshot: Snapshot) -> bool:
        """Keep *snapshot* in memory if it is worth more than what it displaces; tell whether."""
        if entry.snapshot is not None:
            return True
        victims = self._victims(entry)
        if victims is None:
            self._remember(entry)
            return False
        for victim in victims:
            self.evictions += 1
            self._remember(victim)
            self._on_eviction(victim)
            self.unload(victim)
        self.index.add(entry)
        entry.snapshot = snapshot
        self.memory += entry.size
        return True

    def _victims(self, newcomer: Entry) -> list[Entry] | None:
        """Return the entries that make room for *newcomer*; None if it is worth less than they."""
        if newcomer.size > self._memory_limit:
            return None
        room = self._memory_limit - self.memory
        if room >= newcomer.size:
            return []
        residents = [one for one in self.index if one.snapshot is not None]
        ids = policy.to_evict(
            (self._resident(number, one) for number, one in enumerate(residents)),
            self._resident(len(residents), newcomer),
            room,
        )
        return None if ids is None else [residents[number] for number in ids]

    def is_expected(self, entry: Entry) -> bool:
        """Return whether the conversation of *entry* has come back before, or is in turn."""
        interval = entry.interval or self._cycle
        return interval is not None and policy.is_expected(self.now - entry.used, interval)

    def _resident(self, number: int, entry: Entry) -> policy.Resident:
        tokens = 0 if entry.is_in_slot else len(entry) - self.index.shared(entry)
        return policy.Resident(
            id=number,
            tokens=tokens // _STORED if entry.file is not None else tokens,
            due=policy.due(self.now + 1 - entry.used, entry.interval or self._cycle),
            size=entry.size,
        )

    def most_valuable(self, wanted: Callable[[Entry], bool]) -> Entry | None:
        """Return the state in memory that is worth most, of those that are *wanted*."""
        entries = [one for one in self.index if one.snapshot is not None and wanted(one)]
        return max(entries, key=lambda one: policy.value(self._resident(0, one)), default=None)

    def date(self, entry: Entry, age: int) -> None:
        """Note that *entry* was last used *age* requests ago, and how often its conversation is."""
        entry.used = self.now - age
        before = self.index.longest(entry.seed, entry.tokens, len(entry))
        if before is not None and before[0].interval is not None:
            entry.interval = before[0].interval
            return
        ghost = self._ghosts.find(entry.hashes)
        if ghost is not None:
            entry.interval = ghost.interval

    def _remember(self, entry: Entry) -> None:
        """Keep when a state was used: if it comes again, it is known how often."""
        self._ghosts.add(entry, self.index.shared(entry) // BLOCK)

    def ask(self, seed: bytes, prompt: Sequence[int]) -> None:
        """Count a request, and note whose conversation comes back whose state is gone."""
        self.now += 1
        ghost = self._ghosts.find((seed, *chain(seed, prompt)))
        interval = None if ghost is None else self._ghosts.use(ghost, self.now)
        if interval is not None:
            self._note_return(interval)

    def _note_return(self, interval: int) -> None:
        kept = (one.used for one in self.index if one.snapshot is not None)
        ages = (self.now - used for used in (*kept, *self._ghosts.uses()))
        self._cycle = interval if policy.is_in_turn(interval, ages) else None

    def use(self, entry: Entry) -> None:
        """Note that *entry* was restored into a slot."""
        entry.interval = max(self.now - entry.used, 1)
        entry.used = self.now
        entry.is_in_slot = True
        self._note_return(entry.interval)

    def supersede(self, entry: Entry) -> None:
        """Drop the states for which *entry* is of use as well.

        Their files go when they are old: other instances may be about to read them.
        """
        for one in self.index.covered(entry):
            self.unload(one)
            if one.file is not None and entry.file is not None:
                self.index.remove(one)

    def unload(self, entry: Entry) -> None:
        """Give the memory of *entry* back."""
        if entry.snapshot is not None:
            entry.snapshot = None
            self.memory -= entry.size
        self.drop(entry)

    def drop(self, entry: Entry) -> None:
        """Remove *entry* where neither memory, nor storage, nor the writer has it."""
        if entry.snapshot is None and entry.file is None and entry not in self.saving:
            self.index.remove(entry)

    def stored(self, entry: Entry, name: str) -> None:
        """Note that the file *name* has the state of *entry*."""
        entry.file = name
        self.files[name] = entry
        self.index.add(entry)

    def lose(self, name: str) -> None:
        """Forget a file that is gone."""
        entry = self.files.pop(name, None)
        if entry is not None:
            entry.file = None
            self.drop(entry)

    def pruned(self, name: str) -> None:
        """Forget a file that made room for others, and do not write it again before it is used.

        It may still be in a slot or in memory: without this the states that do not all fit into
        the storage would be written in turn, for ever.
        """
        self.lose(name)
        self._pruned[name] = None
        if len(self._pruned) > _MOST_PRUNED:
            self._pruned.popitem(last=False)

    def made_room(self, name: str) -> bool:
        """Return whether the file *name* made room for others, and was not used since."""
        return name in self._pruned

    def wanted_again(self, name: str) -> None:
        """Note that what the file *name* is of was used."""
        self._pruned.pop(name, None)

    def clear(self, owner: bytes | None) -> list[str]:
        """Forget every state, or those of *owner*; return the names of their files."""
        names = []
        # Of what a longer state has superseded there is still the file.
        entries = dict.fromkeys([*self.index, *self.files.values()])
        for entry in [one for one in entries if owner in (None, one.owner)]:
            self.saving.pop(entry, None)
            if entry.file is not None:
                names.append(entry.file)
                self.files.pop(entry.file, None)
                entry.file = None
            self.unload(entry)
        return names

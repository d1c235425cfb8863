"""Conversations whose states are gone: when they were used, and how soon they came back. Pure.

A cache that knows only what it keeps cannot tell a conversation that comes back too late from one
that never does. ARC and 2Q keep "ghost entries" for that, and so does this: hashes and two numbers.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence

from msgspec import Struct

from pilotlight_backend.prompt_cache.entry import Entry

_MOST = 1024
"""Ghosts that are kept."""


class Ghost(Struct, eq=False, gc=False):
    """A conversation whose state was evicted."""

    keys: tuple[bytes, ...]
    """Hashes of its prefixes, the longest first."""
    used: int
    """When it was last used, on the clock that counts requests."""
    interval: int | None
    """Requests between its last two uses, if it was used twice."""


class Ghosts:
    """Ghosts by the prefixes of their conversations."""

    def __init__(self) -> None:
        self._all: OrderedDict[bytes, Ghost] = OrderedDict()
        """By the longest prefix, the one that was used last at the end."""
        self._by_prefix: dict[bytes, Ghost] = {}

    def add(self, entry: Entry, shared: int) -> None:
        """Remember *entry*, of which others have the first *shared* blocks of tokens."""
        keys = _keys(entry.hashes, shared)
        if not keys:
            return
        for key in keys:
            self._remove(self._by_prefix.get(key))
        ghost = Ghost(keys, entry.used, entry.interval)
        self._all[keys[0]] = ghost
        self._by_prefix.update(dict.fromkeys(keys, ghost))
        if len(self._all) > _MOST:
            self._remove(next(iter(self._all.values())))

    def find(self, hashes: Sequence[bytes]) -> Ghost | None:
        """Return the ghost of a conversation with these hashes, the seed first."""
        found = (self._by_prefix.get(key) for key in reversed(hashes[1:]))
        return next((ghost for ghost in found if ghost is not None), None)

    def use(self, ghost: Ghost, now: int) -> int | None:
        """Note that the conversation of *ghost* came back; return after how many requests.

        None for the next request: choices that share a prompt are no turns of a conversation.
        """
        interval = now - ghost.used
        ghost.used = now
        self._all.move_to_end(ghost.keys[0])
        if interval <= 1:
            return None
        ghost.interval = interval
        return interval

    def uses(self) -> Iterable[int]:
        """Yield when each conversation was last used."""
        return (ghost.used for ghost in self._all.values())

    def _remove(self, ghost: Ghost | None) -> None:
        if ghost is None:
            return
        self._all.pop(ghost.keys[0], None)
        for key in ghost.keys:
            if self._by_prefix.get(key) is ghost:
                del self._by_prefix[key]


def _keys(hashes: Sequence[bytes], shared: int) -> tuple[bytes, ...]:
    """Return the hashes by which a conversation is known again, the longest prefix first.

    The next turn may lack the end: templates omit reasoning, and an answer's text may have other
    tokens than were sampled. So ever shorter prefixes are tried, down to half of it, and none that
    another conversation has.
    """
    keys: list[bytes] = []
    back = 0
    while (depth := len(hashes) - 1 - back) > max(shared, (len(hashes) - 1) // 2 - 1, 0):
        keys.append(hashes[depth])
        back = 2 * back or 1
    return tuple(keys)

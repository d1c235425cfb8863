"""A cached prompt: its tokens, and how much of it another prompt can use. Pure.

Engines keep states of three kinds, and an entry says which by `least`:

- Keys and values of every token can be cut back to any prefix: `least` is 1.
- A sliding window can be cut back as long as the window before the cut is there.
- A recurrent state has no past. It is of use at its end and at its checkpoints alone.
"""

from array import array
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Literal, NamedTuple

from msgspec import Struct

from pilotlight_backend.placement import common_prefix

BLOCK = 64
"""Tokens that are hashed together. A prompt of 32,000 tokens has 500 hashes, half a millisecond; a
prefix that is shorter than a block costs less to evaluate than to restore."""

WORTH_RESTORING = 64
"""Tokens of a prompt for which a state is saved, read or restored."""

SUFFIX = ".state"
"""What the names of files with states end with."""

_HEADER = 256
"""Bytes of a file beside its states and tokens, at the most, with a dozen of checkpoints."""

_OWNER = 8
"""Bytes of an owner's digest. Two owners would have to share it for one to delete the other's."""


class Checkpoint(Struct, frozen=True, gc=False):
    """The part of a state that cannot be cut back, as it was after the first *tokens* tokens."""

    tokens: int
    state: bytes | memoryview


class Snapshot(Struct, frozen=True):
    """A slot's state as the engine gave it out, and the checkpoints inside it, in rising order."""

    state: bytes | memoryview
    checkpoints: tuple[Checkpoint, ...] = ()

    @property
    def size(self) -> int:
        """Its bytes."""
        return len(self.state) + sum(len(one.state) for one in self.checkpoints)


class Entry(Struct, eq=False, kw_only=True):
    """One cached prompt. `index` finds it, `snapshot` or a file has its state."""

    seed: bytes
    """What the chain of hashes begins with: the model's identity and the scope, as `seed_of`."""
    tokens: "array[int]"
    least: int
    """The fewest tokens that the state can be cut back to; its length where it cannot be cut."""
    checkpoints: tuple[int, ...] = ()
    """Further lengths at which it is of use, rising, each below `least`."""
    size: int
    """Bytes of the state and its checkpoints."""
    interval: int | None = None
    """Requests between its last two uses, once it was used again."""
    is_in_slot: bool = False
    """Whether a slot has it too, as far as is known: then memory need not."""
    used: int = 0
    """When it was last of use, on the clock of the cache that counts requests."""
    snapshot: Snapshot | None = None
    """The state, while it is in memory."""
    file: str | None = None
    """The name of its file, while there is one."""
    _hashes: tuple[bytes, ...] | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def hashes(self) -> tuple[bytes, ...]:
        """The seed, and the hash of each prefix of whole blocks.

        Kept: what makes room asks each entry for them, and those of 2,000 took a quarter of a
        second.
        """
        if self._hashes is None:
            self._hashes = (self.seed, *chain(self.seed, self.tokens))
        return self._hashes

    @property
    def owner(self) -> bytes:
        """The digest of the owner of its scope."""
        return self.seed[:_OWNER]

    @property
    def lengths(self) -> Iterator[int]:
        """The lengths at which the state is of use, rising; from the last one on, each is."""
        yield from self.checkpoints
        yield self.least

    def usable(self, prompt: Sequence[int], most: int) -> int:
        """Return how many tokens of *prompt* need not be evaluated with it, at the most *most*."""
        common = min(common_prefix(self.tokens, prompt), most)
        if common >= self.least:
            return common
        return max((length for length in self.checkpoints if length <= common), default=0)

    def covers(self, other: "Entry") -> bool:
        """Return whether whatever *other* is of use for, this entry is too."""
        if len(other) > len(self):
            return False
        # Hashes first: thousands of entries may share a system prompt.
        if other.hashes[-1] != self.hashes[len(other.hashes) - 1]:
            return False
        if common_prefix(self.tokens, other.tokens) < len(other):
            return False
        if self.least <= other.least:
            return True
        kept = {*self.checkpoints, self.least}
        return other.least == len(other) and kept.issuperset(other.lengths)


class Found(NamedTuple):
    """A state that begins as a prompt does."""

    entry: Entry
    snapshot: Snapshot
    tokens: int
    """How many of the prompt's tokens it saves."""
    tier: Literal["memory", "storage"]
    """Where it was when the request came."""


def owner_of(scope: str) -> str:
    """Return whose *scope* is: its part before the first NUL. A salt follows that."""
    return scope.partition("\0")[0]


def owner_digest(identity: str, owner: str) -> bytes:
    """Return what the seeds of all scopes of *owner* begin with."""
    return blake2b(f"{identity}\0{owner}".encode(), digest_size=_OWNER).digest()


def seed_of(identity: str, scope: str) -> bytes:
    """Return what hashes of prompts begin with.

    *identity* is whatever a state depends on, *scope* who may find it: another scope has other
    hashes, so no caller finds, nor can ask for, what belongs to another.
    """
    digest = blake2b(f"{identity}\0{scope}".encode(), digest_size=16).digest()
    return owner_digest(identity, owner_of(scope)) + digest


def chain(seed: bytes, tokens: Sequence[int], start: int = 0) -> Iterator[bytes]:
    """Yield the hash of each prefix of whole blocks, the shortest first.

    Each hash continues the one before: *seed* is that of the prefix of *start* tokens, where the
    chain does not begin at the first token.
    """
    digest = seed
    for end in range(start + BLOCK, len(tokens) + 1, BLOCK):
        block = array("i", tokens[end - BLOCK : end])
        digest = blake2b(block.tobytes(), key=digest, digest_size=16).digest()
        yield digest


def owned_prefix(identity: str, owner: bytes) -> str:
    """Return how the names of *owner*'s files begin, those for one model."""
    return f"{identity}-{owner.hex()}-"


def file_name(identity: str, entry: Entry) -> str:
    """Return the name of the file for the state of *entry*.

    A listing alone says which model a file is for, and whose it is.
    """
    return owned_prefix(identity, entry.owner) + _name_of(entry) + SUFFIX


def file_size(entry: Entry) -> int:
    """Return about how many bytes the file for the state of *entry* has."""
    return entry.size + len(entry) * entry.tokens.itemsize + _HEADER


def identity_of(name: str) -> str:
    """Return which model the file *name* is for."""
    return name.partition("-")[0]


def _name_of(entry: Entry) -> str:
    """Return the hash of all tokens of *entry* and of its lengths, in hex.

    Two states of the same tokens may have different checkpoints: their files differ.
    """
    hashes = entry.hashes
    rest = entry.tokens[(len(hashes) - 1) * BLOCK :]
    lengths = array("q", entry.lengths)
    return blake2b(rest.tobytes() + lengths.tobytes(), key=hashes[-1], digest_size=16).hexdigest()

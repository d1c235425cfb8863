"""Adapters: small files that change a model's weights (LoRA), of which a request chooses some.

An adapter is loaded over a model that is loaded already, and is known by the digest of its file's
content. Tokens that were evaluated with other adapters, or at another scale, are of no use for a
prompt: they are part of its scope, as `cache_scope` has it.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct

MOST_ADAPTERS = 4
"""Adapters of one request. llama.cpp bounds the nodes of a graph by a multiple of the model's
tensors and adds none for adapters with some architectures (`graph_max_nodes` in llama-context.cpp):
32 for each tensor, of which a model uses about half and an adapter four."""
LARGEST_SCALE = 100.0
"""A scale is within this distance of 0. Adapters are trained for 1; far larger ones make logits
infinite."""

_BLOCK = 1 << 20


class Adapter(Struct, frozen=True, order=True):
    """An adapter in a request: its *id*, from `AdaptingEngine.load_adapter`, and its scale."""

    id: str
    scale: float = 1.0


class AdapterFacts(Struct, frozen=True, kw_only=True):
    """What the header of an adapter's file says."""

    path: Path
    name: str | None = None
    rank: int
    """The largest of its matrices'."""
    size_bytes: int
    """Of the file; about as much as it takes of memory."""


def applied(adapters: Iterable[Adapter]) -> tuple[Adapter, ...]:
    """Return the adapters that have an effect, in an order that does not depend on the request."""
    return tuple(sorted(one for one in adapters if one.scale))


def cache_scope(scope: str, adapters: tuple[Adapter, ...]) -> str:
    """Return the scope of cached tokens that were evaluated with *adapters*, for one *scope*.

    The owner stays its part before the first NUL. Two NULs come before the adapters, and no salt
    can imitate them: one that begins with a NUL is written in the same way, without adapters.
    """
    owner, nul, salt = scope.partition("\0")
    if not adapters and not salt.startswith("\0"):
        return scope
    spelled = ",".join(f"{one.id}*{one.scale!r}" for one in adapters)
    return f"{owner}\0\0{spelled}{nul}{salt}"


def content_digest(path: Path) -> str:
    """Return the digest of a file's content. Raises `OSError`."""
    digest = hashlib.blake2b(digest_size=20)
    with path.open("rb", buffering=0) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()

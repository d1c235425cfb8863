"""Delete stored states, those of one owner or all, whichever model they are for."""

from concurrent.futures import ThreadPoolExecutor

from msgspec import Struct

from pilotlight_backend.prompt_cache.entry import identity_of, owned_prefix, owner_digest
from pilotlight_backend.prompt_cache.storage import open_storage

_WRITING = 60.0
"""Seconds in which a file without its name may still be written by an instance that runs."""
_AT_A_TIME = 16
"""Files that are deleted at a time: a request to a bucket takes tens of milliseconds."""


class Deleted(Struct, frozen=True):
    """What was deleted."""

    files: int
    size: int
    """Their bytes."""


def delete_states(address: str, owner: str | None = None) -> Deleted:
    """Delete the states stored at *address*, all of them or those in the scopes of *owner*.

    The names of files have their owners, so no file is opened and no model has to be loaded.
    Blocks. Raises `OSError`, and `ImportError` where the address's library is not installed.
    """
    storage = open_storage(address)
    files = [one for one in storage.files() if owner is None or _belongs_to(owner, one.name)]
    with ThreadPoolExecutor(_AT_A_TIME, "delete states") as deleting:
        list(deleting.map(lambda file: storage.delete(file.name), files))
    if owner is None:
        storage.sweep(_WRITING)
    return Deleted(files=len(files), size=sum(file.size for file in files))


def _belongs_to(owner: str, name: str) -> bool:
    identity = identity_of(name)
    return name.startswith(owned_prefix(identity, owner_digest(identity, owner)))

"""What there is to say of each model without loading it."""

from collections.abc import Sequence

from msgspec import Struct

from pilotlight.models.catalog import ModelEntry
from pilotlight.models.registry import BackendBroken, Registry
from pilotlight_backend import BackendError, ModelFacts
from pilotlight_backend.places import without_folders


class ListedModel(Struct, frozen=True):
    """A model, and who serves it with what facts; or the *error* that nobody can."""

    entry: ModelEntry
    created: int
    """When its file was last changed, in seconds since 1970; 0 where there is none."""
    backend: str | None = None
    facts: ModelFacts | None = None
    error: str | None = None


def describe(entries: Sequence[ModelEntry], registry: Registry) -> list[ListedModel]:
    """Return what the headers of *entries* say. Reads files, so it belongs into a thread."""
    return [_describe(entry, registry) for entry in entries]


def _describe(entry: ModelEntry, registry: Registry) -> ListedModel:
    created = 0
    if entry.origin and not entry.path.exists():
        return ListedModel(entry, created, error=f"{entry.origin.address} (not fetched yet)")
    try:
        created = int(entry.path.stat().st_mtime)
        claim = registry.claim(entry.path, entry.options.backend)
    except (BackendError, BackendBroken, OSError) as error:
        return ListedModel(entry, created, error=without_folders(str(error), entry.path))
    return ListedModel(entry, created, claim.backend.name, claim.facts)

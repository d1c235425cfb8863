"""What there is to say of each model without loading it."""

from collections.abc import Callable, Sequence
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from pilotlight.models.catalog import ModelEntry
from pilotlight.models.registry import BackendBroken, Registry
from pilotlight_backend import BackendError, LoadOptions, ModelFacts, ModelUnsupported
from pilotlight_backend.capacity import served_length
from pilotlight_backend.redaction import without_folders


class ListedModel(Struct, frozen=True):
    """A model, and who serves it with what facts; or the *error* that nobody can."""

    entry: ModelEntry
    created: int
    """When its file was last changed, in seconds since 1970; 0 where there is none."""
    backend: str | None = None
    facts: ModelFacts | None = None
    """With the context length that it is served with."""
    error: str | None = None
    trouble: Literal["unsupported", "invalid"] | None = None
    """Whether it is the file's fault: it is whole and cannot be served, or it is not whole."""


def describe(
    entries: Sequence[ModelEntry],
    registry: Registry,
    load_options: Callable[[ModelEntry], LoadOptions] = lambda _: LoadOptions(),
) -> list[ListedModel]:
    """Return what the headers of *entries* say. Looks at files, so it belongs into a thread."""
    return [_describe(entry, registry, load_options(entry)) for entry in entries]


def _describe(entry: ModelEntry, registry: Registry, options: LoadOptions) -> ListedModel:
    created = 0
    if entry.origin and not entry.path.exists():
        return ListedModel(entry, created, error=f"{entry.origin.address} (not fetched yet)")
    try:
        created = int(entry.path.stat().st_mtime)
        claim = registry.claim(entry.path, entry.options.backend)
    except OSError as error:
        words = f"{entry.path.name}: {error.strerror or type(error).__name__}"
        return ListedModel(entry, created, error=words, trouble="invalid")
    except (BackendError, BackendBroken) as error:
        words = without_folders(str(error), entry.path)
        return ListedModel(entry, created, error=words, trouble=_trouble(error))
    facts = replace(claim.facts, context_length=served_length(claim.facts, options))
    return ListedModel(entry, created, claim.backend.name, facts)


def _trouble(error: Exception) -> Literal["unsupported", "invalid"] | None:
    match error:
        case ModelUnsupported():
            return "unsupported"
        case BackendBroken():  # nothing is wrong with the file
            return None
        case _:
            return "invalid"

"""Describe models without loading them."""

from collections.abc import Callable, Sequence
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from pilotlight.models.catalog import ModelEntry
from pilotlight.models.projectors import served_facts
from pilotlight.models.registry import BackendBroken, Claim, Registry
from pilotlight_backend import BackendError, LoadOptions, ModelFacts, ModelUnsupported
from pilotlight_backend.capacity import served_length
from pilotlight_backend.redaction import without_folders


class ListedModel(Struct, frozen=True):
    """A model, with its backend and facts, or the *error* why it cannot be served."""

    entry: ModelEntry
    created: int
    """Modification time of its file in seconds since 1970; 0 if there is none."""
    backend: str | None = None
    facts: ModelFacts | None = None
    """Its context length is the one it is served with."""
    error: str | None = None
    trouble: Literal["unsupported", "invalid"] | None = None
    """Whether the file is the cause: intact but unsupported, or invalid."""


def describe(
    entries: Sequence[ModelEntry],
    registry: Registry,
    load_options: Callable[[ModelEntry], LoadOptions] = lambda _: LoadOptions(),
) -> list[ListedModel]:
    """Describe *entries* by their headers. Reads files: run it on a thread."""
    return [_describe(entry, registry, load_options(entry.base)) for entry in entries]


def _describe(entry: ModelEntry, registry: Registry, options: LoadOptions) -> ListedModel:
    created = 0
    if entry.origin and not entry.path.exists():
        return ListedModel(entry, created, error=f"{entry.origin.address} (not fetched yet)")
    try:
        created = int(entry.path.stat().st_mtime)
        if entry.base.origin and not entry.base.path.exists():
            return ListedModel(
                entry, created, error=f"{entry.base.origin.address} (not fetched yet)"
            )
        claim = registry.claim(entry.base.path, entry.base.options.backend)
        facts = _facts(entry.base, claim, registry)
        if entry.adapter:
            registry.probe_adapter(claim, entry.path)
    except OSError as error:
        words = f"{entry.path.name}: {error.strerror or type(error).__name__}"
        return ListedModel(entry, created, error=words, trouble="invalid")
    except (BackendError, BackendBroken) as error:
        words = without_folders(str(error), entry.path)
        return ListedModel(entry, created, error=words, trouble=_trouble(error))
    facts = replace(facts, context_length=served_length(facts, options))
    return ListedModel(entry, created, claim.backend.name, facts)


def _facts(entry: ModelEntry, claim: Claim, registry: Registry) -> ModelFacts:
    origin = entry.projector_origin
    if origin and not origin.root.exists():  # it is fetched when the model is loaded
        return replace(claim.facts, input_modalities=("text", "image"))
    return served_facts(entry, claim, registry)


def _trouble(error: Exception) -> Literal["unsupported", "invalid"] | None:
    match error:
        case ModelUnsupported():
            return "unsupported"
        case BackendBroken():  # the file is not the cause
            return None
        case _:
            return "invalid"

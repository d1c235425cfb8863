"""The projector (mmproj) of a model: the one beside it, that of models.yaml, or none."""

from pathlib import Path

from pilotlight.models.catalog import ModelEntry, in_folder_of
from pilotlight.models.registry import Claim, Registry
from pilotlight_backend import ModelFacts
from pilotlight_backend.projectors import without_projector


def projector_path(entry: ModelEntry) -> Path | None:
    """Return the projector that models.yaml names for *entry*; None if it names none."""
    mmproj = entry.options.mmproj
    return in_folder_of(entry.path, mmproj) if isinstance(mmproj, str) else None


def served_facts(entry: ModelEntry, claim: Claim, registry: Registry) -> ModelFacts:
    """Return the facts of *entry* with the projector that it is served with.

    Reads files. Raises what `Registry.probe_projector` raises.
    """
    if entry.options.mmproj is False:
        return without_projector(claim.facts)
    path = projector_path(entry)
    return claim.facts if path is None else registry.probe_projector(claim, path)

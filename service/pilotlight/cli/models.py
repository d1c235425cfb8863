"""The command that lists the models."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pilotlight.cli.table import print_table
from pilotlight.config import load_settings

if TYPE_CHECKING:
    from pilotlight.models.listing import ListedModel


def models(arguments: dict[str, Any]) -> None:
    """Print every model, where it comes from and which backend serves it."""
    import asyncio  # noqa: PLC0415

    from pilotlight.service import Service  # noqa: PLC0415

    service = Service(load_settings(arguments))
    listed = service.describe(asyncio.run(service.resolver.entries()))
    header = ("MODEL", "SOURCE", "BACKEND", "ARCHITECTURE", "CONTEXT", "SIZE", "PATH")
    print_table([header, *map(_model_row, listed)])


def _model_row(model: "ListedModel") -> Sequence[str]:
    facts = model.facts
    return (
        model.entry.name,
        model.entry.source,
        model.backend or "-",
        facts.architecture if facts else "-",
        str(facts.context_length) if facts else "-",
        f"{facts.size_bytes / 1e6:.1f} MB" if facts else "-",
        str(model.entry.path) if model.error is None else _trouble(model),
    )


def _trouble(model: "ListedModel") -> str:
    """Return what is wrong, and the path: a relative one in models.yaml may be read elsewhere."""
    if model.trouble is None:
        return str(model.error)
    return f"{model.trouble}: {model.error} ({model.entry.path})"

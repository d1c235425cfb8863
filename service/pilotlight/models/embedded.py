"""The models that ship with the backends."""

from pilotlight.models.catalog import ModelEntry, ModelOptions
from pilotlight.models.registry import BackendBroken, Registry
from pilotlight_backend import BackendError


def embedded_entries(registry: Registry) -> list[ModelEntry]:
    """Return the models that ship with the backends.

    If two backends have the same name, the second model is called `name:backend`.
    """
    entries: dict[str, ModelEntry] = {}
    for backend_name in registry.names:
        try:
            path = registry.embedded(backend_name)
        except (BackendBroken, BackendError, OSError):
            continue
        if path:
            options = ModelOptions(path=str(path), backend=backend_name)
            name = path.stem.lower()
            name = f"{name}:{backend_name}" if name in entries else name
            entries[name] = ModelEntry(name, path, "embedded", options)
    return list(entries.values())

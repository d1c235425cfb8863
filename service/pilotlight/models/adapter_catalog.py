"""Which LoRA adapters there are: those of models.yaml, and those that were loaded since."""

from collections.abc import Iterable, Sequence

from pilotlight.models.catalog import ModelEntry


class AdapterCatalog:
    """Adapters by name, in the order of models.yaml. Changed on one loop, read on any thread."""

    def __init__(self, configured: Iterable[ModelEntry] = ()) -> None:
        """Of *configured*, the entries that are adapters are kept."""
        self._entries = {entry.name: entry for entry in configured if entry.adapter}

    @property
    def entries(self) -> Sequence[ModelEntry]:
        """Every adapter."""
        return tuple(self._entries.values())

    def of(self, model: ModelEntry) -> Sequence[ModelEntry]:
        """Return the adapters of *model*; the index of each is its id in llama-server's field."""
        return [one for one in self.entries if one.base.name == model.base.name]

    def get(self, name: str) -> ModelEntry | None:
        """Return the adapter *name*; None without one."""
        return self._entries.get(name)

    def add(self, entry: ModelEntry) -> None:
        """Add an adapter, or replace the one of its name."""
        self._entries = {**self._entries, entry.name: entry}

    def remove(self, name: str) -> None:
        """Remove the adapter *name*."""
        self._entries = {key: one for key, one in self._entries.items() if key != name}

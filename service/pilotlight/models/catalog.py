"""Which models there are: named in models.yaml, found in the models folder, or embedded."""

from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from pilotlight.config import ConfigError, Count
from pilotlight.models.registry import BackendBroken, Claim, Registry
from pilotlight_backend import BackendError


class ModelOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What models.yaml can say of one model; what it leaves out is the service's setting."""

    path: str
    backend: str | None = None
    """The backend that serves it; by default the first that recognises the path."""
    parallel: Count | None = None
    context_length: Count | None = None
    threads: Count | None = None
    gpu_layers: int | None = None
    chat_template: str | None = None
    """A file with the Jinja template to use in place of the model's own."""
    reasoning_format: str | None = None
    tool_call_format: str | None = None


class ModelEntry(Struct, frozen=True):
    """A model by its name, lower-case; *path* may not exist."""

    name: str
    path: Path
    source: Literal["configured", "discovered", "embedded"]
    options: ModelOptions


class Discovered(Struct, frozen=True):
    """A model of the models folder, and what the probe said: a claim, or why there is none."""

    entry: ModelEntry
    folder: str | None
    """The name of the folder that holds the file and no other model."""
    claim: Claim | BackendError | BackendBroken


# ── models.yaml ─────────────────────────────────────────────────────────────────────────────────


def read_models_file(path: Path) -> list[ModelEntry]:
    """Return the models that the file at *path* names; none where there is no such file.

    Both `models: {name: …}` and top-level `name: …` count; a value is a path or a map of
    `ModelOptions`. Paths are relative to the file. Raises `ConfigError` naming the key at fault.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from None
    document = _parse_yaml(text, path)
    nested = document.pop("models", None) or {}
    if not isinstance(nested, dict):
        raise ConfigError(f"{path}: models: expected a map of names to paths")
    entries: dict[str, ModelEntry] = {}
    for prefix, section in (("", document), ("models.", nested)):
        for name, value in section.items():
            entry = _entry(path, f"{prefix}{name}", str(name), value)
            if entry.name in entries:
                raise ConfigError(f"{path}: {prefix}{name}: this model is named twice")
            entries[entry.name] = entry
    return list(entries.values())


def _parse_yaml(text: str, path: Path) -> dict[Any, Any]:
    import yaml  # noqa: PLC0415 - most cold starts have no models.yaml

    try:
        document = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both are safe loaders
    except (yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path}: {reason}") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: expected a map of names to paths")
    return document


def _entry(file: Path, key: str, name: str, value: Any) -> ModelEntry:
    raw = {"path": value} if isinstance(value, str) else value
    try:
        options = msgspec.convert(raw, ModelOptions)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{file}: {key}: {error}") from None
    path = file.parent / Path(options.path).expanduser()
    return ModelEntry(name.strip().lower(), path, "configured", options)


# ── the models folder ───────────────────────────────────────────────────────────────────────────


class Discovery:
    """What the models folder holds. Used from threads: it reads files.

    Each file is probed once, and again when its size or time changes, so that a stream of unknown
    names costs directory listings and not header reads.
    """

    def __init__(self, folder: Path, registry: Registry) -> None:
        self._folder = folder
        self._registry = registry
        self._probed: dict[Path, tuple[tuple[int, int], Discovered | None]] = {}

    def scan(self) -> list[Discovered]:
        """Return the folder's models in the order of their names; none where it does not exist."""
        found: list[Discovered] = []
        for path in _children(self._folder):
            model = self._probe(path)
            if model:
                found.append(model)
            elif path.is_dir():
                found += self._scan_folder(path)
        return found

    def _scan_folder(self, folder: Path) -> list[Discovered]:
        inside = [model for path in _children(folder) if (model := self._probe(path))]
        if len(inside) == 1:
            inside = [msgspec.structs.replace(inside[0], folder=folder.name.lower())]
        return inside

    def _probe(self, path: Path) -> Discovered | None:
        try:
            stat = path.stat()
        except OSError:  # deleted since it was listed, or a dangling link
            return None
        signature = (stat.st_mtime_ns, stat.st_size)
        known = self._probed.get(path)
        if known and known[0] == signature:
            return known[1]
        model = self._probe_anew(path)
        self._probed[path] = (signature, model)
        return model

    def _probe_anew(self, path: Path) -> Discovered | None:
        try:
            claim = self._registry.recognise(path)
        except (BackendError, BackendBroken) as error:
            return Discovered(discovered_entry(path), None, error)
        except OSError:  # not ours to read
            return None
        return Discovered(discovered_entry(path), None, claim) if claim else None


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError:
        return []


def discovered_entry(path: Path) -> ModelEntry:
    """Return the entry of a file or folder that nobody named; it has its own, less the suffix."""
    name = path.name if path.is_dir() else path.stem
    return ModelEntry(name.lower(), path, "discovered", ModelOptions(path=str(path)))


# ── embedded models ─────────────────────────────────────────────────────────────────────────────


def embedded_entries(registry: Registry) -> list[ModelEntry]:
    """Return the models that ship inside the backends; the first backend to bring a name has it."""
    entries: dict[str, ModelEntry] = {}
    for backend_name in registry.names:
        try:
            path = registry.get(backend_name).embedded()
        except BackendBroken:
            continue
        if path:
            options = ModelOptions(path=str(path), backend=backend_name)
            entry = ModelEntry(path.stem.lower(), path, "embedded", options)
            entries.setdefault(entry.name, entry)
    return list(entries.values())

"""Which models there are: named in models.yaml, found in the models folder, or embedded."""

from collections import Counter
from collections.abc import Container, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct

from pilotlight.config import ConfigError, Count, Isolation, Seconds
from pilotlight.models.fetch.address import Address, is_address, parse_address, place
from pilotlight.models.registry import BackendBroken, Claim, Registry
from pilotlight_backend import BackendError


class ModelOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What models.yaml can say of one model; what it leaves out is the service's setting."""

    path: Annotated[str, Meta(min_length=1)]
    """A file or folder here, or an address that it is fetched from."""
    backend: str | None = None
    """The backend that serves it; by default the first that recognises the path."""
    parallel: Count | None = None
    context_length: Count | None = None
    threads: Count | None = None
    gpu_layers: int | None = None
    execution_provider: Annotated[str, Meta(min_length=1)] | None = None
    """Where ONNX Runtime computes, by the name it has in `genai_config.json`: `cuda`."""
    chat_template: str | None = None
    """A file with the Jinja template to use in place of the model's own.

    Relative to the model's folder.
    """
    baked: str | None = None
    """The file with its baked prompt, where that is not beside the model.

    Relative to the model's folder.
    """
    isolation: Isolation | None = None
    """Whether the engine gets a process of its own."""
    step_timeout: Seconds | None = None
    """Seconds after which a step of the engine hangs; 0 for never."""
    load_timeout: Seconds | None = None
    """Seconds without progress after which a load hangs; 0 for never."""
    reasoning_format: str | None = None
    tool_call_format: str | None = None


class Origin(Struct, frozen=True):
    """An address, and the file or folder that it becomes: the entry's path or a folder above it."""

    address: Address
    root: Path


class ModelEntry(Struct, frozen=True):
    """A model by its name, lower-case; *path* may not exist."""

    name: str
    path: Path
    source: Literal["configured", "discovered", "embedded"]
    options: ModelOptions
    origin: Origin | None = None
    """Where it is fetched from when it is first loaded; None where it is a file of this machine."""


class Discovered(Struct, frozen=True):
    """A model of the models folder, and what the probe said: a claim, or why there is none.

    Its *entry* is the configured one where models.yaml names the same file.
    """

    entry: ModelEntry
    file: str
    """The name of its file without the suffix, or of the folder that it is."""
    folder: str | None
    """The name of the folder that holds the file and no other model."""
    claim: Claim | BackendError | BackendBroken


# ── models.yaml ─────────────────────────────────────────────────────────────────────────────────


def read_models_file(path: Path, models_dir: Path | None = None) -> list[ModelEntry]:
    """Return the models that the file at *path* names; none where there is no such file.

    Both `models: {name: …}` and top-level `name: …` count; a value is a path or a map of
    `ModelOptions`. The models' paths are relative to the file; an address is fetched to
    *models_dir*, by default the file's folder, under the entry's name. Raises `ConfigError`
    naming the key at fault.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from None
    document = _parse_yaml(text, path)
    nested = document.pop("models", None)
    if nested is None:
        nested = {}
    if not isinstance(nested, dict):
        raise ConfigError(f"{path}: models: expected a map of names to paths")
    entries: dict[str, ModelEntry] = {}
    for prefix, section in (("", document), ("models.", nested)):
        for name, value in section.items():
            entry = _entry(path, f"{prefix}{name}", name, value, models_dir or path.parent)
            if entry.name in entries:
                raise ConfigError(f"{path}: {prefix}{name}: this model is named twice")
            entries[entry.name] = entry
    return list(entries.values())


def _parse_yaml(text: str, path: Path) -> dict[Any, Any]:
    import yaml  # noqa: PLC0415 - most cold starts have no models.yaml

    try:
        # Not the faster CSafeLoader: deep nesting overflows its stack and ends the process.
        _refuse_repeated_keys(yaml.compose(text, Loader=yaml.SafeLoader))
        document = yaml.safe_load(text)
    # Its constructors of dates, numbers and booleans let through what those raise.
    except (yaml.YAMLError, AttributeError, LookupError, RecursionError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path}: no valid YAML: {reason}") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: expected a map of names to paths")
    return document


def _refuse_repeated_keys(node: Any, levels: int = 3) -> None:
    """Raise `ValueError` where a map has a key twice: YAML forbids it, PyYAML drops the first.

    Three levels are the document, its `models`, and a model's options.
    """
    if not levels or getattr(node, "id", None) != "mapping":
        return
    names = Counter(key.value for key, _ in node.value if key.id == "scalar")
    for name, count in names.items():
        if count > 1:
            raise ValueError(f"{name}: this key is there twice")
    for _, value in node.value:
        _refuse_repeated_keys(value, levels - 1)


def _entry(file: Path, key: str, name: Any, value: Any, models_dir: Path) -> ModelEntry:
    if not isinstance(name, str) or not name.strip():
        raise ConfigError(f"{file}: {key}: a name is text that is not empty; put it into quotes")
    raw = {"path": value} if isinstance(value, str) else value
    try:
        options = msgspec.convert(raw, ModelOptions)
        _check_text(name, options.path, options.chat_template or "", options.baked or "")
        origin = None
        if is_address(options.path):
            address = parse_address(options.path)
            there = place(address, models_dir, name.strip().lower())
            path, origin = there.model, Origin(address, there.root)
        else:
            path = file.parent / Path(options.path).expanduser()
        template = options.chat_template and str(Path(options.chat_template).expanduser())
        baked = options.baked and str(Path(options.baked).expanduser())
    except msgspec.ValidationError as error:
        raise ConfigError(f"{file}: {key}: {error}") from None
    except ConfigError as error:
        raise ConfigError(f"{file}: {key}: {error}") from None
    except RuntimeError:
        raise ConfigError(f"{file}: {key}: a path's ~ names no home folder") from None
    options = msgspec.structs.replace(options, chat_template=template, baked=baked)
    return ModelEntry(name.strip().lower(), path, "configured", options, origin)


def _check_text(*texts: str) -> None:
    """Raise `ConfigError` for what no path and no answer can hold: YAML can write it as escapes."""
    for text in texts:
        if "\0" in text or any("\ud800" <= char <= "\udfff" for char in text):
            raise ConfigError(f"{text!a} has a null character or half a surrogate pair")


def template_path(model: Path, name: str) -> Path:
    """Return the template *name*, relative to the folder that *model* is or is in."""
    return (model if model.is_dir() else model.parent) / name


# ── the models folder ───────────────────────────────────────────────────────────────────────────


_Outcome: TypeAlias = Claim | BackendError | BackendBroken | None
_Signature: TypeAlias = tuple[tuple[int, int, int], ...]


class Discovery:
    """What the models folder holds. Used from threads: it reads files.

    Each path is probed once, and again when its size or time changes, so that a stream of unknown
    names costs directory listings and not header reads.
    """

    def __init__(self, folder: Path, registry: Registry) -> None:
        self._folder = folder
        self._registry = registry
        self._probed: dict[Path, tuple[_Signature, _Outcome]] = {}

    def scan(self, configured: Sequence[ModelEntry] = ()) -> list[Discovered]:
        """Return the folder's models in the order of their paths; none where it does not exist.

        A file that *configured* names is the model that is described there. Every other has a name
        of its own: its file's, or where that is taken its path's inside the folder.
        """
        entries = {entry.path: entry for entry in configured}
        taken = {entry.name for entry in configured}
        found: list[Discovered] = []
        for path, folder, claim in self._models():
            file = path if path.is_dir() else path.with_suffix("")
            entry = entries.get(path) or self._entry(path, file, taken)
            taken.add(entry.name)
            found.append(Discovered(entry, file.name.lower(), folder, claim))
        return found

    def _entry(self, path: Path, file: Path, taken: Container[str]) -> ModelEntry:
        inside = (one.relative_to(self._folder).as_posix() for one in (file, path))
        names = [name.lower() for name in (file.name, *inside)]
        name = next((name for name in names if name not in taken), names[-1])
        return ModelEntry(name, path, "discovered", ModelOptions(path=str(path)))

    def _models(self) -> list[tuple[Path, str | None, Claim | BackendError | BackendBroken]]:
        found: list[tuple[Path, str | None, Claim | BackendError | BackendBroken]] = []
        for path in _children(self._folder):
            if claim := self._probe(path):
                found.append((path, None, claim))
            else:
                inside = [(file, one) for file in _children(path) if (one := self._probe(file))]
                folder = path.name.lower() if len(inside) == 1 else None
                found += [(file, folder, one) for file, one in inside]
        return found

    def _probe(self, path: Path) -> _Outcome:
        try:
            signature = _signature(path)
        except OSError:  # deleted since it was listed, or a dangling link
            return None
        known = self._probed.get(path)
        if known and known[0] == signature:
            return known[1]
        outcome = self._probe_anew(path)
        self._probed[path] = (signature, outcome)
        return outcome

    def _probe_anew(self, path: Path) -> _Outcome:
        try:
            return self._registry.recognise(path)
        except (BackendError, BackendBroken) as error:
            return error
        except OSError:  # not ours to read
            return None


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError:
        return []


def _signature(path: Path) -> _Signature:
    """Return what changes with *path*, and with a file inside it: a model can be a folder."""
    stats = [path.stat()]
    for child in _children(path):
        with suppress(OSError):
            stats.append(child.stat())
    return tuple((stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size) for stat in stats)


# ── embedded models ─────────────────────────────────────────────────────────────────────────────


def embedded_entries(registry: Registry) -> list[ModelEntry]:
    """Return the models that ship inside the backends.

    The first backend to bring a name has it; another one's is called `name:backend`.
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

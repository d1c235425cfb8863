"""The models of models.yaml, and those embedded in backends; `discovery` finds the others."""

import difflib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, get_args, get_origin

import msgspec
from msgspec import Meta, Struct

from pilotlight.config import (
    CacheType,
    ConfigError,
    Count,
    DraftTokens,
    FlashAttention,
    Isolation,
    MatchTokens,
    Seconds,
)
from pilotlight.config.expected import expected
from pilotlight.models.fetch.address import (
    Origin,
    is_address,
    parse_address,
    place,
    projector_origin,
)
from pilotlight.models.registry import BackendBroken, Registry
from pilotlight_backend import BackendError, decode_errors
from pilotlight_backend.adapters import LARGEST_SCALE

SpecialTokens: TypeAlias = Literal["text", "parse"]


class ModelOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options of one model in models.yaml; the settings are their defaults."""

    path: Annotated[str, Meta(min_length=1)]
    """A local file or folder, or the address to fetch it from."""
    backend: str | None = None
    """The backend that serves it; by default the first that recognises the path."""
    parallel: Count | None = None
    context_length: Count | None = None
    threads: Count | None = None
    gpu_layers: int | None = None
    deterministic: bool | None = None
    flash_attention: FlashAttention | None = None
    cache_type_k: CacheType | None = None
    cache_type_v: CacheType | None = None
    kv_unified: bool | None = None
    speculation: Literal["none", "ngram", "draft"] | None = None
    draft_model: str | None = None
    """The smaller model that drafts, of the same vocabulary: a name in models.yaml, or a file.

    A file is relative to the model's folder.
    """
    draft_max: DraftTokens | None = None
    ngram_min: MatchTokens | None = None
    execution_provider: Annotated[str, Meta(min_length=1)] | None = None
    """Execution provider of ONNX Runtime, by its name in `genai_config.json`: `cuda`."""
    chat_template: str | None = None
    """A Jinja file that replaces the chat template of the model.

    Relative to the model's folder.
    """
    mmproj: Annotated[str, Meta(min_length=1)] | bool | None = None
    """The projector of a model that sees, if that is not beside it: a file, or its address.

    A path is relative to the model's folder. False serves the model without one.
    """
    baked: str | None = None
    """The file of its baked prompt, if that is not beside the model.

    Relative to the model's folder.
    """
    isolation: Isolation | None = None
    """Whether the engine runs in a process of its own."""
    step_timeout: Seconds | None = None
    """Seconds after which a step of the engine counts as hanging; 0 for never."""
    load_timeout: Seconds | None = None
    """Seconds without progress after which a load counts as hanging; 0 for never."""
    reasoning_format: str | None = None
    tool_call_format: str | None = None
    prompts: dict[str, str] | None = None
    """Texts before the inputs of a model that embeds, by the name that a request gives.

    By default those of `config_sentence_transformers.json` in the model's folder.
    """
    special_tokens_in_content: SpecialTokens | None = None
    """Whether names of special tokens in messages are text, or these tokens."""


class AdapterOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A LoRA adapter of a model, below its `adapters:` in models.yaml."""

    path: Annotated[str, Meta(min_length=1)]
    """A local file, or the address to fetch it from."""
    scale: Annotated[float, Meta(ge=-LARGEST_SCALE, le=LARGEST_SCALE)] = 1.0
    name: str | None = None
    """What requests call it, where `adapters:` is a list and not a map of names."""


class AdapterOf(Struct, frozen=True):
    """What makes a model an adapter: the model that it changes, and how much."""

    parent: "ModelEntry"
    scale: float = 1.0


class ModelEntry(Struct, frozen=True):
    """A model by its name, lower-case; *path* may not exist."""

    name: str
    path: Path
    source: Literal["configured", "discovered", "embedded"]
    options: ModelOptions
    origin: Origin | None = None
    """The address to fetch it from at its first load; None for a local file.

    It becomes the entry's path or a folder above it.
    """
    projector_origin: Origin | None = None
    """The address of its projector, if models.yaml has one."""
    adapter: AdapterOf | None = None
    """Of a LoRA adapter, which is served over the weights of its parent."""

    @property
    def base(self) -> "ModelEntry":
        """The model whose weights it uses: itself, or its parent."""
        return self.adapter.parent if self.adapter else self

    @property
    def origins(self) -> tuple[Origin, ...]:
        """What is fetched at its first load, the projector before the model."""
        return tuple(one for one in (self.projector_origin, self.origin) if one)

    def __hash__(self) -> int:
        """Return a hash of what can be hashed: options have maps."""
        return hash((self.name, self.path))


# ── models.yaml ─────────────────────────────────────────────────────────────────────────────────


def read_models_file(path: Path, models_dir: Path | None = None) -> list[ModelEntry]:
    """Return the models in the file at *path*, each before its adapters; none without the file.

    Names are keys of `models:` or of the top level; a value is a path or a map of `ModelOptions`.
    Paths are relative to the file. An address is fetched to *models_dir*, by default the folder of
    the file, under the name of the entry. Raises `ConfigError` that names the key.
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
            key = f"{prefix}{name}"
            for where, entry in _with_adapters(path, key, name, value, models_dir or path.parent):
                if entry.name in entries:
                    raise ConfigError(f"{path}: {where}: duplicate name of a model")
                entries[entry.name] = entry
    return [_with_draft_model(entry, entries) for entry in entries.values()]


def _with_draft_model(entry: ModelEntry, entries: Mapping[str, ModelEntry]) -> ModelEntry:
    """Return *entry* with the path of its draft model, where that is named by an entry."""
    options = entry.options
    if entry.adapter is not None:
        parent = _with_draft_model(entry.adapter.parent, entries)
        adapter = msgspec.structs.replace(entry.adapter, parent=parent)
        return msgspec.structs.replace(entry, adapter=adapter)
    if options.draft_model is None:
        return entry
    named = entries.get(options.draft_model.strip().lower())
    options = msgspec.structs.replace(
        options,
        draft_model=str(named.path if named else Path(options.draft_model)),
        speculation=options.speculation or "draft",
    )
    return msgspec.structs.replace(entry, options=options)


def _parse_yaml(text: str, path: Path) -> dict[Any, Any]:
    import yaml  # noqa: PLC0415 - most cold starts have no models.yaml

    try:
        # Not the faster CSafeLoader: deep nesting overflows its stack and crashes the process.
        _refuse_repeated_keys(yaml.compose(text, Loader=yaml.SafeLoader))
        document = yaml.safe_load(text)
    # The constructors of dates, numbers and booleans raise other errors than YAMLError.
    except (yaml.YAMLError, AttributeError, LookupError, RecursionError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path}: invalid YAML: {reason}") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: expected a map of names to paths")
    return document


def _refuse_repeated_keys(node: Any, levels: int = 5) -> None:
    """Raise `ValueError` for a duplicate key: YAML forbids it, but PyYAML drops the first.

    The levels are the document, its `models`, the options of a model, the maps among these, and the
    options of an adapter.
    """
    if not levels or getattr(node, "id", None) != "mapping":
        return
    names = Counter(key.value for key, _ in node.value if key.id == "scalar")
    for name, count in names.items():
        if count > 1:
            raise ValueError(f"{name}: duplicate key")
    for _, value in node.value:
        _refuse_repeated_keys(value, levels - 1)


def _with_adapters(
    file: Path, key: str, name: Any, value: Any, models_dir: Path
) -> Iterator[tuple[str, ModelEntry]]:
    """Yield a model and its adapters, each with its key in the file."""
    adapters = None
    if isinstance(value, dict) and "adapters" in value:
        adapters, value = value["adapters"], {k: v for k, v in value.items() if k != "adapters"}
    entry = _entry(file, key, name, value, models_dir)
    yield key, entry
    for where, given, raw in _adapters(file, f"{key}.adapters", adapters):
        options = _adapter_options(file, where, raw)
        adapter = _entry(file, where, given, options.path, models_dir)
        yield where, msgspec.structs.replace(adapter, adapter=AdapterOf(entry, options.scale))


def _adapters(file: Path, key: str, given: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield each adapter's key in the file, its name and its options."""
    match given:
        case None:
            return
        case dict():
            for name, options in given.items():
                yield f"{key}.{name}", name, options
        case list():
            for index, options in enumerate(given):
                name = options.get("name") if isinstance(options, dict) else None
                yield f"{key}[{index}]", name, options
        case _:
            raise ConfigError(f"{file}: {key}: expected a map of names to paths")


def _adapter_options(file: Path, key: str, value: Any) -> AdapterOptions:
    raw = {"path": value} if isinstance(value, str) else value
    try:
        return msgspec.convert(raw, AdapterOptions)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{file}: {_fault(key, error, AdapterOptions)}") from None


def _entry(file: Path, key: str, name: Any, value: Any, models_dir: Path) -> ModelEntry:
    if not isinstance(name, str) or not name.strip():
        raise ConfigError(
            f"{file}: {key}: expected a name that is a non-empty string; put it in quotes"
        )
    raw = {"path": value} if isinstance(value, str) else _without_yaml_booleans(value)
    try:
        options = msgspec.convert(raw, ModelOptions)
        files = (options.chat_template, options.baked, options.mmproj, options.draft_model)
        _check_text(name, options.path, *(one for one in files if isinstance(one, str)))
        name = name.strip().lower()
        path, origin = _place(options, file.parent, models_dir, name)
        options, projector = _with_projector(options, models_dir, name)
        template = options.chat_template and str(Path(options.chat_template).expanduser())
        baked = options.baked and str(Path(options.baked).expanduser())
        draft_model = options.draft_model and str(Path(options.draft_model).expanduser())
    except msgspec.ValidationError as error:
        raise ConfigError(f"{file}: {_fault(key, error)}") from None
    except ConfigError as error:
        raise ConfigError(f"{file}: {key}: {error}") from None
    except RuntimeError:
        raise ConfigError(
            f"{file}: {key}: there is no home folder to expand the ~ of a path"
        ) from None
    options = msgspec.structs.replace(
        options, chat_template=template, baked=baked, draft_model=draft_model
    )
    return ModelEntry(name, path, "configured", options, origin, projector)


def _place(
    options: ModelOptions, folder: Path, models_dir: Path, name: str
) -> tuple[Path, Origin | None]:
    """Return the path of the model, and the address to fetch it from if that is one."""
    if not is_address(options.path):
        return folder / Path(options.path).expanduser(), None
    address = parse_address(options.path)
    there = place(address, models_dir, name)
    return there.model, Origin(address, there.root, with_projector=options.mmproj is None)


def _with_projector(
    options: ModelOptions, models_dir: Path, name: str
) -> tuple[ModelOptions, Origin | None]:
    """Return *options* with the path of the projector, and the address to fetch it from."""
    given = options.mmproj
    if given is True:
        raise ConfigError("mmproj: expected a file, its address, or false")
    if not isinstance(given, str):
        return options, None
    if not is_address(given):
        path = str(Path(given).expanduser())
        return msgspec.structs.replace(options, mmproj=path), None
    try:
        origin = projector_origin(given, models_dir, name)
    except ConfigError as error:
        raise ConfigError(f"mmproj: {error}") from None
    return msgspec.structs.replace(options, mmproj=str(origin.root.absolute())), origin


def _without_yaml_booleans(options: Any) -> Any:
    """Return *options* with a word where YAML 1.1 reads `on` and `off` as booleans."""
    if not isinstance(options, dict):
        return options
    if isinstance(given := options.get("flash_attention"), bool):
        options = {**options, "flash_attention": "on" if given else "off"}
    if options.get("speculation") is False:
        options = {**options, "speculation": "none"}
    return options


def _fault(key: str, error: msgspec.ValidationError, options: type[Struct] = ModelOptions) -> str:
    """Return the path of the invalid field in the entry *key*, and what is expected."""
    reason, field = decode_errors.split(str(error))
    if field is None:
        return f"{key}: {reason.replace('an object', 'a path or a map of options')}"
    if choices := _choices(field):
        return f"{key}.{field}: {reason}; expected {choices}"
    close = difflib.get_close_matches(field, options.__struct_fields__, n=1)
    if reason == decode_errors.UNKNOWN and close:
        reason += f"; did you mean {close[0]}?"
    return f"{key}.{field}: {reason}"


def _choices(name: str) -> str:
    """Return the words that an option may be, `one of none, process`; "" for any other type."""
    for field in msgspec.structs.fields(ModelOptions):
        for kind in get_args(field.type) if field.name == name else ():
            if get_origin(kind) is Literal:
                return expected(kind)
    return ""


def _check_text(*texts: str) -> None:
    """Raise `ConfigError` for characters that no path or JSON can contain; YAML can escape them."""
    for text in texts:
        if "\0" in text or any("\ud800" <= char <= "\udfff" for char in text):
            raise ConfigError(f"{text!a} contains a null character or a lone surrogate")


def template_path(model: Path, name: str) -> Path:
    """Return the path of the template *name*, in the folder of *model*."""
    return (model if model.is_dir() else model.parent) / name


# ── embedded models ─────────────────────────────────────────────────────────────────────────────


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

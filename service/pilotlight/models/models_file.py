"""Read models.yaml: the models that it names, each with its adapters, projector and draft model."""

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import msgspec
from msgspec import Struct

from pilotlight.config import ConfigError
from pilotlight.config.expected import expected
from pilotlight.models.catalog import AdapterOf, AdapterOptions, ModelEntry, ModelOptions
from pilotlight.models.fetch.address import (
    Origin,
    is_address,
    parse_address,
    place,
    projector_origin,
)
from pilotlight.models.yaml_document import parse_yaml
from pilotlight_backend import decode_errors


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
    document = parse_yaml(text, path)
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
    """Return *entry* with the path and the address of its draft model, where an entry names it."""
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
        # A relative path would be one in the folder of *entry*.
        draft_model=str(named.path.absolute()) if named else options.draft_model,
        speculation=options.speculation or "draft",
    )
    origin = named.origin if named else None
    return msgspec.structs.replace(entry, options=options, draft_origin=origin)


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
        _check_draft_model(options)
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


def _check_draft_model(options: ModelOptions) -> None:
    """Raise `ConfigError` for a draft model that is missing, or that has no name of its own."""
    if options.speculation == "draft" and options.draft_model is None:
        raise ConfigError("speculation: draft needs draft_model, the model that drafts")
    if options.draft_model and is_address(options.draft_model):
        raise ConfigError(
            "draft_model: expected a file, or a name in models.yaml; an address needs an entry of"
            " its own"
        )


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

"""The options of each model: those of models.yaml, with the settings as defaults."""

from collections.abc import Sequence
from typing import Any

from pilotlight.config import ConfigError, Settings, parse_size
from pilotlight.models.catalog import ModelEntry, in_folder_of
from pilotlight.models.projectors import projector_path
from pilotlight.models.registry import Registry
from pilotlight_backend import LoadOptions, PromptCacheOptions, attention

_FILES = {"baked", "projector", "draft_model", "prompt_cache"}
"""Options of a load that are more than a setting or an entry's option of that name."""


def load_options(settings: Settings, entry: ModelEntry) -> LoadOptions:
    """Return the load options of *entry*: from models.yaml, with the settings as defaults.

    An option that has one name in all three needs no line here.
    """
    given: dict[str, Any] = {}
    for name in set(LoadOptions.__struct_fields__) - _FILES:
        for source in (settings, entry.options):
            if (value := getattr(source, name, None)) is not None:
                given[name] = value
    draft_model = entry.options.draft_model
    return LoadOptions(
        **given,
        projector=projector_path(entry),
        draft_model=in_folder_of(entry.path, draft_model) if draft_model else None,
        prompt_cache=prompt_cache_options(settings),
    )


def prompt_cache_options(settings: Settings) -> PromptCacheOptions:
    """Return where prompts are kept once their slot was taken."""
    memory, storage = settings.prompt_cache, settings.state_limit
    return PromptCacheOptions(
        memory_bytes=None if memory is None else parse_size(memory),
        storage=settings.state_dir,
        storage_bytes=None if storage is None else parse_size(storage),
        ttl=settings.state_ttl or None,
    )


def step_timeout(settings: Settings, entry: ModelEntry) -> float:
    """Return the seconds that a step of *entry*'s engine may take; 0 for unlimited."""
    given = entry.options.step_timeout
    return settings.step_timeout if given is None else given


def load_timeout(settings: Settings, entry: ModelEntry) -> float:
    """Return the seconds that a load of *entry* may make no progress; 0 for unlimited."""
    given = entry.options.load_timeout
    return settings.load_timeout if given is None else given


def check_backends(settings: Settings, registry: Registry) -> None:
    """Raise `ConfigError` if a backend of the settings is not installed."""
    for name in settings.backends:
        if name not in registry.names:
            known = ", ".join(registry.names) or "none"
            raise ConfigError(
                f"--backends {name}: no backend of this name is installed; installed: {known}"
            )


def check_attention(settings: Settings, configured: Sequence[ModelEntry]) -> None:
    """Raise `ConfigError` if options for attention exclude each other."""
    if wrong := attention.conflict(settings):
        raise ConfigError(f"--{wrong.option.replace('_', '-')}: {wrong.reason}")
    for entry in configured:
        if wrong := attention.conflict(load_options(settings, entry)):
            raise ConfigError(f"{settings.models_file}: {entry.name}.{wrong}")


def check_formats(settings: Settings, configured: Sequence[ModelEntry]) -> None:
    """Raise `ConfigError` if models.yaml names a format that there is not."""
    chosen = [
        (entry, key, name)
        for entry in configured
        for key in ("reasoning_format", "tool_call_format")
        if (name := getattr(entry.options, key)) is not None
    ]
    if not chosen:
        return
    from pilotlight.output import reasoning, tool_calls  # noqa: PLC0415 - most servers choose none

    formats_of = {"reasoning_format": reasoning.FORMATS, "tool_call_format": tool_calls.FORMATS}
    for entry, key, name in chosen:
        formats = formats_of[key]
        if name not in formats:
            known = ", ".join(formats)
            raise ConfigError(
                f"{settings.models_file}: {entry.name}: {key}: unknown format {name!r};"
                f" expected one of {known}"
            )

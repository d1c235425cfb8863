"""Where a model's baked prompt stands, and what it must have been made with."""

import hashlib
import logging
import os
from pathlib import Path

from msgspec.structs import replace

from pilotlight.models.catalog import ModelEntry, template_path
from pilotlight_backend import BakedPrompt, BakingEngine, BaseEngine, LoadOptions, ModelFacts

logger = logging.getLogger(__name__)

SUFFIX = ".baked"


def baked_path(entry: ModelEntry) -> Path:
    """Return where the baked prompt of *entry* is: as models.yaml says, else beside the model."""
    if entry.options.baked:
        folder = entry.path if entry.path.is_dir() else entry.path.parent
        return folder / entry.options.baked
    return entry.path.with_name(entry.path.name + SUFFIX)


def template_source(entry: ModelEntry, facts: ModelFacts) -> str | None:
    """Return the chat template in force. Raises `OSError` or `UnicodeDecodeError`."""
    if entry.options.chat_template:
        path = template_path(entry.path, entry.options.chat_template)
        return path.read_text(encoding="utf-8")
    return facts.chat_template


def template_digest(source: str) -> str:
    """Return what `BakedPrompt.template` says of a template."""
    return hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()


def with_baked(options: LoadOptions, entry: ModelEntry, facts: ModelFacts) -> LoadOptions:
    """Return *options* with the model's baked prompt; without one where no file is there.

    Reads files, so it belongs into a thread. A file that models.yaml names is passed on in any
    case: the backend says that it is missing.
    """
    path = baked_path(entry)
    if not (entry.options.baked or os.path.isfile(path)):  # noqa: PTH113 - raises nothing
        return options
    try:
        source = template_source(entry, facts) or ""
    except (OSError, UnicodeDecodeError):
        return options  # a request learns of it; without a template nothing begins with the prompt
    return replace(options, baked=BakedPrompt(path=path, template=template_digest(source)))


def warn_of_unused(options: LoadOptions, engine: BaseEngine, backend: str) -> None:
    """Warn where a baked prompt was found and *engine* is none that takes it up."""
    if options.baked and not isinstance(engine, BakingEngine):
        logger.warning(
            "the baked prompt %s is ignored: the backend %s does not use baked prompts",
            options.baked.path,
            backend,
        )

"""Find the baked prompt of a model, and the template that it must have been baked with."""

import hashlib
import logging
import os
from pathlib import Path

from msgspec.structs import replace

from pilotlight.models.catalog import ModelEntry, in_folder_of
from pilotlight_backend import BakedPrompt, BakingEngine, BaseEngine, LoadOptions, ModelFacts

logger = logging.getLogger(__name__)

SUFFIX = ".baked"


def baked_path(entry: ModelEntry) -> Path:
    """Return the path of the baked prompt: from models.yaml, else beside the model."""
    if entry.options.baked:
        return in_folder_of(entry.path, entry.options.baked)
    return entry.path.with_name(entry.path.name + SUFFIX)


def template_source(entry: ModelEntry, facts: ModelFacts) -> str | None:
    """Return the chat template that is used. Raises `OSError` or `UnicodeDecodeError`."""
    if entry.options.chat_template:
        path = in_folder_of(entry.path, entry.options.chat_template)
        return path.read_text(encoding="utf-8")
    return facts.chat_template


def template_digest(source: str) -> str:
    """Return the digest of a template for `BakedPrompt.template`."""
    return hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()


def with_baked(options: LoadOptions, entry: ModelEntry, facts: ModelFacts) -> LoadOptions:
    """Return *options* with the baked prompt of the model, if its file exists.

    Reads files: run it on a thread. A file that models.yaml names is passed on even if it is
    missing: the backend then reports that.
    """
    path = baked_path(entry)
    if not (entry.options.baked or os.path.isfile(path)):  # noqa: PTH113 - raises nothing
        return options
    try:
        source = template_source(entry, facts) or ""
    except (OSError, UnicodeDecodeError):
        return options  # a request reports this error; without a template no prompt can match
    return replace(options, baked=BakedPrompt(path=path, template=template_digest(source)))


def warn_of_unused(options: LoadOptions, engine: BaseEngine, backend: str) -> None:
    """Log a warning if there is a baked prompt that *engine* cannot use."""
    if options.baked and not isinstance(engine, BakingEngine):
        logger.warning(
            "the baked prompt %s is ignored: the backend %s does not use baked prompts",
            options.baked.path,
            backend,
        )

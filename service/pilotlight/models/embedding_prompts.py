"""Texts that a model that embeds was trained to have before its inputs, by name."""

from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct, field

from pilotlight.models.catalog import ModelEntry, in_folder_of
from pilotlight_backend import decode_errors
from pilotlight_backend.bounded_read import read_bounded

CONFIG = "config_sentence_transformers.json"
_LIMIT = 1 << 20
"""Bytes of the file; those of published models have some hundreds."""


class PromptsInvalid(Exception):
    """The file with a model's prompts cannot be read; the message is one line."""


class _Config(Struct):
    """What is used of sentence-transformers' file (`SentenceTransformer._load_auto_model`)."""

    prompts: dict[str, str] = field(default_factory=dict)


def prompts_of(entry: ModelEntry) -> Mapping[str, str]:
    """Return the prompts of *entry*: from models.yaml, else from the file in its folder.

    Reads the file: run it on a thread. Raises `PromptsInvalid`.
    """
    if entry.options.prompts is not None:
        return entry.options.prompts
    return _read(in_folder_of(entry.path, CONFIG))


def _read(path: Path) -> Mapping[str, str]:
    try:
        return msgspec.json.decode(read_bounded(path, _LIMIT), type=_Config).prompts
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise PromptsInvalid(f"{path.name} cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PromptsInvalid(f"{path.name}: {decode_errors.describe(error)}") from error

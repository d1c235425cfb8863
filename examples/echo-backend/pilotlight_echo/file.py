"""The model file: a small JSON object with the suffix `.echo`."""

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from pilotlight_backend import ModelFileInvalid
from pilotlight_backend.bounded_read import read_bounded
from pilotlight_backend.decode_errors import describe

SUFFIX = ".echo"


class EchoFile(Struct, frozen=True, forbid_unknown_fields=True):
    """The keys of a model file."""

    format: Literal["echo-1"]
    name: str
    context_length: Annotated[int, Meta(ge=1)] = 4096
    confidence: Annotated[float, Meta(ge=0, le=100)] = 16.0
    """How far the logit of the token to repeat is above the others."""


def read_file(path: Path) -> EchoFile:
    """Read the model file at *path*; raises `ModelFileInvalid`."""
    try:
        return msgspec.json.decode(read_bounded(path), type=EchoFile)
    except OSError as error:
        raise ModelFileInvalid(path, f"cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ModelFileInvalid(path, describe(error)) from error

"""Kinds of model files and the backend to install for each, for error messages.

It decides nothing: the first backend that recognises a path serves it, whatever its kind.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from pilotlight_backend.bounded_read import is_regular

_GGUF = b"GGUF"  # https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
_GENAI = "genai_config.json"


class FileKind(NamedTuple):
    """A kind of model files, and how to install its backend."""

    name: str
    backend: str
    """The entry point name of its backend."""
    command: str
    """The command that installs the backend in a checkout."""
    extra: str
    """The extra of `pilotlight` that installs it elsewhere."""

    @property
    def advice(self) -> str:
        """How to install it, in one line."""
        return f"run `{self.command}`, or `pip install 'pilotlight[{self.extra}]'`"


def kind_of(path: Path) -> FileKind | None:
    """Return the kind of the file at *path*, by name and first bytes; None if unknown."""
    try:
        return next((kind for kind, matches in _KINDS if matches(path)), None)
    except OSError:  # not readable, or deleted since it was listed
        return None


def _is_gguf(path: Path) -> bool:
    if not is_regular(path):  # opening a pipe would block until it has a writer
        return False
    if path.suffix.lower() == ".gguf":
        return True
    with path.open("rb") as file:
        return file.read(len(_GGUF)) == _GGUF


def _is_genai(path: Path) -> bool:
    return path.is_dir() and is_regular(path / _GENAI)


_KINDS: tuple[tuple[FileKind, Callable[[Path], bool]], ...] = (
    (FileKind("GGUF files", "llama_cpp", "make llama_cpp", "llama-cpp"), _is_gguf),
    (
        FileKind("folders of ONNX Runtime GenAI", "onnx", "make serve BACKEND=onnx", "onnx"),
        _is_genai,
    ),
)

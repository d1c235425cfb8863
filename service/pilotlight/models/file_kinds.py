"""Kinds of model files that distributions of this project serve, for where none is installed.

A table of files and of what to install, not of code: the first backend that recognises a path
serves it, whatever its kind.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from pilotlight_backend.bounded_read import is_regular

_GGUF = b"GGUF"  # https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
_GENAI = "genai_config.json"


class FileKind(NamedTuple):
    """A kind of model files, and how to install what serves it."""

    name: str
    backend: str
    """The entry point's name of the backend that serves it."""
    command: str
    """What installs the backend in a checkout."""
    extra: str
    """What of `pilotlight` installs it elsewhere."""

    @property
    def advice(self) -> str:
        """What to do, in one line."""
        return f"run `{self.command}`, or `pip install 'pilotlight[{self.extra}]'`"


def kind_of(path: Path) -> FileKind | None:
    """Return the kind of what is at *path*, by its name and its first bytes; None for no such."""
    try:
        return next((kind for kind, matches in _KINDS if matches(path)), None)
    except OSError:  # not ours to read, or deleted since it was listed
        return None


def _is_gguf(path: Path) -> bool:
    if not is_regular(path):  # to open a pipe would wait for its writer
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

"""Model files that are split: `name-00001-of-00003.gguf` and those that follow it.

The names are llama.cpp's (`llama_split_path`), which Transformers' `model-00001-of-00003` has too.
"""

import re
from collections.abc import Iterator
from pathlib import Path

_PART = re.compile(
    r"(?P<prefix>.+)-(?P<number>[0-9]{5})-of-(?P<count>[0-9]{5})(?P<suffix>\.\w+)", re.DOTALL
)


def parts(path: Path) -> list[Path]:
    """Return the files of the model whose first, or only, file is *path*."""
    return list(each_part(path))


def each_part(path: Path) -> Iterator[Path]:
    """Yield the files of the model whose first, or only, file is *path*.

    A name alone can announce 99,999 parts: look at them one after another, and stop at one that is
    missing.
    """
    name = _split(path)
    if name is None:
        yield path
        return
    count = int(name["count"])
    for number in range(1, count + 1):
        yield path.with_name(f"{name['prefix']}-{number:05}-of-{count:05}{name['suffix']}")


def first_part(path: Path) -> Path:
    """Return the first of the files that *path* is a part of: itself, where it is not split."""
    return next(each_part(path))


def whole_name(path: Path) -> str:
    """Return the file's name without its suffix and without what says which part it is."""
    name = _split(path)
    return path.stem if name is None else name["prefix"]


def _split(path: Path) -> re.Match[str] | None:
    """Match the name of a part; one that counts no such part (`-00000-of-00000`) is of no split."""
    name = _PART.fullmatch(path.name)
    return name if name and 1 <= int(name["number"]) <= int(name["count"]) else None

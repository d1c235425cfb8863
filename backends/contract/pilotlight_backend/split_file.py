"""Models that are split into several files, such as `name-00001-of-00003.gguf`.

The names are llama.cpp's (`llama_split_path`); Transformers has the same.
"""

import re
from collections.abc import Iterator
from pathlib import Path, PurePath

_PART = re.compile(
    r"(?P<prefix>.+)-(?P<number>[0-9]{5})-of-(?P<count>[0-9]{5})(?P<suffix>\.\w+)", re.DOTALL
)


def parts(path: Path) -> list[Path]:
    """Return the files of the model whose first, or only, file is *path*."""
    return list(each_part(path))


def each_part(path: Path) -> Iterator[Path]:
    """Yield the files of the model whose first, or only, file is *path*.

    A name can announce 99,999 parts, so callers stop at the first part that is missing.
    """
    name = _split(path)
    if name is None:
        yield path
        return
    count = int(name["count"])
    for number in range(1, count + 1):
        yield path.with_name(f"{name['prefix']}-{number:05}-of-{count:05}{name['suffix']}")


def first_part(path: Path) -> Path:
    """Return the first file of the model that *path* is a part of; *path* if it is not split."""
    return next(each_part(path))


def whole_name(path: PurePath) -> str:
    """Return the file's name without its suffix and its part number."""
    name = _split(path)
    return path.stem if name is None else name["prefix"]


def _split(path: PurePath) -> re.Match[str] | None:
    """Match a part's name; a number outside its count (`-00000-of-00000`) is no part."""
    name = _PART.fullmatch(path.name)
    return name if name and 1 <= int(name["number"]) <= int(name["count"]) else None

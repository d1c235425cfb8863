"""Model files that are split: `name-00001-of-00003.gguf` and those that follow it.

The names are llama.cpp's (`llama_split_path`), which Transformers' `model-00001-of-00003` has too.
"""

import re
from pathlib import Path

_PART = re.compile(r"(?P<prefix>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<suffix>\.\w+)")


def parts(path: Path) -> list[Path]:
    """Return the files of the model whose first, or only, file is *path*."""
    name = _PART.fullmatch(path.name)
    if name is None:
        return [path]
    count = int(name["count"])
    return [
        path.with_name(f"{name['prefix']}-{number:05}-of-{count:05}{name['suffix']}")
        for number in range(1, count + 1)
    ]


def first_part(path: Path) -> Path:
    """Return the first of the files that *path* is a part of: itself, where it is not split."""
    return parts(path)[0]


def whole_name(path: Path) -> str:
    """Return the file's name without its suffix and without what says which part it is."""
    name = _PART.fullmatch(path.name)
    return path.stem if name is None else name["prefix"]

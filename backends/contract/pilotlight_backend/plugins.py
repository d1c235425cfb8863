"""Plugins that are installed, by their entry points.

`importlib.metadata.entry_points` finds the same, but imports email, zipfile and csv to do so: 20 ms
of CPU in every start, for one line of a file.
"""

import logging
import sys
from collections.abc import Iterable, Iterator
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import Any

from msgspec import Struct

logger = logging.getLogger(__name__)

_METADATA = (".dist-info", ".egg-info")
_ENTRY_POINTS = "entry_points.txt"


class Plugin(Struct, frozen=True):
    """An entry point: the *name* of a backend, and what it names, `module` or `module:object`."""

    name: str
    target: str

    def load(self) -> Any:
        """Import and return what it names."""
        _, _, attributes = self.target.partition(":")
        found = import_module(self.module)
        return attrgetter(attributes.strip())(found) if attributes else found

    @property
    def module(self) -> str:
        """The name of its module."""
        return self.target.partition(":")[0].strip()


def installed(group: str, path: Iterable[str] | None = None) -> Iterator[Plugin]:
    """Yield the plugins of *group* in the folders of *path*, by default `sys.path`, in its order.

    A folder that cannot be read has none; a file that cannot be read is logged.
    """
    for folder in sys.path if path is None else path:
        for file in _entry_points(Path(folder)):
            try:
                text = file.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                logger.warning("%s cannot be read: %s", file, error)
                continue
            yield from parse(text, group)


def parse(text: str, group: str) -> Iterator[Plugin]:
    """Yield the entry points of *group* in *text*.

    It is an INI file without continued lines (PyPA, Entry points specification: File format).
    """
    section = None
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            section = line.strip("[]").strip()
        elif section == group and line and not line.startswith(("#", ";")):
            name, _, target = line.partition("=")
            # Extras, in brackets, are deprecated and no condition.
            yield Plugin(name.strip(), target.partition("[")[0].strip())


def _entry_points(folder: Path) -> list[Path]:
    """Return the files of the distributions in *folder*, sorted by name."""
    try:
        found = sorted(one for one in folder.iterdir() if one.name.endswith(_METADATA))
    except OSError:
        return []
    return [file for one in found if (file := one / _ENTRY_POINTS).is_file()]

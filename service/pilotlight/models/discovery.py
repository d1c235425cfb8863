"""The models that lie in the models folder."""

import logging
import os
from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

from msgspec import Struct

from pilotlight.models.catalog import ModelEntry, ModelOptions
from pilotlight.models.registry import BackendBroken, Claim, Registry
from pilotlight_backend import BackendError, ModelFileInvalid, ModelUnsupported
from pilotlight_backend.split_file import first_part, whole_name

logger = logging.getLogger(__name__)

MAX_DEPTH = 6
"""Folders below the models folder that are searched. LM Studio has two (`publisher/repository`),
the Hub's cache four (`hub/models--org--name/snapshots/revision`), and a quantisation may have a
folder of its own in there. What lies one folder deeper is listed as invalid, to be noticed."""
MAX_FOLDERS = 10_000
"""Folders that one scan looks into: a link may lead to a whole disk."""

Finding: TypeAlias = Claim | BackendError | BackendBroken


class Discovered(Struct, frozen=True):
    """A model of the models folder, and what the probe said: a claim, or why there is none.

    Its *entry* is the configured one where models.yaml names the same file, and that of the first
    path where several lead to one file.
    """

    entry: ModelEntry
    file: str
    """The name of its file without the suffix, or of the folder that it is."""
    folder: str | None
    """The name of the folder that holds the file and no other model."""
    claim: Finding


class _Found(NamedTuple):
    path: Path
    folder: str | None
    finding: Finding


class Discovery:
    """What the models folder holds. Used from threads: it reads files.

    The registry probes a path once, and again when it changes, so that a stream of unknown names
    costs directory listings and not header reads.
    """

    def __init__(self, folder: Path, registry: Registry) -> None:
        self._folder = folder
        self._registry = registry
        self._told: dict[Path, str] = {}
        """What the log has said of each path."""

    def scan(self, configured: Sequence[ModelEntry] = ()) -> list[Discovered]:
        """Return the folder's models in the order of their paths; none where it does not exist.

        A file that *configured* names is the model that is described there. Every other has a name
        of its own: its file's, or where that is taken its path's inside the folder. A file that
        several paths lead to is one model, called by the first that is no link.
        """
        entries = {_identity(entry.path): entry for entry in reversed(configured)}
        taken = {entry.name for entry in configured}
        searched = self._search()
        called: dict[object, Path] = {}
        for one in sorted(searched, key=lambda one: one.path.is_symlink()):
            called.setdefault(_identity(one.path), one.path)
        found: list[Discovered] = []
        for path, folder, finding in searched:
            identity = _identity(path)
            if identity not in entries:
                entries[identity] = self._entry(called[identity], taken)
                taken.add(entries[identity].name)
                self._tell(path, finding)
            name = _as_named(_without_part(path).name)
            found.append(Discovered(entries[identity], name, folder, finding))
        return found

    def _entry(self, path: Path, taken: Container[str]) -> ModelEntry:
        file = _without_part(path)
        inside = (one.relative_to(self._folder).as_posix() for one in (file, path))
        names = [name for name in map(_as_named, (file.name, *inside)) if name]
        name = next((name for name in names if name not in taken), names[-1])
        return ModelEntry(name, path, "discovered", ModelOptions(path=str(path)))

    def _tell(self, path: Path, finding: Finding) -> None:
        """Log why a file is not served, once; what merely lies beside models is no warning."""
        if isinstance(finding, Claim) or self._told.get(path) == str(finding):
            return
        self._told[path] = str(finding)
        level = logging.INFO if isinstance(finding, ModelUnsupported) else logging.WARNING
        logger.log(level, "%s is not served: %s", path, finding)

    # ── searching ──────────────────────────────────────────────────────────────────────────────

    def _search(self) -> list[_Found]:
        seen = _Seen(self._folder)
        return list(self._inside(self._folder, 0, seen))

    def _inside(self, folder: Path, depth: int, seen: "_Seen") -> Iterator[_Found]:
        """Yield the models in *folder*, which is *depth* folders below the models folder."""
        if depth > MAX_DEPTH + 1 or not seen.enter(folder):
            return
        children = _children(folder)
        findings = {path: self._finding(path) for path in children}
        models = [one for one in findings.values() if one and not isinstance(one, ModelUnsupported)]
        alone = _as_named(folder.name) if depth and len(models) == 1 else None
        for path, finding in findings.items():
            if finding is None:
                yield from self._inside(path, depth + 1, seen)
            elif depth > MAX_DEPTH:
                yield _Found(path, None, _too_deep(path))
            else:
                named = None if isinstance(finding, ModelUnsupported) else alone
                yield _Found(path, named, finding)

    def _finding(self, path: Path) -> Finding | None:
        first = first_part(path)
        if first != path:  # a later part: it counts where the first does
            return None if first.exists() else _headless(path, first)
        if path.suffix.lower() == ".gguf" and path.is_symlink() and not path.exists():
            return ModelFileInvalid(path, "it is a broken link")
        try:
            return self._registry.recognise(path)
        except (BackendError, BackendBroken) as error:
            return error
        except OSError:  # not ours to read, or deleted since it was listed
            return None


class _Seen:
    """The folders that a scan has been in: a link may lead back, or up."""

    def __init__(self, root: Path) -> None:
        self._above = {_identity(folder) for folder in root.absolute().parents}
        self._entered: set[object] = set()

    def enter(self, folder: Path) -> bool:
        """Tell whether *folder* is one to look into, and count it."""
        identity = _identity(folder)
        if identity in self._entered | self._above or len(self._entered) >= MAX_FOLDERS:
            return False
        self._entered.add(identity)
        return True


def _without_part(path: Path) -> Path:
    """Return the path without what a file's name says of its kind and its part."""
    return path if path.is_dir() else path.with_name(whole_name(path))


def _as_named(name: str) -> str:
    """Return *name* as requests can say it: trimmed, lower-case, and text.

    The name of a file is bytes, and Python keeps what is not UTF-8 in it as lone surrogates, which
    no JSON can hold.
    """
    return os.fsencode(name).decode("utf-8", "replace").strip().lower()


def _too_deep(path: Path) -> ModelFileInvalid:
    return ModelFileInvalid(path, f"it is more than {MAX_DEPTH} folders below the models folder")


def _headless(path: Path, first: Path) -> ModelFileInvalid:
    return ModelFileInvalid(path, f"the first part, {first.name}, is missing")


def _identity(path: Path) -> object:
    """Return what is the same for all paths that lead to one file; the path, where there is none.

    In the Hub's cache each revision has a link to the one file of a content.
    """
    try:
        status = path.stat()
    except OSError:
        return path
    return status.st_dev, status.st_ino


def _children(folder: Path) -> list[Path]:
    """Return what is in *folder*, in the order of names, without what is hidden.

    In a repository of the Hub's cache files have their names in `snapshots`, and lie in `blobs`.
    """
    try:
        children = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError:
        return []
    names = {path.name for path in children}
    if {"blobs", "snapshots"} <= names:
        return [folder / "snapshots"]
    return children

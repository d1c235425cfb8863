"""Find the models in the models folder."""

import logging
import os
from collections.abc import Callable, Container, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

from msgspec import Struct

from pilotlight.models.catalog import ModelEntry, ModelOptions
from pilotlight.models.projectors import projector_path
from pilotlight.models.registry import BackendBroken, Claim, Registry
from pilotlight_backend import BackendError, ModelFileInvalid, ModelUnsupported
from pilotlight_backend.projectors import is_projector
from pilotlight_backend.split_file import first_part, whole_name

logger = logging.getLogger(__name__)

MAX_DEPTH = 6
"""Levels of folders that are searched. LM Studio has two (`publisher/repository`), the Hub's cache
four (`hub/models--org--name/snapshots/revision`), and a quantization may have a folder of its own
in there. A model one level deeper is listed as invalid, so that users notice it."""
MAX_FOLDERS = 10_000
"""Folders that one scan reads: a link may lead to a whole disk."""

Finding: TypeAlias = Claim | BackendError | BackendBroken


class Discovered(Struct, frozen=True):
    """A model of the models folder, and the result of its probe: a claim, or an error.

    Its *entry* is the configured one if models.yaml names the same file, and that of the first path
    if several lead to one file.
    """

    entry: ModelEntry
    file: str
    """The name of its file without the suffix, or of its folder."""
    folder: str | None
    """The name of the folder, if it contains no other model."""
    claim: Finding


class _Found(NamedTuple):
    path: Path
    folder: str | None
    finding: Finding


class Discovery:
    """Scans the models folder. Used from threads: it reads files.

    The registry caches probes until a file changes, so a request with an unknown name costs
    directory listings, and no reads of model headers.
    """

    def __init__(self, folder: Path, registry: Registry) -> None:
        self._folder = folder
        self._registry = registry
        self._logged: dict[Path, str] = {}
        """The last message that was logged for each path."""

    def scan(self, configured: Sequence[ModelEntry] = ()) -> list[Discovered]:
        """Return the models of the folder, sorted by path; none if it does not exist.

        A file that *configured* names is that model. Every other model is named after its file, or
        after its path in the folder if that name is taken. A file with several paths is one model,
        named after the first path that is not a link. A projector (mmproj) is no model: it is part
        of the one beside it.
        """
        entries = _by_identity(configured)
        taken = {entry.name for entry in configured}
        searched = self._search(configured)
        called: dict[object, Path] = {}
        for one in sorted(searched, key=lambda one: one.path.is_symlink()):
            called.setdefault(_identity(one.path), one.path)
        found: list[Discovered] = []
        for path, folder, finding in searched:
            identity = _identity(path)
            if identity not in entries:
                entries[identity] = self._entry(called[identity], taken)
                taken.add(entries[identity].name)
                self._log(path, finding)
            name = _as_named(_without_part(path).name)
            found.append(Discovered(entries[identity], name, folder, finding))
        return found

    def named(self, name: str, configured: Sequence[ModelEntry] = ()) -> ModelEntry | None:
        """Return the model that a scan would find by *name*, if its file is called so.

        No other file is probed. None if there is no such file, or if only a scan can tell: a model
        may have this architecture, or another file is called alike.
        """
        if not name or self._registry.may_be_architecture(name):
            return None
        alike = {name, Path(name).stem}
        searched = self._search(
            configured, lambda path: not alike.isdisjoint(_names_of(path)) or _is_folder(path)
        )
        if any(_has_architecture(finding, name) for _, _, finding in searched):
            return None
        called = [one for one in searched if not alike.isdisjoint(_names_of(one.path))]
        if len(called) != 1 or name not in _names_of(called[0].path):
            return None
        (found,) = called
        if not _has_one_name(found.path):
            return None
        if entry := _by_identity(configured).get(_identity(found.path)):
            return entry
        self._log(found.path, found.finding)
        return self._entry(found.path, {entry.name for entry in configured})

    def _entry(self, path: Path, taken: Container[str]) -> ModelEntry:
        file = _without_part(path)
        inside = (one.relative_to(self._folder).as_posix() for one in (file, path))
        names = [name for name in map(_as_named, (file.name, *inside)) if name]
        name = next((name for name in names if name not in taken), names[-1])
        return ModelEntry(name, path, "discovered", ModelOptions(path=str(path)))

    def _log(self, path: Path, finding: Finding) -> None:
        """Log once why a file is not served; an unsupported file is no warning."""
        if isinstance(finding, Claim) or self._logged.get(path) == str(finding):
            return
        self._logged[path] = str(finding)
        level = logging.INFO if isinstance(finding, ModelUnsupported) else logging.WARNING
        logger.log(level, "%s is not served: %s", path, finding)

    def _log_refused(self, path: Path, error: OSError) -> None:
        """Log once that a path may not be looked at; one that is no folder, or gone, is neither."""
        if isinstance(error, PermissionError) and path not in self._logged:
            self._logged[path] = str(error)
            logger.warning("%s is ignored: %s", path, error.strerror)

    # ── searching ──────────────────────────────────────────────────────────────────────────────

    def _search(
        self,
        configured: Sequence[ModelEntry],
        is_wanted: Callable[[Path], bool] = lambda _: True,
    ) -> list[_Found]:
        """Return the models, of the paths that are wanted alone.

        Where those are not all, whether a model is alone in its folder is not known.
        """
        projectors = {_identity(path) for path in map(projector_path, configured) if path}
        found = self._inside(self._folder, 0, _Seen(self._folder), is_wanted)
        return [
            one
            for one in found
            if isinstance(one.finding, Claim) or _identity(one.path) not in projectors
        ]

    def _inside(
        self, folder: Path, depth: int, seen: "_Seen", is_wanted: Callable[[Path], bool]
    ) -> Iterator[_Found]:
        """Yield the models in *folder*, which is *depth* levels below the models folder."""
        if depth > MAX_DEPTH + 1 or not seen.enter(folder):
            return
        try:
            children = filter(is_wanted, _children(folder))
        except OSError as error:
            self._log_refused(folder, error)
            return
        findings = {path: self._finding(path) for path in children}
        models = [one for one in findings.values() if one and not isinstance(one, ModelUnsupported)]
        alone = _as_named(folder.name) if depth and len(models) == 1 else None
        for path, finding in findings.items():
            if finding is None:
                if _is_folder(path):
                    yield from self._inside(path, depth + 1, seen, is_wanted)
            elif depth > MAX_DEPTH:
                yield _Found(path, None, _too_deep(path))
            else:
                named = None if isinstance(finding, ModelUnsupported) else alone
                yield _Found(path, named, finding)

    def _finding(self, path: Path) -> Finding | None:
        try:
            return self._recognised(path)
        except (BackendError, BackendBroken) as error:
            return None if is_projector(path.name) else error
        except OSError as error:  # not accessible, or deleted since it was listed
            self._log_refused(path, error)
            return None

    def _recognised(self, path: Path) -> Finding | None:
        first = first_part(path)
        if first != path:  # a later part of a split file: the first part stands for all
            return None if first.exists() else _headless(path, first)
        if path.suffix.lower() == ".gguf" and path.is_symlink() and not path.exists():
            return ModelFileInvalid(path, "it is a broken link")
        return self._registry.recognise(path)


class _Seen:
    """The folders that a scan has read: a link may lead back, or up."""

    def __init__(self, root: Path) -> None:
        self._above = {_identity(folder) for folder in root.absolute().parents}
        self._entered: set[object] = set()

    def enter(self, folder: Path) -> bool:
        """Return whether to read *folder*, and count it."""
        identity = _identity(folder)
        if identity in self._entered or identity in self._above:
            return False
        if len(self._entered) >= MAX_FOLDERS:
            return False
        self._entered.add(identity)
        return True


def _without_part(path: Path) -> Path:
    """Return the path without the suffix and the part number of a file."""
    return path if _is_folder(path) else path.with_name(whole_name(path))


def _is_folder(path: Path) -> bool:
    return os.path.isdir(path)  # noqa: PTH112 - `Path.is_dir` raises where access is refused


def _as_named(name: str) -> str:
    """Normalise *name* as in requests: trimmed, lower-case, valid Unicode.

    File names are bytes; Python decodes bytes that are not UTF-8 to lone surrogates, which JSON
    cannot contain.
    """
    return os.fsencode(name).decode("utf-8", "replace").strip().lower()


def _names_of(path: Path) -> tuple[str, ...]:
    """Return what a model at *path* is called, as `resolver` compares it."""
    return _as_named(_without_part(path).name), path.name.lower(), path.stem.lower()


def _has_architecture(finding: Finding, name: str) -> bool:
    return isinstance(finding, Claim) and finding.facts.architecture.lower() == name


def _has_one_name(path: Path) -> bool:
    """Return whether the model is one file, and no link of either kind leads to it."""
    try:
        is_part = whole_name(path) != path.stem
        return not (path.is_symlink() or is_part) and (path.is_dir() or path.stat().st_nlink == 1)
    except OSError:
        return False


def _by_identity(entries: Sequence[ModelEntry]) -> dict[object, ModelEntry]:
    """Return *entries* by their files; of several the first."""
    return {_identity(entry.path): entry for entry in reversed(entries)}


def _too_deep(path: Path) -> ModelFileInvalid:
    return ModelFileInvalid(path, f"it is more than {MAX_DEPTH} folders below the models folder")


def _headless(path: Path, first: Path) -> ModelFileInvalid:
    return ModelFileInvalid(path, f"the first part, {first.name}, is missing")


def _identity(path: Path) -> object:
    """Return a key that is equal for all paths of one file; the path itself if the file is missing.

    In the Hub's cache the revisions have links to the same file.
    """
    try:
        status = path.stat()
    except OSError:
        return path
    return status.st_dev, status.st_ino


def _children(folder: Path) -> list[Path]:
    """Return the entries of *folder*, sorted by name, without hidden ones.

    For a repository in the Hub's cache that is `snapshots` alone: `blobs` has the same files
    without names. Raises `OSError`.
    """
    children = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    names = {path.name for path in children}
    if {"blobs", "snapshots"} <= names:
        return [folder / "snapshots"]
    return children

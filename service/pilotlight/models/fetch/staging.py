"""The state of a fetch on disk: a hidden folder beside the final path, and a lock.

`.NAME.part/files/` has the files in full length, with holes for missing bytes; `state.json` lists
the bytes that are present. Discovery ignores hidden names. Bytes are synced before the state lists
them, and the state is replaced atomically: the process may be killed at any moment.
"""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
from msgspec import Struct

from pilotlight.models.fetch.address import Address
from pilotlight.models.fetch.failure import FetchFailed
from pilotlight.models.fetch.sources import RemoteFile
from pilotlight.models.fetch.spans import Span, merge, missing, total

_BLOCK = 2**22


class _Had(Struct):
    """The state of a file."""

    name: str
    size: int
    version: str
    sha256: str | None
    done: list[Span]


class _Origin(Struct, omit_defaults=True):
    """The origin of a fetched model, kept beside it to detect another model at the same path."""

    address: str
    sha256: str | None
    size: int
    files: dict[str, int] = {}
    """The size of each file of a folder, by its name in there.

    Users and backends add files of their own: chat templates, baked prompts.
    """


_states = msgspec.json.Decoder(list[_Had])
_origins = msgspec.json.Decoder(_Origin)


class StagedFile:
    """A file that is being fetched. *active* are spans that are being written; their end moves."""

    def __init__(self, remote: RemoteFile, path: Path, done: list[Span]) -> None:
        self.remote = remote
        self.path = path
        self.active: list[list[int]] = []
        self._done = done
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        os.ftruncate(self._fd, remote.size)

    @property
    def done(self) -> list[Span]:
        """The spans that are present, merged."""
        return merge([*self._done, *((start, end) for start, end in self.active)])

    def missing(self) -> list[Span]:
        """Return the spans that are missing."""
        return missing(self.remote.size, self.done)

    def write(self, data: bytes, at: int) -> None:
        """Write *data* at an offset."""
        view = memoryview(data)
        while view:
            written = os.pwrite(self._fd, view, at)
            view, at = view[written:], at + written

    def begin(self, start: int) -> list[int]:
        """Return an empty active span at *start*; the writer moves its end."""
        self.active.append([start, start])
        return self.active[-1]

    def end(self, span: list[int], *, keep: bool = True) -> None:
        """Deactivate *span*, and keep or discard its bytes."""
        self.active.remove(span)
        if keep:
            self._done = merge([*self._done, (span[0], span[1])])

    def sync(self) -> None:
        """Sync the file to disk."""
        os.fsync(self._fd)

    def blocks(self) -> Iterator[bytes]:
        """Yield the content of the file in blocks."""
        at = 0
        while block := os.pread(self._fd, _BLOCK, at):
            yield block
            at += len(block)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


class Staging:
    """The hidden folder of one fetch. Hold the lock while you use it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folder = root.with_name(f".{root.name}.part")
        self._content = self._folder / "files"
        self._state = self._folder / "state.json"
        self.files: list[StagedFile] = []

    def open(self, remotes: Sequence[RemoteFile]) -> None:
        """Open the files of *remotes*; keep the bytes of an earlier fetch of the same version.

        Raises `FetchFailed` if the disk has no room for the rest.
        """
        had = {one.name: one for one in self._read()}
        kept = {file.name: _kept(file, had.get(file.name)) for file in remotes}
        names = {one.name for one in remotes}
        for name in had.keys() - names:
            (self._content / name).unlink(missing_ok=True)
        self._content.mkdir(parents=True, exist_ok=True)
        left = sum(one.size - total(kept[one.name]) for one in remotes)
        self._check_room(left)
        for remote in remotes:
            path = self._content / remote.name
            path.parent.mkdir(parents=True, exist_ok=True)
            # If the file was lost and the state was not, no bytes are present.
            there = path.is_file() and path.stat().st_size == remote.size
            if not there or not kept[remote.name]:
                path.unlink(missing_ok=True)
                kept[remote.name] = []
            self.files.append(StagedFile(remote, path, kept[remote.name]))
        self.save()

    def _check_room(self, left: int) -> None:
        free = shutil.disk_usage(self._content).free
        if left > free:
            raise FetchFailed(
                f"{self._root.name}: {left} bytes to fetch, {free} bytes free on the disk",
                permanent=False,
            )

    def save(self) -> None:
        """Sync the files, then write the state."""
        state = [
            _Had(
                file.remote.name,
                file.remote.size,
                file.remote.version,
                file.remote.sha256,
                file.done,
            )
            for file in self.files
        ]
        for file in self.files:
            file.sync()
        _replace(self._state, msgspec.json.encode(state))

    def _read(self) -> list[_Had]:
        try:
            return _states.decode(self._state.read_bytes())
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
            return []

    def move(self, address: Address, *, is_folder: bool) -> None:
        """Move the complete files to their final path."""
        sizes = {file.remote.name: file.remote.size for file in self.files}
        origin = _Origin(
            str(address),
            address.sha256,
            sum(sizes.values()),
            files=sizes if is_folder else {},
        )
        for file in self.files:
            file.sync()
        self.close()
        for folder, _, _ in os.walk(self._content):
            _sync_folder(Path(folder))
        _replace(_origin_path(self._root), msgspec.json.encode(origin))
        (self._content if is_folder else self._content / next(iter(sizes))).rename(self._root)
        _sync_folder(self._root.parent)
        self.drop()

    def close(self) -> None:
        """Close the files, and keep them."""
        while self.files:
            self.files.pop().close()

    def drop(self) -> None:
        """Delete the files and the state."""
        self.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def _kept(remote: RemoteFile, had: _Had | None) -> list[Span]:
    """Return the spans of *remote* from an earlier fetch.

    None of them if no version or digest proves that the content is the same.
    """
    known = remote.version or remote.sha256
    if had is None or not known or not remote.ranges:
        return []
    now = (remote.size, remote.version, remote.sha256)
    return merge(had.done) if (had.size, had.version, had.sha256) == now else []


def _replace(path: Path, data: bytes) -> None:
    """Replace the file atomically, safe against a power loss."""
    new = path.with_name(f"{path.name}.new")
    with new.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with suppress(OSError):  # not every file system supports fsync of folders
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


# ── complete files ──────────────────────────────────────────────────────────────────────────────


def is_whole(root: Path, address: Address) -> bool:
    """Return whether *root* exists and was fetched from *address*; needs no network.

    A file from elsewhere counts too if *address* has its sha256. Raises `FetchFailed` if another
    model is at *root*.
    """
    if not root.exists():
        return False
    reason = _why_other(root, address)
    if reason is None:
        return True
    if address.sha256 and root.is_file() and _sha256(root) == address.sha256:
        origin = _Origin(str(address), address.sha256, root.stat().st_size)
        _replace(_origin_path(root), msgspec.json.encode(origin))
        return True
    raise FetchFailed(
        f"{root.name} is already in the models folder and {reason} {address};"
        " remove it or use another name",
        permanent=True,
    )


def _why_other(root: Path, address: Address) -> str | None:
    """Return why what is at *root* is not what *address* names; None if it is."""
    origin = _read_origin(root)
    if origin is None or origin.address != str(address):
        return "was not fetched from"
    if address.sha256 not in (None, origin.sha256):
        return "has another sha256 than"
    return None if _has_all(root, origin) else "has changed since it was fetched from"


def _read_origin(root: Path) -> _Origin | None:
    try:
        return _origins.decode(_origin_path(root).read_bytes())
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _has_all(root: Path, origin: _Origin) -> bool:
    """Return whether *root* has what was fetched, by the sizes of the files."""
    if root.is_dir():
        return all(_size(root / name) == size for name, size in origin.files.items())
    return _size(root) == origin.size


def _origin_path(root: Path) -> Path:
    return root.with_name(f".{root.name}.origin")


def _size(path: Path) -> int | None:
    """Return the size of the file at *path*; None if there is none."""
    return path.stat().st_size if path.is_file() else None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# ── the lock ────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def lock(root: Path) -> Iterator[bool]:
    """Try to lock the fetch to *root* for the context; yield whether it is locked.

    The system releases the lock when the process ends, whatever the cause. On a file system without
    locks every process gets it.
    """
    path = root.with_name(f".{root.name}.lock")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        locked = _try_lock(descriptor, path)
        try:
            yield locked
        finally:
            if locked:
                path.unlink(missing_ok=True)  # while the lock is held, see `_try_lock`
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int, path: Path) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    try:
        # The previous holder may have deleted this file, and another process created a new one.
        return path.stat().st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False

"""What is fetched so far, on the disk: a hidden folder beside the place, and a lock.

`.NAME.part/files/` has the files in full length, holes where bytes are missing; `state.json` says
which are there. Discovery passes over hidden names. Bytes are on the disk before the state says so,
and the state is replaced whole: a process may be killed at any moment.
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
    """What the state says of a file."""

    name: str
    size: int
    version: str
    sha256: str | None
    done: list[Span]


class _Origin(Struct):
    """What was fetched to a place: kept beside it, so that another model is never taken for it."""

    address: str
    sha256: str | None
    size: int


_states = msgspec.json.Decoder(list[_Had])
_origins = msgspec.json.Decoder(_Origin)


class StagedFile:
    """A file on its way. *active* are spans whose end moves while they are written."""

    def __init__(self, remote: RemoteFile, path: Path, done: list[Span]) -> None:
        self.remote = remote
        self.path = path
        self.active: list[list[int]] = []
        self._done = done
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        os.ftruncate(self._fd, remote.size)

    @property
    def done(self) -> list[Span]:
        """The bytes that are there, merged."""
        return merge([*self._done, *((start, end) for start, end in self.active)])

    def missing(self) -> list[Span]:
        """Return the bytes that are not."""
        return missing(self.remote.size, self.done)

    def write(self, data: bytes, at: int) -> None:
        """Write *data* to its place."""
        view = memoryview(data)
        while view:
            written = os.pwrite(self._fd, view, at)
            view, at = view[written:], at + written

    def begin(self, start: int) -> list[int]:
        """Return a span that begins at *start* and is empty; its end is moved as it is written."""
        self.active.append([start, start])
        return self.active[-1]

    def end(self, span: list[int], *, keep: bool = True) -> None:
        """Take *span* as it is, or forget its bytes."""
        self.active.remove(span)
        if keep:
            self._done = merge([*self._done, (span[0], span[1])])

    def sync(self) -> None:
        """Return when what was written is on the disk."""
        os.fsync(self._fd)

    def blocks(self) -> Iterator[bytes]:
        """Yield the file from its beginning, in pieces."""
        at = 0
        while block := os.pread(self._fd, _BLOCK, at):
            yield block
            at += len(block)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


class Staging:
    """The hidden folder of one place. Whoever makes one holds the lock."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folder = root.with_name(f".{root.name}.part")
        self._content = self._folder / "files"
        self._state = self._folder / "state.json"
        self.files: list[StagedFile] = []

    def open(self, remotes: Sequence[RemoteFile]) -> None:
        """Go on with what is there of *remotes*; what is of another version is dropped.

        Raises `FetchFailed` where the disk has no room for the rest.
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
            # Where the file was lost and the state was not, nothing is there.
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
        """Note what is there, after it is on the disk."""
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
        """Put what is there, which is whole, into its place."""
        size = sum(file.remote.size for file in self.files)
        name = self.files[0].remote.name
        for file in self.files:
            file.sync()
        self.close()
        for folder, _, _ in os.walk(self._content):
            _sync_folder(Path(folder))
        _replace(_origin_path(self._root), msgspec.json.encode(_origin(address, size)))
        (self._content if is_folder else self._content / name).rename(self._root)
        _sync_folder(self._root.parent)
        self.drop()

    def close(self) -> None:
        """Close the files; what is there stays."""
        while self.files:
            self.files.pop().close()

    def drop(self) -> None:
        """Remove what is there."""
        self.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def _kept(remote: RemoteFile, had: _Had | None) -> list[Span]:
    """Return the bytes of *remote* that an earlier fetch left.

    None where nothing proves that they are of the same content.
    """
    known = remote.version or remote.sha256
    if had is None or not known or not remote.ranges:
        return []
    now = (remote.size, remote.version, remote.sha256)
    return merge(had.done) if (had.size, had.version, had.sha256) == now else []


def _replace(path: Path, data: bytes) -> None:
    """Write the file whole or not at all, even where the machine loses its power."""
    new = path.with_name(f"{path.name}.new")
    with new.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with suppress(OSError):  # not every file system knows it of folders
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


# ── what is whole ───────────────────────────────────────────────────────────────────────────────


def is_whole(root: Path, address: Address) -> bool:
    """Tell whether *root* is there and was fetched from *address*; asks nobody else.

    A file from elsewhere counts too where *address* has its sha256. Raises `FetchFailed` where
    something else is in the place.
    """
    if not root.exists():
        return False
    try:
        origin = _origins.decode(_origin_path(root).read_bytes())
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        origin = None
    wanted = _origin(address, _size(root))
    same = origin and (origin.address, origin.size) == (wanted.address, wanted.size)
    if same and origin and wanted.sha256 in (None, origin.sha256):
        return True
    if address.sha256 and root.is_file() and _sha256(root) == address.sha256:
        _replace(_origin_path(root), msgspec.json.encode(wanted))
        return True
    raise FetchFailed(
        f"{root.name} is already in the models folder and was not fetched from {address};"
        " remove it or use another name",
        permanent=True,
    )


def _origin(address: Address, size: int) -> _Origin:
    return _Origin(str(address), address.sha256, size)


def _origin_path(root: Path) -> Path:
    return root.with_name(f".{root.name}.origin")


def _size(root: Path) -> int:
    if root.is_file():
        return root.stat().st_size
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# ── the lock ────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def lock(root: Path) -> Iterator[bool]:
    """Try to be the only one who fetches to *root* within the context; tell whether it is so.

    The system lets go of it when the process ends, however it does. Where a file system knows no
    locks, everybody has it.
    """
    path = root.with_name(f".{root.name}.lock")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        locked = _try_lock(descriptor, path)
        try:
            yield locked
        finally:
            if locked:
                path.unlink(missing_ok=True)  # while it is held, see `_try_lock`
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
        # The holder before may have removed this very file, and another one made it anew.
        return path.stat().st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False

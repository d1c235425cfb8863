"""Download the files of one address: many ranges at a time, verified, then moved into place."""

import asyncio
import hashlib
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack, aclosing
from pathlib import PurePosixPath
from typing import Literal, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from pilotlight.models.fetch.address import Address, Origin
from pilotlight.models.fetch.failure import FetchFailed, Interrupted, SourceChanged
from pilotlight.models.fetch.progress import FetchProgress
from pilotlight.models.fetch.sources import Listing, Source
from pilotlight.models.fetch.spans import Span, cut, total
from pilotlight.models.fetch.staging import StagedFile, Staging, is_whole, lock

logger = logging.getLogger(__name__)

RANGE = 16 * 2**20
"""Bytes of one request: large compared with a round trip, small enough to share the work."""
_RESET = 2**16
"""Bytes after which the count of failures starts again."""
_TICK, _SAVE = 0.1, 1.0
"""Seconds between two tries to lock, and between two writes of the state."""

_T = TypeVar("_T")


class Retries(Struct, frozen=True):
    """How often an interrupted request is tried, and the seconds before the first retry."""

    tries: int = 6
    wait: float = 0.5
    longest: float = 15.0

    async def run(self, ask: Callable[[], Awaitable[_T]], address: Address) -> _T:
        """Return what *ask* returns, and repeat it while it is interrupted."""
        failures = 0
        while True:
            try:
                return await ask()
            except Interrupted as error:
                failures += 1
                await self.wait_or_give_up(failures, error, address)

    async def wait_or_give_up(self, failures: int, error: Interrupted, address: Address) -> None:
        """Wait before the next try, or raise `FetchFailed` after the last."""
        if failures >= self.tries:
            raise FetchFailed(f"{address}: {error}, {failures} times", permanent=False) from None
        wait = min(self.wait * 2 ** (failures - 1), self.longest)
        logger.debug("%s: %s; retrying", address, error)
        await asyncio.sleep(wait * (0.5 + random.random() / 2))  # noqa: S311 - jitter


class Download:
    """The download of one origin: `begin`, then `finish`, then `close`. Used on one loop."""

    def __init__(
        self,
        origin: Origin,
        *,
        connections: int,
        retries: Retries,
        open_source: Callable[[Address], Source],
    ) -> None:
        self._address = origin.address
        self._root = origin.root
        self._connections = connections
        self._retries = retries
        self._open_source = open_source
        self._source: Source | None = None
        self._listing = Listing([], is_folder=False)
        self._phase: Literal["wait", "fetch", "check"] = "fetch"
        self._total = self._kept = self._done = 0
        self._staging = Staging(self._root)
        self._lock = ExitStack()

    @property
    def progress(self) -> FetchProgress:
        """How far it is."""
        return FetchProgress(self._done, self._total, self._kept, self._phase)

    async def begin(self) -> bool:
        """Lock the path and list the files; return False if another process has fetched them.

        It waits for a process that fetches to the same path.
        """
        while not self._is_locked():
            self._phase = "wait"
            await asyncio.sleep(_TICK)
        self._phase = "fetch"
        if is_whole(self._root, self._address):
            return False
        self._source = self._open_source(self._address)
        await self._list(self._source)
        return True

    def _is_locked(self) -> bool:
        with ExitStack() as stack:
            locked = stack.enter_context(lock(self._root))
            if locked:
                self._lock = stack.pop_all()
        return locked

    async def finish(self) -> None:
        """Read what is missing, verify it, and move the files into place."""
        if (source := self._source) is None:
            raise ValueError("the download has not begun")
        for is_last in (False, True):
            try:
                await self._read_all(source)
                await self._verify(source)
                self._phase = "fetch"
                return self._staging.move(self._address, is_folder=self._listing.is_folder)
            except SourceChanged:
                self._staging.drop()
            if not is_last:
                await self._list(source)
        raise FetchFailed(f"{self._address}: it changed during the fetch", permanent=False)

    async def close(self) -> None:
        """Keep what is fetched, close the connections, and release the lock."""
        try:
            self._staging.close()
            if self._source is not None:
                await self._source.close()
        finally:
            self._lock.close()

    async def _list(self, source: Source) -> None:
        self._phase = "fetch"
        self._listing = _checked(await self._retries.run(source.look, self._address), self._address)
        self._staging.open(self._listing.files)
        self._total = sum(file.size for file in self._listing.files)
        self._kept = self._done = sum(total(file.done) for file in self._staging.files)

    async def _read_all(self, source: Source) -> None:
        spans = deque(
            (file, span)
            for file in self._staging.files
            for span in (cut(file.missing(), RANGE) if file.remote.ranges else file.missing())
        )

        async def worker() -> None:
            while spans:
                await self._read_span(source, *spans.popleft())

        workers = [asyncio.create_task(worker()) for _ in range(self._connections)]
        saver = asyncio.create_task(self._save())
        try:
            await _all((*workers,), saver)
        finally:
            await cancel(saver, *workers)
            self._staging.save()

    async def _save(self) -> None:
        while True:
            await asyncio.sleep(_SAVE)
            self._staging.save()

    async def _read_span(self, source: Source, file: StagedFile, span: Span) -> None:
        failures, since = 0, 0
        start, end = span
        while start < end:
            written = file.begin(start)
            try:
                async with aclosing(source.read(file.remote, start, end)) as pieces:  # type: ignore[type-var]
                    async for piece in pieces:
                        self._write(file, written, piece, end)
                if written[1] < end:
                    raise Interrupted("the response ended early")  # noqa: TRY301 - handled like the others
            except Interrupted as error:
                since += written[1] - written[0]
                if since >= _RESET and file.remote.ranges:
                    failures = since = 0
                failures += 1
                await self._retries.wait_or_give_up(failures, error, self._address)
            finally:
                file.end(written, keep=file.remote.ranges or written[1] == end)
            if file.remote.ranges or written[1] == end:
                start = written[1]
            else:
                self._done -= written[1] - written[0]

    def _write(self, file: StagedFile, written: list[int], piece: bytes, end: int) -> None:
        if written[1] + len(piece) > end:
            raise Interrupted("the response is too long")
        file.write(piece, written[1])
        written[1] += len(piece)
        self._done += len(piece)

    async def _verify(self, source: Source) -> None:
        if not source.checks_reads:
            now = await self._retries.run(source.look, self._address)
            if _identity(now) != _identity(self._listing):
                raise SourceChanged
        self._phase = "check"
        for file in self._staging.files:
            await self._check(file)

    async def _check(self, file: StagedFile) -> None:
        if file.remote.sha256 is None:
            return
        digest = hashlib.sha256()
        for block in file.blocks():
            digest.update(block)
            await asyncio.sleep(0)
        if digest.hexdigest() != file.remote.sha256:
            self._staging.drop()
            raise FetchFailed(
                f"{self._address}: the sha256 of {file.remote.name} is {digest.hexdigest()},"
                f" expected {file.remote.sha256}; the file was deleted",
                permanent=True,
            )


def _checked(listing: Listing, address: Address) -> Listing:
    """Return *listing* with the sha256 of the address; raises `FetchFailed` if it is invalid."""
    files = listing.files
    for file in files:
        path = PurePosixPath(file.name)
        if path.is_absolute() or not path.parts or ".." in path.parts or "\0" in file.name:
            raise FetchFailed(f"{address}: invalid file name {file.name!r}", permanent=True)
    if not any(file.size for file in files):
        raise FetchFailed(f"{address}: it is empty", permanent=True)
    if address.sha256 is None:
        return listing
    if listing.is_folder:
        raise FetchFailed(f"{address}: a sha256 cannot be given for a folder", permanent=True)
    known = files[0].sha256
    if known not in (None, address.sha256):
        raise FetchFailed(
            f"{address}: its sha256 is {known}, expected {address.sha256}", permanent=True
        )
    return replace(listing, files=[replace(files[0], sha256=address.sha256)])


def _identity(listing: Listing) -> Sequence[tuple[str, int, str]]:
    return sorted((file.name, file.size, file.version) for file in listing.files)


async def _all(tasks: Sequence["asyncio.Task[None]"], beside: "asyncio.Task[None]") -> None:
    """Wait for all *tasks*; raise the first error of one of them, or of *beside*, at once."""
    left = set(tasks)
    while left:
        done, _ = await asyncio.wait((*left, beside), return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        left -= done


async def cancel(*tasks: "asyncio.Task[object]") -> None:
    """Cancel *tasks*, and wait until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

"""Fetch many ranges at a time into a hidden folder, verify them, and move the files into place."""

import asyncio
import errno
import hashlib
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from pathlib import Path, PurePosixPath
from typing import Literal, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from pilotlight.models.fetch.address import Address
from pilotlight.models.fetch.failure import FetchFailed, Interrupted, SourceChanged
from pilotlight.models.fetch.progress import FetchProgress
from pilotlight.models.fetch.sources import Listing, Source, open_source
from pilotlight.models.fetch.spans import Span, cut, total
from pilotlight.models.fetch.staging import StagedFile, Staging, is_whole, lock

logger = logging.getLogger(__name__)

RANGE = 16 * 2**20
"""Bytes of one request: large compared with a round trip, small enough to share the work."""
_PROGRESS = 2**16
"""Bytes after which the count of failures starts again."""
_TICK, _SAVE = 0.1, 1.0
"""Seconds between two progress reports, and between two writes of the state."""

_PERMANENT = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR, errno.ENAMETOOLONG}
)

_T = TypeVar("_T")


class Retries(Struct, frozen=True):
    """How often an interrupted request is tried, and the seconds before the first retry."""

    tries: int = 6
    wait: float = 0.5
    longest: float = 15.0


def fetch(
    address: Address,
    root: Path,
    note: Callable[[FetchProgress], None] = lambda _: None,
    *,
    connections: int = 8,
    retries: Retries = Retries(),  # noqa: B008 - frozen
    source: Callable[[Address], Source] = open_source,
) -> bool:
    """Fetch *address* to *root*, and return False if it is there already.

    Blocks, with an event loop of its own: call it on a thread. *note* is called ten times a second
    on this thread; an exception that it raises ends the fetch. The fetched bytes are kept, and the
    next call, in any process, continues from them. Processes that fetch the same address to one
    folder wait for each other. Raises `FetchFailed`.
    """
    try:
        if is_whole(root, address):
            return False
        root.parent.mkdir(parents=True, exist_ok=True)
        return asyncio.run(_Fetch(address, root, note, connections, retries, source).run())
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise FetchFailed(
            f"{address}: cannot write to the models folder: {reason}",
            permanent=error.errno in _PERMANENT,
        ) from None


class _Fetch:
    def __init__(  # noqa: PLR0917 - the arguments of `fetch`
        self,
        address: Address,
        root: Path,
        note: Callable[[FetchProgress], None],
        connections: int,
        retries: Retries,
        source: Callable[[Address], Source],
    ) -> None:
        self._address = address
        self._root = root
        self._note = note
        self._connections = connections
        self._retries = retries
        self._open_source = source
        self._phase: Literal["wait", "fetch", "check"] = "fetch"
        self._total = self._kept = self._done = 0
        self._staging = Staging(root)

    async def run(self) -> bool:
        """Fetch, and report progress meanwhile; whichever ends first ends the other."""
        work = asyncio.create_task(self._run())
        ticker = asyncio.create_task(self._report())
        try:
            await asyncio.wait((work, ticker), return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended = [task for task in (work, ticker) if task.done()]
            await _cancel(work, ticker)
        fetched = ended[0].result() or False
        self._phase = "fetch"
        self._report_now()
        return fetched

    async def _report(self) -> None:
        while True:
            self._report_now()
            await asyncio.sleep(_TICK)

    def _report_now(self) -> None:
        self._note(FetchProgress(self._done, self._total, self._kept, self._phase))

    async def _run(self) -> bool:
        while True:
            with lock(self._root) as locked:
                if locked:
                    return await self._run_locked()
            self._phase = "wait"
            await asyncio.sleep(_TICK)

    async def _run_locked(self) -> bool:
        if is_whole(self._root, self._address):  # another process has fetched it meanwhile
            return False
        source = self._open_source(self._address)
        try:
            for _ in range(2):
                with suppress(SourceChanged):
                    await self._fetch(source)
                    return True
                self._staging.drop()
        finally:
            self._staging.close()
            await source.close()
        raise FetchFailed(f"{self._address}: it changed during the fetch", permanent=False)

    async def _fetch(self, source: Source) -> None:
        # 1. list the files
        self._phase = "fetch"
        listing = await self._retry(source.look)
        listing = _checked(listing, self._address)
        self._staging.open(listing.files)
        self._total = sum(file.size for file in listing.files)
        self._kept = self._done = sum(total(file.done) for file in self._staging.files)
        # 2. read the missing bytes
        await self._read_all(source)
        # 3. verify them
        if not source.checks_reads and _identity(await self._retry(source.look)) != _identity(
            listing
        ):
            raise SourceChanged
        self._phase = "check"
        for file in self._staging.files:
            await self._check(file)
        # 4. move all files into place
        self._staging.move(self._address, is_folder=listing.is_folder)

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
            await _cancel(saver, *workers)
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
                if since >= _PROGRESS and file.remote.ranges:
                    failures = since = 0
                failures += 1
                await self._wait_or_give_up(failures, error)
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

    async def _retry(self, ask: Callable[[], Awaitable[_T]]) -> _T:
        failures = 0
        while True:
            try:
                return await ask()
            except Interrupted as error:
                failures += 1
                await self._wait_or_give_up(failures, error)

    async def _wait_or_give_up(self, failures: int, error: Interrupted) -> None:
        if failures >= self._retries.tries:
            raise FetchFailed(
                f"{self._address}: {error}, {failures} times", permanent=False
            ) from None
        wait = min(self._retries.wait * 2 ** (failures - 1), self._retries.longest)
        logger.debug("%s: %s; retrying", self._address, error)
        await asyncio.sleep(wait * (0.5 + random.random() / 2))  # noqa: S311 - jitter

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


async def _cancel(*tasks: "asyncio.Task[object]") -> None:
    """Cancel *tasks*, and wait until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

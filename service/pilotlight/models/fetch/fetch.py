"""Fetch models: what is missing is downloaded into hidden folders, and moved into place."""

import asyncio
import errno
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from pilotlight.models.fetch import projector
from pilotlight.models.fetch.address import Address, Origin
from pilotlight.models.fetch.download import Download, Retries, cancel
from pilotlight.models.fetch.failure import FetchFailed
from pilotlight.models.fetch.progress import FetchProgress, together
from pilotlight.models.fetch.sources import Source, open_source
from pilotlight.models.fetch.staging import is_whole

_TICK = 0.1
"""Seconds between two progress reports."""

_PERMANENT = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR, errno.ENAMETOOLONG}
)


def fetch(
    origins: Sequence[Origin],
    note: Callable[[FetchProgress], None] = lambda _: None,
    *,
    connections: int = 8,
    retries: Retries = Retries(),  # noqa: B008 - frozen
    source: Callable[[Address], Source] = open_source,
) -> list[Path]:
    """Fetch *origins* in their order, and return the paths of those that were missing.

    A projector that comes with a model is in place before the model is, so a model that is there
    needs no request. Blocks, with an event loop of its own: call it on a thread. *note* is called
    ten times a second on this thread; an exception that it raises ends the fetch. The fetched bytes
    are kept, and the next call, in any process, continues from them. Processes that fetch the same
    address to one folder wait for each other. Raises `FetchFailed`.
    """
    missing: list[Origin] = []
    try:
        for origin in origins:
            if not is_whole(origin.root, origin.address):
                origin.root.parent.mkdir(parents=True, exist_ok=True)
                missing.append(origin)
        if not missing:
            return []
        download = partial(Download, connections=connections, retries=retries, open_source=source)
        return asyncio.run(_Fetch(missing, note, retries, source, download).run())
    except OSError as error:
        reason = error.strerror or type(error).__name__
        address = (missing or origins)[-1].address
        raise FetchFailed(
            f"{address}: cannot write to the models folder: {reason}",
            permanent=error.errno in _PERMANENT,
        ) from None


class _Fetch:
    def __init__(
        self,
        origins: Sequence[Origin],
        note: Callable[[FetchProgress], None],
        retries: Retries,
        open_source: Callable[[Address], Source],
        download: Callable[[Origin], Download],
    ) -> None:
        self._origins = origins
        self._note = note
        self._retries = retries
        self._open_source = open_source
        self._download = download
        self._downloads: list[Download] = []

    async def run(self) -> list[Path]:
        """Fetch, and report progress meanwhile; whichever ends first ends the other."""
        work = asyncio.create_task(self._run())
        ticker = asyncio.create_task(self._report())
        try:
            await asyncio.wait((work, ticker), return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended = [task for task in (work, ticker) if task.done()]
            await cancel(work, ticker)
        fetched = ended[0].result() or []
        self._report_now()
        return fetched

    async def _report(self) -> None:
        while True:
            self._report_now()
            await asyncio.sleep(_TICK)

    def _report_now(self) -> None:
        self._note(together([one.progress for one in self._downloads]))

    async def _run(self) -> list[Path]:
        origins = [one for origin in self._origins for one in await self._with_projector(origin)]
        fetched: list[Path] = []
        async with AsyncExitStack() as stack:
            # 1. list all files: the progress counts them from the beginning
            begun: list[tuple[Origin, Download]] = []
            for origin in origins:
                if is_whole(origin.root, origin.address):
                    continue
                download = self._download(origin)
                stack.push_async_callback(download.close)
                self._downloads.append(download)
                if await download.begin():
                    begun.append((origin, download))
            # 2. download them
            for origin, download in begun:
                await download.finish()
                fetched.append(origin.root)
        return fetched

    async def _with_projector(self, origin: Origin) -> list[Origin]:
        """Return *origin* and, before it, the projector that comes with it."""
        if not (origin.with_projector and projector.may_have_one(origin.address)):
            return [origin]
        source = self._open_source(origin.address)
        try:
            look = partial(projector.with_projector, origin, source)
            return await self._retries.run(look, origin.address)
        finally:
            await source.close()

"""The source of files on the Hugging Face Hub."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import PurePosixPath
from typing import Any

from msgspec.structs import replace

from pilotlight.models.fetch.address import Address
from pilotlight.models.fetch.sources.failures import MappedFailures
from pilotlight.models.fetch.sources.http import HttpSource
from pilotlight.models.fetch.sources.source import Listing, RemoteFile, relative_name


class HubSource:
    """A file or folder of a repository on the Hub.

    huggingface_hub lists the files and resolves URLs, aiohttp reads: the library reads a range into
    memory as a whole, on a thread that cannot be cancelled.
    """

    checks_reads = False

    def __init__(self, address: Address) -> None:
        from huggingface_hub import HfFileSystem  # noqa: PLC0415
        from huggingface_hub.utils import (  # type: ignore[attr-defined]  # noqa: PLC0415 - documented
            build_hf_headers,
        )

        self._address = address
        self._hub = HfFileSystem(skip_instance_cache=True)
        self._http = HttpSource(address, build_hf_headers())

    async def look(self) -> Listing:
        """List the files; large ones have a sha256."""
        with MappedFailures(self._address):
            return await asyncio.to_thread(self._list)

    def _list(self) -> Listing:
        self._hub.invalidate_cache()
        found: list[dict[str, Any]] = []
        base = None
        for path in self._address.parts():
            info = self._hub.info(path)
            if info["type"] == "directory":
                base = info["name"]
                listed: Any = self._hub.find(path, detail=True)
                found += listed.values()
            else:
                found.append(info)
        files = [
            RemoteFile(
                relative_name(info["name"], base),
                self._hub.url(info["name"]),
                info["size"],
                info.get("blob_id") or info.get("xet_hash") or "",
                sha256=info["lfs"]["sha256"] if info.get("lfs") else None,
            )
            for info in found
            if info["type"] == "file"
        ]
        return Listing(files, base is not None or self._address.is_split)

    async def near(self, choose: Callable[[Sequence[str]], str | None]) -> Address | None:
        """Return the file that *choose* picks, beside the address or in the nearest folder above.

        *choose* gets the names of the files of a folder, and returns one of them or None.
        """
        with MappedFailures(self._address):
            return await asyncio.to_thread(self._near, choose)

    def _near(self, choose: Callable[[Sequence[str]], str | None]) -> Address | None:
        from huggingface_hub.hf_file_system import (  # noqa: PLC0415
            HfFileSystemResolvedRepositoryPath,
        )

        self._hub.invalidate_cache()
        found = self._hub.resolve_path(self._address.url)
        if not isinstance(found, HfFileSystemResolvedRepositoryPath):  # a bucket of the Hub
            return None
        before = self._address.url.removesuffix(found.path_in_repo)
        for folder in PurePosixPath(found.path_in_repo).parents:  # the last is the repository
            below = "" if folder == PurePosixPath() else folder.as_posix()
            path = dataclasses.replace(found, path_in_repo=below).unresolve()
            listed: Any = self._hub.ls(path, detail=False)
            if name := choose([PurePosixPath(one).name for one in listed]):
                return Address(self._address.scheme, f"{before}{below}{'/' * bool(below)}{name}")
        return None

    def read(self, file: RemoteFile, start: int, end: int) -> AsyncIterator[bytes]:
        """Read from the storage behind the Hub, which has versions of its own."""
        return self._http.read(replace(file, version=""), start, end)

    async def close(self) -> None:
        """Close the connections for reading; those of the library are shared by the process."""
        await self._http.close()

"""How long the states are that a folder's instances used last: the next prompts continue them.

Asked while the weights load, so that the context is as long from the start as a restored state
needs.
"""

import threading
from contextlib import suppress
from pathlib import Path

from pilotlight_backend.prompt_cache import state_file
from pilotlight_backend.prompt_cache.entry import identity_of
from pilotlight_backend.prompt_cache.state_file import Damaged
from pilotlight_backend.prompt_cache.storage import Folder

_MOST_MODELS = 16


class RecentLengths:
    """Reads the folder on a thread: a load does not wait for one that hangs."""

    def __init__(self, path: str) -> None:
        """Begin to read."""
        self._path = path
        self._lengths: dict[str, int] = {}
        """By model."""
        self.done = threading.Event()
        threading.Thread(target=self._read, name="prompt cache", daemon=True).start()

    def of(self, identity: str) -> int:
        """Return the tokens of the model's state that was used last; 0 for none, or not yet."""
        return self._lengths.get(identity, 0)

    def _read(self) -> None:
        try:
            with suppress(OSError, RuntimeError):  # of a home that is not known
                self._read_newest(Folder(Path(self._path).expanduser()))
        finally:
            self.done.set()

    def _read_newest(self, folder: Folder) -> None:
        newest = {}
        for file in sorted(folder.files(), key=lambda file: file.used):
            newest[identity_of(file.name)] = file
        latest = sorted(newest.values(), key=lambda file: file.used)[-_MOST_MODELS:]
        for file, start in folder.starts(latest):
            with suppress(Damaged):  # the lookup of a prompt reports it
                entry = state_file.read_header(file.name, start, file.size)
                self._lengths[identity_of(file.name)] = len(entry)

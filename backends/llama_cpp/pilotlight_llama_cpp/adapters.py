"""The adapters that an engine has loaded over its model: which there are, and when each goes."""

import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pilotlight_backend import InsufficientMemory, LoadFailed, ModelFileInvalid, ModelUnsupported
from pilotlight_backend.adapters import content_digest
from pilotlight_backend.cgroup import available_memory
from pilotlight_llama_cpp import logs, lora_file
from pilotlight_llama_cpp.guarded_thread import Aborted, GuardedThread

if TYPE_CHECKING:
    from pilotlight_llama_cpp.model import LlamaModel


class LoadedAdapters:
    """The adapters of one engine, by the digest of their content.

    Loads read and check a file on the caller's thread. llama.cpp is called on the engine's thread
    alone, between two steps: a step walks the model's adapters (`graph_max_nodes` in
    llama-context.cpp).
    """

    def __init__(
        self,
        model: "LlamaModel",
        path: Path,
        *,
        between_steps: Callable[[Callable[[], Any]], Any],
        used: Callable[[], Collection[str]],
        detach: Callable[[], None],
    ) -> None:
        """Load over *model*, whose file is *path*.

        *used* returns the adapters of all requests; *detach* makes the context apply none.
        """
        self._model = model
        self._path = path
        self._between_steps = between_steps
        self._used = used
        self._detach = detach
        self._changing = threading.Lock()
        """Held over a load or an unload, with its call between two steps."""
        self._lock = threading.Lock()
        """Guards the counts, and never held over a native call."""
        self._loads: Counter[str] = Counter()
        """How often each was loaded and not unloaded."""
        self._retired: set[str] = set()
        """Unloaded, and maybe in use. The engine's thread alone."""

    # ── any thread ─────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def known(self) -> Iterator[Collection[str]]:
        """Yield the ids that a request may name; none of them is unloaded meanwhile."""
        with self._lock:
            yield self._loads

    def load(self, path: Path) -> str:
        """Load the adapter at *path*; return its id. See `AdaptingEngine.load_adapter`."""
        with self._changing:
            before = _identity(path)
            facts = lora_file.check(path, self._path)
            adapter = content_digest(path)
            if adapter not in self._loads:
                _check_memory(facts.size_bytes)
                self._between_steps(lambda: self._init(adapter, path, before))
            with self._lock:
                self._loads[adapter] += 1
            return adapter

    def unload(self, adapter: str) -> None:
        """Undo a load. See `AdaptingEngine.unload_adapter`."""
        with self._changing:  # or a load that comes now would be retired with it
            if self._is_last(adapter):
                self._between_steps(lambda: self._retire(adapter))

    def _is_last(self, adapter: str) -> bool:
        """Count a load of *adapter* less; return whether none is left of those that there were."""
        with self._lock:
            loads = self._loads.pop(adapter, 0)
            if loads > 1:
                self._loads[adapter] = loads - 1
            return loads == 1

    # ── the engine's thread ────────────────────────────────────────────────────────────────────

    def _init(self, adapter: str, path: Path, before: tuple[int, ...]) -> None:
        if adapter in self._retired:  # its last request has not ended
            self._retired.discard(adapter)
            return
        thread: GuardedThread[Any] = GuardedThread(path.name)
        try:
            with self._model.adapting:
                pointer = thread.run(lambda: self._init_native(path))
        except Aborted as error:
            raise ModelUnsupported(path, f"llama.cpp cannot apply it: {error}") from None
        if _identity(path) != before:
            self._model.free_adapter(pointer)
            raise LoadFailed(f"{path.name}: the file changed while it was loaded")
        self._model.adapters[adapter] = pointer

    def _init_native(self, path: Path) -> Any:
        with logs.complaint() as complaint:
            pointer = self._model.load_adapter(path)
        if not pointer:
            raise ModelFileInvalid(path, f"llama.cpp cannot load it: {complaint.text}")
        return pointer

    def _retire(self, adapter: str) -> None:
        self._retired.add(adapter)
        self.free()

    def free(self) -> None:
        """Free the adapters that are unloaded and have no request any more."""
        if not self._retired:
            return
        for adapter in self._retired.difference(self._used()):
            self._retired.discard(adapter)
            self._detach()
            with self._model.adapting:
                self._model.free_adapter(self._model.adapters.pop(adapter))


def _identity(path: Path) -> tuple[int, ...]:
    """Return a value that changes with the file."""
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _check_memory(size: int) -> None:
    available = available_memory()
    if available is not None and size > available:
        raise InsufficientMemory(size, available, "a smaller adapter would fit")

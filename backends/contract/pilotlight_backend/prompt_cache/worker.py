"""A thread for what blocks, which ends with its process whatever it is at."""

import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue

logger = logging.getLogger("pilotlight.backend")


class Worker:
    """Runs tasks one after another. The executors of the library join their threads at exit."""

    def __init__(self, name: str) -> None:
        self._tasks: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, task: Callable[[], object]) -> None:
        """Run *task* behind the others; what it raises is logged."""
        self._tasks.put(task)

    def close(self, timeout: float | None = None) -> bool:
        """Run what was submitted, then end; tell whether that was done within *timeout* seconds."""
        self._tasks.put(None)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            try:
                task()
            except Exception:
                logger.exception("the prompt cache: a task failed")

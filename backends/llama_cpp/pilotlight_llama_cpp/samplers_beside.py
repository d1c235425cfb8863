"""Requests whose samplers are made on another thread, before they are queued."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

from pilotlight_llama_cpp.generation_job import GenerationJob


class SamplersBeside:
    """Jobs whose samplers are being made, in the order they came. The engine's thread alone."""

    def __init__(self, wake: Callable[[], None]) -> None:
        """*wake* is called on any thread when a sampler is made."""
        self._wake = wake
        self._making: dict[GenerationJob, Future[Any]] = {}

    def __len__(self) -> int:
        return len(self._making)

    def __iter__(self) -> Iterator[GenerationJob]:
        return iter(self._making)

    @property
    def is_due(self) -> bool:
        """Whether `take` returns a job."""
        return any(made.done() for made in self._making.values())

    def add(self, job: GenerationJob, made: Future[Any]) -> None:
        """Wait for the sampler of *job*."""
        self._making[job] = made
        made.add_done_callback(lambda _: self._wake())

    def take(self) -> list[tuple[GenerationJob, Exception | None]]:
        """Return the jobs whose samplers are made, and those that failed, which stay here."""
        due = [job for job, made in self._making.items() if made.done()]
        return [(job, self._take(job)) for job in due]

    def _take(self, job: GenerationJob) -> Exception | None:
        try:
            job.sampler = self._making[job].result()
        except Exception as error:  # noqa: BLE001 - the caller fails the request with it
            return error
        del self._making[job]
        return None

    def discard(self, job: GenerationJob) -> bool:
        """Forget *job*, whose sampler is closed once it is made; False if it is not here."""
        made = self._making.pop(job, None)
        if made is None:
            return False
        if not made.cancel():
            made.add_done_callback(_close)
        return True


def _close(made: Future[Any]) -> None:
    """Close a sampler that was made for a job that has ended; any thread."""
    if made.exception() is None:
        made.result().close()

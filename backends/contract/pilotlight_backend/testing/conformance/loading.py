"""Loading: progress, options, and no leaks."""
# ruff: noqa: S101 - the suite asserts

import threading
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
from msgspec.structs import replace

from pilotlight_backend.errors import LoadFailed, ModelFileInvalid
from pilotlight_backend.protocols import Backend, Engine
from pilotlight_backend.testing.conformance.fixtures import ConformanceFixtures, load
from pilotlight_backend.testing.conformance.listener import eventually, request_of, run, within
from pilotlight_backend.types import LoadOptions, LoadProgress, ModelFacts

DEFAULT_CONTEXT_LENGTH = 4096
ROUNDS = 5
PHASES = ("read", "load", "warm")


class StopLoading(Exception):
    """What a progress callback raises here."""


class LoadConformance(ConformanceFixtures):
    """`Backend.load`."""

    def test_progress_grows_to_the_whole(
        self, backend: Backend, model: ModelFacts, options: LoadOptions
    ) -> None:
        """A load reports bytes that never shrink, of one total, and ends with all of them."""
        reports = reports_of(backend, model, options)
        assert reports
        assert {report.bytes_total for report in reports} == {reports[-1].bytes_total}
        assert reports[-1].bytes_read == reports[-1].bytes_total
        assert all(one.bytes_read <= other.bytes_read for one, other in pairwise(reports))
        assert all(report.phase in PHASES for report in reports)

    def test_progress_is_called_on_the_loads_thread(
        self, backend: Backend, model: ModelFacts, options: LoadOptions
    ) -> None:
        """Progress is reported on the thread that called the load."""
        callers: set[int] = set()

        def load_and_close() -> int:
            backend.load(model, options, lambda _: callers.add(threading.get_ident())).close()
            return threading.get_ident()

        caller = within(load_and_close)
        assert callers == {caller}

    def test_progress_that_raises_ends_the_load(
        self, backend: Backend, model: ModelFacts, options: LoadOptions
    ) -> None:
        """An exception of the progress callback, first, midway or last, passes through the load."""
        reports = reports_of(backend, model, options)
        for reached in (reports[0], reports[len(reports) // 2], reports[-1]):
            progress = RaisingProgress(reached)
            with pytest.raises(StopLoading) as caught:
                within(partial(backend.load, model, options, progress))
            assert caught.value is progress.error

    def test_engine_says_the_facts_in_force(
        self, engine: Engine, model: ModelFacts, options: LoadOptions
    ) -> None:
        """An engine's facts are its model's, with the context length that was asked for."""
        assert isinstance(engine, Engine)
        assert engine.facts.path == model.path
        assert engine.facts.architecture == model.architecture
        assert engine.facts.context_length == options.context_length

    def test_default_context_is_bounded(self, backend: Backend, model: ModelFacts) -> None:
        """Without an option the context is what was trained, at most 4096."""
        options = LoadOptions(parallel=1)
        engine = load(backend, model, options)
        context_length = engine.facts.context_length
        within(engine.close)
        assert context_length == min(model.context_length, DEFAULT_CONTEXT_LENGTH)

    def test_context_is_at_most_what_was_trained(self, backend: Backend, model: ModelFacts) -> None:
        """More is reduced to it: there are no positions, or bad answers, beyond."""
        options = LoadOptions(parallel=1, context_length=model.context_length + 1)
        engine = load(backend, model, options)
        context_length = engine.facts.context_length
        within(engine.close)
        assert context_length == model.context_length

    def test_missing_file_fails_cleanly(
        self, backend: Backend, model: ModelFacts, options: LoadOptions, tmp_path: Path
    ) -> None:
        """A model whose files vanished after the probe raises one of the contract's errors."""
        gone = replace(model, path=tmp_path / model.path.name)
        with pytest.raises((ModelFileInvalid, LoadFailed)):
            within(lambda: backend.load(gone, options, lambda _: None))

    def test_two_engines_of_one_model_are_independent(
        self, backend: Backend, model: ModelFacts, options: LoadOptions, prompt_text: str
    ) -> None:
        """Closing one engine does not affect another one of the same model."""
        one, other = (load(backend, model, options) for _ in range(2))
        within(one.close)
        prompt = other.tokenize(prompt_text, special=False)
        assert run(other, request_of(prompt, max_tokens=2)).tokens
        within(other.close)

    def test_nothing_is_left_behind(
        self, backend: Backend, model: ModelFacts, options: LoadOptions, prompt_text: str
    ) -> None:
        """Loading, giving up and closing, again and again, leaves no thread and no open file."""

        def give_up(_: LoadProgress) -> None:
            raise StopLoading

        def load_and_close() -> None:
            engine = load(backend, model, options)
            run(engine, request_of(engine.tokenize(prompt_text, special=False), max_tokens=2))
            engine.close()
            with pytest.raises(StopLoading):
                backend.load(model, options, give_up)

        load_and_close()  # what a runtime starts once, such as a pool of threads, may stay
        threads, files = count_threads(), count_files()
        for _ in range(ROUNDS):
            load_and_close()
        assert eventually(lambda: count_threads() <= threads), threading.enumerate()
        assert count_files() <= files


class RaisingProgress:
    """A progress callback that raises at the first report that is as far as *reached*.

    How many reports there are, and of what, depends on the time; the last is of the whole.
    """

    def __init__(self, reached: LoadProgress) -> None:
        self.error = StopLoading()
        self._reached = _far(reached)

    def __call__(self, report: LoadProgress) -> None:
        """Compare a report, and raise at the one."""
        if _far(report) >= self._reached:
            raise self.error


def _far(report: LoadProgress) -> tuple[int, int]:
    return PHASES.index(report.phase), report.bytes_read


def reports_of(backend: Backend, model: ModelFacts, options: LoadOptions) -> list[LoadProgress]:
    """Load and close; return what the load reported."""
    reports: list[LoadProgress] = []
    within(lambda: backend.load(model, options, reports.append).close())
    return reports


def count_threads() -> int:
    """Return the number of threads, including native ones if the system reports them."""
    tasks = Path("/proc/self/task")
    return len(list(tasks.iterdir())) if tasks.is_dir() else threading.active_count()


def count_files() -> int:
    """Return how many files this process has open, or 0 if the system does not report it."""
    files = Path("/proc/self/fd")
    return len(list(files.iterdir())) if files.is_dir() else 0

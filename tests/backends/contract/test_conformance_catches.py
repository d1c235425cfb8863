"""The conformance suite fails where a backend breaks the contract, one fault at a time."""

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from msgspec.structs import replace

from pilotlight_backend import (
    EngineEvent,
    EngineStats,
    Finish,
    GenerateRequest,
    Guide,
    InvalidParameter,
    LoadOptions,
    LoadProgress,
    ModelFacts,
    Started,
    Ticket,
    Token,
    Vocabulary,
)
from pilotlight_backend.testing.conformance import BackendConformance
from pilotlight_backend.testing.conformance.listener import GREEDY
from pilotlight_backend.testing.fake import FakeBackend, FakeEngine, FakeModel

pytestmark = pytest.mark.slow

OPTIONS = LoadOptions(parallel=2, context_length=256)
SUITE = BackendConformance()


class FaultyEngine:
    """An engine whose requests and events pass through two functions that a test gives."""

    def __init__(
        self,
        engine: FakeEngine,
        events: Callable[[EngineEvent], list[EngineEvent]] = lambda event: [event],
        request: Callable[[GenerateRequest], GenerateRequest] = lambda request: request,
    ) -> None:
        self._engine = engine
        self._events = events
        self._request = request
        self.facts = engine.facts
        self.close = engine.close

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        return self._engine.tokenize(text, special=special)

    def submit(self, request: GenerateRequest, emit: Callable[[EngineEvent], None]) -> Ticket:
        def pass_on(event: EngineEvent) -> None:
            for one in self._events(event):
                emit(one)

        return self._engine.submit(self._request(request), pass_on)

    def vocabulary(self) -> Vocabulary:
        return self._engine.vocabulary()

    def stats(self) -> EngineStats:
        return self._engine.stats()


class BlockingEngine(FaultyEngine):
    """An engine that works while its caller waits, on the caller's thread."""

    def submit(self, request: GenerateRequest, emit: Callable[[EngineEvent], None]) -> Ticket:
        events: list[EngineEvent] = []
        ended = threading.Event()

        def collect(event: EngineEvent) -> None:
            events.append(event)
            if isinstance(event, Finish):
                ended.set()

        ticket = self._engine.submit(request, collect)
        ended.wait(10)
        for event in events:
            emit(event)
        return ticket


class DeafEngine(FaultyEngine):
    """An engine whose tickets do nothing."""

    def submit(self, request: GenerateRequest, emit: Callable[[EngineEvent], None]) -> Ticket:
        super().submit(request, emit)
        return DeafTicket()


class DeafTicket:
    def cancel(self) -> None:
        """Do nothing."""


@pytest.fixture
def backend() -> Iterator[FakeBackend]:
    backend = FakeBackend()
    yield backend
    for engine in list(backend.engines):
        engine.close()


@pytest.fixture
def model(backend: FakeBackend, tmp_path: Path) -> ModelFacts:
    return backend.probe(FakeModel().write(tmp_path / "model.fake"))


@pytest.fixture
def engine(backend: FakeBackend, model: ModelFacts) -> FakeEngine:
    return backend.load(model, OPTIONS, lambda _: None)


@pytest.fixture
def prompt(engine: FakeEngine) -> list[int]:
    return engine.tokenize("What is 2+2?", special=False)


def miscounted(event: EngineEvent) -> list[EngineEvent]:
    if isinstance(event, Finish):
        usage = replace(event.usage, completion_tokens=event.usage.completion_tokens - 1)
        return [replace(event, usage=usage)]
    return [event]


def all_cached(event: EngineEvent) -> list[EngineEvent]:
    if isinstance(event, Started):
        return [replace(event, cached_tokens=event.prompt_tokens)]
    if isinstance(event, Finish):
        return [replace(event, usage=replace(event.usage, cached_tokens=event.usage.prompt_tokens))]
    return [event]


def none_cached(event: EngineEvent) -> list[EngineEvent]:
    if isinstance(event, Finish):
        return [replace(event, usage=replace(event.usage, cached_tokens=0))]
    return [event]


def ended_twice(event: EngineEvent) -> list[EngineEvent]:
    return [event, event] if isinstance(event, Finish) else [event]


def without_tokens(event: EngineEvent) -> list[EngineEvent]:
    return [] if isinstance(event, Token) else [event]


def late_start(event: EngineEvent) -> list[EngineEvent]:
    return [] if isinstance(event, Started) else [event]


def as_text(event: EngineEvent) -> list[EngineEvent]:
    return [Token(event.id, event.piece.decode())] if isinstance(event, Token) else [event]


@pytest.mark.parametrize(
    ("events", "test"),
    [
        (miscounted, SUITE.test_max_tokens_is_exact),
        (miscounted, SUITE.test_context_end_is_a_length),
        (all_cached, SUITE.test_usage_and_timings_add_up),
        (without_tokens, SUITE.test_max_tokens_is_exact),
        (late_start, SUITE.test_events_come_in_order_on_the_engines_thread),
        (as_text, SUITE.test_token_has_an_id_and_bytes),
    ],
)
def test_wrong_events_are_caught(engine, prompt, events, test):
    """Events that say the wrong thing fail the test that is about them."""
    with pytest.raises(AssertionError):
        test(FaultyEngine(engine, events), prompt)


def test_second_end_is_caught(engine, prompt):
    """An end that comes twice fails, at the latest when another request has run."""
    with pytest.raises(AssertionError):
        SUITE.test_nothing_comes_after_the_end(FaultyEngine(engine, ended_twice), prompt)


@pytest.mark.parametrize(
    "fault",
    [
        lambda request: replace(request, stop_token_ids=frozenset()),
        lambda request: replace(request, stop_token_ids=frozenset(), max_tokens=3),
    ],
    ids=["all", "some"],
)
def test_ignored_stop_token_is_caught(engine, prompt, fault):
    """An engine that does not know stop tokens fails."""
    with pytest.raises(AssertionError):
        SUITE.test_stop_token_ends_the_request_unseen(FaultyEngine(engine, request=fault), prompt)


class HalfGuide:
    """A guide of which an engine asks only a half."""

    def __init__(self, guide: Guide) -> None:
        self.restrict = guide.restrict
        self.accept = guide.accept


class Unheard(HalfGuide):
    def __init__(self, guide: Guide) -> None:
        super().__init__(guide)
        self.restrict = lambda _logits: None


class Uninformed(HalfGuide):
    def __init__(self, guide: Guide) -> None:
        super().__init__(guide)
        self.accept = lambda _token: None


@pytest.mark.parametrize("half", [Unheard, Uninformed])
@pytest.mark.parametrize(
    "test", [SUITE.test_only_what_the_guide_allows_is_chosen, SUITE.test_guide_may_force_the_end]
)
def test_ignored_guide_is_caught(engine, prompt, half, test):
    """An engine that does not restrict its tokens, or does not call `accept`, fails."""
    deaf = FaultyEngine(engine, request=lambda one: replace(one, guide=half(one.guide)))
    arguments = (GREEDY,) if test == SUITE.test_only_what_the_guide_allows_is_chosen else ()
    with pytest.raises(AssertionError):
        test(deaf, prompt, *arguments)


def test_blocking_submit_is_caught(engine, prompt):
    """An engine that works in `submit`, on its caller's thread, fails."""
    with pytest.raises(AssertionError):
        SUITE.test_events_come_in_order_on_the_engines_thread(BlockingEngine(engine), prompt)


@pytest.mark.parametrize(
    "test", [SUITE.test_running_request_ends_at_the_next_step, SUITE.test_emit_may_cancel]
)
def test_ticket_that_does_nothing_is_caught(engine, prompt, test):
    """An engine that does not cancel fails."""
    with pytest.raises(AssertionError):
        test(DeafEngine(engine), prompt)


def test_prompt_that_everyone_reads_is_caught(backend, model):
    """An engine that does not know of sharing evaluates the prompt again, and fails."""
    engine = backend.load(model, replace(OPTIONS, context_length=1024), lambda _: None)
    selfish = FaultyEngine(engine, request=lambda request: replace(request, shares_prompt=False))
    with pytest.raises(AssertionError):
        SUITE.test_shared_prompt_is_evaluated_once(selfish, list(range(1, 201)))


@pytest.fixture
def slow(backend: FakeBackend, tmp_path: Path, monkeypatch) -> FakeEngine:
    """Load an engine that evaluates 200 tokens in half a second, where a tenth is the bound."""
    monkeypatch.setattr("pilotlight_backend.testing.conformance.prefilling.SOON", 0.1)
    path = FakeModel(prompt_token_seconds=0.0025).write(tmp_path / "slow.fake")
    return backend.load(backend.probe(path), OPTIONS, lambda _: None)


def test_prefill_that_no_cancel_ends_is_caught(slow):
    """An engine that evaluates a cancelled prompt to its end fails."""
    with pytest.raises(AssertionError):
        SUITE.test_cancel_ends_the_prefill(DeafEngine(slow), [1, 2, 3], list(range(1, 201)))


def test_prefill_that_no_close_ends_is_caught(slow):
    """An engine whose close waits for the prompt fails."""
    deaf = FaultyEngine(slow)

    def close() -> None:
        while slow.stats().under_way:
            threading.Event().wait(0.01)
        slow.close()

    deaf.close = close
    with pytest.raises(AssertionError):
        SUITE.test_close_ends_the_prefill(deaf, list(range(1, 201)))


def test_lost_history_is_caught(engine, prompt):
    """An engine that evaluates a conversation again at each turn fails."""
    test = SUITE.test_conversations_in_turn_keep_their_history
    with pytest.raises(AssertionError):
        test(FaultyEngine(engine, none_cached), prompt, OPTIONS, 100, 0)


def test_missing_validation_is_caught(engine, prompt):
    """An engine that accepts what it should refuse fails."""
    clamped = FaultyEngine(
        engine, request=lambda request: replace(request, max_tokens=max(1, request.max_tokens))
    )
    with pytest.raises(pytest.fail.Exception, match="InvalidParameter"):
        SUITE.test_no_tokens_is_refused(clamped, prompt, 0)


def test_wrong_parameter_is_caught(engine, prompt):
    """An engine that blames another parameter fails."""

    def refuse(_: GenerateRequest) -> GenerateRequest:
        raise InvalidParameter("prompt", "no")

    with pytest.raises(AssertionError):
        SUITE.test_no_tokens_is_refused(FaultyEngine(engine, request=refuse), prompt, 0)


class LeakyBackend(FakeBackend):
    """A backend whose loads leave a thread behind."""

    def __init__(self) -> None:
        super().__init__()
        self.end = threading.Event()

    def load(
        self,
        facts: ModelFacts,
        options: LoadOptions,
        progress: Callable[[LoadProgress], None],
    ) -> FakeEngine:
        threading.Thread(target=self.end.wait, daemon=True).start()
        return super().load(facts, options, progress)


def test_leaked_thread_is_caught(model, monkeypatch: pytest.MonkeyPatch):
    """A backend that leaves threads behind fails."""
    monkeypatch.setattr("pilotlight_backend.testing.conformance.listener.DEADLINE", 0.5)
    backend = LeakyBackend()
    try:
        with pytest.raises(AssertionError):
            SUITE.test_nothing_is_left_behind(backend, model, OPTIONS, "What?")
    finally:
        backend.end.set()


class CarelessBackend(FakeBackend):
    """A backend that takes any file for its own, and any error for none."""

    def probe(self, path: Path) -> ModelFacts | None:
        return FakeModel().facts(path)

    def load(
        self,
        facts: ModelFacts,
        options: LoadOptions,
        progress: Callable[[LoadProgress], None],
    ) -> FakeEngine:
        def quiet(report: LoadProgress) -> None:
            with suppress(Exception):  # the fault to catch
                progress(report)

        return super().load(facts, options, quiet)


def test_foreign_file_that_is_claimed_is_caught(tmp_path: Path):
    """A backend that knows every file fails."""
    with pytest.raises(AssertionError):
        SUITE.test_probe_leaves_foreign_files_alone(CarelessBackend(), tmp_path)


def test_deaf_load_is_caught(model):
    """A load that goes on when its progress raises fails."""
    backend = CarelessBackend()
    with pytest.raises(pytest.fail.Exception, match="StopLoading"):
        SUITE.test_progress_that_raises_ends_the_load(backend, model, OPTIONS)
    for engine in list(backend.engines):
        engine.close()


@pytest.mark.parametrize("module", ["ctypes_plugin", "extension_plugin"])
def test_native_library_at_import_is_caught(
    backend: FakeBackend, model: ModelFacts, tmp_path: Path, monkeypatch, module: str
):
    """A plugin that opens a library or imports an extension module when imported fails."""
    lines = {
        "ctypes_plugin": "import ctypes; ctypes.CDLL('libm.so.6')",
        "extension_plugin": "import pilotlight_test_extension",
    }
    hook = "from pilotlight_backend.testing.plugin import pilotlight_register_backend\n"
    (tmp_path / f"{module}.py").write_text(f"{lines[module]}\n{hook}")
    # An extension module is known by its file; this one says that it has such a file.
    (tmp_path / "pilotlight_test_extension.py").write_text(
        "import importlib.machinery as m\n"
        "__file__ = __file__.removesuffix('.py') + m.EXTENSION_SUFFIXES[0]\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(AssertionError):
        SUITE.test_import_and_probe_load_no_native_library(backend, module, model.path)

"""Listening to a request from a test, and waiting for it without sleeping."""
# ruff: noqa: S101 - the suite asserts

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from pilotlight_backend.protocols import Engine, Ticket
from pilotlight_backend.types import (
    EngineEvent,
    Failed,
    Finish,
    GenerateRequest,
    SamplingParams,
    Started,
    Token,
)

T = TypeVar("T")

DEADLINE = 60.0
"""Seconds after which the suite fails a test as stuck."""
SLOW = 0.02
"""Seconds that a slow listener takes for a token, so that a request runs as long as needed."""
GREEDY = SamplingParams(temperature=0.0)


class Listener:
    """An `emit` that records events. A *slow* one delays the engine until `hurry`."""

    def __init__(self, *, slow: bool = False) -> None:
        self.events: list[EngineEvent] = []
        self.threads: set[int] = set()
        self._changed = threading.Condition()
        self._hurry = threading.Event()
        if not slow:
            self._hurry.set()

    def __call__(self, event: EngineEvent) -> None:
        """Take an event; the engine's thread calls it."""
        with self._changed:
            self.threads.add(threading.get_ident())
            self.events.append(event)
            self._changed.notify_all()
        if isinstance(event, Token):
            self._hurry.wait(SLOW)

    def hurry(self) -> None:
        """Stop delaying the engine."""
        self._hurry.set()

    @property
    def tokens(self) -> list[int]:
        """The ids that came so far."""
        return [event.id for event in self.events if isinstance(event, Token)]

    def wait(self) -> Finish | Failed:
        """Wait for the last event and return it."""
        self._wait_for(lambda: any(isinstance(event, Finish | Failed) for event in self.events))
        return next(event for event in self.events if isinstance(event, Finish | Failed))

    def wait_tokens(self, count: int = 1) -> None:
        """Wait until *count* tokens have come."""
        self._wait_for(lambda: len(self.tokens) >= count)

    def finish(self) -> Finish:
        """Wait for the end, check the order of the events, and return the end as a success."""
        end = self.wait()
        assert isinstance(end, Finish), end
        check_order(self.events)
        return end

    def _wait_for(self, condition: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, DEADLINE), f"stuck after {self.events[-3:]}"


def check_order(events: list[EngineEvent]) -> None:
    """Assert that *events* are a whole request's: one start at most, tokens, exactly one end."""
    kinds = [type(event) for event in events]
    middle = kinds[1:-1] if kinds[0] is Started else kinds[:-1]
    assert all(kind is Token for kind in middle), kinds
    assert kinds[-1] in (Finish, Failed), kinds
    assert kinds[0] is Started or not middle, "tokens came before the request was started"


def request_of(
    prompt: list[int],
    max_tokens: int = 8,
    *,
    sampling: SamplingParams = GREEDY,
    ignore_eos: bool = True,
    min_tokens: int = 0,
    stop_token_ids: frozenset[int] = frozenset(),
) -> GenerateRequest:
    """Return a request whose length is known: greedy, and without end-of-generation tokens."""
    return GenerateRequest(
        prompt=tuple(prompt),
        max_tokens=max_tokens,
        sampling=sampling,
        ignore_eos=ignore_eos,
        min_tokens=min_tokens,
        stop_token_ids=stop_token_ids,
    )


def submit(engine: Engine, request: GenerateRequest, *, slow: bool = False) -> "Submitted":
    """Submit *request* and listen to it."""
    listener = Listener(slow=slow)
    return Submitted(listener, engine.submit(request, listener))


def fill_slots(engine: Engine, prompt: list[int], slots: int, max_tokens: int) -> list["Submitted"]:
    """Submit *slots* slow requests, and return them once each has its slot and a token."""
    running = [submit(engine, request_of(prompt, max_tokens), slow=True) for _ in range(slots)]
    for one in running:
        one.listener.wait_tokens()
    return running


def run(engine: Engine, request: GenerateRequest) -> Listener:
    """Run *request* to its successful end."""
    listener = submit(engine, request).listener
    listener.finish()
    return listener


class Submitted:
    """A submitted request: its listener and its ticket."""

    def __init__(self, listener: Listener, ticket: Ticket) -> None:
        self.listener = listener
        self.ticket = ticket


def within(call: Callable[[], T], seconds: float = DEADLINE) -> T:
    """Return what *call* returns or raise what it raises; fail where it takes *seconds*.

    It runs in a daemon thread, so that a call which hangs fails its test and not the whole run.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def target() -> None:
        try:
            results.append(call())
        except BaseException as error:  # noqa: BLE001 - passed on to the test, whatever it is
            errors.append(error)

    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), f"still running after {seconds} seconds"
    if errors:
        raise errors[0]
    return results[0]


def eventually(condition: Callable[[], bool]) -> bool:
    """Wait for a state without an event, such as a thread's end; return false at the deadline."""
    deadline = time.monotonic() + DEADLINE
    pause = threading.Event()
    while not condition():
        if time.monotonic() > deadline:
            return False
        pause.wait(0.005)
    return True

"""The bridge from an engine's thread to asyncio.

An engine emits a step's events for all its requests at once. They are collected, and one wake-up
of the event loop delivers all events since the last one, rather than one wake-up for each event.
"""

import asyncio
import threading
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from weakref import WeakSet

from pilotlight.models.engine_calls import EngineCalls
from pilotlight_backend import (
    BackendError,
    BaseEngine,
    Engine,
    EngineEvent,
    EngineStats,
    Failed,
    Finish,
    GenerateRequest,
    InvalidParameter,
    RemoteEngine,
    SeeingEngine,
    Ticket,
    Vocabulary,
)
from pilotlight_backend.validation import NO_IMAGES
from pilotlight_backend.verbatim import Span

_LONG = 8192
"""Characters above which a text is tokenized on a thread. Fewer take less than 1 ms, which is less
than switching to a thread under load."""

_KEPT_SIZES = 1024
"""Sizes of images whose number of tokens is kept."""


def long_text(engine: BaseEngine) -> int:
    """Return the length above which a text is tokenized on a thread.

    For an engine in another process every text is: that process may hang.
    """
    return 0 if isinstance(engine, RemoteEngine) else _LONG


def tokens_in(characters: int) -> int:
    """Estimate the tokens of a text: about four characters each."""
    return characters // 4


class Refused(Exception):
    """The engine refused all requests, because of *error* in the request with this *number*."""

    def __init__(self, number: int, error: BackendError) -> None:
        super().__init__(str(error))
        self.number = number
        self.error = error


class EventStream:
    """The events of requests that were submitted together, for one consumer on the event loop."""

    def __init__(self, count: int) -> None:
        self._tickets: list[Ticket] = []
        self._arrived: list[tuple[int, EngineEvent]] = []
        self._waiter: asyncio.Future[None] | None = None
        self._running = set(range(count))

    async def next(self) -> Sequence[tuple[int, EngineEvent]]:
        """Wait for events; return all since the last call, each with its request's number.

        Empty after the last event of all requests.
        """
        if not self._arrived and self._running:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        arrived, self._arrived = self._arrived, []
        return arrived

    def cancel(self, number: int | None = None) -> None:
        """End one request, or all, at the engine's next step; no effect on requests that ended."""
        for one in self._running if number is None else self._running & {number}:
            self._tickets[one].cancel()

    def _fail(self, error: BackendError) -> None:
        for number in list(self._running):
            self._deliver(number, Failed(error))

    def _deliver(self, number: int, event: EngineEvent) -> None:
        if number not in self._running:
            return  # it failed here, and the engine continued after all
        self._arrived.append((number, event))
        if isinstance(event, Finish | Failed):
            self._running.discard(number)
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)


class AsyncEngine:
    """An engine for use on one event loop."""

    def __init__(self, engine: Engine, calls: EngineCalls | None = None) -> None:
        """Run blocking calls with *calls*; by default on threads of this object's own."""
        self._engine = engine
        self._calls = calls or EngineCalls()
        self._failed: BackendError | None = None
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._pending: list[tuple[EventStream, int, EngineEvent]] = []
        self._streams: WeakSet[EventStream] = WeakSet()
        self._long = long_text(engine)
        self._vocabulary: Vocabulary | None = None
        self._image_tokens: dict[tuple[int, int], int] = {}
        """Tokens of an image, by its width and height."""
        self._reading = asyncio.Lock()

    @property
    def context_length(self) -> int:
        """Tokens that one request may have, prompt and completion."""
        return self._engine.facts.context_length

    async def vocabulary(self) -> Vocabulary:
        """Return all tokens; they are read once, on a thread."""
        async with self._reading:
            if self._vocabulary is None:
                self._vocabulary = await self._calls.run(self._engine.vocabulary)
        return self._vocabulary

    async def tokenize(
        self, text: str, *, special: bool, verbatim: Sequence[Span] = ()
    ) -> list[int]:
        """Return *text*'s token ids; long texts are tokenized on a thread.

        Names of control tokens in *verbatim* spans stay text.
        """
        tokenize = partial(self._engine.tokenize, text, special=special)
        if verbatim:
            tokenize = partial(tokenize, verbatim=verbatim)
        if len(text) < self._long:
            return tokenize()
        return await self._calls.run(tokenize, tokens_in(len(text)))

    async def image_tokens(self, width: int, height: int) -> int:
        """Return how many tokens an image of that size takes in a prompt.

        Raises `InvalidParameter`, also for a model that takes no images.
        """
        engine = self._engine
        if not (engine.facts.sees and isinstance(engine, SeeingEngine)):
            raise InvalidParameter("prompt", NO_IMAGES)
        if (width, height) not in self._image_tokens:
            count = partial(engine.image_tokens, width, height)
            if len(self._image_tokens) >= _KEPT_SIZES:
                self._image_tokens.clear()
            # An engine in another process may hang.
            is_remote = isinstance(engine, RemoteEngine)
            tokens = await self._calls.run(count) if is_remote else count()
            self._image_tokens[width, height] = tokens
        return self._image_tokens[width, height]

    def submit(self, requests: Sequence[GenerateRequest]) -> EventStream:
        """Queue *requests*, all or none; raises `Refused`."""
        if self._failed is not None:  # a dead engine would never emit an event
            raise Refused(0, self._failed)
        stream = EventStream(len(requests))
        self._streams.add(stream)
        tickets = stream._tickets  # noqa: SLF001 - the two are one mechanism
        try:
            for number, request in enumerate(requests):
                tickets.append(self._engine.submit(request, partial(self._emit, stream, number)))
        except BaseException as error:
            for ticket in tickets:
                ticket.cancel()
            if isinstance(error, BackendError):
                raise Refused(len(tickets), error) from error
            raise
        return stream

    def stats(self) -> EngineStats:
        """Return the engine's snapshot."""
        return self._engine.stats()

    def fail(self, error: BackendError) -> None:
        """End every request and call with *error*, because the engine is dead or hangs."""
        self._failed = error
        self._calls.fail(error)
        for stream in list(self._streams):
            stream._fail(error)  # noqa: SLF001 - the two are one mechanism

    def _emit(self, stream: EventStream, number: int, event: EngineEvent) -> None:
        """Run on the engine's thread."""
        with self._lock:
            self._pending.append((stream, number, event))
            if len(self._pending) > 1:
                return  # a wake-up is scheduled
        # Raises if the loop is closed; then there is no consumer either.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._hand_over)

    def _hand_over(self) -> None:
        with self._lock:
            pending, self._pending = self._pending, []
        for stream, number, event in pending:
            stream._deliver(number, event)  # noqa: SLF001 - the two are one mechanism

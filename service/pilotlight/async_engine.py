"""The one bridge from an engine's thread to asyncio.

An engine emits a step's events for all its requests in one go. Each would wake the event loop by
itself; here they are collected, and one wake-up hands over all that has come since the last.
"""

import asyncio
import threading
from array import array
from collections.abc import Callable, Sequence
from contextlib import suppress

from msgspec import Struct

from pilotlight_backend import (
    Embedded,
    EmbeddingEngine,
    EmbedEvent,
    Engine,
    EngineEvent,
    EngineStats,
    Failed,
    Finish,
    GenerateRequest,
    Started,
    Ticket,
)

_LONG = 8192
"""Characters of a text from which on it is tokenised in a thread: fewer take under a millisecond,
less than a thread's hop under load."""


class EventStream:
    """One request's events, for one reader on the event loop."""

    _ticket: Ticket

    def __init__(self) -> None:
        self._arrived: list[EngineEvent] = []
        self._waiter: asyncio.Future[None] | None = None
        self._ended = False

    async def next(self) -> Sequence[EngineEvent]:
        """Return every event since the last call, waiting for one; empty after the last event."""
        if not self._arrived and not self._ended:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        arrived, self._arrived = self._arrived, []
        return arrived

    def cancel(self) -> None:
        """End the request at the engine's next step; a no-op once it has ended."""
        if not self._ended:
            self._ticket.cancel()

    def _deliver(self, event: EngineEvent) -> None:
        self._arrived.append(event)
        self._ended = self._ended or isinstance(event, Finish | Failed)
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)


class AsyncEngine:
    """An engine as the event loop sees it. Made and used on one loop."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._pending: list[tuple[EventStream, EngineEvent]] = []

    async def tokenize(self, text: str, *, special: bool) -> list[int]:
        """Return *text*'s token ids; long texts are tokenised in a thread."""
        if len(text) < _LONG:
            return self._engine.tokenize(text, special=special)
        return await asyncio.to_thread(self._engine.tokenize, text, special=special)

    def submit(self, request: GenerateRequest) -> EventStream:
        """Queue *request*; raises what `Engine.submit` raises."""
        stream = EventStream()
        stream._ticket = self._engine.submit(  # noqa: SLF001 - the two are one mechanism
            request, lambda event: self._emit(stream, event)
        )
        return stream

    def stats(self) -> EngineStats:
        """Return the engine's snapshot."""
        return self._engine.stats()

    def _emit(self, stream: EventStream, event: EngineEvent) -> None:
        """Run on the engine's thread."""
        with self._lock:
            self._pending.append((stream, event))
            if len(self._pending) > 1:
                return  # the wake-up is under way
        # It raises where the loop is closed, and with it everyone who could have read the event.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._hand_over)

    def _hand_over(self) -> None:
        with self._lock:
            pending, self._pending = self._pending, []
        for stream, event in pending:
            stream._deliver(event)  # noqa: SLF001 - the two are one mechanism


class EmbedResult(Struct, frozen=True):
    """The vectors of one request, and how it ended; fewer of them where it did not end well."""

    vectors: "Sequence[array[float]]"
    end: Finish | Failed


class AsyncEmbedder:
    """An engine that embeds as the event loop sees it. Made and used on one loop."""

    def __init__(self, engine: EmbeddingEngine) -> None:
        self._engine = engine
        self._loop = asyncio.get_running_loop()

    async def tokenize(self, inputs: Sequence[str | Sequence[int]]) -> list[Sequence[int]]:
        """Return each input's token ids; those that are token ids already stay as they are."""

        def tokenize() -> list[Sequence[int]]:
            of_text = self._engine.tokenize_input
            return [of_text(one) if isinstance(one, str) else one for one in inputs]

        size = sum(len(one) for one in inputs if isinstance(one, str))
        return tokenize() if size < _LONG else await asyncio.to_thread(tokenize)

    def stats(self) -> EngineStats:
        """Return the engine's snapshot."""
        return self._engine.stats()

    async def embed(
        self, inputs: Sequence[Sequence[int]], *, started: Callable[[], object]
    ) -> EmbedResult:
        """Return the vectors of *inputs*, and tell when the request leaves the queue.

        Raises what `EmbeddingEngine.embed` raises. Cancelled, it cancels the request.
        """
        vectors: list[array[float]] = []
        end: asyncio.Future[Finish | Failed] = self._loop.create_future()

        def settle(event: Finish | Failed) -> None:
            if not end.done():  # it is where the caller was cancelled
                end.set_result(event)

        def emit(event: EmbedEvent) -> None:
            """Run on the engine's thread; the loop is woken twice, and not for each vector."""
            match event:
                case Embedded():
                    vectors.append(event.vector)
                case Started():
                    self._call(started)
                case Finish() | Failed():
                    self._call(settle, event)

        ticket = self._engine.embed(inputs, emit)
        try:
            return EmbedResult(vectors, await end)
        finally:
            ticket.cancel()

    def _call(self, function: Callable[..., object], *given: Finish | Failed) -> None:
        # It raises where the loop is closed, and with it everyone who could have listened.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *given)

"""An answer as a stream, whichever endpoint's: when it begins, and how it ends."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Protocol

from litestar import Request

from pilotlight.api import sse
from pilotlight.api.disconnect import unless_disconnected
from pilotlight.api.errors import as_service_error
from pilotlight.api.time_limit import time_is_over
from pilotlight.errors import ServiceError
from pilotlight.generation import Begun, Events, FirstToken
from pilotlight.models.loaded import ModelStatus
from pilotlight.receipt import server_timing
from pilotlight.request_watch import note_error

_PATIENCE = 0.25
"""Seconds in which an answer mostly begins, or is refused with a status of its own, before a
stream that may show the loading does."""
_EVERY = 1.0
"""Seconds from one word of the loading to the next; proxies cut connections after some tens."""


class Projection(Protocol):
    """An endpoint's words for what happens to an answer, as bytes of server-sent events."""

    def encode(self, events: Events) -> bytes:
        """Return what a stream says of *events*."""

    def fail(self, error: ServiceError) -> bytes:
        """Return what a stream says of a fault that ends it; `end` follows."""

    def end(self) -> bytes:
        """Return a stream's last bytes."""


class Wait:
    """How a stream shows that its model is loading."""

    def __init__(
        self, status: Callable[[], Awaitable[ModelStatus]], encode: Callable[[ModelStatus], bytes]
    ) -> None:
        """*status* looks how far the model is, *encode* says it."""
        self._status = status
        self._encode = encode

    async def until(self, first: asyncio.Future[Events]) -> AsyncGenerator[bytes]:
        """Yield how far the model is until the answer begins."""
        while not first.done():
            yield self._encode(await self._status())
            await asyncio.wait((first,), timeout=_EVERY)


class AnswerStream:
    """One request's streamed answer."""

    def __init__(
        self,
        request: Request[Any, Any, Any],
        generation: AsyncGenerator[Events],
        projection: Projection,
        wait: Wait | None = None,
        idle: sse.Idle | None = None,
    ) -> None:
        """With *wait* the stream may begin before the answer does."""
        self._request = request
        self._generation = generation
        self._projection = projection
        self._wait = wait
        self._idle = idle

    async def response(self) -> sse.EventSourceResponse:
        """Return the response, once the answer has begun or its loading is to be shown.

        The first event comes before the 200, so that an early error keeps its own status.
        """
        first = asyncio.ensure_future(anext(self._generation))

        async def close() -> None:
            first.cancel()  # a generator cannot be closed while its next event is awaited
            await asyncio.wait((first,))
            await self._generation.aclose()

        try:
            waiting = asyncio.wait((first,), timeout=_PATIENCE if self._wait else None)
            await unless_disconnected(self._request.receive, waiting)
            headers = _headers(first.result()) if first.done() else ()
        except BaseException:
            await close()
            raise
        return sse.EventSourceResponse(
            self._messages(first), close, headers, self._idle, overdue=self._overdue
        )

    async def _messages(self, first: asyncio.Future[Events]) -> AsyncGenerator[bytes]:
        """Yield the bytes; what goes wrong on the way ends them as the projection has it."""
        try:
            if self._wait is not None:
                async for words in self._wait.until(first):
                    yield words
            yield self._encode(first.result())
            async for events in self._generation:
                yield self._encode(events)
        except Exception as error:  # noqa: BLE001 - the status is sent; only the stream can tell
            yield self._failed(as_service_error(error, self._request))
        yield self._projection.end()

    def _failed(self, failure: ServiceError) -> bytes:
        note_error(failure.code)
        return self._projection.fail(failure)

    def _overdue(self) -> bytes:
        return self._failed(time_is_over()) + self._projection.end()

    def _encode(self, events: Events) -> bytes:
        # The headers are gone; a reader of events passes over a comment.
        comments = [
            sse.comment(f"server-timing: {server_timing(event.receipt)}")
            for _, event in events
            if isinstance(event, FirstToken)
        ]
        return b"".join((*comments, self._projection.encode(events)))


def _headers(events: Events) -> sse.Headers:
    """Return what is known of a cold start when the answer begins."""
    for _, event in events:
        if isinstance(event, Begun | FirstToken) and event.receipt is not None:
            return ((b"server-timing", server_timing(event.receipt).encode()),)
    return ()

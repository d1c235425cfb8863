"""A streamed response of any endpoint: when it begins, and how it ends."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Protocol

from pilotlight.api.http import sse
from pilotlight.api.http.auth import account_of
from pilotlight.api.http.disconnect import unless_disconnected
from pilotlight.api.http.errors import as_service_error
from pilotlight.api.http.keep_alive import KeepAlive
from pilotlight.api.http.replay import Replays
from pilotlight.api.http.request import Request
from pilotlight.api.http.resumable import RecordedResponse
from pilotlight.api.http.time_limit import time_is_over
from pilotlight.errors import ServiceError
from pilotlight.generation import Begun, Events, FirstToken
from pilotlight.models.state import ModelStatus
from pilotlight.observability.request_context import note_error
from pilotlight.observability.timing import server_timing

_PATIENCE = 0.25
"""Seconds that a stream which shows the loading waits for its first events before it begins: within
them most requests are admitted, or refused with a status of their own."""


class StreamProjection(Protocol):
    """Encodes a generation as an endpoint's server-sent events; one for each stream."""

    @property
    def ping(self) -> bytes:
        """Sent when the stream is silent."""

    @property
    def loading(self) -> Callable[[ModelStatus], bytes] | None:
        """Encodes how far the model is loaded, where the client wants to see it."""

    def encode(self, events: Events) -> bytes:
        """Return the bytes of *events*."""

    def fail(self, error: ServiceError) -> bytes:
        """Return the bytes of an error that ends the stream; `end` follows."""

    def end(self) -> bytes:
        """Return a stream's last bytes."""


class GenerationStream:
    """The streamed response to one request."""

    def __init__(
        self,
        request: Request,
        generation: AsyncGenerator[Events],
        projection: StreamProjection,
        keep_alive: KeepAlive,
        replays: Replays,
    ) -> None:
        """*keep_alive* has the messages of a silent stream, which may begin before its choices.

        The stream is recorded in *replays* if these are enabled.
        """
        self._request = request
        self._generation = generation
        self._projection = projection
        self._keep_alive = keep_alive
        self._replays = replays

    async def response(self) -> sse.EventSourceResponse | RecordedResponse:
        """Return the response, once its status is known to be 200 or the loading is to be shown.

        The first events come before the 200, so that an early error keeps its own status. They are
        empty if the request is valid and waits for a slot: an error after them is the server's, and
        ends the stream.
        """
        first = asyncio.ensure_future(anext(self._generation))

        async def close() -> None:
            first.cancel()  # a generator cannot be closed while its next event is awaited
            await asyncio.wait((first,))
            await self._generation.aclose()

        patience = _PATIENCE if self._keep_alive.shows_loading else None
        try:
            waiting = asyncio.wait((first,), timeout=patience)
            await unless_disconnected(self._request.receive, waiting)
            headers = _headers(first.result()) if first.done() else ()
        except BaseException:
            await close()
            raise
        waits = not (first.done() and first.result())
        if not self._replays.enabled:
            messages = self._messages(first, self._keep_alive.message if waits else None)
            return sse.EventSourceResponse(
                messages, close, headers, self._keep_alive, overdue=self._overdue
            )
        return RecordedResponse(
            lambda: self._replays.record(account_of(self._request.scope), self._projection.ping),
            self._messages(first),
            close,
            opening=self._keep_alive.message if waits else None,
            headers=headers,
            keep_alive=self._keep_alive,
            last_words=self._overdue,
        )

    async def _messages(
        self,
        first: asyncio.Future[Events],
        opening: Callable[[], Awaitable[bytes]] | None = None,
    ) -> AsyncGenerator[bytes]:
        """Yield the bytes, after the *opening*; an error ends them as the projection encodes it."""
        try:
            if opening is not None:
                yield await opening()
            yield self._encode(await first)
            async for events in self._generation:
                yield self._encode(events)
        except Exception as error:  # noqa: BLE001 - the status is sent; the error goes into the stream
            yield self._failed(as_service_error(error, self._request.scope))
        yield self._projection.end()

    def _failed(self, failure: ServiceError) -> bytes:
        note_error(failure.code)
        return self._projection.fail(failure)

    def _overdue(self) -> bytes:
        return self._failed(time_is_over()) + self._projection.end()

    def _encode(self, events: Events) -> bytes:
        if events:
            self._keep_alive.begin()
        # The headers are sent already; readers of events ignore comments.
        comments = [
            sse.comment(f"server-timing: {server_timing(event.timing)}")
            for _, event in events
            if isinstance(event, FirstToken)
        ]
        return b"".join((*comments, self._projection.encode(events)))


def _headers(events: Events) -> sse.Headers:
    """Return the headers of a cold start, if *events* have its timing."""
    for _, event in events:
        if isinstance(event, Begun | FirstToken) and event.timing is not None:
            return ((b"server-timing", server_timing(event.timing).encode()),)
    return ()

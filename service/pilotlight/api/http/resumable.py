"""The responses of a stream that can be resumed: to its request, and to those that resume it."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

from pilotlight.api.http.asgi import Receive, Scope, Send
from pilotlight.api.http.keep_alive import KeepAlive
from pilotlight.api.http.replay import Reader, Recording
from pilotlight.api.http.sse import EventSourceResponse, Headers
from pilotlight.observability.request_context import overdue


class RecordedResponse:
    """An ASGI application that records *source* and sends it.

    When the client disconnects, the call goes on until the source has ended or the recording
    expires. So the request has one log line, one record and its time limit, and holds its slot for
    as long as anything else sees it.
    """

    def __init__(
        self,
        recording: Callable[[], Recording],
        source: AsyncGenerator[bytes],
        close: Callable[[], Awaitable[None]],
        *,
        opening: Callable[[], Awaitable[bytes]] | None,
        headers: Headers,
        keep_alive: KeepAlive,
        last_words: Callable[[], bytes],
    ) -> None:
        """*close* closes what *source* reads, after *source* itself.

        *opening* returns a first message, which is not recorded. *last_words* returns the last ones
        of a stream whose request exceeds its time limit.
        """
        self._recording = recording
        self._source = source
        self._close = close
        self._opening = opening
        self._headers = headers
        self._keep_alive = keep_alive
        self._last_words = last_words

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Record and send; returns when the source has ended, or the recording has expired."""
        recording = self._recording()
        recording.task = task = asyncio.create_task(self._record(recording), name="stream")
        try:
            reader = recording.attach(-1)
            with recording.reading(reader):
                await self._response(recording, reader, task)(scope, receive, send)
            await asyncio.wait((task,))
        except asyncio.CancelledError:
            if overdue():
                await _cancelled(task)
                self._end_overdue(recording)
            raise
        finally:
            if not recording.ended:
                recording.expire()
            await _cancelled(task)
            await self._end()
        if not task.cancelled():
            task.result()

    def _response(
        self, recording: Recording, reader: Reader, task: asyncio.Task[None]
    ) -> EventSourceResponse:
        async def left() -> None:
            if overdue():  # free the slot before the last words
                await _cancelled(task)

        def last_words() -> bytes:
            self._end_overdue(recording)
            return reader.take()

        return EventSourceResponse(
            self._messages(reader), left, self._headers, self._keep_alive, overdue=last_words
        )

    async def _messages(self, reader: Reader) -> AsyncGenerator[bytes]:
        if self._opening is not None:
            yield await self._opening()
        async for message in reader.messages():
            yield message

    async def _record(self, recording: Recording) -> None:
        try:
            async for message in self._source:
                recording.append(message)
                if recording.expired:  # it was full
                    return
                await recording.room()
            recording.finish()
        except asyncio.CancelledError:
            raise
        except BaseException:
            recording.expire()
            raise
        finally:
            await self._end()

    def _end_overdue(self, recording: Recording) -> None:
        if not (recording.ended or recording.expired):
            recording.append(self._last_words())
            recording.finish()

    async def _end(self) -> None:
        await self._source.aclose()
        await self._close()


class ResumedResponse:
    """An ASGI application that sends what follows an event of a recording."""

    def __init__(self, recording: Recording, after: int, ping_interval: float) -> None:
        """Take over the stream, from the event *after* on."""
        self._recording = recording
        self._reader = recording.attach(after)
        self._ping_interval = ping_interval

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send; returns at the end, when the client disconnects or when another one takes over."""
        keep_alive = KeepAlive(self._recording.ping, self._ping_interval)
        with self._recording.reading(self._reader):
            response = EventSourceResponse(
                self._reader.messages(), nothing_to_close, idle=keep_alive
            )
            await response(scope, receive, send)


async def nothing_to_close() -> None:
    """Leave the source of a recording as it is: the stream can be resumed again."""


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait((task,))

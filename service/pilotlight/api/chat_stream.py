"""A chat answer as a stream: when it begins, and what its bytes are."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, Literal

from litestar import Request

from pilotlight.api import sse
from pilotlight.api.chat_answer import Chunks
from pilotlight.api.disconnect import unless_disconnected
from pilotlight.api.errors import as_service_error, error_body
from pilotlight.generation import Begun, Events, FirstToken, Generator
from pilotlight.receipt import server_timing
from pilotlight.schema.chat import ChatCompletionRequest

_PATIENCE = 0.25
"""Seconds in which an answer mostly begins, or is refused with a status of its own, before a
stream that may show the loading does."""
_EVERY = 1.0
"""Seconds from one word of the loading to the next; proxies cut connections after some tens."""


def loading_shown(asked: ChatCompletionRequest) -> Literal["comments", "events"] | None:
    """Return how the client wants to see its model loading, if it does."""
    shown = asked.stream_options and asked.stream_options.include_loading
    return "comments" if shown is True else shown or None


class ChatStream:
    """One streamed answer."""

    def __init__(
        self,
        request: Request[Any, Any, Any],
        generator: Generator,
        generation: AsyncGenerator[Events],
        asked: ChatCompletionRequest,
    ) -> None:
        options = asked.stream_options
        self._request = request
        self._generator = generator
        self._generation = generation
        self._model = asked.model
        self._shown = loading_shown(asked)
        self._chunks = Chunks(
            asked.model,
            n=asked.n or 1,
            include_usage=bool(options and options.include_usage),
            logprobs=bool(asked.logprobs),
        )

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
            waiting = asyncio.wait((first,), timeout=_PATIENCE if self._shown else None)
            await unless_disconnected(self._request.receive, waiting)
            headers = _headers(first.result()) if first.done() else ()
        except BaseException:
            await close()
            raise
        return sse.EventSourceResponse(self._messages(first), close, headers)

    async def _messages(self, first: asyncio.Future[Events]) -> AsyncGenerator[bytes]:
        """Yield the bytes; what goes wrong on the way ends them with an error and `[DONE]`."""
        try:
            async for words in self._wait(first):
                yield words
            yield self._encode(first.result())
            async for events in self._generation:
                yield self._encode(events)
        except Exception as error:  # noqa: BLE001 - the status is sent; only the stream can tell
            body = error_body(as_service_error(error, self._request))
            yield b"".join(map(sse.encode, (*self._chunks.broken(), body)))
        yield sse.DONE

    async def _wait(self, first: asyncio.Future[Events]) -> AsyncGenerator[bytes]:
        """Tell how far the model is until the answer begins."""
        while not first.done():
            status = await self._generator.status(self._model)
            if self._shown == "events":
                yield sse.encode(self._chunks.loading(status))
            else:
                yield sse.comment(f"{self._model} {status.state} {status.progress:.0%}")
            await asyncio.wait((first,), timeout=_EVERY)

    def _encode(self, events: Events) -> bytes:
        parts = []
        for index, event in events:
            if isinstance(event, FirstToken):
                # The headers are gone; a reader of events passes over this.
                parts.append(sse.comment(f"server-timing: {server_timing(event.receipt)}"))
            parts += [sse.encode(chunk) for chunk in self._chunks.of(index, event)]
        return b"".join(parts)


def _headers(events: Events) -> sse.Headers:
    """Return what is known of a cold start when the answer begins."""
    for _, event in events:
        if isinstance(event, Begun | FirstToken) and event.receipt is not None:
            return ((b"server-timing", server_timing(event.receipt).encode()),)
    return ()

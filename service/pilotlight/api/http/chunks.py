"""OpenAI's stream: chunks, then `[DONE]`, and before them on request how far the model is."""

from collections.abc import Sequence
from typing import Any, Literal, Protocol

from pilotlight.api.http import sse
from pilotlight.api.http.errors import error_body
from pilotlight.api.http.keep_alive import KeepAlive, ShownLoading
from pilotlight.errors import ServiceError
from pilotlight.generation import Events, GenerationEvent, Generator
from pilotlight.models.state import ModelStatus
from pilotlight.schema.sampling import SamplingRequest


class Chunks(Protocol):
    """An endpoint's chunks; those of one stream."""

    def of(self, number: int, event: GenerationEvent) -> Sequence[Any]:
        """Return what a stream says of *event*, which is the answer *number*'s."""

    def broken(self) -> Sequence[Any]:
        """Return the chunks that end those answers which are not whole."""

    def loading(self, status: ModelStatus) -> Any:
        """Return the chunk that tells how far the model is."""


def loading_shown(asked: SamplingRequest) -> Literal["comments", "events"] | None:
    """Return how the client wants to see its model loading, if it does."""
    shown = asked.stream_options and asked.stream_options.include_loading
    return "comments" if shown is True else shown or None


def usage_shown(asked: SamplingRequest) -> bool:
    """Return whether a last chunk is to carry the usage."""
    return bool(asked.stream_options and asked.stream_options.include_usage)


class ChunkProjection:
    """The words of one stream."""

    def __init__(self, asked: SamplingRequest, chunks: Chunks) -> None:
        self._model = asked.model
        self._shown = loading_shown(asked)
        self._chunks = chunks

    def encode(self, events: Events) -> bytes:
        """Return the chunks that *events* come to."""
        chunks = (chunk for number, event in events for chunk in self._chunks.of(number, event))
        return b"".join(map(sse.encode, chunks))

    def fail(self, error: ServiceError) -> bytes:
        """Return the error, and the chunks that end the answers.

        The error comes first: LiteLLM reads no further than a finish reason that it does not know.
        """
        return b"".join(map(sse.encode, (error_body(error), *self._chunks.broken())))

    def end(self) -> bytes:
        """Return `[DONE]`."""
        return sse.DONE

    def keep_alive(self, generator: Generator, interval: float) -> KeepAlive:
        """Return what the stream says in silence: pings, and the loading where it is shown."""
        if self._shown is None:
            return KeepAlive(sse.PING, interval)
        loading = ShownLoading(lambda: generator.status(self._model), self._loading)
        return KeepAlive(sse.PING, interval, loading)

    def _loading(self, status: ModelStatus) -> bytes:
        if self._shown == "events":
            return sse.encode(self._chunks.loading(status))
        percent = int(100 * status.progress)  # rounded down: 100 % is said of what is ready
        return sse.comment(f"{self._model} {status.state} {percent}%")

"""What the responses of OpenAI's endpoints have in common: chunks, usage, log probabilities."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

from pilotlight.api.http import sse
from pilotlight.api.http.errors import error_body
from pilotlight.errors import ServiceError
from pilotlight.generation import Ended, Events, GenerationEvent, total_usage
from pilotlight.models.state import ModelStatus
from pilotlight.schema.openai import (
    CompletionTokensDetails,
    CompletionUsage,
    Loading,
    PromptTokensDetails,
)
from pilotlight.schema.sampling import SamplingRequest
from pilotlight_backend import Usage

LEAST_LOGPROB = -9999.0
"""OpenAI's number for minus infinity, which JSON does not have."""


def finite(logprob: float | None) -> float:
    """Return *logprob* as a number that JSON has."""
    return LEAST_LOGPROB if logprob is None or logprob < LEAST_LOGPROB else logprob


def text_of(piece: bytes) -> str:
    """Return a token's text; a part of a character is U+FFFD, and clients get its bytes too."""
    return piece.decode("utf-8", "replace")


def usage_of(endings: Mapping[int, Ended], n: int) -> CompletionUsage:
    """Return the usage of choices that ended like *endings*, by number, *n* to each prompt."""
    ended = [endings[number] for number in sorted(endings)]
    usage = total_usage([one.usage for one in ended], n)
    reasoning = sum(one.reasoning_tokens for one in ended)
    return CompletionUsage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
        prompt_tokens_details=PromptTokensDetails(cached_tokens=usage.cached_tokens),
        completion_tokens_details=_details_of(usage, reasoning),
    )


def _details_of(usage: Usage, reasoning: int) -> CompletionTokensDetails:
    if not usage.drafted_tokens:
        return CompletionTokensDetails(reasoning_tokens=reasoning)
    return CompletionTokensDetails(
        reasoning_tokens=reasoning,
        accepted_prediction_tokens=usage.accepted_tokens,
        rejected_prediction_tokens=usage.drafted_tokens - usage.accepted_tokens,
    )


def loading_of(status: ModelStatus) -> Loading:
    """Return what a chunk says of a model that is loading."""
    return Loading(
        state=status.state,
        progress=status.progress,
        retry_after=status.retry_after,
        phase=status.phase,
    )


# ── the stream of chat and text completions ─────────────────────────────────────────────────────


class ChunkSource(Protocol):
    """An endpoint's chunks; one for each stream."""

    def of(self, number: int, event: GenerationEvent) -> Sequence[Any]:
        """Return the chunks of *event*, which is the choice *number*'s."""

    def broken(self) -> Sequence[Any]:
        """Return the chunks that end the choices which are not whole."""

    def loading(self, status: ModelStatus) -> Any:
        """Return the chunk that says how far the model is loaded."""


def usage_shown(asked: SamplingRequest) -> bool:
    """Return whether a last chunk carries the usage."""
    return bool(asked.stream_options and asked.stream_options.include_usage)


def loading_shown(asked: SamplingRequest) -> Literal["comments", "events"] | None:
    """Return how the stream shows its model loading; None if it does not."""
    shown = asked.stream_options and asked.stream_options.include_loading
    return "comments" if shown is True else shown or None


class ChunkProjection:
    """Encodes one stream: chunks, then `[DONE]`, and on request how far the model is loaded."""

    ping = sse.PING

    def __init__(self, asked: SamplingRequest, chunks: ChunkSource) -> None:
        self._model = asked.model
        self._chunks = chunks
        self.loading = self._loading(loading_shown(asked))

    def encode(self, events: Events) -> bytes:
        """Return the chunks of *events*."""
        chunks = (chunk for number, event in events for chunk in self._chunks.of(number, event))
        return b"".join(map(sse.encode, chunks))

    def fail(self, error: ServiceError) -> bytes:
        """Return the error, and the chunks that end the choices.

        The error comes first: LiteLLM reads no further than a finish reason that it does not know.
        """
        return b"".join(map(sse.encode, (error_body(error), *self._chunks.broken())))

    def end(self) -> bytes:
        """Return `[DONE]`."""
        return sse.DONE

    def _loading(
        self, shown: Literal["comments", "events"] | None
    ) -> Callable[[ModelStatus], bytes] | None:
        match shown:
            case "comments":
                return self._loading_comment
            case "events":
                return lambda status: sse.encode(self._chunks.loading(status))
            case None:
                return None

    def _loading_comment(self, status: ModelStatus) -> bytes:
        percent = int(100 * status.progress)  # rounded down: only a ready model has 100 %
        return sse.comment(f"{self._model} {status.state} {percent}%")

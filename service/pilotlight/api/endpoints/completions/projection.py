"""Text completions from the events of a generation: whole, or as chunks."""

import secrets
import time
from collections.abc import AsyncGenerator, Sequence
from operator import attrgetter

import msgspec
from msgspec import UNSET

from pilotlight.api.endpoints.completions.logprobs import TextLogprobs
from pilotlight.api.endpoints.openai import loading_of, usage_of
from pilotlight.api.http.whole_response import collect
from pilotlight.generation import Begun, Ended, Events, GenerationEvent
from pilotlight.models.state import ModelStatus
from pilotlight.observability.timing import Phases
from pilotlight.output.events import ContentDelta, OutputEvent
from pilotlight.schema.completions import (
    Completion,
    CompletionChoice,
    CompletionChunk,
    CompletionChunkChoice,
    CompletionFinishReason,
    CompletionLogprobs,
)


def _new_id() -> str:
    return f"cmpl-{secrets.token_hex(12)}"


def _reason(ended: Ended) -> CompletionFinishReason:
    # Text is not read for tool calls, so none can be the reason.
    return "length" if ended.reason == "length" else "stop"


# ── the completion ──────────────────────────────────────────────────────────────────────────────


class _TextChoice:
    """A choice as it grows."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._text: list[str] = []
        self._logprobs = TextLogprobs()
        self._listed = CompletionLogprobs(
            tokens=[], token_logprobs=[], top_logprobs=[], text_offset=[]
        )

    def add(self, event: OutputEvent) -> None:
        if isinstance(event, ContentDelta):
            self._text.append(event.text)
            listed = self._logprobs.of(event)
            self._listed.tokens += listed.tokens
            self._listed.token_logprobs += listed.token_logprobs
            self._listed.top_logprobs += listed.top_logprobs
            self._listed.text_offset += listed.text_offset

    @property
    def mean_logprob(self) -> float:
        """Mean log probability of its tokens; minus infinity without any."""
        logprobs = self._listed.token_logprobs
        return sum(logprobs) / len(logprobs) if logprobs else float("-inf")

    def choice(self, index: int, ended: Ended, *, logprobs: bool) -> CompletionChoice:
        return CompletionChoice(
            index=index,
            text="".join(self._text),
            logprobs=self._listed if logprobs else None,
            finish_reason=_reason(ended),
        )


async def fold(
    generation: AsyncGenerator[Events], *, prompts: int, n: int, best_of: int, logprobs: bool
) -> tuple[Completion, Phases | None]:
    """Return the completion with the choices of *generation*, and the timing of a cold start.

    Of *best_of* choices for each prompt the likeliest *n* are returned.
    """
    drafts = [_TextChoice(number) for number in range(prompts * best_of)]
    whole = await collect(generation, lambda number, event: drafts[number].add(event))
    best: list[_TextChoice] = []
    for start in range(0, len(drafts), best_of):
        best += _best(drafts[start : start + best_of], n)
    choices = [
        draft.choice(index, whole.endings[draft.number], logprobs=logprobs)
        for index, draft in enumerate(best)
    ]
    completion = Completion(
        id=_new_id(),
        created=int(time.time()),
        model=whole.begun.model,
        choices=choices,
        usage=usage_of(whole.endings, best_of),
        system_fingerprint=whole.begun.fingerprint,
    )
    return completion, whole.timing


def _best(drafts: Sequence[_TextChoice], n: int) -> Sequence[_TextChoice]:
    """Return the *n* likeliest, the likeliest first; all of them in their order."""
    if n == len(drafts):
        return drafts
    return sorted(drafts, key=attrgetter("mean_logprob"), reverse=True)[:n]


# ── the stream ──────────────────────────────────────────────────────────────────────────────────


class CompletionChunks:
    """Turns the events of *n* choices for each of *prompts* into chunks.

    *model* is the requested name, until a choice begins with the model's own.
    """

    def __init__(
        self, model: str, *, prompts: int, n: int, include_usage: bool, logprobs: bool
    ) -> None:
        self._count = prompts * n
        self._n = n
        self._include_usage = include_usage
        self._logprobs = [TextLogprobs() for _ in range(self._count)] if logprobs else None
        self._id = _new_id()
        self._created = int(time.time())
        self._model = model
        self._fingerprint: str | msgspec.UnsetType = UNSET
        self._endings: dict[int, Ended] = {}

    def of(self, number: int, event: GenerationEvent) -> Sequence[CompletionChunk]:
        """Return the chunks of *event*, which is the choice *number*'s."""
        match event:
            case Begun():
                self._model = event.model
                self._fingerprint = event.fingerprint
                return ()
            case ContentDelta():
                listed = self._logprobs and self._logprobs[number].of(event)
                choice = CompletionChunkChoice(
                    index=number, text=event.text, logprobs=listed or None
                )
                return (self._chunk([choice]),)
            case Ended():
                return self._last(number, event)
            case _:
                return ()

    def _last(self, number: int, ended: Ended) -> Sequence[CompletionChunk]:
        self._endings[number] = ended
        last = self._end(number, _reason(ended))
        if self._include_usage and len(self._endings) == self._count:
            usage = self._chunk([])
            usage.usage = usage_of(self._endings, self._n)
            return last, usage
        return (last,)

    def broken(self) -> Sequence[CompletionChunk]:
        """Return the chunks that end the choices which are not whole."""
        return [
            self._end(number, "error")
            for number in range(self._count)
            if number not in self._endings
        ]

    def loading(self, status: ModelStatus) -> CompletionChunk:
        """Return the chunk that says how far the model is loaded."""
        chunk = self._chunk([])
        chunk.loading = loading_of(status)
        return chunk

    def _end(self, number: int, reason: CompletionFinishReason) -> CompletionChunk:
        return self._chunk([CompletionChunkChoice(index=number, text="", finish_reason=reason)])

    def _chunk(self, choices: list[CompletionChunkChoice]) -> CompletionChunk:
        return CompletionChunk(
            id=self._id,
            created=self._created,
            model=self._model,
            choices=choices,
            usage=None if self._include_usage else UNSET,
            system_fingerprint=self._fingerprint,
        )

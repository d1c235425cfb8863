"""A request to generate, as the engine's thread serves it."""

from collections.abc import Callable
from typing import Any

from pilotlight_backend import EngineEvent, ForcingGuide, GenerateRequest, Usage
from pilotlight_backend.adapters import applied
from pilotlight_backend.forcing import Forcing
from pilotlight_backend.timing import RequestTimer
from pilotlight_backend.validation import token_ids
from pilotlight_llama_cpp.batch import Tokens
from pilotlight_llama_cpp.drafting import Drafter
from pilotlight_llama_cpp.encoder import Encoding
from pilotlight_llama_cpp.engine_thread import EngineJob, EngineThread
from pilotlight_llama_cpp.media import EnginePrompt, words
from pilotlight_llama_cpp.sequence import Sequence


class GenerationJob(Sequence, EngineJob):
    """A sequence with its request's options, sampler, listener and timings."""

    __slots__ = (
        "accepted_tokens",
        "drafted_tokens",
        "emit",
        "encodings",
        "ended",
        "ends",
        "forcing",
        "guide",
        "ignore_eos",
        "logprobs",
        "min_tokens",
        "sampler",
        "sampling",
        "stop_tokens",
        "thread",
        "timer",
    )

    def __init__(
        self,
        thread: "EngineThread[GenerationJob, EngineEvent]",
        request: GenerateRequest,
        emit: Callable[[EngineEvent], None],
        limit: int,
        *,
        prompt: EnginePrompt | None = None,
        ends: Tokens = (),
        branches: tuple[int, ...] = (),
        forcing: Forcing | None = None,
        drafter: Drafter | None = None,
    ) -> None:
        """*prompt* is the request's, where that has images.

        *limit* is the completion's tokens; *ends* are the model's end-of-generation tokens.

        *branches* are the prompt lengths at which a checkpoint is taken. *forcing* is what forces
        tokens of the completion.
        """
        if prompt is None:
            prompt = EnginePrompt(tuple(token_ids(request.prompt)))
        super().__init__(
            prompt.tokens,
            limit,
            spans=prompt.spans,
            shares_prompt=request.shares_prompt,
            scope=request.scope,
            adapters=applied(request.adapters),
            branches=branches,
            drafter=drafter,
        )
        self.thread = thread
        self.emit = emit
        self.sampling = request.sampling
        self.stop_tokens = request.stop_token_ids
        self.ends = ends
        self.ignore_eos = request.ignore_eos
        self.min_tokens = request.min_tokens
        self.logprobs = request.logprobs
        self.guide = request.guide
        self.forcing = forcing
        self.drafted_tokens = self.accepted_tokens = 0
        self.sampler: Any = None
        self.encodings: list[Encoding] = []
        """The images that are being encoded for it."""
        self.ended = False
        self.timer: RequestTimer

    @property
    def has_encoded(self) -> bool:
        """Whether an image is encoded that `encoded` has not."""
        return any(one.done and one.digest not in self.encoded for one in self.encodings)

    @property
    def words(self) -> tuple[int, ...]:
        """The prompt without its images: what penalties look back on."""
        return tuple(words(self.prompt)) if self.spans else self.prompt

    def withheld(self) -> Tokens:
        """Return the tokens that may not be sampled next."""
        if self.completion_tokens < self.min_tokens:
            return (*self.ends, *self.stop_tokens)
        return self.ends if self.ignore_eos else ()

    @property
    def may_force(self) -> bool:
        """Whether a token may be forced before the next one is sampled."""
        forcing = self.forcing
        return forcing is not None and (forcing.is_due or self.logprobs is not None)

    def possible(self, tokens: Tokens) -> Tokens:
        """Return the first of *tokens* that the guide allows, up to one that ends the sequence."""
        ends = (place for place, token in enumerate(tokens) if self.is_end(token))
        tokens = tokens[: next(ends, len(tokens))]
        if tokens and isinstance(self.guide, ForcingGuide):
            try:
                return tokens[: self.guide.admits(tokens)]
            except Exception:  # noqa: BLE001 - it fails again when it restricts, and ends its request
                return ()
        return tokens

    def is_end(self, token: int) -> bool:
        """Return whether *token* ends the sequence."""
        return token in self.stop_tokens or token in self.ends

    def usage(self) -> Usage:
        """Return the tokens so far."""
        return Usage(
            prompt_tokens=self.length,
            completion_tokens=self.completion_tokens,
            cached_tokens=self.cells(self.cached_tokens),
            drafted_tokens=self.drafted_tokens,
            accepted_tokens=self.accepted_tokens,
        )

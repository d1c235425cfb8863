"""A request of the runner, and what the runner needs of a model and a generator."""

from collections.abc import Callable, Sequence
from typing import Protocol

from pilotlight_backend import EngineEvent, GenerateRequest, Usage
from pilotlight_backend.logits import Logits
from pilotlight_backend.spelling import Spelling
from pilotlight_backend.timing import RequestTimer
from pilotlight_backend.token_sampler import TokenSampler
from pilotlight_backend.validation import token_ids


class RunnerGenerator(Protocol):
    """What the runner needs of a generator; tests have a fake one."""

    def append(self, tokens: Sequence[int]) -> None:
        """Evaluate *tokens*."""

    def logits(self) -> Logits:
        """Return the logits after the last token."""

    def rewind(self, length: int) -> None:
        """Keep the first *length* tokens."""

    def terminate(self) -> None:
        """Make an `append` under way raise; any thread."""

    def resume(self, length: int) -> None:
        """Undo `terminate`, and keep the first *length* tokens."""

    def close(self) -> None:
        """Free everything."""


class RunnerModel(Protocol):
    """What the runner needs of a model; tests have a fake one."""

    def open(self, max_length: int) -> RunnerGenerator:
        """Make a generator with a KV cache of *max_length* tokens."""

    def piece(self, token: int) -> bytes:
        """Return a token's bytes."""

    def is_end(self, token: int) -> bool:
        """Return whether a token ends a generation."""

    def close(self) -> None:
        """Free the model, once its generators are closed."""


class Cancels(Protocol):
    """What a job needs of its runner."""

    def cancel(self, job: "Job") -> None:
        """End *job* at the next step."""


class Job:
    """A request with its listener, sampler and progress; also the ticket that its caller holds."""

    def __init__(
        self,
        runner: Cancels,
        request: GenerateRequest,
        emit: Callable[[EngineEvent], None],
        limit: int,
        *,
        ends: Sequence[int] = (),
        context_length: int = 0,
        spelling: Spelling | None = None,
    ) -> None:
        """*limit* is the tokens of the completion; *ends* are the end-of-generation tokens."""
        self._runner = runner
        self.emit = emit
        self.prompt = tuple(token_ids(request.prompt))
        self.scope = request.scope
        self.limit = limit
        self.shares_prompt = request.shares_prompt
        self.stop_tokens = request.stop_token_ids
        self.sampler = TokenSampler(
            request,
            ends=ends,
            context_length=context_length or len(request.prompt),
            spelling=spelling,
        )
        self.cached_tokens = 0
        self.completion_tokens = 0
        self.cancelled = False
        self.prefilling: RunnerGenerator | None = None
        """The generator during prefill, which a cancel terminates; None before and after it."""
        self.ended = False
        self.timer: RequestTimer

    def cancel(self) -> None:
        """End the request at the next step; any thread."""
        self._runner.cancel(self)

    def usage(self) -> Usage:
        """Return the tokens so far."""
        return Usage(
            prompt_tokens=len(self.prompt),
            completion_tokens=self.completion_tokens,
            cached_tokens=self.cached_tokens,
        )

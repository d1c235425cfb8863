"""Measure one request to a model, for its timing and for the metrics."""

from collections.abc import Callable, Sequence

from pilotlight.observability.metrics import AnswerRecord
from pilotlight.observability.timing import Phases
from pilotlight_backend import Usage


class AnswerRecorder:
    """Records the times of one request; each method records an event that has just happened.

    For a request with several answers the first slot and the first token count.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._arrived = clock()
        self._submitted = self._begun = self._first_token = self._ended = 0.0
        self._usage: Usage | None = None
        self._restore: float | None = None
        self._hold: float | None = None
        self.model = ""
        self.adapters: Sequence[str] = ()
        """Their names, where the request has any."""
        self.waits = False
        """Whether its model was not ready when it arrived."""
        self.inputs = 0
        """Texts to embed."""
        self.documents = 0
        """Documents to rank."""
        self.outcome = "cancelled"
        self.timing: dict[str, float] | None = None
        """The timing of a request to a cold model."""

    def cold(self, load: Phases) -> None:
        """Record that the request waited for its model, and the phases of its *load*."""
        self._hold = self._clock() - self._arrived
        self.timing = {**load, "hold": self._hold}

    def submitted(self) -> None:
        """Record that the request was submitted."""
        self._submitted = self._clock()

    def begun(self, restore: float = 0.0) -> Phases | None:
        """Record that the request has a slot; return the timing so far, the first time.

        *restore* is how many of the seconds until now a cached state took to be restored.
        """
        if self._begun:
            return None
        self._begun = self._clock()
        self._restore = restore or None
        if self.timing is None:
            return None
        self.timing["queue"] = self._begun - self._submitted - restore
        if restore:
            self.timing["restore"] = restore
        return dict(self.timing)

    def begun_pooling(self, tokens: int) -> None:
        """Record that a request that embeds or ranks has a slot, and the *tokens* of its inputs.

        From now on they count as used, also if its client disconnects.
        """
        self.begun()
        self.spent(Usage(prompt_tokens=tokens, completion_tokens=0))

    def first_token(self) -> Phases | None:
        """Record a token; return the complete timing, the first time."""
        if self._first_token:
            return None
        self._first_token = self._clock()
        if self.timing is None:
            return None
        self.timing["prefill"] = self._first_token - self._begun
        self.timing["first_token"] = self._first_token - self._arrived
        return dict(self.timing)

    def ended(self, outcome: str) -> None:
        """Record that the answer is complete."""
        self._ended = self._clock()
        self.outcome = outcome

    def spent(self, usage: Usage) -> None:
        """Record the usage of the request, complete or not."""
        self._usage = usage

    @property
    def tokens(self) -> int:
        """Tokens of the prompt and the answer, as far as they are known."""
        usage = self._usage
        return 0 if usage is None else usage.prompt_tokens + usage.completion_tokens

    def _queue(self) -> float | None:
        if not (self._submitted and self._begun):
            return None
        return self._begun - self._submitted - (self._restore or 0.0)

    def record(self) -> AnswerRecord:
        """Return the record of the request, once it has ended."""

        def between(start: float, end: float) -> float | None:
            return end - start if start and end else None

        usage = self._usage or Usage(prompt_tokens=0, completion_tokens=0)
        took = self._clock() - self._arrived
        return AnswerRecord(
            model=self.model,
            outcome=self.outcome,
            queue=self._queue(),
            restore=self._restore,
            prefill=between(self._begun, self._first_token),
            first_token=between(self._arrived, self._first_token),
            decode=between(self._first_token, self._ended),
            prompt_tokens=usage.prompt_tokens,
            cached_tokens=usage.cached_tokens,
            completion_tokens=usage.completion_tokens,
            inputs=self.inputs if self._ended else 0,
            documents=self.documents if self._ended else 0,
            hold=took if self.waits and self._hold is None else self._hold,
            submitted=between(self._arrived, self._submitted),
            took=took,
        )

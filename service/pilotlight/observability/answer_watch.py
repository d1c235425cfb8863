"""When things happened to one answer, for its timing and for the metrics."""

from collections.abc import Callable

from pilotlight.observability.metrics import AnswerRecord
from pilotlight.observability.timing import Phases
from pilotlight_backend import Usage


class AnswerWatch:
    """Follows one request; each method says what has just happened.

    Of a request with several answers the first to begin, and the first token, are what counts.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._arrived = clock()
        self._submitted = self._begun = self._first_token = self._ended = 0.0
        self._usage: Usage | None = None
        self._hold: float | None = None
        self.model = ""
        self.waits = False
        """Whether its model was not ready when it came."""
        self.inputs = 0
        """Texts to embed."""
        self.outcome = "cancelled"
        self.timing: dict[str, float] | None = None
        """Of a request that came to a cold model."""

    def cold(self, load: Phases) -> None:
        """Note that the request waited for its model, whose load went through *load*."""
        self._hold = self._clock() - self._arrived
        self.timing = {**load, "hold": self._hold}

    def submitted(self) -> None:
        """Note that the engine has the request."""
        self._submitted = self._clock()

    def begun(self) -> Phases | None:
        """Note that the request has a slot; return the timing so far, the first time."""
        if self._begun:
            return None
        self._begun = self._clock()
        if self.timing is None:
            return None
        self.timing["queue"] = self._begun - self._submitted
        return dict(self.timing)

    def first_token(self) -> Phases | None:
        """Note that a token is there; return the whole timing, the first time."""
        if self._first_token:
            return None
        self._first_token = self._clock()
        if self.timing is None:
            return None
        self.timing["prefill"] = self._first_token - self._begun
        self.timing["first_token"] = self._first_token - self._arrived
        return dict(self.timing)

    def ended(self, outcome: str) -> None:
        """Note that the answer is whole."""
        self._ended = self._clock()
        self.outcome = outcome

    def spent(self, usage: Usage) -> None:
        """Note what the request took, whole or not."""
        self._usage = usage

    @property
    def tokens(self) -> int:
        """Tokens of the prompt and of the answer, as far as they are known."""
        usage = self._usage
        return 0 if usage is None else usage.prompt_tokens + usage.completion_tokens

    def record(self) -> AnswerRecord:
        """Return what is told of the request, once it has ended."""

        def between(start: float, end: float) -> float | None:
            return end - start if start and end else None

        usage = self._usage or Usage(prompt_tokens=0, completion_tokens=0)
        took = self._clock() - self._arrived
        return AnswerRecord(
            model=self.model,
            outcome=self.outcome,
            queue=between(self._submitted, self._begun),
            prefill=between(self._begun, self._first_token),
            first_token=between(self._arrived, self._first_token),
            decode=between(self._first_token, self._ended),
            prompt_tokens=usage.prompt_tokens,
            cached_tokens=usage.cached_tokens,
            completion_tokens=usage.completion_tokens,
            inputs=self.inputs if self._ended else 0,
            hold=took if self.waits and self._hold is None else self._hold,
            submitted=between(self._arrived, self._submitted),
            took=took,
        )

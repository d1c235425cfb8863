"""When things happened to a request."""

from pilotlight_backend.types import Timings


class Stopwatch:
    """A request's way through an engine; all times are of one monotonic clock, in seconds."""

    __slots__ = ("admitted", "answering", "submitted")

    def __init__(self, submitted: float) -> None:
        self.submitted = submitted
        self.admitted: float | None = None
        """When it got a slot."""
        self.answering: float | None = None
        """When its first token was sampled."""

    def timings(self, now: float) -> Timings:
        """Return the seconds so far; a phase that was not reached took none."""
        admitted = now if self.admitted is None else self.admitted
        answering = now if self.answering is None else self.answering
        return Timings(
            queue=admitted - self.submitted, prefill=answering - admitted, decode=now - answering
        )

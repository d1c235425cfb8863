"""When a request was submitted, admitted to a slot, and given its first token."""

from pilotlight_backend.types import Timings


class RequestTimer:
    """A request's moments, in seconds of one monotonic clock; `timings` returns its phases."""

    __slots__ = ("admitted", "first_token", "restoring", "submitted")

    def __init__(self, submitted: float) -> None:
        self.submitted = submitted
        self.restoring: float | None = None
        """When the engine began to restore a cached state for it; None without one."""
        self.admitted: float | None = None
        """When the request got a slot, and that had the state that was restored."""
        self.first_token: float | None = None
        """When its first token was sampled."""

    @property
    def restore(self) -> float:
        """Seconds that the restore took; of a request that was admitted."""
        if self.restoring is None or self.admitted is None:
            return 0.0
        return self.admitted - self.restoring

    def timings(self, now: float) -> Timings:
        """Return the seconds of each phase until *now*; a phase that was not reached took none."""
        admitted = now if self.admitted is None else self.admitted
        first_token = now if self.first_token is None else self.first_token
        return Timings(
            queue=admitted - self.restore - self.submitted,
            restore=self.restore,
            prefill=first_token - admitted,
            decode=now - first_token,
        )

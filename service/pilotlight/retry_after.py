"""Seconds for the `Retry-After` header, within what clients follow."""

SHORTEST, LONGEST = 1.0, 60.0
"""openai-node ignores more than 60 s; less than 1 s is no relief to a busy server."""

UNKNOWN_QUEUE = 5.0
"""For a queue whose speed is not measured yet."""
UNKNOWN_LOAD = 10.0
"""For a load whose remaining time is not known yet."""


def bounded(seconds: float) -> float:
    """Return *seconds*, at least `SHORTEST` and at most `LONGEST`."""
    return min(max(seconds, SHORTEST), LONGEST)


def after_load(remaining: float | None, jitter: float) -> float:
    """Return when to retry a model whose load has *remaining* seconds, None if that is unknown.

    *jitter*, from 0 to 1, adds up to a tenth, so that the clients do not return all at once.
    """
    return UNKNOWN_LOAD if remaining is None else bounded(remaining * (1 + 0.1 * jitter))

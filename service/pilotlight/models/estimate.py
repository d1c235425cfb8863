"""How far a load is, how long it will take still, and when a client should come back."""

from collections.abc import Sequence
from statistics import fmean

from msgspec import Struct

from pilotlight.models.fetch.progress import FetchProgress
from pilotlight_backend import LoadProgress

LEAST, MOST = 1.0, 60.0
"""Over 60 s openai-node ignores Retry-After; below 1 s a retry is no relief."""
UNKNOWN = 10.0

_SET_UP, _SET_UP_RATE = 0.5, 1e9
"""A guess for what follows the reading where no earlier load tells it: seconds, bytes a second.

A model of 0.6 GB took 1.1 s of weights, context and first token after its bytes were read.
"""


_OVERDUE = 0.1
"""The part of an expected time that is expected still once it is over: the end has not come, and
nothing says when it will. So neither is the progress 1 nor Retry-After 0 before the model is ready.
"""
_LEAST_LEFT = 0.01
"""Seconds that a load needs still in any case."""


class LoadTimes(Struct, frozen=True):
    """What one load took, in seconds: reading its bytes, and everything after."""

    reading: float
    rest: float


def remaining(
    progress: LoadProgress | None,
    elapsed: float,
    reading_took: float | None,
    earlier: Sequence[LoadTimes],
) -> float | None:
    """Return the seconds that a load needs still, or None where nothing tells.

    *elapsed* is seconds since the load began, *reading_took* those until its bytes were read,
    *earlier* what loads of the same model took. While bytes are read their rate is the better
    witness: a cold disk is slower than the page cache that an earlier load met.
    """
    if progress is None or (progress.phase == "read" and not progress.bytes_read):
        if not earlier:
            return None
        return _left(fmean(one.reading + one.rest for one in earlier), elapsed)
    rest = fmean(one.rest for one in earlier) if earlier else _guessed_rest(progress.bytes_total)
    if progress.phase != "read" and reading_took is not None:
        return _left(rest, elapsed - reading_took)
    left = max(progress.bytes_total - progress.bytes_read, 0)
    return left * elapsed / progress.bytes_read + rest


def fetching(progress: FetchProgress | None, elapsed: float) -> float | None:
    """Return the seconds that a load needs still while its model is fetched, None if unknown.

    *elapsed* is seconds since the first byte was asked for. What follows is guessed: who will load
    it, and what that took before, is known when it is here.
    """
    if progress is None or not progress.bytes_total:
        return None
    rest = _guessed_rest(progress.bytes_total)
    left = progress.bytes_total - progress.bytes_done
    fetched = progress.bytes_done - progress.bytes_kept
    if left and fetched <= 0:
        return None
    return left * elapsed / fetched + rest if left else rest


def share(spent: float, left: float | None) -> float:
    """Return how far a load is, from 0 to below 1: the part of its time that is over.

    *spent* are the seconds since it began, *left* those that it needs still, None where nothing
    tells. Time is what it counts, not bytes: when they are read, the context and the first token
    are still to come, and took half of the time of some loads.
    """
    return 0.0 if left is None else spent / (spent + max(left, _LEAST_LEFT))


def _left(expected: float, spent: float) -> float:
    return max(expected - spent, expected * _OVERDUE, _LEAST_LEFT)


def _guessed_rest(bytes_total: int) -> float:
    return _SET_UP + bytes_total / _SET_UP_RATE


def retry_after(seconds: float | None, jitter: float) -> float:
    """Return what Retry-After says of *seconds*; *jitter*, from 0 to 1, spreads the clients."""
    if seconds is None:
        return UNKNOWN
    return min(max(seconds * (1 + 0.1 * jitter), LEAST), MOST)

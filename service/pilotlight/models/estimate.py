"""How long a load will take still, and when a client should come back."""

from collections.abc import Sequence
from statistics import fmean

from pilotlight_backend import LoadProgress

LEAST, MOST = 1.0, 60.0
"""Over 60 s openai-node ignores Retry-After; below 1 s a retry is no relief."""
UNKNOWN = 10.0


def remaining(
    progress: LoadProgress | None, elapsed: float, earlier: Sequence[float]
) -> float | None:
    """Return the seconds that a load needs still, or None where nothing tells.

    *elapsed* and *earlier* are seconds: since this load began, and what earlier loads of the same
    model took. While bytes are read their rate is the better witness: a cold disk is slower than
    the page cache that an earlier load met. What follows the reading only earlier loads know.
    """
    if progress and progress.phase == "read" and progress.bytes_read and elapsed > 0:
        rate = progress.bytes_read / elapsed
        reading = max(progress.bytes_total - progress.bytes_read, 0) / rate
        return max(reading, fmean(earlier) - elapsed) if earlier else reading
    if earlier:
        return max(fmean(earlier) - elapsed, 0.0)
    return None


def retry_after(seconds: float | None, jitter: float) -> float:
    """Return what Retry-After says of *seconds*; *jitter*, from 0 to 1, spreads the clients."""
    if seconds is None:
        return UNKNOWN
    return min(max(seconds * (1 + 0.1 * jitter), LEAST), MOST)

"""How long a load takes still, and what Retry-After says."""

import pytest

from pilotlight.models.estimate import remaining, retry_after
from pilotlight_backend import LoadProgress


@pytest.mark.parametrize(
    ("progress", "elapsed", "earlier", "seconds"),
    [
        (None, 5.0, [], None),
        (None, 5.0, [8.0, 10.0], 4.0),
        (None, 50.0, [8.0], 0.0),
        (LoadProgress("read", 0, 100), 5.0, [], None),
        (LoadProgress("read", 0, 100), 5.0, [20.0], 15.0),
        (LoadProgress("read", 25, 100), 5.0, [], 15.0),
        (LoadProgress("read", 25, 100), 5.0, [9.0], 15.0),
        (LoadProgress("read", 50, 100), 5.0, [30.0], 25.0),
        (LoadProgress("read", 100, 100), 5.0, [], 0.0),
        (LoadProgress("read", 150, 100), 5.0, [], 0.0),
        (LoadProgress("read", 1, 0), 5.0, [], 0.0),
        (LoadProgress("read", 25, 100), 0.0, [], None),
        (LoadProgress("warm", 100, 100), 5.0, [], None),
        (LoadProgress("warm", 100, 100), 5.0, [6.0], 1.0),
    ],
)
def test_remaining_is_told_by_the_rate_and_by_earlier_loads(progress, elapsed, earlier, seconds):
    """While bytes are read their rate counts, otherwise the mean of earlier loads; else nothing."""
    assert remaining(progress, elapsed, earlier) == seconds


@pytest.mark.parametrize(
    ("seconds", "jitter", "said"),
    [
        (None, 0.0, 10.0),
        (None, 1.0, 10.0),
        (20.0, 0.0, 20.0),
        (20.0, 1.0, 22.0),
        (0.0, 1.0, 1.0),
        (0.2, 0.0, 1.0),
        (59.0, 1.0, 60.0),
        (9999.0, 0.0, 60.0),
    ],
)
def test_retry_after_is_spread_and_stays_within_what_clients_honour(seconds, jitter, said):
    """Retry-After grows by a tenth at the most, from 1 s to 60 s; 10 s where nothing is known."""
    assert retry_after(seconds, jitter) == said

"""How long a load takes still, and what Retry-After says."""

import pytest

from pilotlight.models.estimate import LoadTimes, remaining, retry_after, share
from pilotlight_backend import LoadProgress

GIGA = 10**9
EARLIER = [LoadTimes(3.0, 1.0), LoadTimes(5.0, 2.0)]


@pytest.mark.parametrize(
    ("progress", "elapsed", "reading_took", "earlier", "seconds"),
    [
        (None, 5.0, None, [], None),
        (None, 4.0, None, EARLIER, 1.5),
        (None, 50.0, None, EARLIER, 0.55),  # overdue: a tenth of what was expected
        (LoadProgress("read", 0, GIGA), 5.0, None, [], None),
        (LoadProgress("read", 0, GIGA), 1.0, None, EARLIER, 4.5),
        # by the rate, and a guess for what follows
        (LoadProgress("read", GIGA // 4, GIGA), 5.0, None, [], 15.0 + 1.5),
        (LoadProgress("read", GIGA, GIGA), 5.0, None, [], 1.5),
        # by the rate, slower than it was before, and by what followed before
        (LoadProgress("read", GIGA // 4, GIGA), 5.0, None, EARLIER, 15.0 + 1.5),
        (LoadProgress("read", GIGA // 4, GIGA), 1.0, None, EARLIER, 3.0 + 1.5),
        (LoadProgress("read", 150, 100), 5.0, None, EARLIER, 1.5),
        (LoadProgress("warm", GIGA, GIGA), 6.0, 5.0, [], 0.5),
        (LoadProgress("warm", GIGA, GIGA), 6.0, 5.0, EARLIER, 0.5),
        (LoadProgress("load", GIGA, GIGA), 60.0, 5.0, EARLIER, 0.15),
        (LoadProgress("load", GIGA, GIGA), 60.0, 5.0, [LoadTimes(1.0, 0.0)], 0.01),
    ],
)
def test_remaining(progress, elapsed, reading_took, earlier, seconds):
    """The rate tells of the reading, earlier loads of what follows; where neither can, nothing."""
    assert remaining(progress, elapsed, reading_took, earlier) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("spent", "left", "told"),
    [
        (0.0, None, 0.0),
        (9.0, None, 0.0),
        (0.0, 4.0, 0.0),
        (0.0, 0.0, 0.0),
        (1.0, 3.0, 0.25),
        (9.0, 1.0, 0.9),
        (99.99, 0.0, 0.9999),
    ],
)
def test_share_is_of_the_time(spent, left, told):
    """Nothing where nothing is known, and below 1 however long it takes."""
    assert share(spent, left) == pytest.approx(told)
    assert share(spent, left) < 1


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

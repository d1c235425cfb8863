"""How long a load takes still, and what Retry-After says."""

import pytest

from pilotlight.models.loading.progress import LoadTimes, Outlook, loading
from pilotlight.retry_after import after_load
from pilotlight_backend import LoadProgress

GIGA = 10**9
EARLIER = [LoadTimes(3.0, 1.0), LoadTimes(5.0, 2.0)]


@pytest.mark.parametrize(
    ("progress", "elapsed", "reading_took", "earlier", "seconds"),
    [
        (None, 5.0, None, [], None),
        (None, 4.0, None, EARLIER, 1.5),
        (None, 50.0, None, EARLIER, 5.5 * 0.3 * (50 / 5.5) ** 0.5),  # overdue
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
        (LoadProgress("load", GIGA, GIGA), 6.5, 5.0, EARLIER, 0.45),
        (LoadProgress("load", GIGA, GIGA), 5.0 + 1.5 * 9, 5.0, EARLIER, 1.5 * 0.9),
        (LoadProgress("load", GIGA, GIGA), 5.0, 5.0, [LoadTimes(1.0, 0.0)], 0.01),
    ],
)
def test_what_is_left(progress, elapsed, reading_took, earlier, seconds):
    """The rate tells of the reading, earlier loads of what follows; where neither can, nothing."""
    outlook = loading(progress, elapsed, reading_took, earlier)
    assert (outlook and outlook.left) == (seconds if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("outlook", "share"),
    [
        (Outlook(over=0.0, expected=4.0), 0.0),
        (Outlook(over=1.0, expected=3.0), 0.25),
        (Outlook(over=0.0, expected=4.0, under_way=2.0), 0.5),
        (Outlook(over=6.0, expected=4.0, under_way=2.0), 0.8),
        (Outlook(over=0.0, expected=4.0, under_way=4.0), 1 / 1.3),
        (Outlook(over=0.0, expected=4.0, under_way=36.0), 9 / 9.9),
        (Outlook(over=0.0, expected=0.0, under_way=0.01), 1 / 1.3),
        (Outlook(over=99.99, expected=0.0), 0.9999),
    ],
)
def test_the_share_is_of_the_time(outlook, share):
    """A part that is late counts less and less: it is never over before the load is."""
    assert outlook.share == pytest.approx(share)
    assert outlook.share < 1


@pytest.mark.parametrize("over", [0.0, 60.0])
@pytest.mark.parametrize("expected", [0.0, 1.5])
def test_the_share_grows_as_long_as_it_takes(over, expected):
    """A thousand times as long as expected, too."""
    outlooks = [Outlook(over, expected, tenths / 10) for tenths in range(15_000)]
    shares = [outlook.share for outlook in outlooks]
    assert shares == sorted(set(shares))
    assert shares[-1] < 1
    assert all(outlook.left > 0 for outlook in outlooks)


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
    assert after_load(seconds, jitter) == said

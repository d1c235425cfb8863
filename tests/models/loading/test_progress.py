"""The phases of a load, by its reports."""

import pytest

from pilotlight.models.fetch.progress import FetchProgress
from pilotlight.models.loading.progress import Estimate, LoadTimes, LoadTracker, estimate_load
from pilotlight.retry_after import after_load
from pilotlight_backend import LoadProgress


def test_each_phase_ends_where_the_next_begins(clock):
    """Reports of one phase add up to it; the last phase ends with the load."""
    tracker = LoadTracker(clock)
    clock.advance(7)
    tracker.begin()
    for seconds, phase, read in ((0, "read", 0), (3, "read", 5), (1, "load", 10), (2, "warm", 10)):
        clock.advance(seconds)
        tracker.note(LoadProgress(phase, read, 10))
    clock.advance(0.5)
    assert tracker.end() == {"read": 4, "load": 2, "warm": 0.5}
    assert tracker.elapsed == 6.5


def test_a_load_that_reports_nothing_has_no_phases(clock):
    """A backend need not report."""
    tracker = LoadTracker(clock)
    clock.advance(1)
    assert (tracker.share(()), tracker.end()) == (0.0, {})


EARLIER = [LoadTimes(6.0, 4.0)]


def told(tracker, clock, *reports: tuple[float, LoadProgress], earlier=EARLIER) -> list[float]:
    """Return the shares behind each report, after the seconds that it comes with."""
    shares = []
    for seconds, report in reports:
        clock.advance(seconds)
        tracker.note(report)
        shares.append(round(tracker.share(earlier), 3))
    return shares


def test_the_share_counts_what_comes_after_the_bytes(clock):
    """As long as earlier loads took for it: when the bytes are read, four seconds of ten remain."""
    tracker = LoadTracker(clock)
    tracker.begin()
    reports = [("read", 0), ("read", 50), ("read", 100), ("load", 100), ("warm", 100)]
    shares = told(tracker, clock, *((2, LoadProgress(phase, read, 100)) for phase, read in reports))
    # 2 s of 10 by the earlier load alone; 50 bytes in 4 s leave 4 s, and 4 s behind them
    assert shares == [0.2, 0.333, 0.6, 0.667, 0.833]


def test_the_share_of_a_first_load_is_by_a_guess(clock):
    """Half a second and a second for each GB: the bytes are never the whole."""
    tracker = LoadTracker(clock)
    tracker.begin()
    reports = [("read", 0), ("read", 10**9), ("load", 10**9), ("load", 10**9)]
    shares = told(
        tracker, clock, *((0.75, LoadProgress(phase, read, 10**9)) for phase, read in reports),
        earlier=(),
    )  # fmt: skip
    assert shares == [0.0, 0.5, 0.6, 0.8]


def test_a_load_that_is_overdue_moves_on_and_is_never_whole(clock):
    """Ten times as long as it ever took, it still grows, and Retry-After is not 0."""
    tracker = LoadTracker(clock)
    tracker.begin()
    told(tracker, clock, (6, LoadProgress("read", 100, 100)), (0, LoadProgress("load", 100, 100)))
    shares = []
    for _ in range(40):
        clock.advance(1)
        shares.append(tracker.share(EARLIER))
        assert tracker.remaining(EARLIER) >= 1
    assert shares == sorted(set(shares))
    # four seconds of ten, and ten times as long as they ever took
    assert shares[-1] == pytest.approx((6 + 4 * 10 / (10 + 0.3 * 10**0.5)) / 10)


def test_the_share_never_falls(clock):
    """If a disk becomes slow it grows more slowly; if a size was wrong it stays."""
    tracker = LoadTracker(clock)
    tracker.begin()
    reports = [(1, 50, 100), (60, 51, 100), (1, 51, 1000), (1, 5, 0), (1, 200, 100)]
    given = [(seconds, LoadProgress("read", read, total)) for seconds, read, total in reports]
    shares = told(tracker, clock, *given)
    assert shares == sorted(shares)
    # 1 of 2 + 4 s, 61 of 119.6 + 4 s, then a twentieth of the bytes and once more all of them
    assert shares == [0.167, 0.493, 0.493, 0.94, 0.941]


@pytest.mark.parametrize("brought", [True, False])
def test_a_fetch_counts_by_the_time_that_it_takes(clock, brought):
    """Where nothing had to be brought there is no such phase, and the share stands."""
    tracker = LoadTracker(clock)
    tracker.note_fetch(FetchProgress(0, 10**9))
    clock.advance(3)
    tracker.note_fetch(FetchProgress(5 * 10**8, 10**9))
    # 3 s of 6 s, and 1.5 s behind it
    assert tracker.share(()) == pytest.approx(0.4)
    clock.advance(3)
    tracker.fetched(brought=brought)
    tracker.begin()
    clock.advance(1)
    tracker.note(LoadProgress("read", 10**9, 10**9))
    assert tracker.share(()) == pytest.approx(7 / 8.5 if brought else 0.4)
    assert tracker.end() == ({"fetch": 6, "read": 1} if brought else {"read": 1})


def test_what_is_left_of_a_fetch_comes_from_its_rate(clock):
    """From when the first byte was asked for, not from when the source was looked for."""
    tracker = LoadTracker(clock)
    tracker.note_fetch(FetchProgress(0, 0))
    assert tracker.remaining(()) is None
    clock.advance(5)
    tracker.note_fetch(FetchProgress(0, 400))
    clock.advance(2)
    tracker.note_fetch(FetchProgress(100, 400))
    assert tracker.remaining(()) == pytest.approx(6.5, abs=0.01)


# ── estimates ───────────────────────────────────────────────────────────────────────────────────


GIGA = 10**9
TWO_LOADS = [LoadTimes(3.0, 1.0), LoadTimes(5.0, 2.0)]


@pytest.mark.parametrize(
    ("progress", "elapsed", "reading_took", "earlier", "seconds"),
    [
        (None, 5.0, None, [], None),
        (None, 4.0, None, TWO_LOADS, 1.5),
        (None, 50.0, None, TWO_LOADS, 5.5 * 0.3 * (50 / 5.5) ** 0.5),  # overdue
        (LoadProgress("read", 0, GIGA), 5.0, None, [], None),
        (LoadProgress("read", 0, GIGA), 1.0, None, TWO_LOADS, 4.5),
        # by the rate, and a guess for what follows
        (LoadProgress("read", GIGA // 4, GIGA), 5.0, None, [], 15.0 + 1.5),
        (LoadProgress("read", GIGA, GIGA), 5.0, None, [], 1.5),
        # by the rate, slower than it was before, and by what followed before
        (LoadProgress("read", GIGA // 4, GIGA), 5.0, None, TWO_LOADS, 15.0 + 1.5),
        (LoadProgress("read", GIGA // 4, GIGA), 1.0, None, TWO_LOADS, 3.0 + 1.5),
        (LoadProgress("read", 150, 100), 5.0, None, TWO_LOADS, 1.5),
        (LoadProgress("warm", GIGA, GIGA), 6.0, 5.0, [], 0.5),
        (LoadProgress("warm", GIGA, GIGA), 6.0, 5.0, TWO_LOADS, 0.5),
        (LoadProgress("load", GIGA, GIGA), 6.5, 5.0, TWO_LOADS, 0.45),
        (LoadProgress("load", GIGA, GIGA), 5.0 + 1.5 * 9, 5.0, TWO_LOADS, 1.5 * 0.9),
        (LoadProgress("load", GIGA, GIGA), 5.0, 5.0, [LoadTimes(1.0, 0.0)], 0.01),
    ],
)
def test_what_is_left(progress, elapsed, reading_took, earlier, seconds):
    """The rate estimates `read`, earlier loads the phases after it; without both it is unknown."""
    estimate = estimate_load(progress, elapsed, reading_took, earlier)
    assert (estimate and estimate.left) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("estimate", "share"),
    [
        (Estimate(done=0.0, expected=4.0), 0.0),
        (Estimate(done=1.0, expected=3.0), 0.25),
        (Estimate(done=0.0, expected=4.0, under_way=2.0), 0.5),
        (Estimate(done=6.0, expected=4.0, under_way=2.0), 0.8),
        (Estimate(done=0.0, expected=4.0, under_way=4.0), 1 / 1.3),
        (Estimate(done=0.0, expected=4.0, under_way=36.0), 9 / 9.9),
        (Estimate(done=0.0, expected=0.0, under_way=0.01), 1 / 1.3),
        (Estimate(done=99.99, expected=0.0), 0.9999),
    ],
)
def test_the_share_is_of_the_time(estimate, share):
    """A part that is late counts less and less: it is never over before the load is."""
    assert estimate.share == pytest.approx(share)
    assert estimate.share < 1


@pytest.mark.parametrize("over", [0.0, 60.0])
@pytest.mark.parametrize("expected", [0.0, 1.5])
def test_the_share_grows_as_long_as_it_takes(over, expected):
    """A thousand times as long as expected, too."""
    estimates = [Estimate(over, expected, tenths / 10) for tenths in range(15_000)]
    shares = [estimate.share for estimate in estimates]
    assert shares == sorted(set(shares))
    assert shares[-1] < 1
    assert all(estimate.left > 0 for estimate in estimates)


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


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [([3.0], 3.0), ([1.0, 2.0], 1.5), ([1.0, 90.0, 2.0], 2.0), ([1.0, 1.0, 2.0, 4.0, 60.0], 2.0)],
)
def test_one_slow_load_says_little_of_the_next(seconds, expected):
    """A machine that did something else made a load of one second take a minute."""
    earlier = [LoadTimes(0.0, each) for each in seconds]
    estimate = estimate_load(LoadProgress("load", 10, 10), 0.0, 0.0, earlier)
    assert estimate.expected == expected

"""The phases of a load, by its reports."""

from pilotlight.models.load_watch import LoadWatch
from pilotlight_backend import LoadProgress


def test_each_phase_ends_where_the_next_begins(clock):
    """Reports of one phase add up to it; the last phase ends with the load."""
    watch = LoadWatch(clock)
    for seconds, phase, read in ((0, "read", 0), (3, "read", 5), (1, "load", 10), (2, "warm", 10)):
        clock.advance(seconds)
        watch.note(LoadProgress(phase, read, 10))
    clock.advance(0.5)
    assert watch.reading == 4
    assert watch.end() == {"read": 4, "load": 2, "warm": 0.5}
    assert watch.elapsed == 6.5


def test_a_load_that_reports_nothing_has_no_phases(clock):
    """A backend need not report."""
    watch = LoadWatch(clock)
    clock.advance(1)
    assert (watch.share, watch.reading, watch.end()) == (0.0, None, {})


def test_the_share_is_of_the_bytes(clock):
    """Never above one, and nothing where the size is unknown."""
    watch = LoadWatch(clock)
    shares = []
    for read, total in ((0, 10), (5, 10), (11, 10), (5, 0)):
        watch.note(LoadProgress("read", read, total))
        shares.append(watch.share)
    assert shares == [0.0, 0.5, 1.0, 0.0]

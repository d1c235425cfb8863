"""The phases of a load, by its reports."""

import pytest

from pilotlight.models.fetch.progress import FetchProgress
from pilotlight.models.load_watch import LoadWatch
from pilotlight_backend import LoadProgress


def test_each_phase_ends_where_the_next_begins(clock):
    """Reports of one phase add up to it; the last phase ends with the load."""
    watch = LoadWatch(clock)
    clock.advance(7)
    watch.begin()
    for seconds, phase, read in ((0, "read", 0), (3, "read", 5), (1, "load", 10), (2, "warm", 10)):
        clock.advance(seconds)
        watch.note(LoadProgress(phase, read, 10))
    clock.advance(0.5)
    assert watch.end() == {"read": 4, "load": 2, "warm": 0.5}
    assert watch.elapsed == 6.5


def test_a_load_that_reports_nothing_has_no_phases(clock):
    """A backend need not report."""
    watch = LoadWatch(clock)
    clock.advance(1)
    assert (watch.share, watch.end()) == (0.0, {})


def test_the_share_is_of_the_bytes(clock):
    """Never above one, and nothing where the size is unknown."""
    watch = LoadWatch(clock)
    shares = []
    for read, total in ((0, 10), (5, 10), (11, 10), (5, 0)):
        watch.note(LoadProgress("read", read, total))
        shares.append(watch.share)
    assert shares == [0.0, 0.5, 1.0, 0.0]


def test_what_is_fetched_is_half_of_the_share(clock):
    """The other half is its reading; a fetch that had nothing to do is no phase."""
    for fetched, shares in ((True, [0.25, 0.5, 0.75]), (False, [0.25, 0.0, 0.5])):
        watch = LoadWatch(clock)
        clock.advance(3)
        watch.note_fetch(FetchProgress(5, 10))
        told = [watch.share]
        watch.fetched(brought=fetched)
        told.append(watch.share)
        watch.begin()
        watch.note(LoadProgress("read", 5, 10))
        assert [*told, watch.share] == shares
        assert watch.end() == ({"fetch": 3, "read": 0} if fetched else {"read": 0})


def test_what_is_left_of_a_fetch_comes_from_its_rate(clock):
    """From when the first byte was asked for, not from when the source was looked for."""
    watch = LoadWatch(clock)
    watch.note_fetch(FetchProgress(0, 0))
    assert watch.remaining(()) is None
    clock.advance(5)
    watch.note_fetch(FetchProgress(0, 400))
    clock.advance(2)
    watch.note_fetch(FetchProgress(100, 400))
    assert watch.remaining(()) == pytest.approx(6.5, abs=0.01)

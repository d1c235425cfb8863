"""A case that does not hold is found, and told with its example; all others go on."""

from hypothesis import strategies as st

from tests.fuzz import round_robin
from tests.fuzz.case import bounded, case


@case("holds", number=st.integers())
def holds(number):
    assert isinstance(number, int)


@case("breaks", number=st.integers(0, 1000))
def breaks(number):
    assert number < 100


@case("never ends", number=st.integers())
def never_ends(number):
    with bounded(seconds=0.1):
        while number == number:  # noqa: PLR0124 - for ever
            pass


@case("takes all", number=st.integers())
def takes_all(number):
    with bounded(mebibytes=1):
        assert bytes(2_000_000 + abs(number) % 2)


def test_failing_case_is_told_by_its_smallest_example():
    """One round is done whatever the time; the table has each case and what failed first."""
    outcomes = round_robin.run((breaks, holds), seconds=0, seed=1, examples=50)
    assert (outcomes["holds"].examples, outcomes["holds"].failures) == (50, 0)
    assert outcomes["breaks"].failures == 1
    assert "number = 100" in outcomes["breaks"].first

    printed = round_robin.table(outcomes)
    assert "── breaks" in printed
    assert "── holds" not in printed


def test_rounds_go_on_until_the_time_is_over():
    """Each round has other examples, and the same seed the same."""
    times = iter(range(100))
    outcomes = round_robin.run(
        (holds,), seconds=3, seed=1, examples=10, clock=lambda: float(next(times))
    )
    assert outcomes["holds"].examples == 30


def test_time_and_memory_are_bounded():
    """What does not end, or takes too much, is a failure like others."""
    outcomes = round_robin.run((never_ends, takes_all), seconds=0, seed=1, examples=2)
    assert "more than 0.1 s" in outcomes["never ends"].first
    assert "of memory" in outcomes["takes all"].first

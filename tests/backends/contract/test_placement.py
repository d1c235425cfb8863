"""Which slot a prompt goes into, as a rule over numbers."""

import pytest

from pilotlight_backend.placement import Slot, choose, common_prefix, continues, worth


def slot(number, *, continued=False, usable=0, lost=0, last_used=0):
    return Slot(number, continued, usable, lost, last_used)


@pytest.mark.parametrize(
    ("held", "prompt", "common"),
    [
        ([], (), 0),
        ([1], (2,), 0),
        ([1, 2], (1, 2, 3), 2),
        ([1, 2, 3], (1, 2), 2),
        (list(range(2000)), tuple(range(2000)), 2000),
        (list(range(2000)), (*range(1300), 7), 1300),
        (list(range(512)), (*range(511), 0), 511),
    ],
)
def test_common_prefix(held, prompt, common):
    """It ends at the first difference, within a block or at a block's end."""
    assert common_prefix(held, prompt) == common


@pytest.mark.parametrize(
    ("held", "prompted", "common", "expected"),
    [
        pytest.param(240, 200, 240, True, id="the answer is in the history as it was"),
        pytest.param(240, 200, 200, True, id="reasoning is stripped from the answer"),
        pytest.param(240, 200, 196, True, id="the empty think block is not in the history"),
        pytest.param(240, 200, 194, False, id="the last message is another one"),
        pytest.param(1550, 1540, 1500, False, id="another conversation has the system prompt"),
        pytest.param(240, 200, 3, False, id="the template's first tokens"),
        pytest.param(64, 3000, 64, True, id="a cancelled prefill goes on"),
        pytest.param(64, 3000, 40, False, id="a cancelled prefill of another prompt"),
        pytest.param(8, 6, 3, True, id="half of a short prompt"),
        pytest.param(8, 6, 2, False, id="less than half of a short prompt"),
        pytest.param(0, 0, 0, False, id="an empty slot"),
        pytest.param(1, 1, 0, False, id="a slot of one token"),
    ],
)
def test_continues(held, prompted, common, expected):
    """The last prompt counts, and not how long what is shared is."""
    assert continues(held, prompted, common) is expected


def test_worth_grows_with_tokens_and_falls_with_age():
    """A long conversation that was used just now is worth most."""
    assert worth(1000, 1) > worth(1000, 2) > worth(100, 1) > worth(100, 50) > worth(0, 1) == 0


@pytest.mark.parametrize(
    ("slots", "expected"),
    [
        pytest.param(
            [slot(0, usable=200, continued=True, lost=50), slot(1, usable=200)], 0, id="continued"
        ),
        pytest.param([slot(0, usable=100, lost=50), slot(1)], 1, id="an empty slot, not a fork"),
        pytest.param(
            [slot(0, usable=9, continued=True, lost=9), slot(1, usable=900, last_used=4)],
            1,
            id="a copy in an empty slot holds more than what is continued",
        ),
        pytest.param(
            [slot(0, lost=500, last_used=5), slot(1, lost=400, last_used=5)], 1, id="fewest tokens"
        ),
        pytest.param(
            [slot(0, lost=500, last_used=1), slot(1, lost=500, last_used=5)], 0, id="oldest"
        ),
        pytest.param(
            [slot(0, lost=900, last_used=1), slot(1, lost=50, last_used=5)], 1, id="short, not old"
        ),
        pytest.param(
            [slot(0, usable=100, lost=60, last_used=5), slot(1, lost=90, last_used=5)],
            0,
            id="what is evaluated now counts too",
        ),
        pytest.param([slot(0, last_used=3), slot(1, last_used=2)], 1, id="unused for longest"),
        pytest.param([slot(1), slot(0)], 0, id="nothing to tell them apart"),
    ],
)
def test_choice(slots, expected):
    """Of the slots from which nothing is lost the best; else the cheapest."""
    assert choose(slots, now=5) == expected

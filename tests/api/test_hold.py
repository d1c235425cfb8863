"""How long a request is held: what the client's headers say, and what the settings say."""

import pytest

from pilotlight.api.params.hold import hold_of
from pilotlight.models.loaded import Hold

STAYS, GIVES_UP = False, True


@pytest.mark.parametrize(
    ("headers", "hold"),
    [
        ({}, Hold(10, GIVES_UP)),
        ({"prefer": "wait=3"}, Hold(3, STAYS)),
        ({"prefer": "wait=0"}, Hold(0, STAYS)),
        ({"prefer": 'respond-async, Wait = "7.5"; x'}, Hold(7.5, STAYS)),
        ({"prefer": "wait=3600"}, Hold(45, STAYS)),
        ({"prefer": "wait=soon"}, Hold(10, GIVES_UP)),
        ({"prefer": "wait=-1"}, Hold(10, GIVES_UP)),
        ({"x-stainless-read-timeout": "600"}, Hold(10, GIVES_UP)),
        ({"x-stainless-read-timeout": "5.0"}, Hold(3, GIVES_UP)),
        ({"x-stainless-read-timeout": "1"}, Hold(0, GIVES_UP)),
        ({"x-stainless-timeout": "4"}, Hold(2, GIVES_UP)),
        ({"x-stainless-read-timeout": "None"}, Hold(10, GIVES_UP)),
        ({"x-stainless-retry-count": "0"}, Hold(10, GIVES_UP)),
        ({"x-stainless-retry-count": "1"}, Hold(10, GIVES_UP)),
        ({"x-stainless-retry-count": "2"}, Hold(45, STAYS)),
        ({"x-stainless-retry-count": "7"}, Hold(45, STAYS)),
        ({"x-stainless-retry-count": "many"}, Hold(10, GIVES_UP)),
        ({"x-stainless-retry-count": "2", "x-stainless-read-timeout": "30"}, Hold(28, STAYS)),
        ({"x-stainless-retry-count": "2", "prefer": "wait=1"}, Hold(1, STAYS)),
    ],
)
def test_hold(headers, hold):
    """`Prefer` first, then the last attempt, then the setting; below the client's timeout."""
    assert hold_of(headers, default=10.0, to_the_end=False) == hold


def test_hold_where_the_cpu_is_taken_away():
    """There no request gives up early: a load makes progress only while one waits."""
    assert hold_of({}, default=45.0, to_the_end=True) == Hold(45, STAYS)
    assert hold_of({"x-stainless-read-timeout": "20"}, default=45.0, to_the_end=True) == Hold(18)

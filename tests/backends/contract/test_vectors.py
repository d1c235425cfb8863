"""Vectors of length 1."""

import math

import pytest

from pilotlight_backend.vectors import normalize


@pytest.mark.parametrize("values", [[3.0, 4.0], [-1.0], [1e30] * 100, [1e-30, 2e-30], [0.0, 7.0]])
def test_unit(values):
    """It points where it pointed, and its length is 1, however long or short it was."""
    found = normalize(values)
    assert found.typecode == "f"
    assert math.hypot(*found) == pytest.approx(1.0, abs=1e-6)
    length = math.hypot(*values)
    assert list(found) == pytest.approx([value / length for value in values], abs=1e-6)


@pytest.mark.parametrize("values", [[], [0.0, 0.0], [0.0, -0.0]])
def test_nothing_stays_nothing(values):
    """Zeros point nowhere."""
    assert list(normalize(values)) == values


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_refused(value):
    """JSON has no word for it."""
    with pytest.raises(ValueError, match="not finite"):
        normalize([1.0, value])

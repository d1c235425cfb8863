"""Normalizes vectors: engines return embeddings of length 1, and the service shortens them."""

import math
from array import array
from collections.abc import Sequence


def normalize(values: Sequence[float]) -> "array[float]":
    """Return *values* divided by their Euclidean length, as 32-bit floats; zeros stay zeros.

    Raises `ValueError` if a value is not finite.
    """
    length = math.hypot(*values)
    if not math.isfinite(length):
        raise ValueError("the vector has a value that is not finite")
    return array("f", [value / length for value in values] if length else values)

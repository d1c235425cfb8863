"""Vectors of length 1, as embeddings are compared."""

import math
from array import array
from collections.abc import Sequence


def normalize(values: Sequence[float]) -> "array[float]":
    """Return *values* divided by their length, as 32-bit floats; nothing but zeros stays as it is.

    Raises `ValueError` where one of them is no finite number.
    """
    length = math.hypot(*values)
    if not math.isfinite(length):
        raise ValueError("a vector holds a number that is not finite")
    return array("f", [value / length for value in values] if length else values)

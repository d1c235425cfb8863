"""What is evaluated together."""

import pytest

from pilotlight_llama_cpp.packing import InputPart, batches, fitting


@pytest.mark.parametrize(
    ("lengths", "count"),
    [
        ([], 0),
        ([3], 1),
        ([3, 3, 4], 3),
        ([3, 3, 5], 2),
        ([10], 1),
        ([10, 1], 1),
        ([11, 1], 1),
        ([99], 1),
        ([1, 99], 1),
        ([1, 1, 1, 1, 1], 4),
    ],
)
def test_fitting(lengths, count):
    """As many as fit ten tokens and four sequences, in their order; the first one always."""
    assert fitting(lengths, tokens=10, sequences=4) == count


def test_fitting_looks_no_further_than_it_must():
    """Of a long queue it reads what fits, and one more."""
    queue = iter([4] * 100)
    assert fitting(queue, tokens=10, sequences=4) == 2
    assert len(list(queue)) == 97


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ([], []),
        ([[1, 2]], [[InputPart(0, 0, [1, 2])]]),
        ([[1, 2, 3]], [[InputPart(0, 0, [1, 2, 3])]]),
        ([[1, 2], [3]], [[InputPart(0, 0, [1, 2]), InputPart(1, 0, [3])]]),
        ([[1, 2, 3, 4]], [[InputPart(0, 0, [1, 2, 3])], [InputPart(0, 3, [4])]]),
        ([[1] * 6], [[InputPart(0, 0, [1] * 3)], [InputPart(0, 3, [1] * 3)]]),
    ],
)
def test_batches(inputs, expected):
    """Several inputs are one batch; one that is longer than three tokens comes in parts."""
    assert list(batches(inputs, tokens=3)) == expected

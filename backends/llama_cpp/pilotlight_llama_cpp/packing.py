"""Which inputs share a batch, and how a long one is cut. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from pilotlight_llama_cpp.batch import Tokens


class InputPart(NamedTuple):
    """Tokens of an input in a batch, from position *start*; *sequence* numbers the inputs."""

    sequence: int
    start: int
    tokens: Tokens


def fitting(lengths: Iterable[int], *, tokens: int, sequences: int) -> int:
    """Return how many queued inputs of *lengths* go into one step: the first ones that fit.

    The first input is always taken, however long it is.
    """
    count = total = 0
    for length in lengths:
        total += length
        if count and (count == sequences or total > tokens):
            break
        count += 1
    return count


def batches(inputs: Sequence[Tokens], *, tokens: int) -> Iterator[list[InputPart]]:
    """Yield the batches of a step: one for several *inputs*, which `fitting` has chosen.

    A single input longer than *tokens* takes a batch for each part.
    """
    if len(inputs) > 1:
        yield [InputPart(sequence, 0, one) for sequence, one in enumerate(inputs)]
        return
    for one in inputs:
        for start in range(0, len(one), tokens):
            yield [InputPart(0, start, one[start : start + tokens])]

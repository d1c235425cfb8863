"""Which inputs are evaluated together, and in what parts. Pure: it decides and touches nothing."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from pilotlight_llama_cpp.batch import Tokens


class InputPart(NamedTuple):
    """What goes into a batch: tokens of an input, from *start* on."""

    sequence: int
    start: int
    tokens: Tokens


def fitting(lengths: Iterable[int], *, tokens: int, sequences: int) -> int:
    """Return how many of the inputs that wait are taken into one step, in their order.

    As many as *tokens* and *sequences* allow; the first one always, however long it is.
    """
    count = total = 0
    for length in lengths:
        total += length
        if count and (count == sequences or total > tokens):
            break
        count += 1
    return count


def batches(inputs: Sequence[Tokens], *, tokens: int) -> Iterator[list[InputPart]]:
    """Yield what is decoded one after the other: all *inputs* at once, where they fit *tokens*.

    A single input that is longer comes in parts.
    """
    if len(inputs) > 1:
        yield [InputPart(sequence, 0, one) for sequence, one in enumerate(inputs)]
        return
    for one in inputs:
        for start in range(0, len(one), tokens):
            yield [InputPart(0, start, one[start : start + tokens])]

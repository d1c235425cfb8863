"""Images in a prompt, as the KV cache has them. Pure.

A slot's tokens are numbers, one for each position of its sequence. An image takes positions too: of
them the numbers are negative, and made from the digest of its pixels. So whatever compares prefixes
of tokens, in slots, in the prompt cache and in its files, compares images in the same way: the same
image is the same numbers.

With M-RoPE an image takes fewer positions than rows (cells of the KV cache, tokens of the usage):
all of its rows have one time, and the next token follows the longer side of their grid.
"""

from array import array
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

from pilotlight_backend import Image, PromptPart
from pilotlight_backend.image import numbers


class Patch(NamedTuple):
    """What an encoder makes of an image, or of one of the tiles that an image is cut into."""

    rows: int
    """Vectors, each in the place of a token's."""
    positions: int
    """Positions that they take: as many, but for M-RoPE."""
    columns: int | None = None
    """Vectors in a row of their grid, for M-RoPE."""


Layout: TypeAlias = tuple[tuple[int, ...] | Patch, ...]
"""What becomes of an image: patches, and the tokens that the model wants around them."""


def length(layout: Layout) -> int:
    """Return how many tokens a *layout* takes, vectors included."""
    return sum(one.rows if isinstance(one, Patch) else len(one) for one in layout)


class PatchSpan(NamedTuple):
    """Where a patch is in a prompt: from position *start* up to *end*."""

    start: int
    end: int
    image: Image
    number: int
    """Which one of the image's patches."""
    patch: Patch


class EnginePrompt(NamedTuple):
    """A prompt as numbers, one for each position."""

    tokens: tuple[int, ...]
    spans: tuple[PatchSpan, ...] = ()
    """The patches in it, in order."""


def expand(prompt: Sequence[PromptPart], layout: Callable[[Image], Layout]) -> EnginePrompt:
    """Return *prompt* with the numbers of its images in their places."""
    tokens: list[int] = []
    spans: list[PatchSpan] = []
    for part in prompt:
        if isinstance(part, int):
            tokens.append(part)
            continue
        number = 0
        for piece in layout(part):
            if not isinstance(piece, Patch):
                tokens += piece
                continue
            start = len(tokens)
            tokens += numbers(part.digest, piece.positions, part=number)
            spans.append(PatchSpan(start, len(tokens), part, number, piece))
            number += 1
    return EnginePrompt(tuple(tokens), tuple(spans))


def words(tokens: Sequence[int]) -> list[int]:
    """Return the tokens among *tokens*: those of text."""
    return [token for token in tokens if token >= 0]


def text_at_end(tokens: Sequence[int]) -> Sequence[int]:
    """Return the tokens behind the last image in *tokens*."""
    for index in range(len(tokens) - 1, -1, -1):
        if tokens[index] < 0:
            return tokens[index + 1 :]
    return tokens


def floor(spans: Sequence[PatchSpan], position: int) -> int:
    """Return *position*, or where the patch starts that it is inside of: none is cut in two."""
    for span in spans:
        if span.start < position < span.end:
            return span.start
    return position


def cells(spans: Sequence[PatchSpan], position: int) -> int:
    """Return how many cells of the KV cache the first positions up to *position* take."""
    more = sum(span.patch.rows - span.patch.positions for span in spans if span.end <= position)
    return position + more


class ImageRows(NamedTuple):
    """Some rows of an encoded patch, in a batch."""

    vectors: "array[float]"
    """All vectors of the patch, one behind the other."""
    patch: Patch
    first: int
    """The first of the rows."""
    rows: int

    def positions(self, start: int) -> tuple[Sequence[int], Sequence[int], Sequence[int]]:
        """Return time, row and column of each, if the patch starts at position *start*."""
        rows = range(self.first, self.first + self.rows)
        if self.patch.columns is None:
            one = [start + row for row in rows]
            return one, one, one
        columns = self.patch.columns
        return (
            [start] * self.rows,
            [start + row // columns for row in rows],
            [start + row % columns for row in rows],
        )

"""Images among the numbers of a prompt: where they are, and what they take."""

import pytest

from pilotlight_backend import Image
from pilotlight_llama_cpp.media import (
    ImageRows,
    Patch,
    cells,
    expand,
    floor,
    length,
    text_at_end,
    words,
)

CAT, DOG = (Image.of(1, 1, bytes([shade] * 3)) for shade in (1, 2))
GRID = Patch(rows=12, positions=4, columns=4)
LAYOUT = ((90,), Patch(3, 3), (91, 92), GRID, (93,))


def test_text_alone_is_itself():
    assert expand((1, 2, 3), lambda _: LAYOUT) == ((1, 2, 3), ())


def test_image_is_its_tokens_and_the_numbers_of_its_patches():
    tokens, spans = expand((1, CAT, 2), lambda _: LAYOUT)

    assert [one if one >= 0 else "x" for one in tokens] == [
        1, 90, "x", "x", "x", 91, 92, "x", "x", "x", "x", 93, 2,
    ]  # fmt: skip
    assert [(span.start, span.end, span.number, span.patch) for span in spans] == [
        (2, 5, 0, Patch(3, 3)),
        (7, 11, 1, GRID),
    ]
    assert words(tokens) == [1, 90, 91, 92, 93, 2]
    assert length(LAYOUT) == 1 + 3 + 2 + 12 + 1


def test_numbers_are_those_of_the_pixels():
    one, same, other = (expand((1, image), lambda _: LAYOUT).tokens for image in (CAT, CAT, DOG))
    twice = expand((CAT, CAT), lambda _: (Patch(4, 4),)).tokens

    assert one == same
    assert all(a != b for a, b in zip(one, other, strict=True) if a < 0)
    assert twice[:4] == twice[4:]
    assert all(-(2**31) <= number < 2**31 for number in one)


def test_patches_of_one_image_are_told_apart():
    tokens, _ = expand((CAT,), lambda _: (Patch(2, 2), Patch(2, 2)))

    assert set(tokens[:2]).isdisjoint(tokens[2:])


@pytest.mark.parametrize(
    ("position", "kept"), [(0, 0), (2, 2), (3, 2), (4, 2), (5, 5), (8, 7), (11, 11), (13, 13)]
)
def test_no_patch_is_cut(position, kept):
    _, spans = expand((1, CAT, 2), lambda _: LAYOUT)

    assert floor(spans, position) == kept


@pytest.mark.parametrize(("position", "taken"), [(0, 0), (5, 5), (7, 7), (11, 19), (13, 21)])
def test_a_grid_takes_more_cells_than_positions(position, taken):
    _, spans = expand((1, CAT, 2), lambda _: LAYOUT)

    assert cells(spans, position) == taken


@pytest.mark.parametrize(
    ("tokens", "text"), [([], []), ([1, 2], [1, 2]), ([1, -5, -6, 2, 3], [2, 3]), ([1, -5], [])]
)
def test_text_at_the_end_is_behind_the_last_image(tokens, text):
    assert list(text_at_end(tokens)) == text


def test_rows_of_a_grid_have_time_line_and_column():
    """As `mtmd_image_tokens_get_decoder_pos` has them."""
    rows = ImageRows([], GRID, 2, 4)

    assert rows.positions(100) == ([100] * 4, [100, 100, 101, 101], [102, 103, 100, 101])


def test_rows_without_a_grid_follow_each_other():
    time, line, column = ImageRows([], Patch(9, 9), 2, 4).positions(100)

    assert list(time) == list(line) == list(column) == [102, 103, 104, 105]

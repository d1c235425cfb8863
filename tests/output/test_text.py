"""Bytes become text."""

import random

from pilotlight.output.text import TextDecoder


def decode(pieces):
    decoder = TextDecoder()
    return "".join([*(decoder.feed(piece) for piece in pieces), decoder.flush()])


def bytewise(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def test_plain_text_is_released_at_once():
    """Each piece's text comes with the piece."""
    decoder = TextDecoder()
    assert decoder.feed(b"Hello") == "Hello"
    assert decoder.feed(b", world") == ", world"
    assert decoder.flush() == ""


def test_character_spread_over_pieces_comes_with_its_last_byte():
    """The bytes of one character may be spread over several tokens."""
    decoder = TextDecoder()
    assert [decoder.feed(piece) for piece in bytewise("é🙂".encode())] == [
        "",
        "é",
        "",
        "",
        "",
        "🙂",
    ]


def test_character_cut_by_the_end_becomes_the_replacement_character():
    """A character whose last bytes never came is shown as U+FFFD."""
    assert decode(["🙂".encode()[:3]]) == "\ufffd"


def test_bytes_that_are_not_utf8_are_replaced_as_in_one_decode():
    """Wrong bytes give the same text however they were cut."""
    rng = random.Random(7)  # noqa: S311 a sweep, no secret
    for _ in range(300):
        data = bytes(rng.choice(b"a\xc3\xa9\xe2\x82\xac\xf0\x9f\x99\x82\xff") for _ in range(12))
        assert decode(bytewise(data)) == data.decode(errors="replace")


def test_nul_and_empty_pieces_are_ordinary():
    """A token may stand for nothing, or for a NUL."""
    assert decode([b"", b"a\x00", b"", b"b"]) == "a\x00b"

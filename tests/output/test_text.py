"""Bytes become text, up to a stop string."""

import random

import pytest

from pilotlight.output.text import TextDecoder


def decode(pieces, stops=()):
    decoder = TextDecoder(stops)
    text = "".join([*(decoder.feed(piece) for piece in pieces), decoder.flush()])
    return text, decoder.stopped


def bytewise(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def test_plain_text_is_released_at_once():
    """Without stops, each piece's text comes with the piece."""
    decoder = TextDecoder([])
    assert decoder.feed(b"Hello") == "Hello"
    assert decoder.feed(b", world") == ", world"
    assert decoder.flush() == ""


def test_character_spread_over_pieces_comes_with_its_last_byte():
    """The bytes of one character may be spread over several tokens."""
    decoder = TextDecoder([])
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
    assert decode(["🙂".encode()[:3]]) == ("\ufffd", None)


def test_bytes_that_are_not_utf8_are_replaced_as_in_one_decode():
    """Wrong bytes give the same text however they were cut."""
    rng = random.Random(7)  # noqa: S311 a sweep, no secret
    for _ in range(300):
        data = bytes(rng.choice(b"a\xc3\xa9\xe2\x82\xac\xf0\x9f\x99\x82\xff") for _ in range(12))
        assert decode(bytewise(data))[0] == data.decode(errors="replace")


def test_nul_and_empty_pieces_are_ordinary():
    """A token may stand for nothing, or for a NUL."""
    assert decode([b"", b"a\x00", b"", b"b"], ["c"]) == ("a\x00b", None)


def test_stop_within_one_piece_ends_the_text_before_it():
    """The stop and what follows it are dropped."""
    assert decode([b"one END two"], ["END"]) == ("one ", "END")


@pytest.mark.parametrize("pieces", [[b"one E", b"ND two"], bytewise(b"one END two")])
def test_stop_over_token_boundaries(pieces):
    """A stop may be spread over any number of tokens."""
    assert decode(pieces, ["END"]) == ("one ", "END")


def test_only_the_longest_possible_beginning_is_held_back():
    """What cannot become a stop any more is released with the next piece."""
    decoder = TextDecoder(["\n\nUser:"])
    assert decoder.feed(b"Hi\n") == "Hi"
    assert decoder.feed(b"\n") == ""
    assert decoder.feed(b"\n") == "\n"
    assert decoder.feed(b"Us") == ""
    assert decoder.feed(b"ual") == "\n\nUsual"


def test_beginning_of_a_stop_at_the_end_is_released():
    """Held-back text that never became a stop is text."""
    assert decode([b"wait EN"], ["END"]) == ("wait EN", None)


def test_nothing_follows_a_stop():
    """After a stop, neither feed nor flush gives any text."""
    decoder = TextDecoder(["."])
    assert decoder.feed(b"a. b") == "a"
    assert decoder.feed(b"c") == ""
    assert decoder.flush() == ""
    assert decoder.stopped == "."


def test_stop_that_is_complete_first_wins():
    """A shorter stop within a longer one that goes on ends the text, without waiting."""
    assert decode([b"xabcd"], ["abcd", "bc"]) == ("xa", "bc")
    assert decode([b"xabcd"], ["ab", "abcd"]) == ("x", "ab")


def test_longer_of_two_stops_with_one_end_wins():
    """Of stops that end at the same place, the one that began earlier is dropped whole."""
    assert decode(bytewise(b"xabc"), ["c", "abc", "bc"]) == ("x", "abc")


def test_stop_of_several_bytes_per_character():
    """Stops are text: their characters may be cut too."""
    assert decode(bytewise("süß. Ende".encode()), ["ß."]) == ("sü", "ß.")


def test_stop_may_be_completed_by_the_end():
    """A replacement character that the end makes can complete a stop."""
    assert decode([b"a\xe2"], ["\ufffd"]) == ("a", "\ufffd")


def test_empty_stop_is_refused():
    """An empty stop would end every answer at once."""
    with pytest.raises(ValueError, match="empty"):
        TextDecoder(["a", ""])


def test_any_cutting_gives_the_same_text():
    """Random texts and stops: whole, byte by byte and in random pieces are the same."""
    rng = random.Random(20)  # noqa: S311 a sweep, no secret
    for _ in range(1500):
        data = "".join(rng.choices("abé", k=rng.randint(0, 14))).encode()
        stops = ["".join(rng.choices("abé", k=rng.randint(1, 4))) for _ in range(rng.randint(0, 3))]
        cuts = sorted(rng.choices(range(len(data) + 1), k=3))
        pieces = [data[i:j] for i, j in zip([0, *cuts], [*cuts, len(data)], strict=True)]
        assert decode(bytewise(data), stops) == decode([data], stops) == decode(pieces, stops)

"""Stop strings end an answer where its content has them."""

import itertools
import random

import pytest

from pilotlight.output.events import (
    ContentDelta,
    ReasoningDelta,
    ToolCallArguments,
    ToolCallStart,
)
from pilotlight.output.stops import StopFilter
from pilotlight_backend import Token


def until(pieces, stops):
    """Return what passes of content in *pieces*, and the stop."""
    stopping = StopFilter(stops)
    events = [event for piece in pieces for event in stopping.feed([ContentDelta(piece)])]
    events += stopping.flush()
    assert all(event.text for event in events)
    return "".join(event.text for event in events), stopping.stopped


def test_content_passes_at_once_without_stops():
    """Nothing is copied or held back."""
    events = [ContentDelta("a"), ReasoningDelta("b")]
    assert StopFilter(()).feed(events) is events


@pytest.mark.parametrize("pieces", [["one END two"], ["one E", "ND two"], "one END two"])
def test_stop_ends_the_content_before_it(pieces):
    """A stop may be spread over any number of tokens; it and what follows are dropped."""
    assert until(pieces, ["END"]) == ("one ", "END")


def test_only_the_longest_possible_beginning_is_held_back():
    """What cannot become a stop any more is released with the next piece."""
    stopping = StopFilter(["\n\nUser:"])
    assert stopping.feed([ContentDelta("Hi\n")]) == [ContentDelta("Hi")]
    assert stopping.feed([ContentDelta("\n")]) == []
    assert stopping.feed([ContentDelta("\n")]) == [ContentDelta("\n")]
    assert stopping.feed([ContentDelta("Us")]) == []
    released = stopping.feed([ContentDelta("ual")])
    assert "".join(event.text for event in released) == "\n\nUsual"


def test_beginning_of_a_stop_at_the_end_is_released():
    """Held-back text that never became a stop is text."""
    assert until(["wait EN"], ["END"]) == ("wait EN", None)


def test_nothing_follows_a_stop():
    """After a stop, neither feed nor flush gives anything."""
    stopping = StopFilter(["."])
    assert stopping.feed([ContentDelta("a. b"), ReasoningDelta("x")]) == [ContentDelta("a")]
    assert stopping.feed([ContentDelta("c"), ToolCallStart(0, "c1", "f")]) == []
    assert stopping.flush() == []
    assert stopping.stopped == "."


@pytest.mark.parametrize(
    ("text", "stops", "passed"),
    [
        ("xabcd", ["abcd", "bc"], ("xa", "bc")),
        ("xabcd", ["ab", "abcd"], ("x", "ab")),
        ("xabc", ["c", "abc", "bc"], ("x", "abc")),
        ("süß. Ende", ["ß."], ("sü", "ß.")),
    ],
)
def test_stop_that_is_complete_first_wins(text, stops, passed):
    """A shorter stop within a longer one does not wait; of two with one end, the longer wins."""
    assert until([text], stops) == until(text, stops) == passed


def test_empty_stop_is_refused():
    """An empty stop would end every answer at once."""
    with pytest.raises(ValueError, match="empty"):
        StopFilter(["a", ""])


START, ARGUMENTS = ToolCallStart(0, "c1", "f"), ToolCallArguments(0, '{"a": "END"}')


def test_reasoning_and_calls_are_not_searched():
    """A stop in reasoning, in a name or in arguments has no effect."""
    stopping = StopFilter(["END", "f", "\n"])
    events = [ReasoningDelta("\nEND\n"), START, ARGUMENTS]
    assert stopping.feed(events) == events
    assert stopping.stopped is None


@pytest.mark.parametrize("between", [[ReasoningDelta("hm")], [START, ARGUMENTS]])
def test_stop_over_what_is_not_content(between):
    """Content is one text, and events between its parts stay."""
    stopping = StopFilter(["bc"])
    assert stopping.feed([ContentDelta("ab")]) == [ContentDelta("a")]
    assert stopping.feed(between) == []
    assert stopping.feed([ContentDelta("cd")]) == between
    assert stopping.stopped == "bc"
    assert stopping.flush() == []


def test_events_keep_their_order():
    """What waits behind a beginning of a stop comes behind it, and no later than needed."""
    stopping = StopFilter(["bcd"])
    assert stopping.feed([ContentDelta("ab"), ReasoningDelta("x")]) == [ContentDelta("a")]
    assert stopping.feed([ContentDelta("c"), ReasoningDelta("y")]) == []
    # "bc" cannot be a stop any more, and the second "b" can.
    released = [ContentDelta("b"), ReasoningDelta("x"), ContentDelta("c"), ReasoningDelta("y")]
    assert stopping.feed([ContentDelta("b"), START]) == released
    assert stopping.flush() == [ContentDelta("b"), START]


def test_tokens_stay_with_the_first_part_of_their_content():
    """A delta that is split has its tokens once; those of a stop are dropped."""
    one, two = (Token(id=number, piece=b"x") for number in (1, 2))
    stopping = StopFilter(["END"])
    assert stopping.feed([ContentDelta("a E", (one,))]) == [ContentDelta("a ", (one,))]
    assert stopping.feed([ContentDelta("x", (two,))]) == [
        ContentDelta("E"),
        ContentDelta("x", (two,)),
    ]
    assert stopping.feed([ContentDelta("EN", (one,))]) == []
    assert stopping.feed([ContentDelta("D", (two,))]) == []
    assert stopping.stopped == "END"


def test_any_cutting_gives_the_same_events():
    """Random content, reasoning and calls with random stops, whole and a character at a time."""
    chance = random.Random(20)  # noqa: S311 a sweep, no secret
    for _ in range(1500):
        kinds = [chance.choice("ccr") for _ in range(chance.randint(0, 4))]
        parts = [(kind, "".join(chance.choices("abé", k=chance.randint(1, 6)))) for kind in kinds]
        stops = ["".join(chance.choices("abé", k=chance.randint(1, 4))) for _ in range(2)]
        whole = [delta(kind, text) for kind, text in parts]
        single = [delta(kind, char) for kind, text in parts for char in text]
        assert told(whole, stops) == told(single, stops)
        content = "".join(text for kind, text in parts if kind == "c")
        events, stop = told(whole, stops)
        said = "".join(text for kind, text in events if kind is ContentDelta)
        assert said == until(content, stops)[0]
        assert stop == until(content, stops)[1]


def delta(kind, text):
    return ContentDelta(text) if kind == "c" else ReasoningDelta(text)


def told(events, stops):
    """Return what passes, neighbours of one kind as one; and the stop, up to which all passes."""
    stopping = StopFilter(stops)
    passed = []
    for event in events:
        passed += stopping.feed([event])
        if stopping.stopped is not None:
            break
    passed += stopping.flush()
    merged = [
        (kind, "".join(event.text for event in group))
        for kind, group in itertools.groupby(passed, key=type)
    ]
    return merged, stopping.stopped

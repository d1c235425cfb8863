"""The end of a JSON value is found, however it comes."""

import json
import random

import pytest

from pilotlight.output.json_value import JsonValue


def span(pieces):
    """Return what of *pieces* belongs to the value, and the state after it."""
    value, taken = JsonValue(), ""
    for piece in pieces:
        used = value.feed(piece)
        taken += piece[:used]
        if value.state != "open":
            break
    return taken, value.state


@pytest.mark.parametrize(
    ("text", "taken", "state"),
    [
        ('{"a": [1, {"b": "}]"}]}, x', '{"a": [1, {"b": "}]"}]}', "complete"),
        ('"a\\"b\\\\" x', '"a\\"b\\\\"', "complete"),
        ('"\\u00e9\\\\', '"\\u00e9\\\\', "open"),
        ("[]]", "[]", "complete"),
        ("-1.5e3,", "-1.5e3", "complete"),
        ("null}", "null", "complete"),
        ("12", "12", "open"),
        ('{"a": [1', '{"a": [1', "open"),
        ("{]", "{", "broken"),
        ('[{"a": 1]', '[{"a": 1', "broken"),
        ("'a'", "", "broken"),
        (" 1", "", "broken"),
        ("", "", "open"),
    ],
)
def test_value_ends_where_its_structure_says(text, taken, state):
    """Whole or a character at a time, the value's text and its fate are the same."""
    assert span([text]) == (taken, state)
    assert span(text) == (taken, state)


def test_every_json_document_is_followed_to_its_end():
    """Random documents, with something behind them, end where they end."""
    rng = random.Random(3)  # noqa: S311 a sweep, no secret

    def document(depth):
        kinds = [None, True, -2.5, 'q"\\\n{[', "é", *([[], {}] if depth else [])]
        value = rng.choice(kinds)
        if isinstance(value, list):
            return [document(depth - 1) for _ in range(rng.randint(0, 3))]
        if isinstance(value, dict):
            return {rng.choice('ab"}'): document(depth - 1) for _ in range(rng.randint(0, 3))}
        return value

    for _ in range(300):
        text = json.dumps(document(4), indent=rng.choice([None, 1]))
        assert span(text + "} more") == (text, "complete")

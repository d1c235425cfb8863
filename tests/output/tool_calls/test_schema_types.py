"""Which types a schema allows, and what of them a text is."""

import pytest

from pilotlight.output.tool_calls.schema_types import ALL, converted, parameter_types

NUMBER = {"number", "integer"}


@pytest.mark.parametrize(
    ("schema", "types"),
    [
        ({"type": "string"}, {"string"}),
        ({"type": "number"}, NUMBER),
        ({"type": ["string", "null"]}, {"string", "null"}),
        ({"enum": ["a", 1, None]}, {"string", "integer", "null"}),
        ({"type": "string", "enum": ["a"]}, {"string"}),
        ({"const": 1.5}, {"number"}),
        ({"const": True}, {"boolean"}),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, {"integer", "null"}),
        ({"oneOf": [{"type": "array"}, {"$ref": "#/$defs/o"}]}, {"array", "object"}),
        ({"allOf": [{"type": ["string", "integer"]}, {"type": "integer"}]}, {"integer"}),
        ({"$ref": "#/$defs/a~1b"}, {"boolean"}),
        ({"$ref": "#/$defs/circle"}, ALL),
        ({"$ref": "#/nowhere"}, ALL),
        ({"$ref": "http://else.where/"}, ALL),
        ({"type": 5}, ALL),
        ({"type": [{}, "null"]}, {"null"}),
        ({"allOf": 5, "type": "null"}, {"null"}),
        ({"enum": 5}, ALL),
        ({}, ALL),
        (True, ALL),
    ],
)
def test_types_of_a_parameter(schema, types):
    """Each keyword narrows; what says nothing allows everything."""
    definitions = {
        "o": {"type": "object"},
        "a/b": {"type": "boolean"},
        "circle": {"$ref": "#/$defs/circle"},
    }
    function = {"properties": {"p": schema}, "$defs": definitions}
    assert parameter_types(function, "p") == types


def test_circle_that_branches_is_left_soon():
    """Thirty ways to go in each of sixteen steps are more than anybody could follow."""
    circle = {"anyOf": [{"$ref": "#/$defs/circle"}] * 30}
    function = {"properties": {"p": circle}, "$defs": {"circle": circle}}
    assert parameter_types(function, "p") == ALL


def test_parameter_that_is_not_declared():
    """Additional properties have their schema; without one everything is allowed."""
    assert parameter_types({"additionalProperties": {"type": "integer"}}, "p") == {"integer"}
    assert parameter_types({"properties": {}}, "p") == ALL
    assert parameter_types({"properties": None}, "p") == ALL
    assert parameter_types(None, "p") == ALL


@pytest.mark.parametrize(
    ("text", "types", "value"),
    [
        ("1", {"integer"}, "1"),
        (" 1\n", {"integer"}, "1"),
        ("1.0", {"integer"}, "1.0"),
        ("1.5", {"integer"}, None),
        ("1", NUMBER, "1"),
        ("1", {"number"}, "1"),
        ("1e3", NUMBER, "1e3"),
        ("1e999", NUMBER, "1e999"),
        ("1e999", {"integer"}, None),
        ("[1e999]", {"array"}, "[1e999]"),
        ("1", {"string"}, None),
        ("null", {"string", "null"}, "null"),
        ("None", {"string", "null"}, "null"),
        ("True", {"boolean"}, "true"),
        ("True", ALL, None),
        ("true", ALL, "true"),
        ('{"a": [1]}', {"object"}, '{"a": [1]}'),
        ("{'a': 1}", {"object"}, None),
        ('"a"', ALL, None),
        ("[1", ALL, None),
        ("NaN", ALL, None),
        ("", ALL, None),
        ("[" * 100_000, ALL, None),
    ],
)
def test_text_that_is_json_of_an_allowed_type(text, types, value):
    """Anything else is a string, and so is text between quotes."""
    assert converted(text, frozenset(types)) == value

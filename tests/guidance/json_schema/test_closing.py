"""Which objects are closed against properties that their schema does not list."""

import pytest

from pilotlight.guidance.json_schema.closing import closed, may_close

A = {"type": "object", "properties": {"a": {}}}


@pytest.mark.parametrize(
    "node",
    [
        A,
        A | {"required": ["a"]},
        A | {"minProperties": 1},
        {"properties": {}},
    ],
)
def test_listed_properties_are_all(node):
    """Where nothing else is asked for, there is nothing else."""
    assert closed(node) == node | {"additionalProperties": False}


@pytest.mark.parametrize(
    "node",
    [
        {"type": "object"},
        A | {"additionalProperties": True},
        A | {"additionalProperties": {"type": "string"}},
        A | {"patternProperties": {"^x": {}}},
        A | {"required": ["a", "b"]},
        A | {"minProperties": 2},
        {"type": "string"},
    ],
)
def test_others_that_are_asked_for_stay(node):
    """What the schema says about others holds, and what it needs can come."""
    assert closed(node) == node


@pytest.mark.parametrize(
    ("schema", "may"),
    [
        (A, True),
        (True, True),
        ({"anyOf": [A, {"type": "null"}]}, True),
        ({"properties": {"x": {"$ref": "#/$defs/a"}}, "$defs": {"a": A}}, True),
        ({"allOf": [A, {"properties": {"b": {}}}]}, False),
        (A | {"anyOf": [{"properties": {"b": {}}}]}, False),
        (A | {"$ref": "#/$defs/b", "$defs": {"b": {"properties": {"b": {}}}}}, False),
        ({"items": {"allOf": [A]}}, False),
    ],
)
def test_schemas_that_hold_together_are_left_open(schema, may):
    """Closed each for itself, two schemas of one object would leave none."""
    assert may_close(schema) is may

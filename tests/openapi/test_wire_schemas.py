"""What generators of clients need said of the wire types' schemas."""

from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from msgspec import UNSET, Struct, UnsetType

import pilotlight.server.app  # noqa: F401 - brings every wire type
from pilotlight.api.openapi.wire_schemas import REF, finished, merged, spelled_out
from pilotlight.schema.base import Response


class Asked(Struct, kw_only=True):
    """What is asked."""

    word: str
    size: int | None = None
    kind: str = "plain"
    shared: "Shared | None" = None


class Shared(Struct, kw_only=True):
    """What goes both ways."""

    kind: str = "plain"


class Piece(Struct, kw_only=True):
    """A piece, distinguished by its index.

    It is told
        by its index.
    """

    index: int = 0
    more: "Piece | None" = None


class Sent(Struct, kw_only=True):
    """What is sent."""

    id: str
    kind: str = "sent"
    refusal: None = None
    thought: str | UnsetType = UNSET
    pieces: list[Piece] = []
    shared: Shared | None = None


def components() -> dict[str, Any]:
    schemas, found = msgspec.json.schema_components([Asked, Sent], ref_template=REF)
    return finished(found, requests=schemas[:1], responses=schemas[1:])


def test_what_an_answer_always_has_is_required():
    """A default is written like any other value; what is `UNSET` is not."""
    sent = components()["Sent"]
    assert sent["required"] == ["id", "kind", "refusal", "pieces", "shared"]
    assert sent["properties"]["kind"] == {"type": "string"}
    assert sent["properties"]["refusal"] == {"type": "null"}
    assert msgspec.json.decode(msgspec.json.encode(Sent(id="1"))).keys() == set(sent["required"])


def test_pythons_name_for_a_field_is_not_documented():
    """`async_` goes where `async` is; another name that ends so stays."""
    fields = {"async": {}, "async_": {}, "note_": {}}
    told = spelled_out({"type": "object", "properties": fields})
    assert told["properties"].keys() == {"async", "note_"}


def test_what_an_answer_holds_is_an_answer():
    """Types are reached over lists, unions and themselves."""
    assert components()["Piece"]["required"] == ["index", "more"]


def test_what_a_request_may_leave_out_is_not_required():
    """A default with a meaning stays; null has none."""
    asked = components()["Asked"]
    assert asked["required"] == ["word"]
    assert asked["properties"]["kind"] == {"type": "string", "default": "plain"}
    assert "default" not in asked["properties"]["size"]


def test_a_type_of_both_directions_is_read_as_a_request():
    """Its default may be left out by a client, whatever the server does."""
    assert components()["Shared"]["required"] == []
    assert components()["Shared"]["properties"]["kind"]["default"] == "plain"


@pytest.mark.parametrize(
    ("schema", "spelled"),
    [
        ({"type": "array"}, {"type": "array", "items": {}}),
        ({"type": "array", "items": {"type": "string"}}, None),
        ({"type": "object"}, {"type": "object", "additionalProperties": True}),
        ({"type": "object", "properties": {}}, None),
        ({"type": "object", "additionalProperties": {"type": "string"}}, None),
        ({"type": "null", "default": None}, {"type": "null"}),
        ({"type": "boolean", "default": False}, None),
        (
            {"anyOf": [{"type": "array"}, {"type": "null"}], "default": None},
            {"anyOf": [{"type": "array", "items": {}}, {"type": "null"}]},
        ),
        ({"description": "One.\n\n    Two."}, {"description": "One.\n\nTwo."}),
        # Fields may have the names of keywords.
        ({"type": "object", "properties": {"type": {"type": "array", "items": {}}}}, None),
        ({"type": "object", "properties": {"default": {"type": "null"}}}, None),
    ],
)
def test_what_goes_without_saying_is_said(schema: Any, spelled: Any):
    """Nothing else is touched."""
    assert spelled_out(schema) == (schema if spelled is None else spelled)


def kinds(base: type) -> Iterable[type]:
    for kind in base.__subclasses__():
        yield kind
        yield from kinds(kind)


def test_no_answer_leaves_out_its_defaults():
    """The document says that they are always there; for what may be absent there is `UNSET`."""
    answers = list(kinds(Response))
    assert len(answers) > 10
    for kind in answers:
        assert not kind.__struct_config__.omit_defaults, kind


def test_types_of_one_schema_have_one_name():
    """References and a discriminator's mapping name the type that stands for the other."""
    text = {"type": "object", "properties": {"text": {"type": "string"}}}
    union = {"anyOf": [{"$ref": REF.format(name="Tagged")}], "mapping": REF.format(name="Tagged")}
    found = {
        "Text": {**text, "title": "Text"},
        "Tagged": {**text, "title": "Tagged"},
        "Message": {"properties": {"content": union}},
    }
    components = merged(found, {"Tagged": "Text", "Absent": "Text"})
    assert components == {
        "Text": found["Text"],
        "Message": {
            "properties": {
                "content": {
                    "anyOf": [{"$ref": REF.format(name="Text")}],
                    "mapping": REF.format(name="Text"),
                }
            }
        },
    }


def test_types_of_two_schemas_keep_their_names():
    """A field that only one of them has is never lost from the document."""
    found = {"Text": {"type": "object"}, "Tagged": {"type": "object", "required": ["type"]}}
    with pytest.raises(ValueError, match="the schema of Tagged is not that of Text"):
        merged(found, {"Tagged": "Text"})

"""JSON Schemas that are refused, by the keyword and its place, and those that are taken."""

import json
import re

import jsonschema_rs
import pytest

from pilotlight.guidance import (
    Grammar,
    GrammarInvalid,
    JsonSchema,
    SchemaUnsupported,
    compile_grammar,
)
from pilotlight.guidance.json_schema.drafts import EQUIVALENTS
from tests.guidance.walker import accepts, tokens, walk

TOKENS = tokens()


def guide(schema):
    return compile_grammar(Grammar(content=JsonSchema(schema)), TOKENS)()


@pytest.mark.parametrize(
    ("schema", "keyword", "pointer"),
    [
        ({"unevaluatedProperties": False}, "unevaluatedProperties", "/unevaluatedProperties"),
        ({"properties": {"a/b": {"not": {"const": 1}}}}, "not", "/properties/a~1b/not"),
        (
            {"additionalProperties": {"propertyNames": {"not": {"const": 1}}}},
            "propertyNames",
            "/additionalProperties/propertyNames",
        ),
        (
            {"propertyNames": {"pattern": "a"}, "properties": {"b": True}},
            "propertyNames",
            "/propertyNames",
        ),
        ({"items": [{"if": {}}]}, "if", "/items/0/if"),
        ({"items": {"uniqueItems": True}}, "uniqueItems", "/items/uniqueItems"),
        ({"anyOf": [True, {"if": {}}]}, "if", "/anyOf/1/if"),
        ({"prefixItems": [{"contains": {}}]}, "contains", "/prefixItems/0/contains"),
        (
            {"patternProperties": {"^~": {"dependentRequired": {}}}},
            "dependentRequired",
            "/patternProperties/^~0/dependentRequired",
        ),
        (
            {"$ref": "#/$defs/a%20b", "$defs": {"a b": {"$dynamicRef": "#x"}}},
            "$dynamicRef",
            "/$defs/a%20b/$dynamicRef",
        ),
        ({"$ref": "https://example.com/schema"}, "$ref", "/$ref"),
        ({"$ref": "other.json#/a"}, "$ref", "/$ref"),
        ({"$ref": "#/$defs/none"}, "$ref", "/$ref"),
        ({"$ref": "#/anyOf/x", "anyOf": [True]}, "$ref", "/$ref"),
        ({"type": "string", "format": "binary"}, "format", "/format"),
        ({"format": "binary"}, "format", "/format"),
        ({"exclusiveMinimum": True}, "exclusiveMinimum", "/exclusiveMinimum"),
        ({"type": "object", "minProperties": 2}, "minProperties", "/minProperties"),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "oneOf", "/oneOf"),
        ({"oneOf": [{"enum": ["a", "b"]}, {"const": "b"}]}, "oneOf", "/oneOf"),
        ({"oneOf": [True, {"type": "null"}]}, "oneOf", "/oneOf"),
        ({"oneOf": [{"$ref": "#"}, {"type": "null"}]}, "oneOf", "/oneOf"),
        ({"x-guidance": {"lenient": True}}, "x-guidance", "/x-guidance"),
    ],
)
def test_keyword_that_cannot_be_honoured_is_refused(schema, keyword, pointer):
    """It is named with its place, and nothing is ignored in silence."""
    with pytest.raises(SchemaUnsupported) as caught:
        guide(schema)
    assert (caught.value.keyword, caught.value.pointer) == (keyword, pointer)


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ("string", "a string"),
        (False, "false"),
        (None, "null"),
        ([], "a list"),
        (3, "a number"),
        ({"type": "strin"}, "strin"),
        ({"type": "string", "pattern": "(?=a)"}, "look-ahead"),
        ({"type": "integer", "minimum": 2, "maximum": 1}, "minimum"),
        ({"allOf": [{"type": "string"}, {"type": "null"}]}, "incompatible types"),
        ({"enum": []}, "no value is valid"),
        ({"$ref": 3}, "must be a string"),
        ({"$ref": "#"}, "never end"),
        ({"allOf": 3}, "allOf"),
        ({"oneOf": {}}, "oneOf"),
        ({"properties": []}, "properties"),
        ({"type": "object", "required": [["a"]], "minProperties": 1}, "."),
        ({"minLength": "x"}, "minLength"),
        ({"type": "object", "properties": {"a": True}, "required": [["a"]]}, "required"),
        ({"type": "object", "properties": {"a": True}, "required": 5}, "required"),
        ({"type": "object", "properties": {"a": True}, "minProperties": "x"}, "minProperties"),
        ({"oneOf": [{"type": "null"}], "anyOf": [True], "allOf": 5}, "allOf"),
        ({"anyOf": [True], "$ref": f"#/anyOf/{'9' * 5000}"}, "leads nowhere"),
        ({"const": 10**400}, "out of range"),
        ({"const": "\ud800"}, "cannot be written"),
        ({"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}, "never end"),
    ],
)
def test_what_is_no_schema_is_refused(schema, says):
    """A schema that is none, or that nothing can be valid by, is refused by a reason."""
    with pytest.raises(GrammarInvalid, match=says):
        guide(schema)


def test_schema_that_is_too_large_is_refused():
    """Depth and size are bounded, whatever is in it."""
    deep: dict[str, object] = {}
    for _ in range(5000):
        deep = {"items": deep}
    with pytest.raises(GrammarInvalid, match="more than 64 levels"):
        guide(deep)
    with pytest.raises(GrammarInvalid, match="more than 20000"):
        guide({"enum": [[number] for number in range(30_000)]})
    with pytest.raises(GrammarInvalid, match="at most 131072"):
        guide({"const": "x" * 300_000})


NODE = {"type": "object", "properties": {"next": {"$ref": "#/$defs/next"}}, "required": ["next"]}


@pytest.mark.parametrize(
    "following",
    [
        {"$ref": "#"},
        {"anyOf": [{"$ref": "#"}, {"type": "array", "items": {"$ref": "#"}, "minItems": 1}]},
        {"allOf": [{"description": "x"}, {"$ref": "#"}]},
        {"type": "array", "prefixItems": [True, {"$ref": "#"}], "minItems": 2},
    ],
)
def test_values_without_end_are_refused(following):
    """A type that must hold its own kind is a mistake that a model would pay for."""
    with pytest.raises(GrammarInvalid, match="never end"):
        guide(NODE | {"$defs": {"next": following}})


@pytest.mark.parametrize(
    "following",
    [
        {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
        {"type": "array", "items": {"$ref": "#"}},
        {"type": "array", "prefixItems": [True, {"$ref": "#"}], "minItems": 1},
        {"type": ["null", "object"], "properties": {"next": {"$ref": "#"}}, "required": ["next"]},
        {"type": "object", "properties": {"next": {"$ref": "#"}}},
    ],
)
def test_recursion_that_may_end_is_taken(following):
    """Lists, trees and chains whose last one holds no other are honoured."""
    schema = NODE | {"$defs": {"next": following}}
    for seed in range(10):
        text, ended = walk(guide(schema), seed)
        assert ended
        assert jsonschema_rs.is_valid(schema, json.loads(text))


def test_definition_that_nothing_refers_to_does_no_harm():
    """What cannot be honoured is looked for where an answer can come to it."""
    schema = {"$defs": {"unused": {"not": {}}}, "type": "null"}
    assert accepts(guide(schema), b"null")


def test_data_is_no_schema():
    """In constants, enumerations and names, keywords mean nothing."""
    data = {"not": 1, "format": "date", "uniqueItems": False, "oneOf": []}
    schema = {"properties": {"not": {"const": data}}, "required": ["not"], "type": "object"}
    answer = json.dumps({"not": data}, separators=(",", ":")).encode()
    assert accepts(guide(schema), answer)
    assert accepts(guide({"enum": [data]}), json.dumps(data, separators=(",", ":")).encode())


def test_property_may_be_named_like_a_keyword():
    """A property named `uniqueItems` that must not be there is not forgotten."""
    schema = {"type": "object", "properties": {"uniqueItems": False, "if": {"type": "null"}}}
    assert accepts(guide(schema), b'{"if":null}')
    assert not accepts(guide(schema), b'{"uniqueItems":1}')


def test_what_says_nothing_is_passed_over():
    """Annotations, `uniqueItems` of false and formats of other types restrict nothing."""
    schema = {
        "title": "T",
        "description": "d",
        "default": 1,
        "deprecated": True,
        "x-unknown": {"a": 1},
        "type": "array",
        "uniqueItems": False,
        "items": {"type": "integer", "format": "int32"},
    }
    assert accepts(guide(schema), b"[1,1]")


PETS = {
    "$defs": {
        "Cat": {
            "type": "object",
            "properties": {
                "kind": {"const": "cat"},
                "friends": {"type": "array", "items": {"$ref": "#/$defs/Pet"}},
            },
            "required": ["kind"],
        },
        "Dog": {
            "type": "object",
            "properties": {"kind": {"enum": ["dog", "wolf"]}, "born": {"format": "date"}},
            "required": ["kind"],
            "additionalProperties": False,
        },
        "Pet": {
            "oneOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}],
            "discriminator": {"propertyName": "kind"},
        },
    },
    "$ref": "#/$defs/Pet",
}


def test_union_with_a_tag_is_taken():
    """`oneOf` of types in `$defs` with different constants is supported, and may recur."""
    answer = b'{"kind":"cat","friends":[{"kind":"cat","friends":[]},{"kind":"wolf"}]}'
    assert accepts(guide(PETS), answer)
    assert not accepts(guide(PETS), b'{"kind":"cow"}')


@pytest.mark.parametrize("seed", range(30))
def test_union_with_a_tag_is_valid(seed):
    """Random answers are valid by one of the types alone."""
    text, ended = walk(guide(PETS), seed)
    assert ended
    assert jsonschema_rs.is_valid(PETS, json.loads(text), validate_formats=True)


@pytest.mark.parametrize(
    "options",
    [
        [{"type": "string"}, {"type": ["integer", "null"]}],
        [{"const": "a"}, {"enum": ["b", "c"]}],
        [{"type": "string"}],
        [{"type": "array", "items": {"type": "null"}}, {"type": "string"}, {"type": "boolean"}],
    ],
)
def test_choice_of_types_is_taken(options):
    """`oneOf` is supported if types or texts are disjoint, beside `anyOf` too."""
    both = {"anyOf": [{"type": ["string", "array", "integer"]}], "oneOf": options}
    for schema in ({"oneOf": options}, both):
        for seed in range(10):
            text, ended = walk(guide(schema), seed)
            assert ended
            assert jsonschema_rs.is_valid(schema, json.loads(text))


def test_old_draft_may_have_lists_of_items():
    """A schema that says its draft is read by it."""
    draft = "http://json-schema.org/draft-07/schema#"
    schema = {"$schema": draft, "type": "array", "items": [{"type": "null"}], "minItems": 1}
    assert accepts(guide(schema | {"additionalItems": False}), b"[null]")
    assert not accepts(guide(schema | {"additionalItems": False}), b"[null,1]")
    assert not accepts(guide(schema), b"[1]")


def test_properties_come_in_their_order():
    """An answer's properties are in the schema's order; optional ones may be left out."""
    schema = {
        "type": "object",
        "properties": {name: {"type": "null"} for name in "zam"},
        "required": ["m"],
        "additionalProperties": False,
    }
    assert accepts(guide(schema), b'{"z":null,"m":null}')
    assert not accepts(guide(schema), b'{"m":null,"z":null}')


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("date", ["2024-02-29", "2000-02-29", "1999-12-31"], ["2023-02-29", "1900-02-29"]),
        ("date", ["2023-02-28"], ["2023-02-30", "2023-13-01", "23-01-01"]),
        ("time", ["23:59:59Z", "00:00:00.5+01:00"], ["12:00:60Z", "24:00:00Z", "12:00:00"]),
        ("date-time", ["2024-02-29T12:00:00Z"], ["2023-02-29T12:00:00Z", "2024-01-01"]),
        ("date-time", ["2024-01-01t12:00:00z"], ["2024-01-01T12:00:60Z"]),
        ("email", ["a@b.example"], ["a", "a@-b", "a" * 65 + "@b.example", "a@" + "b" * 64]),
        ("hostname", ["a.example", "a-b"], ["-a", "xn--a", "a" * 64, ".".join(["ab"] * 90)]),
        ("ipv4", ["192.0.2.1"], ["256.0.0.1", "1.2.3"]),
        ("ipv6", ["::1", "2001:db8::"], [":::", "g::"]),
        ("uuid", ["123e4567-e89b-12d3-a456-426614174000"], ["123e4567"]),
        ("duration", ["P1DT2H"], ["P", "1D"]),
        ("uri", ["https://example.com/a?b#c"], ["//", "a b"]),
    ],
)
def test_format_is_as_strict_as_validators_are(kind, good, bad):
    """What a format refuses is not written, beside an expression and lengths too."""
    schema = {"type": ["string", "null"], "format": kind}
    for more in ({}, {"allOf": [{"minLength": 1}]}):
        for text in good:
            assert jsonschema_rs.is_valid(schema, text, validate_formats=True)
            assert accepts(guide(schema | more), json.dumps(text).encode()), text
        for text in bad:
            assert not accepts(guide(schema | more), json.dumps(text).encode()), text
    assert accepts(guide(schema), b"null")


def test_integer_has_an_end():
    """What every reader of JSON holds exactly bounds an integer that has no bounds of its own."""
    most = 2**53 - 1
    for schema in ({"type": "integer"}, {"type": ["integer", "null"], "minimum": -(2**60)}):
        assert accepts(guide(schema), b"%d" % most)
        assert not accepts(guide(schema), b"%d" % (most + 1))
    assert accepts(guide({"type": "integer"}), b"%d" % -most)
    assert not accepts(guide({"type": "integer"}), b"%d" % (-most - 1))
    assert accepts(guide({"type": "integer", "exclusiveMinimum": 5}), b"6")


def test_number_has_an_end():
    """Its bounds are an integer's, and its fraction has nine digits, where it says nothing else."""
    for schema in (
        {"type": "number"},
        {"type": ["integer", "number"]},
        {"type": "number", "minimum": 0},
    ):
        assert accepts(guide(schema), b"3.141592653")
        assert not accepts(guide(schema), b"3.1415926535")
        assert not accepts(guide(schema), b"1" * 30)
    assert accepts(guide({"type": "number", "minimum": 0, "maximum": 1}), b"0.25")


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "number", "minimum": 1e-12, "maximum": 2e-12}, b"0.0000000000015"),
        ({"type": "number", "multipleOf": 0.25}, b"0.75"),
        ({"enum": [0.1234567890123]}, b"0.1234567890123"),
    ],
)
def test_number_that_needs_more_digits_has_them(schema, text):
    """Where nine would leave nothing, or the schema says what it is a multiple of."""
    assert accepts(guide(schema), text)


def test_integer_beyond_that_is_its_schema_s_wish():
    """Bounds of its own are kept, and what leaves nothing within ours is not given them."""
    assert accepts(guide({"type": "integer", "maximum": 2**60}), b"%d" % 2**60)
    assert accepts(guide({"type": "integer", "minimum": 2**60, "maximum": 2**61}), b"%d" % 2**60)
    assert accepts(guide({"type": "integer", "minimum": 2**60}), b"%d" % 2**61)
    with pytest.raises(GrammarInvalid, match="bounds beyond"):
        guide({"type": "integer", "minimum": 2**64})


LARGEST = 2**63 - 1024
"""The largest integer that is a double and has 64 bits with its sign."""


@pytest.mark.parametrize(
    ("least", "most", "good", "bad"),
    [
        (-(2**63), 2**63 - 1, (-LARGEST, 0, LARGEST), (LARGEST + 1, 2**63, -(2**63) - 1)),
        (0, 2**64 - 1, (0, 2**53, LARGEST), (-1, 2**64)),
        (-(2**63), 5, (-LARGEST, 5), (6,)),
        (2**60 + 1, 2**61 - 1, (2**60 + 256, 2**61 - 256), (2**60, 2**61)),
        (-(2**31), 2**31 - 1, (-(2**31), 2**31 - 1), (2**31,)),
    ],
)
def test_bounds_of_integer_types_are_kept(least, most, good, bad):
    """Those of a type, which generators write, are exact as far as doubles are."""
    schema = {"type": "integer", "minimum": least, "maximum": most}
    assert all(accepts(guide(schema), b"%d" % value) for value in good)
    assert not any(accepts(guide(schema), b"%d" % value) for value in bad)


@pytest.mark.parametrize("most", [1e308, 1.7976931348623157e308, 3.4028234663852886e38, 1e18])
def test_bounds_of_number_types_are_kept(most):
    """A double's own range is as good as none."""
    schema = {"type": "number", "minimum": -most, "maximum": most}
    assert accepts(guide(schema), b"-1.25")
    assert accepts(guide(schema), b"%d" % (2**53 - 1))


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"propertyNames": {"type": "string"}}, '{"a":1}', "[]"),
        ({"propertyNames": True, "properties": {"a": {"type": "null"}}}, '{"a":null}', '{"a":1}'),
        ({"propertyNames": {"enum": ["x", "y"]}}, '{"x":1,"y":1}', '{"z":1}'),
        ({"propertyNames": {"$ref": "#/$defs/e"}, "$defs": {"e": {"const": "x"}}}, "{}", '{"y":1}'),
        (
            {"propertyNames": {"anyOf": [{"const": "x"}, {"enum": ["y"]}]}, "required": ["y"]},
            '{"y":1}',
            '{"x":1}',
        ),
        ({"propertyNames": {"pattern": "^[a-c]+$"}}, '{"ab":1}', '{"d":1}'),
        ({"propertyNames": {"minLength": 2}}, '{"ab":1}', '{"d":1}'),
        ({"propertyNames": False}, "{}", '{"d":1}'),
        ({"propertyNames": {"format": "date"}}, '{"2020-02-20":1}', '{"2020-02-40":1}'),
    ],
)
def test_names_of_properties(schema, good, bad):
    """Names that are free, listed, or described by one expression."""
    schema = {"type": "object", "additionalProperties": {"type": "integer"}} | schema
    assert accepts(guide(schema), good.encode())
    assert not accepts(guide(schema), bad.encode())


@pytest.mark.parametrize("draft", [None, "http://json-schema.org/draft-07/schema#"])
def test_tuples_of_older_drafts(draft):
    """`items` of a list is a tuple, whatever `$schema` says or leaves out."""
    schema = {"type": "array", "items": [{"type": "null"}, {"const": 1}], "minItems": 2}
    if draft:
        schema["$schema"] = draft
    assert accepts(guide(schema), b"[null,1]")
    assert accepts(guide(schema), b'[null,1,"x"]')
    assert not accepts(guide(schema), b"[1,null]")
    closed = schema | {"additionalItems": False, "maxItems": 2}
    assert not accepts(guide(closed), b"[null,1,1]")
    items = [{"type": "null"}, {"$ref": "#/properties/a/items/0"}]
    of_itself = {"type": "object", "properties": {"a": {"type": "array", "items": items}}}
    assert accepts(guide(of_itself), b'{"a":[null,null]}')
    assert not accepts(guide(of_itself), b'{"a":[null,1]}')


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "integer", "minimum": 3, "exclusiveMinimum": True}, "4", "3"),
        ({"type": "integer", "maximum": 3, "exclusiveMaximum": False}, "3", "4"),
        ({"type": "object", "properties": {"a": {"not": {}}}}, "{}", '{"a":1}'),
        ({"type": "object", "additionalProperties": {"not": {}}}, "{}", '{"a":1}'),
        ({"oneOf": [{"const": 1}, {"const": True}, {"const": 2}]}, "true", "3"),
        ({"type": "string", "format": "nanoid", "pattern": "^[a-z]$"}, '"a"', '"aa"'),
    ],
)
def test_habits_of_generators(schema, good, bad):
    """What zod, OpenAPI 3.0 and others write in words of their own."""
    assert accepts(guide(schema), good.encode())
    assert not accepts(guide(schema), bad.encode())


EMAIL, DURATION, HOST = EQUIVALENTS


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        (
            EMAIL,
            ("a@b.co", "a.b+c@d-e.fr", "o'k_1@x.y.zz"),
            (".a@b.co", "a..b@b.co", "a@b", "a'@b.co", "a.@b.co"),
        ),
        (
            DURATION,
            ("P1W", "P1Y2M3D", "P3DT4H", "PT1H2M3.5S", "PT3S", "P2M"),
            ("P", "PT", "P1W2D", "P1D1Y", "P1YT"),
        ),
        (HOST, ("a", "a-b.example.org", "A1.b"), ("-a", "a-", ".a", "a..b", "a_b")),
    ],
)
def test_expressions_of_zod_are_kept_without_their_look_ahead(pattern, good, bad):
    """What may be written is what the original matches."""
    for text in good:
        assert re.fullmatch(pattern, text)
        assert accepts(guide({"type": "string", "pattern": pattern}), f'"{text}"'.encode())
    for text in bad:
        assert not re.fullmatch(pattern, text)
        assert not accepts(guide({"type": "string", "pattern": pattern}), f'"{text}"'.encode())


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        (r"^\s$", " ", "\x85\ufeff\u1680x"),
        (r"^\S$", "xé", " \x85\ufeff"),
        (r"^[\s-]$", " -", "\x85\ufeffx"),
        (r"^[^\s/]$", "xé", " /\x85\ufeff"),
        (r"^\\s$", "", " "),
    ],
)
def test_whitespace_is_what_every_validator_takes_for_it(pattern, good, bad):
    """Characters that ECMAScript and Rust do not agree on are not written."""
    for text in good:
        assert accepts(guide({"type": "string", "pattern": pattern}), f'"{text}"'.encode())
    for text in bad:
        assert not accepts(guide({"type": "string", "pattern": pattern}), f'"{text}"'.encode())


@pytest.mark.parametrize(
    ("bounds", "good", "bad"),
    [
        ({"minimum": 2.2250738585072014e-308, "maximum": 1.7e308}, ("1", "0.5"), ("0", "-1")),
        ({"minimum": -1e-300, "maximum": 1}, ("0", "0.5"), ("2", "-1")),
        ({"exclusiveMaximum": -1e-20}, ("-1",), ("0", "1")),
    ],
)
def test_bounds_that_are_nearly_zero(bounds, good, bad):
    """A type's smallest number is no number of digits that a model could write."""
    schema = {"type": "number"} | bounds
    assert all(accepts(guide(schema), text.encode()) for text in good)
    assert not any(accepts(guide(schema), text.encode()) for text in bad)


def test_content_that_is_base64_is():
    """Validators of draft 7 look at it."""
    schema = {"type": "string", "contentEncoding": "base64"}
    assert accepts(guide(schema), b'"YWI="')
    assert not accepts(guide(schema), b'"YWI"')


def test_unknown_format_is_an_annotation_where_nothing_is_strict():
    """As validators read it; strict requests get an error."""
    schema = {"type": "string", "format": "color"}
    made = compile_grammar(Grammar(content=JsonSchema(schema, strict=False)), TOKENS)
    assert accepts(made(), b'"red"')


@pytest.mark.parametrize(
    ("schema", "path", "says"),
    [
        (
            {"properties": {"to": {"type": "string", "pattern": "^(?!x)a+$"}}, "type": "object"},
            ".properties.to.pattern",
            "look-ahead is not supported",
        ),
        (
            {"items": {"anyOf": [{"type": "null"}, {"type": "string", "pattern": "(?<=a)b"}]}},
            ".items.anyOf[1].pattern",
            "look-behind is not supported",
        ),
        (
            {"$ref": "#/$defs/a b", "$defs": {"a b": {"type": "string", "pattern": "(a"}}},
            '.$defs["a b"].pattern',
            "it is not a valid regular expression: unclosed group",
        ),
        (
            {"prefixItems": [{"enum": []}], "minItems": 1, "type": "array"},
            ".prefixItems[0]",
            "no value is valid",
        ),
        ({"type": "string", "pattern": r"\bx"}, ".pattern", "word boundaries"),
    ],
)
def test_fault_that_only_compiling_finds_has_a_place(schema, path, says):
    """The innermost schema and keyword are named, in words that quote no grammar."""
    with pytest.raises(GrammarInvalid, match=re.escape(says)) as caught:
        guide(schema)
    assert caught.value.path.startswith(path)
    assert "lark" not in str(caught.value)

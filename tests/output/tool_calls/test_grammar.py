"""What a format's grammar lets a model write is what its parser reads."""

import itertools
import json
import random

import jsonschema_rs
import llguidance
import pytest

from pilotlight.errors import InvalidRequest
from pilotlight.output.events import ContentDelta, ToolCallArguments, ToolCallStart
from pilotlight.output.text import TextDecoder
from pilotlight.output.tool_calls import FORMATS, Function, ToolCallParser
from tests.output.tool_calls.samples import SAMPLES, SCHEMAS

pytestmark = pytest.mark.slow

END = 256


class Bytes:
    """The smallest vocabulary that spells everything: each byte, and the end."""

    eos_token_id = END
    bos_token_id = None
    tokens = (*(bytes([byte]) for byte in range(256)), b"<end>")
    special_token_ids = (END,)

    def __call__(self, text: bytes) -> list[int]:
        return list(text)


TOKENIZER = llguidance.LLTokenizer(llguidance.TokenizerWrapper(Bytes()), n_vocab=257, slices=[])
FUNCTIONS = [Function(name, schema) for name, schema in SCHEMAS.items()]


def matcher(name, functions=FUNCTIONS, *, parallel=True):
    """Make a matcher of calls in the format *name*."""
    rules = FORMATS[name].grammar(functions, parallel=parallel)
    made = llguidance.LLMatcher(TOKENIZER, "start: tool_calls\n" + rules)
    assert not made.is_error(), made.get_error() + rules
    return made


def accepts(made, text):
    """Whether *text* is a whole match."""
    data = list(text.encode())
    return made.try_consume_tokens(data) == len(data) and made.is_accepting()


ACCEPTED = {
    "harmony": ("one", "in-the-channel", "in-the-role"),
    "gemma4": ("one", "several", "odd-string", "nested"),
    "deepseek_v3": ("one", "several", "unicode"),
    "deepseek_v3_1": ("one", "several", "unicode"),
    "command_a": ("one", "several"),
    "command_r": ("one", "several", "unicode"),
    "mistral": ("one", "unicode"),
    "mistral_v11": ("one", "several", "unicode"),
    "functionary_v3_2": ("one", "several", "one-with-opener", "unicode"),
    "functionary_v3_1": ("one", "several", "unicode"),
    "qwen3_coder": ("one", "several", "odd-string", "nested"),
    "glm4": ("one", "odd-string"),
    "granite": ("one", "unicode", "empty"),
    "phi4_mini": ("one", "several", "unicode"),
    "llama3_json": ("one", "tag", "several", "unicode"),
    "hermes": ("one", "several", "unicode"),
}
"""The calls that the formats' samples write as the models' templates do."""

accepted = pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param(name, SAMPLES[name][case].text, id=f"{name}-{case}")
        for name, cases in ACCEPTED.items()
        for case in cases
    ],
)


def test_every_format_has_a_grammar():
    """No row of the table is without a test."""
    assert ACCEPTED.keys() == FORMATS.keys()


@accepted
def test_sample_call_is_accepted(name, text):
    """What the parser reads in the models' own spelling may be written."""
    # Strings are escaped where they must be alone.
    assert accepts(matcher(name), text.replace("\\u00e9", "é"))


@pytest.mark.parametrize("name", FORMATS)
def test_arguments_are_spaced_as_templates_write_them(name):
    """What is certain need not be sampled then. Command R writes them over several lines."""
    text = SAMPLES[name]["one"].text
    head, spaced, tail = text.rpartition('": ')
    if not spaced:
        pytest.skip("the arguments are not JSON")
    for other in ('":', '":  ', '":\n  ', '" : '):
        assert accepts(matcher(name), head + other + tail) == (name == "command_r"), other


@accepted
def test_other_names_are_rejected(name, text):
    """Only the functions at hand may be called."""
    others = [Function("other", {}), Function("weathers", {}), Function("pin", {})]
    assert not accepts(matcher(name, others), text)


@pytest.mark.parametrize("name", FORMATS)
def test_value_of_a_wrong_type_is_rejected(name):
    """The first call of each format says `"days": 2`; where that is no integer it cannot end."""
    text = SAMPLES[name]["one"].text
    assert accepts(matcher(name), text)
    head, _, tail = text.rpartition("2")
    for wrong in ("true", "[2]", "2.5", "null"):
        assert not accepts(matcher(name), head + wrong + tail)


@pytest.mark.parametrize("name", FORMATS)
def test_missing_argument_is_rejected(name):
    """What a schema requires is written."""
    schema = {"type": "object", "properties": {}, "required": ["n"]}
    schema["properties"] = {"n": {"type": "integer"}}
    made = matcher(name, [Function("ping", schema)])
    empty = {
        "qwen3_coder": "<tool_call>\n<function=ping>\n</function>\n</tool_call>",
        "glm4": "<tool_call>ping\n</tool_call>",
        "gemma4": "<|tool_call>call:ping{}<tool_call|>",
    }
    text = empty.get(name) or SAMPLES[name]["one"].text.replace(
        '{"city": "Bern", "days": 2}', "{}"
    ).replace("weather", "ping")
    assert accepts(matcher(name), text)
    assert not accepts(made, text)


@pytest.mark.parametrize("name", FORMATS)
def test_one_call_is_all_without_parallel(name):
    """A second call needs the client's leave."""
    one, several = SAMPLES[name]["one"].text, SAMPLES[name]["several"].text
    assert accepts(matcher(name, parallel=False), one)
    assert not accepts(matcher(name, parallel=False), several)


ENDINGS = [
    list(ending.encode())
    for ending in ('"', "}", "]", '<|"|>', "\n</parameter>", "</arg_value>", "\n]", "]<")
]
"""Bytes in a row that end something; a model ends what it began sooner than chance does."""


def walk(made, chooser, limit):
    """Write what the mask allows, at random; None where the limit comes first."""
    data = bytearray()
    while len(data) < limit:
        mask = made.compute_bitmask()
        allowed = [token for token in range(257) if mask[token // 8] >> token % 8 & 1]
        if END in allowed and (len(allowed) == 1 or chooser.random() < 0.5):
            return bytes(data)
        ending = chooser.choice(ENDINGS)
        if made.validate_tokens(ending) == len(ending):
            chosen = ending
        else:
            text = [token for token in allowed if token != END]
            chosen = [chooser.choice([token for token in text if token not in b" \t\r\n"] or text)]
        assert made.consume_tokens(chosen)
        data += bytes(chosen)
    return None


def read(name, data):
    """Return the calls in *data*, and the content beside them."""
    numbers = itertools.count()
    decoder = TextDecoder()
    parser = ToolCallParser(name, lambda: f"call_{next(numbers)}", SCHEMAS)
    events = parser.feed(decoder.feed(data)) + parser.feed(decoder.flush()) + parser.flush()
    assert not parser.truncated, data
    calls, content = [], ""
    for event in events:
        match event:
            case ToolCallStart():
                calls.append((event.name, ""))
            case ToolCallArguments():
                calls[event.index] = (calls[event.index][0], calls[event.index][1] + event.text)
            case ContentDelta():
                content += event.text
    return calls, content


@pytest.mark.parametrize("name", FORMATS)
def test_whatever_the_mask_allows_is_read_as_valid_calls(name):
    """Random walks through the grammar end in calls whose arguments fit their schemas."""
    chooser = random.Random(name)  # noqa: S311 -- repeatable
    ended, names = 0, set()
    for _ in range(60):
        data = walk(matcher(name), chooser, 1000)
        if data is None:
            continue
        ended += 1
        calls, content = read(name, data)
        assert calls, data
        assert content == "", data
        for called, arguments in calls:
            names.add(called)
            # Numbers may be larger than a float can say, which is for the function to judge.
            decoded = json.loads(arguments, parse_float=lambda _: 0.5)
            jsonschema_rs.validate(SCHEMAS[called], decoded)
    assert ended > 20
    assert names == SCHEMAS.keys()


@pytest.mark.parametrize("name", FORMATS)
def test_names_that_no_header_can_hold_are_refused(name):
    """A space or a tag in a name would be read as something else."""
    for bad in ("a b", "", "<x>", 'a"'):
        with pytest.raises(InvalidRequest, match="function name") as raised:
            FORMATS[name].grammar([Function(bad, {})], parallel=False)
        assert raised.value.param == "tools"


@pytest.mark.parametrize("name", FORMATS)
def test_grammar_of_no_functions_is_a_mistake(name):
    """Without functions there is nothing to call."""
    with pytest.raises(ValueError, match="needs a function"):
        FORMATS[name].grammar([], parallel=True)


TREE = {
    "type": "object",
    "properties": {"n": {"type": "integer"}, "next": {"$ref": "#/$defs/tree"}},
    "required": ["n"],
    "additionalProperties": False,
}

GEMMA_SCHEMAS = {
    "enum": {"properties": {"a": {"enum": ["x y", 2, None, True, ["é", 1], {"k": "v"}]}}},
    "const": {"properties": {"a": {"const": "only"}}, "required": ["a"]},
    "union": {
        "properties": {"a": {"anyOf": [{"type": "integer"}, {"type": "null"}]}},
        "required": ["a"],
    },
    "types": {"properties": {"a": {"type": ["string", "boolean"]}}, "required": ["a"]},
    "bounds": {
        "properties": {"a": {"type": "integer", "minimum": 3, "maximum": 17}},
        "required": ["a"],
    },
    "list-lengths": {
        "properties": {
            "a": {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 3},
            "b": {"type": "array", "maxItems": 0},
        },
        "required": ["a", "b"],
    },
    "map": {
        "properties": {
            "a": {"type": "object", "additionalProperties": {"type": "boolean"}},
        },
        "required": ["a"],
    },
    "single-all-of": {
        "properties": {"a": {"allOf": [{"type": "boolean"}], "description": "so"}},
        "required": ["a"],
    },
    "recursion": {**TREE, "$defs": {"tree": TREE}},
    "all-optional": {
        "properties": {"a": {"type": "boolean"}, "B": {"type": "null"}, "c": {"type": "integer"}},
    },
    "undeclared-but-required": {"properties": {}, "required": ["z"]},
    "anything": {},
}


@pytest.mark.parametrize("schema", GEMMA_SCHEMAS.values(), ids=GEMMA_SCHEMAS)
def test_schema_is_kept_in_a_syntax_of_its_own(schema):
    """Gemma's rules are made from the schema: whatever they allow fits it."""
    chooser = random.Random(5)  # noqa: S311 -- repeatable
    ended = 0
    for _ in range(30):
        made = matcher("gemma4", [Function("f", schema)], parallel=False)
        data = walk(made, chooser, 500)
        if data is None:
            continue
        ended += 1
        [(called, arguments)], content = read("gemma4", data)
        assert (called, content) == ("f", "")
        jsonschema_rs.validate(
            {"type": "object", **schema}, json.loads(arguments, parse_float=lambda _: 0.5)
        )
    assert ended > 10


@pytest.mark.parametrize(
    ("schema", "fault"),
    [
        ({"properties": {"a": {"type": "string", "pattern": "^a"}}}, "'pattern'"),
        ({"properties": {"a": {"type": "string", "minLength": 2}}}, "'minLength'"),
        ({"properties": {"a": {"not": {"type": "string"}}}}, "'not'"),
        ({"properties": {"a": {"type": "array", "uniqueItems": True}}}, "'uniqueItems'"),
        ({"properties": {"a": {"allOf": [{"type": "null"}, {}]}}}, "'allOf'"),
        ({"properties": {"a": {"$ref": "#/$defs/none"}}}, "'#/\\$defs/none'"),
        ({"properties": {"a": False}}, "False"),
        ({"properties": {"a b": {}}}, "'a b'"),
        ({"properties": {"a": {"const": '<|"|>'}}}, "the value"),
        ({"patternProperties": {"^a": {}}}, "'patternProperties'"),
    ],
)
def test_schema_that_cannot_be_kept_is_refused(schema, fault):
    """Rather no constraint than one that lets wrong arguments through; the error says why."""
    with pytest.raises(InvalidRequest, match=fault) as raised:
        FORMATS["gemma4"].grammar([Function("f", schema)], parallel=False)
    assert "'f'" in raised.value.message


@pytest.mark.parametrize("name", ["qwen3_coder", "glm4"])
def test_tags_hold_enumerations_and_definitions(name):
    """An enumerated string is one of its values; references stay good in a part of a schema."""
    schema = {
        "properties": {
            "unit": {"$ref": "#/$defs/unit"},
            "at": {"type": "array", "items": {"$ref": "#/$defs/number"}},
            "mixed": {"enum": ["x", 2]},
            "maybe": {"type": ["string", "null"]},
        },
        "required": ["unit", "at", "mixed", "undeclared"],
        "$defs": {"unit": {"enum": ["c", "f"]}, "number": {"type": "number"}},
    }
    chooser = random.Random(5)  # noqa: S311 -- repeatable
    ended = 0
    for _ in range(30):
        data = walk(matcher(name, [Function("f", schema)], parallel=False), chooser, 500)
        if data is None:
            continue
        ended += 1
        parser = ToolCallParser(name, lambda: "id", {"f": schema})
        events = parser.feed(data.decode()) + parser.flush()
        text = "".join(e.text for e in events if isinstance(e, ToolCallArguments))
        jsonschema_rs.validate(schema, json.loads(text, parse_float=lambda _: 0.5))
    assert ended > 10


@pytest.mark.parametrize("name", ["qwen3_coder", "glm4"])
def test_parameter_that_no_tag_can_hold_is_refused(name):
    """A bracket in a key would end its tag."""
    with pytest.raises(InvalidRequest, match="'a>b'"):
        FORMATS[name].grammar([Function("f", {"properties": {"a>b": {}}})], parallel=False)


def xml_call(name, text):
    if name == "glm4":
        return f"<tool_call>f\n<arg_key>a</arg_key>\n<arg_value>{text}</arg_value>\n</tool_call>"
    return (
        f"<tool_call>\n<function=f>\n<parameter=a>\n{text}\n</parameter>\n</function>\n</tool_call>"
    )


@pytest.mark.parametrize("name", ["glm4", "qwen3_coder"])
@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"pattern": "^[a-z]{2,3}$"}, ("ab", "abc"), ("a", "abcd", "AB")),
        ({"pattern": r"x\d"}, ("x1", "say x1\nfor"), ("x", "x\u0661")),
        ({"pattern": "a|b"}, ("xa", "b"), ("c",)),
        ({"pattern": r"^/[\w/]+\.py$"}, ("/a/b_c.py",), ("a.py", "/a-b.py")),
        ({"minLength": 2, "maxLength": 3}, ("ab", "</x"), ("a", "abcd")),
        ({"minLength": 1}, ("a" * 99,), ("",)),
        ({"maxLength": 2, "pattern": "^a"}, ("a", "ab"), ("b", "abc")),
    ],
)
def test_text_without_quotes_keeps_to_its_schema(name, schema, good, bad):
    """Its pattern is found in it as validators find it, and it is as long as it may be."""
    made = matcher(
        name, [Function("f", {"properties": {"a": {"type": "string"} | schema}, "required": ["a"]})]
    )
    assert all(accepts(made.deep_copy(), xml_call(name, text)) for text in good)
    assert not any(accepts(made.deep_copy(), xml_call(name, text)) for text in bad)


@pytest.mark.parametrize("name", ["glm4", "qwen3_coder"])
@pytest.mark.parametrize(
    "schema", [{"pattern": "^a|b$"}, {"pattern": r"\bx"}, {"pattern": "(?=a)"}, {"format": "date"}]
)
def test_text_without_quotes_that_cannot_be_kept_is_refused(name, schema):
    """A strict function is not called in another way."""
    parameters = {"properties": {"a": {"type": "string"} | schema}}
    with pytest.raises(InvalidRequest, match=r"not supported .* 'f'"):
        FORMATS[name].grammar([Function("f", parameters, strict=True)], parallel=False)

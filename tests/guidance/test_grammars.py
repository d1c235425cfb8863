"""Each kind of grammar, byte by byte, on a vocabulary without a model."""

import json

import pytest

from pilotlight.guidance import (
    Gbnf,
    Grammar,
    GrammarInvalid,
    JsonObject,
    JsonSchema,
    Lark,
    OneOf,
    Regex,
    compile_grammar,
)
from pilotlight.guidance.guides import GrammarLeft
from tests.guidance.walker import END, PIECES, accepts, allowed, say, tokens, walk

pytestmark = pytest.mark.slow

TOKENS = tokens()


def guides(body):
    return compile_grammar(Grammar(content=body), TOKENS)


PERSON = JsonSchema(
    {
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
        "required": ["name"],
        "additionalProperties": False,
    }
)
ARITHMETIC = Gbnf(
    "root ::= term (op term)*  # sums\n"
    'term ::= [0-9]+ | "(" root ")"\n'
    'op ::= " "? ("+" | "-") " "?\n'
)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (PERSON, '{"name":"Zoë","age":3}'),
        (PERSON, '{"name": "a\\"b\\\\ \\u0001 🦙"}'),
        (PERSON, '{\n    "name": "",\n    "age": 12\n}'),
        (PERSON, '{\r\n\t"name" : "x"\r\n}'),
        (JsonSchema(schema=True), '[null, -1.5e3, {"a": []}]'),
        (JsonSchema({}), '"text"'),
        (JsonSchema({"enum": ["a/b", 1, None]}), '"a/b"'),
        (JsonObject(), '{"any": {"thing": [1, 2]}}'),
        (JsonObject(), "{}"),
        (Regex("[a-z]+/\\d{2}"), "abc/42"),
        (Regex("a\nb"), "a\nb"),
        (Regex("é+|"), "éé"),
        (Regex("é+|"), ""),
        (Regex("<tool_call>.*"), "<tool_call>x"),
        (Lark('start: "a" b\nb: /[0-9]+/ | %json {"type": "null"}'), "anull"),
        (Lark('start: "a" "b"\n%ignore / +/'), "a  b"),
        (ARITHMETIC, "1 + (2-30)"),
        (Gbnf('root ::= "\\u00e9\\x41" [\\u0041-\\u005A] [^\\]"\\n]'), "éAZ["),
        (Gbnf('root ::= "\\\\u0041"'), "\\u0041"),
        (Gbnf('root ::= "a"{2,3} x-y?\nx-y ::= "/"'), "aa/"),
        (OneOf(("yes", "no")), "no"),
        (OneOf(("a", "ab", "abc")), "ab"),
        (OneOf(("", 'é"\\\n\x01</x>')), 'é"\\\n\x01</x>'),
        (OneOf(("", "x")), ""),
    ],
)
def test_text_that_keeps_to_the_grammar_is_allowed(body, text):
    """What the grammar describes may be said, and the answer may end there."""
    assert accepts(guides(body)(), text.encode())


@pytest.mark.parametrize(
    ("body", "text", "good"),
    [
        (PERSON, '{"age":3}', '{"'),
        (PERSON, '{"name":"x","age":-1}', '{"name":"x","age":'),
        (PERSON, '{"name":"x","more":1}', '{"name":"x","'),
        (PERSON, ' {"name":"x"}', ""),
        (PERSON, '{"name":"x"}\n', '{"name":"x"}'),
        (PERSON, '{  "name":"x"}', "{ "),
        (PERSON, '{\n\n"name":"x"}', "{\n"),
        (PERSON, '{"name":"x\n"}', '{"name":"x'),
        (JsonObject(), "[]", ""),
        (Regex("[a-z]+"), "aB", "a"),
        (OneOf(("yes", "no")), "nope", "no"),
        (OneOf(("yes", "no")), "YES", ""),
        (ARITHMETIC, "1 + )", "1 + "),
    ],
)
def test_text_that_leaves_the_grammar_is_refused_where_it_does(body, text, good):
    """The first byte that leads nowhere is refused, and not one before it."""
    assert say(guides(body)(), text.encode()) == len(good)


@pytest.mark.parametrize(
    "body", [PERSON, JsonObject(), Regex("a+"), OneOf(("ab", "b")), ARITHMETIC]
)
def test_unfinished_text_cannot_end(body):
    """No token that ends is allowed before the grammar is complete."""
    assert END not in allowed(guides(body)())
    assert END + 1 not in allowed(guides(body)())


def test_complete_text_can_only_end():
    """Where nothing may follow, the tokens that end are all that is left, and stay so."""
    guide = guides(PERSON)()
    say(guide, b'{"name":"x"}')
    assert allowed(guide) == {END, END + 1}
    guide.accept(END + 1)
    assert allowed(guide) == {END, END + 1}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (Regex("(a"), "unclosed group"),
        (Regex("a(?=b)"), "look-around"),
        (Regex("[b-a]"), "invalid"),
        (Regex("x" * 70_000), "70000 characters"),
        (Regex("\ud800"), "surrogate"),
        (Lark("start: missing"), "missing"),
        (Lark(""), "no start rule"),
        (Lark("start: <think>"), "unknown special token"),
        (Lark("start: start"), "no text matches it"),
        (Lark("start: @elsewhere"), "elsewhere"),
        (Gbnf("root = 1"), "not valid GBNF"),
        (Gbnf("other ::= [a-z]"), "not valid GBNF"),
        (Gbnf('root ::= "\\uD800"'), "not a character"),
        (Gbnf("root ::= " + "(" * 5000), "too deep"),
        (Gbnf("root ::= root"), "no text matches it"),
        (Gbnf("".join(f"r{n} ::= r{n + 1}\n" for n in range(2000))), "2000 rules"),
        (OneOf(()), "choices is empty"),
        (OneOf(("a", "\ud800")), "surrogate"),
        (OneOf(("x" * 40_000, "y" * 40_000)), "80000 characters"),
    ],
)
def test_grammar_that_is_none_is_refused(body, says):
    """A grammar that cannot be read, is too large, or describes no text is refused by a reason."""
    with pytest.raises(GrammarInvalid, match=says):
        guides(body)


def chain_of_types(length, *, lists):
    """Return a schema of types that each hold the next, in lists of lists."""
    types = {f"{length}": {"type": "null"}}
    for number in range(length):
        held = {"$ref": f"#/$defs/{number + 1}"}
        for _ in range(lists):
            held = {"items": held}
        types[f"{number}"] = held
    return {"$defs": types, "$ref": "#/$defs/0"}


@pytest.mark.parametrize(
    "body",
    [
        Regex("((a{1000}){1000}){1000}"),
        Regex("(x+x+)+y"),
        JsonSchema({"type": "string", "minLength": 10**9}),
        JsonSchema({"type": "array", "minItems": 10**12}),
        JsonSchema({"type": "string", "pattern": "^(([a-z])+.)+[A-Z]([a-z])+$"}),
        JsonSchema({"enum": [str(number) for number in range(15_000)]}),
        Gbnf('root ::= ("a"? "a"? "a"? "a"?){0,500}'),
        Gbnf("root ::= r0\n" + "".join(f"r{n} ::= r{n + 1}\n" for n in range(990)) + "r990::=[a]"),
        OneOf(tuple(str(number) for number in range(10_000))),
        Lark("start: r0\n" + "".join(f"r{n}:r{n + 1}\n" for n in range(5000)) + 'r5000:"a"'),
        Lark("start: R0\n" + "".join(f"R{n}:R{n + 1}\n" for n in range(5000)) + 'R5000:"a"'),
        Lark("start: " + "(" * 30_000 + '"a"' + ")" * 30_000),
        Regex("(" * 30_000 + "a" + ")" * 30_000),
        JsonSchema(chain_of_types(2500, lists=1)),
        JsonSchema(chain_of_types(180, lists=60)),
    ],
)
def test_monstrous_grammar_ends_in_a_guide_or_an_error(body):
    """What is meant to be expensive is compiled or refused, and never hangs."""
    try:
        guide = guides(body)()
    except GrammarInvalid:
        return
    assert allowed(guide)


def test_guides_do_not_share_state():
    """Each guide of one compilation begins at the beginning."""
    made = guides(OneOf(("yes", "no")))
    first, second = made(), made()
    say(first, b"ye")
    assert say(second, b"no") == 2
    assert accepts(first, b"s")
    assert accepts(made(), b"yes")


def test_any_spelling_of_a_text_will_do():
    """Tokens of several bytes, of half a character and with the same bytes all count."""
    guide = guides(Regex("A(ab|é🦙)"))()
    same = {token for token, piece in enumerate(PIECES) if piece == b"A"}
    assert len(same) == 3
    assert allowed(guide) == same
    guide.accept(max(same))
    assert {PIECES[token] for token in allowed(guide)} == {b"a", b"ab", b"\xc3", b"\xc3\xa9"}
    guide.accept(PIECES.index(b"\xc3\xa9"))
    assert {PIECES[token] for token in allowed(guide)} == {b"\xf0", b"\xf0\x9f"}
    guide.accept(PIECES.index(b"\xf0\x9f"))
    guide.accept(PIECES.index(b"\xa6\x99"))
    assert allowed(guide) == {END, END + 1}


def test_tokens_without_bytes_are_never_allowed():
    """A token without text could repeat without end; padding beyond the vocabulary too."""
    nothing = {token for token, piece in enumerate(PIECES) if not piece}
    guide = guides(Regex("(?s:.*)"))()
    assert nothing
    assert not allowed(guide, len(PIECES) + 100) & (nothing | set(range(len(PIECES), 999)))


def test_row_that_is_shorter_than_the_vocabulary_is_restricted():
    """A model may score fewer tokens than its tokeniser has."""
    assert allowed(guides(OneOf(("yes", "no")))(), 200) == {ord("y"), ord("n")}


def test_special_token_is_its_text():
    """`<tool_call>` is one token or eleven bytes; the tokens that end are never text."""
    guide = guides(Regex("<tool_call>|<\\|im_end\\|>x"))()
    assert allowed(guide) == {ord("<"), PIECES.index(b"<tool_call>")}


def test_token_that_was_refused_breaks_the_guide():
    """A token that is not allowed raises at once."""
    guide = guides(OneOf(("yes", "no")))()
    with pytest.raises(GrammarLeft):
        guide.accept(ord("x"))


def test_weak_model_cannot_fill_its_output_with_whitespace():
    """Between two parts of JSON there is a space, or a line end with its indentation."""
    guide = guides(PERSON)()
    assert say(guide, b"{" + b" " * 100) == 2
    guide = guides(PERSON)()
    assert say(guide, b"{\n" + b" " * 100) == 2 + 16
    guide = guides(PERSON)()
    assert say(guide, b"{" + b"\n" * 100) == 2


@pytest.mark.parametrize("seed", range(20))
def test_json_object_is_an_object(seed):
    """Whatever is chosen at random, the answer is a JSON object."""
    text, ended = walk(guides(JsonObject())(), seed)
    assert ended
    assert isinstance(json.loads(text), dict)

"""A lazy grammar: free text up to a trigger, across reasoning, content and calls."""

import json

import jsonschema_rs
import numpy as np
import pytest

from pilotlight.guidance import Grammar, LazyGrammar, Reasoning, compile_grammar
from pilotlight.output.reasoning import ReasoningTracker
from pilotlight.output.tool_calls import FORMATS, Function
from pilotlight_backend import Vocabulary
from tests.guidance.walker import END, PIECES, SIZE, allowed, say, tokens

TOKENS = tokens()
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "integer"}},
    "required": ["a"],
    "additionalProperties": False,
}
CALL = '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>'
WRONG = CALL.replace("1", '"x"')


def guide(format_="think", *, opened=False, parallel=True, reasoning=None, schema=SCHEMA):
    rules = FORMATS["hermes"].lazy_grammar(
        [Function("f", schema)], parallel=parallel, closer="</think>"
    )
    watch = lambda: ReasoningTracker(format_, opened=opened)  # noqa: E731
    grammar = Grammar(lazy=LazyGrammar(rules, watch, parallel), reasoning=reasoning)
    return compile_grammar(grammar, TOKENS)()


def ends(made):
    return END in allowed(made)


@pytest.mark.parametrize("text", ["", "Hello, é!", "a < b\n<tool_cal", "{}", "<tool_call"])
def test_text_is_free(text):
    """Whatever is no call may be written, and the answer may end anywhere in it."""
    made = guide()
    assert say(made, text.encode()) == len(text.encode())
    assert ends(made)


@pytest.mark.parametrize("before", ["", "Look. ", "<think>hm</think>\n\n", "\n<think></think>x"])
def test_call_keeps_to_its_schema(before):
    """From the marker on, only what is valid may follow, and the answer ends behind it."""
    made = guide()
    assert say(made, (before + CALL).encode()) == len(before + CALL)
    assert ends(made)
    made = guide()
    assert say(made, (before + WRONG).encode()) == len(before) + WRONG.index('"x"')
    assert not ends(made)


@pytest.mark.parametrize("opened", [True, False])
def test_trigger_in_reasoning_is_no_call(opened):
    """Reasoning is free, whatever it quotes; calls behind it match the schema."""
    made = guide(opened=opened)
    thought = ("" if opened else "<think>") + f"I write {WRONG} and {WRONG}"
    assert say(made, thought.encode()) == len(thought)
    assert ends(made)  # a model may end before its thought does
    rest = f"</think>\n\n{WRONG}"
    assert say(made, rest.encode()) == rest.index('"x"')


def test_reasoning_behind_content_is_text():
    """As the reasoning parser has it: a tag that comes later opens nothing."""
    made = guide()
    text = f"Well. <think>{WRONG}"
    assert say(made, text.encode()) == text.index('"x"')


def test_model_without_reasoning():
    """There every tag is text."""
    made = guide(None)
    text = f"<think>{WRONG}"
    assert say(made, text.encode()) == text.index('"x"')


def test_marker_over_the_edge_of_a_token():
    """A token that ends reasoning and begins a trigger counts as both."""
    pieces = (*PIECES[:-2], b"ink><tool", b"nk><tool_call>[", *PIECES[-2:])
    ending = frozenset({len(pieces) - 1})
    made_of = tokens_of(pieces, ending)
    rules = FORMATS["hermes"].lazy_grammar([Function("f", SCHEMA)], parallel=True, closer="")
    grammar = Grammar(lazy=LazyGrammar(rules, lambda: ReasoningTracker("think", opened=True)))
    made = compile_grammar(grammar, made_of)()
    for byte in b"x</th":
        made.accept(byte)
    made.accept(pieces.index(b"ink><tool"))
    assert say(made, WRONG.removeprefix("<tool").encode()) == WRONG.index('"x"') - len("<tool")
    made = compile_grammar(grammar, made_of)()
    for byte in b"x</thi":
        made.accept(byte)
    # The call would begin with a list, in the same token.
    assert pieces.index(b"nk><tool_call>[") not in allowed(made, len(pieces))


def tokens_of(pieces, ending):
    return type(TOKENS).of(Vocabulary(pieces, ending))


def test_one_call_where_they_are_not_parallel():
    """The answer ends behind the first; else another may follow."""
    made = guide(parallel=False)
    say(made, CALL.encode())
    assert allowed(made) == {END, END + 1}
    made = guide()
    assert say(made, f"{CALL}\n{CALL} and {CALL}".encode()) == 3 * len(CALL) + 6
    assert say(made, b" So.\n" + WRONG.encode()) == len(" So.\n") + WRONG.index('"x"')


def test_thinking_has_a_budget_beside_calls():
    """The reasoning is closed, and the calls behind it match their schema."""
    reasoning = Reasoning(
        opener="<think>", closer="</think>", opened=True, budget=3, closing=tuple(b"</think>")
    )
    made = guide(opened=True, reasoning=reasoning)
    for byte in b"abc":
        made.accept(byte)
    assert say(made, b"</think>") == len("</think>")
    assert say(made, WRONG.encode()) == WRONG.index('"x"')


@pytest.mark.parametrize("seed", range(40))
def test_calls_chosen_by_chance_are_valid(seed):
    """Whatever a model writes: if it begins a call, the call is valid."""
    schema = {
        "type": "object",
        "properties": {
            "place": {"enum": ["NYC", "LA"]},
            "days": {"type": "integer", "minimum": 1, "maximum": 9},
            "why": {"type": "string", "maxLength": 4, "pattern": "^[a-z]*$"},
        },
        "required": ["place", "days"],
    }
    made = guide(schema=schema, parallel=False)
    chance = np.random.default_rng(seed)
    text = b"<tool_call>"
    say(made, text)
    for _ in range(2000):
        logits = chance.normal(0, 2, SIZE).astype(np.float32)
        logits[[*b'"}],']] += 6
        made.restrict(logits)
        token = int(logits.argmax())
        made.accept(token)
        if token in (END, END + 1):
            break
        text += PIECES[token]
    value = json.loads(text.decode().removeprefix("<tool_call>").removesuffix("</tool_call>"))
    assert value["name"] == "f"
    assert jsonschema_rs.is_valid(schema, value["arguments"])

"""Reasoning before the content: free, then the grammar; and its budget."""

import random

import numpy as np
import pytest

from pilotlight.guidance import Grammar, JsonObject, OneOf, Reasoning, Regex, compile_grammar
from tests.guidance.walker import END, PIECES, VOCABULARY, accepts, allowed, say, tokens, walk

TOKENS = tokens()
CLOSE = PIECES.index(b"</think>")
ANSWER = OneOf(("yes", "no"))
LINES = (ord("\n"), CLOSE, ord("\n"), ord("\n"))


def guides(body, *, opened=True, **fields):
    thought = Reasoning(opener="<think>", closer="</think>", opened=opened, **fields)
    return compile_grammar(Grammar(content=body, reasoning=thought), TOKENS)


def spellings(text, rounds):
    """Yield ways to spell *text* in tokens, at random."""
    chance = random.Random(7)  # noqa: S311 - a test's seed is no secret
    words = {piece: token for token, piece in enumerate(PIECES) if piece and token < END}
    for _ in range(rounds):
        spelled, at = [], 0
        while at < len(text):
            piece = chance.choice([word for word in words if text.startswith(word, at)])
            spelled.append(words[piece])
            at += len(piece)
        yield spelled


THOUGHTS = [
    (True, "Hm, </thin and > {no} 🦙</think>\n\nyes"),
    (True, "</think>yes"),
    (True, "<think>again</think> yes"),
    (False, "<think>\nwell</think>\n\nyes"),
    (False, "\n<think></think>yes"),
    (False, "yes"),
]


@pytest.mark.parametrize(("opened", "text"), THOUGHTS)
def test_reasoning_is_free_in_any_spelling(opened, text):
    """Markers may be cut anywhere, and one token may hold a marker's end and the answer's start."""
    made = guides(ANSWER, opened=opened)
    for spelled in spellings(text.encode(), 60):
        guide = made()
        for token in spelled:
            assert token in allowed(guide), PIECES[token]
            guide.accept(token)
        assert allowed(guide) == {END, END + 1}


@pytest.mark.parametrize(
    ("opened", "text", "good"),
    [
        (True, "Hm</think>maybe", "Hm</think>"),
        (True, "</think>\n\nyes!", "</think>\n\nyes"),
        (True, "</think>" + "\n" * 20 + "yes", "</think>" + "\n" * 8),
        (False, "<think>Hm</think>maybe", "<think>Hm</think>"),
        (False, "maybe", ""),
        (False, "<thanks", "<th"),
        (False, "yes<think>", "yes"),
    ],
)
def test_content_behind_reasoning_matches_the_grammar(opened, text, good):
    """What follows the first closer is the body, after a little whitespace at the most."""
    assert say(guides(ANSWER, opened=opened)(), text.encode()) == len(good)


def test_open_reasoning_cannot_end_the_output():
    """A model that would stop while it thinks owes its answer yet."""
    guide = guides(ANSWER)()
    say(guide, b"I know")
    assert not allowed(guide) & VOCABULARY.ends


def test_token_beyond_the_content_is_refused():
    """If a token ends the reasoning, its rest must begin the body."""
    guide = guides(ANSWER)()
    say(guide, b"</thi")
    found = allowed(guide)
    assert {PIECES.index(b"nk>"), PIECES.index(b"nk>\n\nyes")} <= found
    say(guide, b"n")
    assert PIECES.index(b"k>{") not in allowed(guide)
    guide = guides(JsonObject())()
    say(guide, b"</thin")
    assert PIECES.index(b"k>{") in allowed(guide)


@pytest.mark.parametrize("budget", [0, 1, 5])
def test_spent_budget_closes_the_reasoning(budget):
    """After so many tokens the closing ones come, one by one, and then the body."""
    guide = guides(ANSWER, budget=budget, closing=LINES)()
    assert say(guide, b"x" * 10) == budget
    for token in LINES:
        assert allowed(guide) == {token}
        guide.accept(token)
    assert accepts(guide, b"yes")


def test_reasoning_that_ends_in_time_is_left_alone():
    """A budget that is not spent changes nothing, and the answer is not counted."""
    guide = guides(Regex("[a-z ]+"), budget=12, closing=LINES)()
    text = b"ok</think>an answer longer than the budget"
    assert accepts(guide, text)


def test_budget_counts_from_the_opener():
    """If the model opens the reasoning, its tokens count from there."""
    guide = guides(ANSWER, opened=False, budget=2, closing=(CLOSE,))()
    assert say(guide, b"\n<think>abc") == len(b"\n<think>ab")
    assert allowed(guide) == {CLOSE}


def test_content_at_once_has_no_reasoning_to_close():
    """A model that does not think is not made to close what it never opened."""
    guide = guides(Regex("[a-z<]+"), opened=False, budget=2, closing=(CLOSE,))()
    assert say(guide, b"<thxabcdef") == len(b"<thxabcdef")


def test_budget_never_cuts_a_character():
    """Reasoning within a character gets its last bytes first."""
    guide = guides(ANSWER, budget=1, closing=(CLOSE,))()
    llama = "🦙".encode()
    assert say(guide, llama + b"x") == len(llama)
    assert allowed(guide) == {CLOSE}


def test_budget_is_kept_without_a_grammar():
    """Without a grammar content is free, and the reasoning ends all the same."""
    guide = guides(None, budget=3, closing=LINES)()
    assert say(guide, b"abcd") == 3
    for token in LINES:
        assert allowed(guide) == {token}
        guide.accept(token)
    assert allowed(guide) == set(range(len(PIECES)))
    say(guide, b"<think> may think again, unbudgeted")
    assert allowed(guide) == set(range(len(PIECES)))


def test_own_closer_split_over_tokens_is_seen():
    """A budget does not close reasoning twice."""
    guide = guides(None, budget=8, closing=(CLOSE,))()
    for token in (ord("a"), PIECES.index(b"</thi"), PIECES.index(b"nk>\n\nyes")):
        guide.accept(token)
    assert say(guide, b"a long answer, freely") == 21


def test_forced_token_that_the_model_holds_for_impossible_comes():
    """A score of minus infinity, or of none, is no way out of a budget."""
    for score in (-np.inf, np.nan):
        guide = guides(None, budget=0, closing=(CLOSE,))()
        logits = np.full(len(PIECES), score, dtype=np.float32)
        guide.restrict(logits)
        assert np.flatnonzero(np.isfinite(logits)).tolist() == [CLOSE]


def test_choices_have_a_budget_each():
    """The guides of one compilation count for themselves."""
    made = guides(ANSWER, budget=2, closing=(CLOSE,))
    first, second = made(), made()
    assert say(first, b"abc") == 2
    assert say(second, b"abc") == 2


def test_closing_that_does_not_close_is_a_mistake():
    """Tokens that do not spell the closer would never end the reasoning."""
    with pytest.raises(ValueError, match="</think>"):
        guides(ANSWER, budget=1, closing=(ord("x"),))
    with pytest.raises(ValueError, match="</think>"):
        guides(None, budget=1)


def test_markers_are_text_whatever_is_in_them():
    """A marker with quotes, slashes and signs of expressions is looked for as it is."""
    thought = Reasoning(opener='<|"a/.*">', closer='\\n"]/+ final', opened=False)
    made = compile_grammar(Grammar(content=ANSWER, reasoning=thought), TOKENS)
    assert accepts(made(), b'<|"a/.*">x\n"]/\\n"]/+ final no')
    assert not accepts(made(), b'<|"a/xx">x\\n"]/+ final no')


@pytest.mark.parametrize("seed", range(20))
def test_output_with_a_budget_ends(seed):
    """Whatever is chosen at random, reasoning and content end."""
    guide = guides(JsonObject(), budget=20, closing=LINES)()
    text, ended = walk(guide, seed)
    assert ended
    assert text.count(b"</think>") >= 1

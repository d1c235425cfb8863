"""Contexts that grow, with sliding windows and recurrent states: answers do not depend on it."""

from typing import NamedTuple

import pytest

from pilotlight_backend import LoadOptions, PromptCacheOptions, Token
from pilotlight_llama_cpp import context_lengths, whole_states
from pilotlight_llama_cpp.backend import LlamaCppBackend
from tests.backends.answer import GREEDY, Answer

pytestmark = pytest.mark.slow

SHORT, FULL = 256, 1024
"""Cells of a slot; the families' window has 128."""
WINDOWS = ("gemma3", "gpt-oss", "llama4", "gemma4")
STATES = ("qwen35", "lfm2", "falcon-h1")


@pytest.fixture
def load(monkeypatch, family):
    engines = []

    def load(architecture, *, short, **options):
        monkeypatch.setattr(context_lengths, "SHORT", short)
        backend = LlamaCppBackend()
        facts = backend.probe(family(architecture))
        wanted = LoadOptions(**{"parallel": 3, "chunk": 64, "context_length": FULL, **options})
        engines.append(backend.load(facts, wanted, lambda _: None))
        return engines[-1]

    yield load
    for engine in engines:
        engine.close()


def length(engine):
    return engine._context._context.length


def prompt(first, count):
    return [3 + (first + 7 * index * index) % 500 for index in range(count)]


def ask(engine, tokens, max_tokens=4, **options):
    return Answer(
        engine,
        tokens,
        max_tokens=max_tokens,
        ignore_eos=True,
        sampling=GREEDY,
        logprobs=2,
        **options,
    )


class Told(NamedTuple):
    """A response: tokens, each with the log probabilities of the likeliest, and what was cached."""

    tokens: list
    candidates: list
    cached: int


def told(one):
    usage, tokens = one.last.usage, [event for event in one.events if isinstance(event, Token)]
    return Told(
        [token.id for token in tokens], [token.candidates for token in tokens], usage.cached_tokens
    )


def converse(engine):
    """Grow in the middle of two responses beside an idle slot, then cut back and continue slots."""
    long, idle = prompt(1, 180), prompt(2, 230)
    responses = [told(ask(engine, idle))]
    both = ask(engine, long, 120), ask(engine, prompt(3, 40), 140)
    responses += map(told, both)
    # Far before the window of the idle slot, and before that of the long response.
    responses.append(told(ask(engine, [*idle[:60], *prompt(5, 20)])))
    responses.append(told(ask(engine, [*long, *responses[1].tokens, *prompt(4, 9)], 8)))
    responses.append(told(ask(engine, [*long[:100], *prompt(6, 9)], 8)))
    return responses


def both_lengths(load, architecture, **options):
    """Return an engine whose context grows, and one whose context does not."""
    growing = load(architecture, short=SHORT, **options)
    full = load(architecture, short=FULL, **options)
    assert (length(growing), length(full)) == (SHORT, FULL)
    return growing, full


@pytest.mark.parametrize(
    "options", [{}, {"deterministic": True}, {"cache_type_k": "q8_0"}], ids=str
)
@pytest.mark.parametrize("architecture", WINDOWS)
def test_window_is_moved_whole(load, architecture, options):
    """Log probabilities are the same to the bit, and as much is cached where slots are cut back."""
    growing, full = both_lengths(load, architecture, **options)
    assert (told_of := converse(growing)) == converse(full)
    assert length(growing) > SHORT
    assert [one.cached for one in told_of[3:]] == [60, 299, 100]


@pytest.mark.parametrize("deterministic", [False, True], ids=["", "deterministic"])
@pytest.mark.parametrize("architecture", STATES)
def test_recurrent_state_is_moved(load, architecture, deterministic):
    """It can be continued, and cut back to its checkpoints, as in a context of full length."""
    growing, full = both_lengths(load, architecture, deterministic=deterministic)
    assert (told_of := converse(growing)) == converse(full)
    assert length(growing) > SHORT
    assert told_of[4].cached == 299


@pytest.mark.parametrize("architecture", ["gemma3", "lfm2", "qwen3"])
def test_copies_of_a_prompt_are_made_where_the_context_grows(load, architecture):
    """Requests that share a prompt read it once, and need the longer context at their first token.

    A recurrent state is copied with the checkpoint before the prompt's last token.
    """
    shared, told_of = prompt(1, SHORT - 1), []
    engines = both_lengths(load, architecture)
    for engine in engines:
        answers = [ask(engine, shared, 40, shares_prompt=True) for _ in range(3)]
        told_of.append([told(one) for one in answers])
    assert told_of[0] == told_of[1]
    assert [one.cached for one in told_of[0]] == [0, SHORT - 2, SHORT - 2]


@pytest.mark.parametrize("architecture", ["gemma3", "qwen35"])
def test_cancelled_prompts_leave_what_was_there(load, architecture):
    """One is cancelled in the prefill that needs the longer context; its slot is used again."""
    engine = load(architecture, short=SHORT)
    fresh = load(architecture, short=FULL)
    held = prompt(1, 150)
    first = told(ask(engine, held))
    long = ask(engine, [*held, *first.tokens, *prompt(2, 500)], 100)
    beside = ask(engine, prompt(3, 100), 60)
    long.ticket.cancel()
    assert long.last.reason == "cancelled"
    assert told(beside).candidates == told(ask(fresh, prompt(3, 100), 60)).candidates
    again = told(ask(engine, [*held[:20], *prompt(4, 400)], 30))
    assert again.candidates == told(ask(fresh, [*held[:20], *prompt(4, 400)], 30)).candidates


@pytest.mark.parametrize("architecture", ["gemma3", "llama4", "lfm2"])
def test_state_of_a_short_context_is_put_into_a_long_one(load, architecture, tmp_path):
    """A stored prompt is continued after a restart as that of a context of full length is."""
    held, told_of = prompt(1, 200), []
    for short in (SHORT, FULL):
        cache = PromptCacheOptions(storage=str(tmp_path / str(short)))
        before = load(architecture, short=short, prompt_cache=cache)
        first = told(ask(before, held))
        assert length(before) == short
        before.save_prompts(30.0)
        before.close()
        after = load(architecture, short=FULL, prompt_cache=cache)
        told_of.append(told(ask(after, [*held, *first.tokens, *prompt(2, 300)], 20)))
    assert told_of[0] == told_of[1]
    assert told_of[0].cached == 203


def test_state_that_has_another_layout_keeps_the_full_length(load, monkeypatch):
    """Found out at the load, and not when a conversation needs the longer context."""
    monkeypatch.setattr(whole_states, "_MAGIC", 1)
    assert length(load("gemma3", short=SHORT)) == FULL


def test_unified_cache_of_a_window_keeps_the_full_length(load):
    """Its cells are those of all slots, in one stream."""
    assert length(load("gemma3", short=SHORT, kv_unified=True)) == FULL
    assert length(load("qwen3", short=SHORT, kv_unified=True)) == SHORT


def test_recurrent_model_has_no_keys_and_values_that_could_be_shorter(load):
    assert length(load("mamba2", short=SHORT)) == FULL

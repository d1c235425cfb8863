"""What every engine does with values and moments, on a real model of each backend's."""

import threading
from pathlib import Path

import pytest

from pilotlight_backend import (
    Backend,
    ContextLengthExceeded,
    EngineClosed,
    Failed,
    Finish,
    GenerateRequest,
    GuideFailed,
    InvalidParameter,
    LoadOptions,
    SamplingParams,
    Started,
    Token,
)
from pilotlight_llama_cpp.backend import LlamaCppBackend
from pilotlight_onnx.backend import OnnxBackend
from tests.backends.answer import DEADLINE, GREEDY, Answer, prompt_of

pytestmark = pytest.mark.slow

OUTSIDE = 1_000_000
"""A token that no vocabulary here has."""


class Model:
    """A model and the backend that loads it."""

    def __init__(self, backend: Backend, path: Path) -> None:
        self._backend = backend
        self.facts = backend.probe(path)

    def load(self, progress=lambda _progress: None, **options):
        options = LoadOptions(deterministic=True, **options)
        return self._backend.load(self.facts, options, progress)


@pytest.fixture(scope="module", params=["llama_cpp", "onnx"])
def model(request):
    """Return a small model of each backend's."""
    if request.param == "llama_cpp":
        return Model(LlamaCppBackend(), request.getfixturevalue("exact_model"))
    backend = OnnxBackend()
    return Model(backend, backend.embedded())


@pytest.fixture(scope="module")
def engine(model):
    engine = model.load(parallel=8, chunk=32, context_length=512)
    yield engine
    engine.close()


def test_answer_spells_its_tokens(engine):
    """Each token comes with its bytes, and the tokens of a text spell the text."""
    text = "hello <|im_end|> wörld"
    ids = engine.tokenize(text, special=True)
    assert ids != engine.tokenize(text, special=False)
    answer = Answer(engine, ids, max_tokens=5, sampling=GREEDY)
    assert len(answer.tokens) == 5
    assert all(event.piece for event in answer.events if isinstance(event, Token))


def test_text_of_any_kind_is_tokenized(engine):
    """Nothing, a zero byte, half a surrogate pair and a long text are all texts."""
    assert engine.tokenize("", special=True) == []
    assert len(engine.tokenize("a\0b", special=True)) == 3
    assert engine.tokenize("\ud800", special=True)
    assert engine.tokenize("text " * 10_000, special=True)


def test_reused_prefix_gives_the_same_tokens(model):
    """What is not evaluated again is as good as what is."""
    engine = model.load(parallel=2)
    first = Answer(engine, prompt_of(1), sampling=GREEDY)
    turns = [*prompt_of(1), *first.tokens, *prompt_of(2, 10)]
    second = Answer(engine, turns, sampling=GREEDY)
    assert second.last.usage.cached_tokens == 40 + 23
    assert second.events[0] == Started(len(turns), 40 + 23)
    engine.close()
    fresh = model.load(parallel=2)
    assert Answer(fresh, turns, sampling=GREEDY).tokens == second.tokens
    fresh.close()


def test_seed_repeats_an_answer_among_others(engine):
    """The same seed gives the same tokens, alone and in company; another seed gives others."""
    sampling = SamplingParams(temperature=1.5, top_k=50, top_p=0.95, seed=11)
    alone = Answer(engine, prompt_of(1), sampling=sampling).tokens
    company = [Answer(engine, prompt_of(n)) for n in range(2, 6)]
    assert Answer(engine, prompt_of(1), sampling=sampling).tokens == alone
    other = SamplingParams(temperature=1.5, top_k=50, top_p=0.95, seed=12)
    assert Answer(engine, prompt_of(1), sampling=other).tokens != alone
    assert all(answer.tokens for answer in company)


def test_without_a_seed_answers_differ(engine):
    """No seed draws one each time."""
    answers = [Answer(engine, prompt_of(1), sampling=SamplingParams()).tokens for _ in range(3)]
    assert len({tuple(tokens) for tokens in answers}) > 1


@pytest.mark.parametrize("seed", [0, -1, 2**32 - 1, 2**63, 2**64 + 5])
def test_any_integer_is_a_seed(engine, seed):
    """Seeds of any size repeat, the one that llama.cpp reads as "draw one" included."""
    sampling = SamplingParams(seed=seed)
    first, second = (Answer(engine, prompt_of(1), sampling=sampling).tokens for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    "sampling",
    [
        SamplingParams(temperature=5.0, top_k=1),
        SamplingParams(temperature=5.0, top_p=0.0),
        SamplingParams(temperature=5.0, min_p=1.0),
        SamplingParams(temperature=0.0, top_k=40, top_p=0.5, min_p=0.1),
        SamplingParams(temperature=1e-6),
    ],
)
def test_stages_that_leave_one_token_are_greedy(engine, sampling):
    """Each stage that narrows the choice does so, before chance has a say."""
    greedy = Answer(engine, prompt_of(1), sampling=GREEDY).tokens
    assert Answer(engine, prompt_of(1), sampling=sampling).tokens == greedy


def test_logit_bias_forces_and_forbids(engine):
    """A bias comes before all other stages, greedy choice included."""
    forced = SamplingParams(temperature=0.0, logit_bias={123: 100.0})
    assert set(Answer(engine, prompt_of(1), sampling=forced).tokens) == {123}
    favourite = Answer(engine, prompt_of(1), max_tokens=1, sampling=GREEDY).tokens[0]
    forbidden = SamplingParams(temperature=0.0, logit_bias={favourite: -100.0})
    assert favourite not in Answer(engine, prompt_of(1), sampling=forbidden).tokens


@pytest.mark.parametrize(
    "penalty",
    [{"presence_penalty": 50.0}, {"frequency_penalty": 50.0}, {"repeat_penalty": 1e6}],
)
def test_penalties_see_the_prompt_and_the_answer(engine, penalty):
    """With a heavy penalty nothing is said twice, and nothing the prompt's end said."""
    prompt = prompt_of(1)
    answer = Answer(engine, prompt, sampling=SamplingParams(temperature=0.0, **penalty)).tokens
    assert len(set(answer)) == len(answer)
    assert not set(answer) & set(prompt)


def test_stop_token_ends_the_answer(engine):
    """A stop token is counted and not emitted."""
    tokens = Answer(engine, prompt_of(1), sampling=GREEDY).tokens
    stop = tokens[5]
    answer = Answer(engine, prompt_of(1), sampling=GREEDY, stop_token_ids=frozenset({stop}))
    cut = tokens.index(stop)
    assert answer.tokens == tokens[:cut]
    assert answer.last.reason == "stop"
    assert answer.last.usage.completion_tokens == cut + 1


def test_end_of_generation_token_ends_the_answer(engine):
    """The model's own end stops, and is never chosen where the request ignores it."""
    (end,) = engine.tokenize("<|im_end|>", special=True)
    sampling = SamplingParams(temperature=0.0, logit_bias={end: 100.0})
    ended = Answer(engine, prompt_of(1), sampling=sampling, ignore_eos=False)
    assert (ended.tokens, ended.last.reason) == ([], "stop")
    past = Answer(engine, prompt_of(1), sampling=sampling, max_tokens=3)
    assert len(past.tokens) == 3
    assert end not in past.tokens


def test_context_end_is_the_length(model):
    """Prompt and answer together fill the context, to the token, and then end."""
    engine = model.load(context_length=50, parallel=2)
    assert engine.facts.context_length == 50
    for length in (1, 40, 49):
        answer = Answer(engine, prompt_of(1, length), max_tokens=1000, sampling=GREEDY)
        assert len(answer.tokens) == 50 - length
        assert answer.last.reason == "length"
    engine.close()


@pytest.mark.parametrize("length", [512, 513, 5000])
def test_prompt_that_fills_the_context_is_refused(engine, length):
    """A prompt that leaves no room for an answer is refused at once, with both figures."""
    with pytest.raises(ContextLengthExceeded) as caught:
        Answer(engine, prompt_of(1, length))
    assert (caught.value.prompt_tokens, caught.value.context_length) == (length, 512)


@pytest.mark.parametrize(
    ("param", "fields"),
    [
        ("prompt", {"prompt": []}),
        ("prompt", {"prompt": [1, OUTSIDE]}),
        ("prompt", {"prompt": [-1]}),
        ("max_tokens", {"max_tokens": 0}),
        ("stop_token_ids", {"stop_token_ids": frozenset({OUTSIDE})}),
        ("stop_token_ids", {"stop_token_ids": frozenset({-1})}),
        ("temperature", {"temperature": -0.1}),
        ("temperature", {"temperature": float("nan")}),
        ("temperature", {"temperature": float("inf")}),
        ("top_k", {"top_k": -1}),
        ("top_k", {"top_k": 2**31}),
        ("top_p", {"top_p": 1.1}),
        ("top_p", {"top_p": -0.1}),
        ("min_p", {"min_p": float("nan")}),
        ("presence_penalty", {"presence_penalty": float("inf")}),
        ("frequency_penalty", {"frequency_penalty": float("nan")}),
        ("repeat_penalty", {"repeat_penalty": 0.0}),
        ("repeat_last_n", {"repeat_last_n": -2}),
        ("repeat_last_n", {"repeat_last_n": 2**31}),
        ("min_tokens", {"min_tokens": 5}),
        ("min_tokens", {"min_tokens": -1}),
        ("top_n_sigma", {"top_n_sigma": float("nan")}),
        ("typical_p", {"typical_p": 1.01}),
        ("xtc_probability", {"xtc_probability": -0.1}),
        ("xtc_threshold", {"xtc_threshold": float("inf")}),
        ("dynatemp_range", {"dynatemp_range": -0.5}),
        ("dynatemp_exponent", {"dynatemp_exponent": float("nan")}),
        ("mirostat", {"mirostat": 3}),
        ("mirostat_tau", {"mirostat_tau": -1.0}),
        ("mirostat_eta", {"mirostat_eta": float("inf")}),
        ("dry_multiplier", {"dry_multiplier": -1.0}),
        ("dry_base", {"dry_base": 0.5}),
        ("dry_allowed_length", {"dry_allowed_length": -1}),
        ("dry_penalty_last_n", {"dry_penalty_last_n": -2}),
        ("dry_sequence_breakers", {"dry_sequence_breakers": ("",)}),
        ("dry_sequence_breakers", {"dry_sequence_breakers": ("a\0b",)}),
        ("dry_sequence_breakers", {"dry_sequence_breakers": ("é" * 21,)}),
        ("logit_bias", {"logit_bias": {OUTSIDE: 1.0}}),
        ("logit_bias", {"logit_bias": {-1: 1.0}}),
        ("logit_bias", {"logit_bias": {1: float("-inf")}}),
    ],
)
def test_value_out_of_range_is_refused_by_name(engine, param, fields):
    """What llama.cpp would take for something else, or die of, never reaches it."""
    request = {"prompt": [1], "max_tokens": 4, "stop_token_ids": frozenset()} | fields
    sampling = {
        name: request.pop(name) for name in fields if name not in GenerateRequest.__struct_fields__
    }
    with pytest.raises(InvalidParameter) as caught:
        Answer(engine, sampling=SamplingParams(**sampling), **request)
    assert caught.value.param == param


def test_cancel_frees_the_slot_for_who_waits(model):
    """With one slot, the next request runs as soon as the first is cancelled."""
    engine = model.load(parallel=1)
    first = Answer(engine, [1], max_tokens=500)
    second = Answer(engine, [2], max_tokens=3)
    while not isinstance(first.next(), Token):
        pass
    first.ticket.cancel()
    assert first.last.reason == "cancelled"
    assert len(second.tokens) == 3
    assert first.last.usage.completion_tokens == sum(
        isinstance(event, Token) for event in first.events
    )
    engine.close()


def test_two_hundred_requests_leave_no_slot_behind(engine):
    """Finished, stopped and cancelled ones alike."""
    answers = [Answer(engine, prompt_of(n, n % 60 + 1), max_tokens=n % 8 + 1) for n in range(200)]
    for answer in answers[::7]:
        answer.ticket.cancel()
    assert all(isinstance(answer.last, Finish) for answer in answers)
    stats = engine.stats()
    assert (stats.slots_busy, stats.queued) == (0, 0)
    assert stats.kv_tokens <= stats.kv_capacity


def test_close_during_work(model):
    """Who runs and who waits hears it; afterwards nothing is accepted, and closing is a no-op."""
    engine = model.load(parallel=2)
    answers = [Answer(engine, prompt_of(n), max_tokens=400) for n in range(6)]
    while not isinstance(answers[0].next(), Token):
        pass
    engine.close()
    ends = [answer.last for answer in answers]
    assert all(isinstance(end.error, EngineClosed) for end in ends[2:])
    engine.close()
    with pytest.raises(EngineClosed):
        Answer(engine, [1])
    assert engine.stats().slots_busy == 0


def test_close_from_a_listener(model):
    """Closed on its own thread, the engine ends without waiting for itself."""
    engine = model.load()
    closed = threading.Event()

    def hear(event):
        if isinstance(event, Token):
            engine.close()
        if isinstance(event, Failed):
            closed.set()

    engine.submit(GenerateRequest(prompt=(1,), max_tokens=100, ignore_eos=True), hear)
    assert closed.wait(DEADLINE)
    engine.close()


def test_tokenize_after_close(model):
    """A closed engine refuses to tokenise; it does not crash the process."""
    engine = model.load()
    engine.close()
    with pytest.raises(EngineClosed):
        engine.tokenize("a", special=True)


def test_progress_tells_all_phases(model):
    """Bytes are read, then the model is loaded, then warmed; the bytes never go back."""
    heard = []
    model.load(heard.append).close()
    phases = [progress.phase for progress in heard]
    assert list(dict.fromkeys(phases)) == ["read", "load", "warm"]
    counts = [progress.bytes_read for progress in heard]
    assert counts == sorted(counts)
    assert counts[-1] == heard[0].bytes_total == model.facts.size_bytes


@pytest.mark.parametrize("phase", ["read", "load", "warm"])
def test_progress_that_raises_ends_the_load(model, phase):
    """In each phase; what it raises passes through, and the next load works."""

    class Unwanted(Exception):
        pass

    def progress(now):
        if now.phase == phase:
            raise Unwanted

    threads = threading.active_count()
    with pytest.raises(Unwanted):
        model.load(progress)
    assert threading.active_count() == threads
    model.load().close()


class BrokenGuide:
    """Has no opinion on its first tokens, then raises."""

    def __init__(self, *, after):
        self.left = after

    def restrict(self, logits):
        pass

    def accept(self, token):
        if not self.left:
            raise ArithmeticError(f"no rule for token {token}")
        self.left -= 1


def test_prompt_is_kept_where_its_guide_broke(model):
    """A guide's fault is not the cache's: the same prompt continues its cached tokens."""
    engine = model.load(parallel=1)
    broken = Answer(engine, prompt_of(3), sampling=GREEDY, guide=BrokenGuide(after=2))
    assert isinstance(broken.last, Failed)
    assert isinstance(broken.last.error, GuideFailed)
    assert "ArithmeticError" in str(broken.last.error)
    again = Answer(engine, prompt_of(3), sampling=GREEDY)
    assert again.last.usage.cached_tokens >= 38  # the last tokens are evaluated in any case
    heard = [event.id for event in broken.events if isinstance(event, Token)]
    assert heard == again.tokens[:2]
    engine.close()

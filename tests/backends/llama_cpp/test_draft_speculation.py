"""A draft model beside a real, small model: the same completions in fewer steps.

A model is its own draft: the two agree. It is as slow as itself, so that nothing would be drafted;
the times are replaced.
"""

import shutil
import threading

import pytest

from pilotlight_backend import LoadFailed, LoadOptions, SamplingParams, Token
from pilotlight_llama_cpp import context_lengths
from pilotlight_llama_cpp.backend import LlamaCppBackend
from pilotlight_llama_cpp.draft_load import difference
from tests.backends.answer import GREEDY, Answer, prompt_of
from tests.backends.llama_cpp.made_up_times import Free, Quick
from tests.backends.llama_cpp.test_speculation import SAMPLERS, heard


def load(path, draft, **options):
    backend = LlamaCppBackend()
    options = {"parallel": 4, "context_length": 512, "chunk": 64, "threads": 1, **options}
    options = LoadOptions(
        speculation="draft" if draft else "none", draft_model=draft, draft_max=8, **options
    )
    engine = backend.load(backend.probe(path), options, lambda _: None)
    if draft:
        drafts = engine._thread._drafts
        drafts._drafting._times, drafts._model.times = Free(), Quick()
    return engine


@pytest.fixture(scope="module")
def engine(exact_model):
    engine = load(exact_model, exact_model)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def plain(exact_model):
    engine = load(exact_model, None)
    yield engine
    engine.close()


@pytest.mark.parametrize("name", ["greedy", "sampled", "penalties", "mirostat"])
def test_completions_are_those_of_the_model_alone(engine, plain, name):
    """With Q8_0 weights and flash attention tokens and log probabilities are equal to the bit."""
    for prompt in (prompt_of(1, 30), prompt_of(2, 150)):
        answers = [
            Answer(one, prompt, max_tokens=40, sampling=SAMPLERS[name], logprobs=2)
            for one in (plain, engine)
        ]
        assert heard(answers[0]) == heard(answers[1])


def test_models_that_agree_take_few_steps(exact_model):
    """A greedy completion is what its own draft says: nearly each token is accepted."""
    engine = load(exact_model, exact_model)
    answer = Answer(engine, prompt_of(3), max_tokens=90, sampling=GREEDY)
    assert len(answer.tokens) == 90
    usage, stats = answer.last.usage, engine.stats()
    engine.close()
    assert usage.accepted_tokens >= 0.9 * usage.drafted_tokens > 50
    assert stats.steps < 40


def test_eight_streams_with_a_cancel(exact_model):
    """All draft in the same batches; one is cancelled, and its slot is used again."""
    told = []
    for draft in (None, exact_model):
        engine = load(exact_model, draft, parallel=8)
        cancelled = Answer(engine, prompt_of(50), max_tokens=400, sampling=GREEDY)
        answers = [
            Answer(
                engine,
                prompt_of(seed, 20 + 9 * seed),
                max_tokens=30,
                sampling=GREEDY if seed % 2 else SamplingParams(seed=seed),
            )
            for seed in range(8)
        ]
        cancelled.ticket.cancel()
        told.append([answer.tokens for answer in answers])
        assert cancelled.last.reason == "cancelled"
        accepted = engine.stats().accepted_tokens
        engine.close()
    assert told[0] == told[1]
    assert accepted > 0


def test_choices_and_the_next_turn(engine, plain):
    """With `n` each choice drafts in its slot; a conversation goes on where the slots are."""
    told = []
    for one in (plain, engine):
        choices = [
            Answer(
                one,
                prompt_of(7, 100),
                max_tokens=20,
                shares_prompt=True,
                sampling=SamplingParams(seed=seed),
            )
            for seed in range(3)
        ]
        told.append([choice.tokens for choice in choices])
        turn = [*prompt_of(7, 100), *told[-1][0], 3, 4]
        told[-1].append(Answer(one, turn, max_tokens=20, sampling=GREEDY).tokens)
    assert told[0] == told[1]


def test_choices_read_their_prompt_once(exact_model, monkeypatch):
    """The draft model copies it from one slot to the others."""
    engine = load(exact_model, exact_model)
    model, read = engine._thread._drafts._model, []
    evaluate = model._evaluate
    monkeypatch.setattr(
        model,
        "_evaluate",
        lambda runs: (read.extend(len(run.tokens) for run in runs), evaluate(runs))[1],
    )
    choices = [
        Answer(
            engine,
            prompt_of(7, 200),
            max_tokens=40,
            shares_prompt=True,
            sampling=SamplingParams(seed=seed),
        )
        for seed in range(4)
    ]
    told = [choice.tokens for choice in choices]
    assert len({*map(tuple, told)}) == 4
    assert all(choice.last.usage.drafted_tokens for choice in choices)
    assert sum(count for count in read if count > 20) < 300
    plain = load(exact_model, None)
    assert [
        Answer(plain, prompt_of(7, 200), max_tokens=40, sampling=SamplingParams(seed=seed)).tokens
        for seed in range(4)
    ] == told
    engine.close()
    plain.close()


def test_draft_model_starts_short_and_grows(exact_model, plain, monkeypatch):
    """Nothing changes in a completion over which both contexts grow."""
    monkeypatch.setattr(context_lengths, "SHORT", 256)
    engine = load(exact_model, exact_model)
    context = engine._thread._drafts._model._context
    assert context.room == 256
    told = [
        Answer(one, prompt_of(6, 150), max_tokens=200, sampling=GREEDY).tokens
        for one in (plain, engine)
    ]
    assert told[0] == told[1]
    assert context.room == 512
    assert engine.stats().accepted_tokens > 110  # 106 tokens fit into the short one
    engine.close()


@pytest.mark.slow
def test_draft_model_with_a_window_grows_with_its_model(family, monkeypatch):
    """Drafts are accepted on both sides of the move, so refused ones are cut from its slots."""
    monkeypatch.setattr(context_lengths, "SHORT", 256)
    engine = load(family("gemma3"), family("gemma3"))
    contexts = engine._context, engine._thread._drafts._model._context
    assert [context.room for context in contexts] == [256, 256]
    answer = Answer(engine, prompt_of(6, 150), max_tokens=200, sampling=GREEDY)
    assert len(answer.tokens) == 200
    assert [context.room for context in contexts] == [512, 512]
    assert engine.stats().accepted_tokens > 110  # 106 tokens fit into the short ones
    engine.close()


def test_forgotten_prompts_are_read_again(engine, plain):
    """Also the draft model's slots are emptied, and the answer stays the same."""
    first = Answer(engine, prompt_of(8), max_tokens=10, sampling=GREEDY).tokens
    engine.clear_prompts()
    model = engine._thread._drafts._model
    assert not any(model._read)
    assert Answer(engine, prompt_of(8), max_tokens=10, sampling=GREEDY).tokens == first
    assert Answer(plain, prompt_of(8), max_tokens=10, sampling=GREEDY).tokens == first


def test_context_that_ends_inside_a_draft(engine):
    """The completion has exactly the rest of the context."""
    answer = Answer(engine, prompt_of(9, 500), max_tokens=100, sampling=GREEDY)
    assert len(answer.tokens) == engine.facts.context_length - 500
    assert answer.last.reason == "length"


def test_draft_model_that_is_no_faster_costs_its_first_credit(exact_model):
    """With its real times a model that drafts for itself stops, and the completion goes on."""
    engine = load(exact_model, exact_model)
    drafts = engine._thread._drafts
    drafts._model.times = Free()  # a token of the draft takes as long as one of the model
    answer = Answer(engine, prompt_of(3), max_tokens=60, sampling=GREEDY)
    assert len(answer.tokens) == 60
    assert engine.stats().drafts < 10
    engine.close()


def test_closing_leaves_no_thread(exact_model):
    """Contexts and models are freed with the engine, in the middle of a completion."""
    threads = threading.active_count()
    engine = load(exact_model, exact_model)
    answer = Answer(engine, prompt_of(5), max_tokens=400, sampling=GREEDY)
    while not isinstance(answer.next(), Token):
        pass
    engine.close()
    assert answer.last is not None
    assert threading.active_count() == threads


def test_other_vocabulary_is_refused(exact_model, model_path):
    """The load names the first token that differs, or the sizes."""
    with pytest.raises(
        LoadFailed, match=r"draft_model: .* has another vocabulary than .*: it (has|is)|its token"
    ):
        load(exact_model, _other(exact_model, model_path))


def _other(path, model_path):
    backend = LlamaCppBackend()
    embedded = backend.embedded()
    return model_path if embedded is None or path.samefile(embedded) else embedded


class Texts:
    """The vocabulary of a model."""

    def __init__(self, texts, vocabulary_type=2):
        self.vocabulary_type, self.vocabulary_size = vocabulary_type, len(texts)
        self.texts = lambda: iter(texts)


@pytest.mark.parametrize(
    ("texts", "kind", "reason"),
    [
        ([b"a", b"b", b"c"], 2, ""),
        ([b"a", b"b", b"c", *[b"unused"] * 128], 2, ""),
        ([b"a", b"b"], 2, ""),
        ([b"a", b"\xff", b"c"], 2, "its token 1 is '\ufffd', and not 'b'"),
        ([b"a", b"b", b"c", *[b"more"] * 129], 2, "it has 132 tokens, and not 3"),
        ([b"a", b"b", b"c"], 1, "it is of another type"),
    ],
    ids=["same", "filled up", "fewer", "text", "size", "type"],
)
def test_vocabularies_are_compared(texts, kind, reason):
    """By type, size and the texts of the tokens that both have."""
    assert difference(Texts([b"a", b"b", b"c"]), Texts(texts, kind)) == reason


@pytest.mark.parametrize("architecture", ["mamba", "lfm2"])
def test_recurrent_draft_is_refused(family, exact_model, architecture):
    """Refused tokens cannot be removed from it."""
    with pytest.raises(LoadFailed, match=r"draft_model: .* has a recurrent state"):
        load(exact_model, family(architecture))


def test_recurrent_model_has_no_drafts(family, caplog):
    """Its draft model is not loaded; a warning says why."""
    engine = load_plainly(family("mamba"), family("mamba"))
    assert "speculation is off: the model has a recurrent state" in caplog.text
    assert len(Answer(engine, prompt_of(1), max_tokens=5, sampling=GREEDY).tokens) == 5
    engine.close()


def load_plainly(path, draft):
    backend = LlamaCppBackend()
    options = LoadOptions(
        parallel=1, context_length=256, threads=1, speculation="draft", draft_model=draft
    )
    return backend.load(backend.probe(path), options, lambda _: None)


def test_what_is_no_draft_model_is_refused(exact_model, tmp_path):
    """Each error names the option."""
    with pytest.raises(LoadFailed, match=r"draft_model: there is no file .*none\.gguf"):
        load_plainly(exact_model, tmp_path / "none.gguf")
    text = tmp_path / "text.gguf"
    text.write_text("no model")
    with pytest.raises(LoadFailed, match=r"draft_model: .*text\.gguf"):
        load_plainly(exact_model, text)
    with pytest.raises(LoadFailed, match="speculation is draft and draft_model is not set"):
        load_plainly(exact_model, None)
    cut = tmp_path / "cut.gguf"
    shutil.copyfile(exact_model, cut)
    with cut.open("r+b") as file:
        file.truncate(exact_model.stat().st_size // 2)
    with pytest.raises(LoadFailed, match=r"draft_model: .*cut\.gguf"):
        load_plainly(exact_model, cut)

"""What was evaluated once is not evaluated again, and changes no token: on each kind of model."""

import random
import threading

import pytest

from pilotlight_backend import (
    Failed,
    Finish,
    GenerateRequest,
    LoadOptions,
    PromptCacheOptions,
    SamplingParams,
    Started,
    Token,
)
from pilotlight_llama_cpp.backend import LlamaCppBackend

pytestmark = pytest.mark.slow

KINDS = {
    "full attention": "qwen3",
    "window": "gemma3",
    "window with sinks": "gpt-oss",
    "hybrid": "qwen35",
    "hybrid of convolutions": "lfm2",
    "hybrid in each layer": "falcon-h1",
    "recurrent": "mamba",
    "recurrent without keys": "rwkv7",
}


class Answer:
    """One request, and what came of it."""

    def __init__(self, engine, prompt, *, tokens=6, **options):
        self.cached = None
        self.tokens = []
        self.last = None
        self._ended = threading.Event()
        engine.submit(
            GenerateRequest(
                prompt=tuple(prompt),
                max_tokens=tokens,
                sampling=SamplingParams(temperature=0.0),
                ignore_eos=True,
                **options,
            ),
            self._hear,
        )

    def _hear(self, event):
        match event:
            case Started():
                self.cached = event.cached_tokens
            case Token():
                self.tokens.append(event.id)
            case Finish() | Failed():
                self.last = event
                self._ended.set()

    def wait(self):
        assert self._ended.wait(60)
        assert isinstance(self.last, Finish), self.last
        return self


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def path(family, kind):
    return family(KINDS[kind])


@pytest.fixture
def load(path):
    """Return a function that loads the model, with 2 slots."""
    engines = []

    def make(**options):
        backend = LlamaCppBackend()
        options = LoadOptions(parallel=2, context_length=1024, deterministic=True, **options)
        engine = backend.load(backend.probe(path), options, lambda _: None)
        engines.append(engine)
        return engine

    yield make
    for engine in engines:
        engine.close()


class Chat:
    """Conversations of random tokens, with turns as ChatML has them."""

    def __init__(self, engine, seed=0):
        (self.start,) = engine.tokenize("<|im_start|>", special=True)
        (self.end,) = engine.tokenize("<|im_end|>", special=True)
        self._chance = random.Random(seed)  # noqa: S311 - cases, the same each time

    def turn(self, length):
        text = [self._chance.randrange(20, 250) for _ in range(length)]
        return [self.start, *text, self.end]


def test_a_conversation_reads_its_last_turn_alone(load):
    """Though the template leaves the reasoning out of earlier answers."""
    engine = load()
    chat = Chat(engine)
    history = chat.turn(90)
    earlier = 0
    for _ in range(4):
        history += chat.turn(40)
        prompt = [*history, chat.start]
        answer = Answer(engine, prompt, tokens=10).wait()
        assert answer.cached >= earlier - 8
        earlier = len(prompt)
        history += [chat.start, *answer.tokens[5:], chat.end]


def test_conversations_under_one_system_prompt_part_behind_it(load):
    engine = load()
    chat = Chat(engine)
    system = chat.turn(100)
    Answer(engine, [*system, *chat.turn(30), chat.start]).wait()
    second = Answer(engine, [*system, *chat.turn(30), chat.start]).wait()
    assert second.cached >= len(system)


def test_a_shared_prompt_is_read_once(load):
    engine = load()
    chat = Chat(engine)
    prompt = [*chat.turn(200), chat.start]
    answers = [Answer(engine, prompt, shares_prompt=True) for _ in range(3)]
    tokens = [answer.wait().tokens for answer in answers]
    assert tokens[0] == tokens[1] == tokens[2]
    assert engine.stats().prompt_tokens <= len(prompt) + 3


def test_more_conversations_than_slots_keep_their_history(load):
    engine = load(prompt_cache=PromptCacheOptions(memory_bytes=100_000_000))
    chat = Chat(engine)
    histories = [chat.turn(150) for _ in range(5)]
    for round_ in range(3):
        for history in histories:
            history.extend(chat.turn(20))
            answer = Answer(engine, [*history, chat.start]).wait()
            if round_:
                assert answer.cached >= len(history) - 40
            history.extend([chat.start, *answer.tokens, chat.end])
    assert engine.stats().prompt_cache.memory_hits > 0


def test_a_system_prompt_outlives_the_slots(load):
    """A conversation under it that comes after others took the slots evaluates its own turn."""
    engine = load(prompt_cache=PromptCacheOptions(memory_bytes=100_000_000))
    chat = Chat(engine)
    system = chat.turn(100)
    Answer(engine, [*system, *chat.turn(30), *chat.turn(30), chat.start]).wait()
    for _ in range(3):
        Answer(engine, [*chat.turn(150), chat.start]).wait()
    answer = Answer(engine, [*system, *chat.turn(30), chat.start]).wait()
    assert answer.cached >= len(system)


def test_another_scope_finds_nothing(load):
    engine = load(prompt_cache=PromptCacheOptions(memory_bytes=100_000_000))
    chat = Chat(engine)
    prompt = [*chat.turn(200), chat.start]
    others = [[*chat.turn(200), chat.start] for _ in range(2)]
    Answer(engine, prompt, scope="a").wait()
    assert Answer(engine, prompt, scope="b").wait().cached == 0
    for other in others:
        Answer(engine, other, scope="c").wait()
    assert Answer(engine, prompt, scope="b2").wait().cached == 0
    assert Answer(engine, prompt, scope="a").wait().cached > 100


def test_forgotten_prompts_are_evaluated_again(load, tmp_path):
    options = PromptCacheOptions(memory_bytes=100_000_000, storage=str(tmp_path))
    engine = load(prompt_cache=options)
    chat = Chat(engine)
    prompt = [*chat.turn(200), chat.start]
    Answer(engine, prompt, scope="a").wait()
    Answer(engine, prompt, scope="b").wait()
    engine.save_prompts(30)
    assert len(list(tmp_path.iterdir())) == 2
    engine.clear_prompts("a")
    assert Answer(engine, prompt, scope="a").wait().cached == 0
    assert Answer(engine, prompt, scope="b").wait().cached > 100


def test_any_branch_has_the_tokens_of_a_fresh_start(load, tmp_path, kind):
    """Prompts continue, repeat and cut earlier ones; the engine is loaded anew now and then."""
    options = PromptCacheOptions(memory_bytes=5_000_000, storage=str(tmp_path))
    engine, fresh = load(prompt_cache=options), load()
    chat = Chat(engine)
    chance = random.Random(kind)  # noqa: S311
    histories = [chat.turn(150)]
    cached = total = 0
    for round_ in range(12):
        history = chance.choice(histories)
        if chance.random() < 0.3:
            history = history[: chance.randrange(len(history))]
        prompt = [*history, *chat.turn(chance.randrange(5, 40)), chat.start][:900]
        fresh.clear_prompts()
        answer = Answer(engine, prompt).wait()
        expected = Answer(fresh, prompt).wait()
        assert expected.cached == 0
        assert answer.tokens == expected.tokens
        cached += answer.cached
        total += len(prompt)
        histories.append([*prompt, *answer.tokens[2:], chat.end])
        if round_ % 4 == 3:
            engine.save_prompts(30)
            engine.close()
            engine = load(prompt_cache=options)
    assert cached > total // 4  # a recurrent state alone is larger than the memory


def test_the_next_process_finds_the_conversation(load, tmp_path):
    options = PromptCacheOptions(storage=str(tmp_path))
    first = load(prompt_cache=options)
    chat = Chat(first)
    prompt = [*chat.turn(200), chat.start]
    answer = Answer(first, prompt).wait()
    first.save_prompts(30)
    first.close()
    second = load(prompt_cache=options)
    again = Answer(second, [*prompt, *answer.tokens, *chat.turn(10), chat.start]).wait()
    assert again.cached >= len(prompt)
    assert second.stats().prompt_cache.storage_hits == 1


def test_another_model_finds_nothing(load, tmp_path, family):
    options = PromptCacheOptions(storage=str(tmp_path))
    first = load(prompt_cache=options)
    prompt = [*Chat(first).turn(200), 1]
    Answer(first, prompt).wait()
    first.save_prompts(30)
    backend = LlamaCppBackend()
    other = backend.load(
        backend.probe(family("olmoe")),
        LoadOptions(parallel=2, context_length=1024, deterministic=True, prompt_cache=options),
        lambda _: None,
    )
    try:
        assert Answer(other, prompt).wait().cached == 0
    finally:
        other.close()

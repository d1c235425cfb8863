"""The fake backend's own controls: what a model file says, and what a test holds and releases."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jinja2
import numpy as np
import pytest
from msgspec.structs import replace

from pilotlight_backend import (
    BackendError,
    Failed,
    Finish,
    GenerateRequest,
    InferenceFailed,
    InsufficientMemory,
    InvalidParameter,
    LoadFailed,
    LoadOptions,
    LoadProgress,
    ModelFileInvalid,
    SamplingParams,
    Started,
    Token,
)
from pilotlight_backend.logits import Logits
from pilotlight_backend.testing.conformance.listener import Listener, run, submit
from pilotlight_backend.testing.fake import FakeBackend, FakeEngine, FakeModel, Line, Piece

OPTIONS = LoadOptions(parallel=2)
ENDING = 257
"""The token `<|im_end|>`."""


@pytest.fixture
def backend() -> Iterator[FakeBackend]:
    backend = FakeBackend()
    yield backend
    backend.load_gate.release()
    backend.token_gate.release()
    for engine in list(backend.engines):
        engine.close()


@pytest.fixture
def load(backend: FakeBackend, tmp_path: Path):
    """Return a function that loads a model which behaves as its keys say."""

    def load(options: LoadOptions = OPTIONS, **keys: object) -> FakeEngine:
        facts = backend.probe(FakeModel(**keys).write(tmp_path / "model.fake"))
        return backend.load(facts, options, lambda _: None)

    return load


def ask(engine: FakeEngine, text: str = "hello", max_tokens: int = 100) -> GenerateRequest:
    """Return a request for *text*, special tokens understood."""
    return GenerateRequest(prompt=tuple(engine.tokenize(text, special=True)), max_tokens=max_tokens)


def pieces(listener: Listener) -> list[bytes]:
    """Return the pieces that a listener heard."""
    return [event.piece for event in listener.events if isinstance(event, Token)]


# The model file


def test_empty_object_is_a_model(backend: FakeBackend, tmp_path: Path):
    """Every key has a default."""
    path = tmp_path / "empty.fake"
    path.write_text("{}")
    facts = backend.probe(path)
    assert (facts.architecture, facts.context_length, facts.size_bytes) == ("fake", 4096, 2)


def test_facts_are_what_the_file_says(backend: FakeBackend, tmp_path: Path):
    """A model says its own facts, its size and its KV cache included."""
    path = tmp_path / "big.fake"
    path.write_text(
        '{"architecture": "qwen3", "name": "Big", "context_length": 64, "chat_template": null,'
        ' "bos_token": "<s>", "eos_token": "</s>", "add_bos": true,'
        ' "size_bytes": 8000000000, "kv_bytes_per_token": 1024}'
    )
    facts = backend.probe(path)
    assert (facts.architecture, facts.name, facts.context_length) == ("qwen3", "Big", 64)
    assert (facts.bos_token, facts.eos_token, facts.add_bos) == ("<s>", "</s>", True)
    assert (facts.size_bytes, facts.kv_bytes_per_token) == (8_000_000_000, 1024)
    assert facts.chat_template is None


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('{"replies": "x"}', "replies"),
        ('{"context_length": 0}', "context_length"),
        ('{"load_error": "sometimes"}', "load_error"),
        ('{"reply": [{"hex": "00"}]}', "hex"),
        ('{"script": [{"when": "("}]}', "reply"),
        ('{"script": [{"when": "(", "reply": "x"}]}', "regular expression"),
        ('{"name": "cut', "model.fake"),
        ("[]", "model.fake"),
        ("\x80", "model.fake"),
    ],
)
def test_wrong_model_file_is_refused(backend: FakeBackend, tmp_path: Path, text, names):
    """An unknown key or value makes the file invalid, and the message names it."""
    path = tmp_path / "model.fake"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ModelFileInvalid, match=names):
        backend.probe(path)


def test_huge_model_file_is_refused(backend: FakeBackend, tmp_path: Path):
    """A probe reads no more than a small file's bytes."""
    path = tmp_path / "model.fake"
    path.write_bytes(b" " * (2 << 20))
    with pytest.raises(ModelFileInvalid, match="larger than"):
        backend.probe(path)


def test_name_and_embedded_model_are_given(tmp_path: Path):
    """A test names its fakes, and says what ships inside."""
    path = FakeModel().write(tmp_path / "inside.fake")
    backend = FakeBackend("other", embedded=path)
    assert (backend.name, backend.embedded()) == ("other", path)
    assert FakeBackend().embedded() is None


@pytest.mark.parametrize("options", [{}, {"enable_thinking": True}, {"enable_thinking": False}])
def test_chat_template_takes_what_chats_hold(options):
    """The default template renders text, parts, tools, calls and results, as ChatML."""
    call = {"function": {"name": "add", "arguments": {"a": 2}}}
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "2+2?"}]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "4"},
    ]
    text = (
        jinja2.Environment(autoescape=False)  # noqa: S701 - a prompt is no HTML
        .from_string(FakeModel().chat_template)
        .render(messages=messages, tools=[{"name": "add"}], add_generation_prompt=True, **options)
    )
    thought = "" if options.get("enable_thinking", True) else "<think>\n\n</think>\n\n"
    assert text == (
        '<|im_start|>system\n# Tools\n{"name": "add"}\n<|im_end|>\n'
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\n2+2?<|im_end|>\n"
        '<|im_start|>assistant\n<tool_call>\n{"arguments": {"a": 2}, "name": "add"}\n</tool_call>'
        "<|im_end|>\n"
        "<|im_start|>tool\n4<|im_end|>\n"
        f"<|im_start|>assistant\n{thought}"
    )


# Tokens and replies


def test_tokens_are_bytes_and_special_tokens(load):
    """A token is a byte, or with `special` a special token; ids turn back into their text."""
    engine = load()
    text = "é<think>x</think>"
    ids = engine.tokenize(text, special=True)
    assert ids == [0xC3, 0xA9, 259, ord("x"), 260]
    assert engine.tokenize(text, special=False) == list(text.encode())
    assert engine.detokenize(ids) == text


def test_model_adds_special_tokens(load):
    """A model's first, last and own special tokens are in its vocabulary."""
    names = {"bos_token": "<s>", "eos_token": "</s>"}
    engine = load(**names, special_tokens=("[THINK]", "[THINK]x"))
    ids = engine.tokenize("<s>[THINK]x</s>[THINK]", special=True)
    assert len(ids) == 4
    assert min(ids) >= 256


def test_text_reply_is_a_token_for_each_byte(load):
    """A reply that is text comes byte by byte, and its end is counted."""
    engine = load(reply="né<think>")
    listener = run(engine, ask(engine))
    assert pieces(listener) == [b"n", b"\xc3", b"\xa9", b"<think>"]
    finish = listener.finish()
    assert (finish.reason, finish.usage.completion_tokens) == ("stop", 5)


def test_pieces_are_tokens(load):
    """A reply that is a list comes in its pieces, which may be parts of a character."""
    engine = load(reply=("Hi", Piece(b"\xf0\x9f"), Piece(b"\xa6\x99"), "</think>", "!"))
    listener = run(engine, ask(engine))
    assert pieces(listener) == [b"Hi", b"\xf0\x9f", b"\xa6\x99", b"</think>", b"!"]
    assert engine.detokenize(listener.tokens) == "Hi🦙</think>!"
    assert listener.tokens[3:] == [260, ord("!")]


def test_pieces_are_written_as_base64(backend: FakeBackend, tmp_path: Path):
    """A file written by hand gives bytes as base64."""
    path = tmp_path / "model.fake"
    path.write_text('{"reply": ["a", {"base64": "8J8="}]}')
    engine = backend.load(backend.probe(path), OPTIONS, lambda _: None)
    assert pieces(run(engine, ask(engine))) == [b"a", b"\xf0\x9f"]


def test_default_reply_is_the_last_users_text(load):
    """Without a reply a model says what the last user said."""
    engine = load()
    chat = (
        "<|im_start|>user\nfirst<|im_end|>\n<|im_start|>assistant\nno<|im_end|>\n"
        "<|im_start|>user\nlast<|im_end|>\n<|im_start|>assistant\n"
    )
    assert engine.detokenize(run(engine, ask(engine, chat)).tokens) == "last"


def test_default_reply_to_plain_text_is_that_text(load):
    """Without a reply a model that is given no chat says the whole prompt."""
    engine = load()
    assert engine.detokenize(run(engine, ask(engine, "just text")).tokens) == "just text"


def test_script_answers_by_what_the_prompt_holds(load):
    """The first line that is found in the prompt says the reply, special tokens understood."""
    call = "<tool_call>look</tool_call>"
    script = (Line("found", "It is there."), Line("<\\|im_start\\|>.*look", call))
    engine = load(script=script, reply="What?")
    for prompt, reply in [
        ("<|im_start|>please look", call),
        ("<|im_start|>please look<|im_end|>found", "It is there."),
        ("please look", "What?"),
    ]:
        listener = run(engine, ask(engine, prompt))
        assert engine.detokenize(listener.tokens) == reply


def test_empty_reply_ends_at_once(load):
    """A model that says nothing has one token, the one that ends its answer."""
    engine = load(reply="")
    finish = run(engine, ask(engine)).finish()
    assert (finish.reason, finish.usage.completion_tokens) == ("stop", 1)


def test_ignore_eos_repeats_the_reply(load):
    """Past its end a reply starts again."""
    engine = load(reply="ab")
    request = GenerateRequest(prompt=(1,), max_tokens=5, ignore_eos=True)
    assert pieces(run(engine, request)) == [b"a", b"b", b"a", b"b", b"a"]


def test_min_tokens_repeat_the_reply(load):
    """A reply that is too short starts again, and one that is long enough is generated once."""
    for count, said in ((3, [b"a", b"b", b"a"]), (1, [b"a", b"b"])):
        request = GenerateRequest(prompt=(1,), max_tokens=5, min_tokens=count)
        assert pieces(run(load(reply="ab"), request)) == said


def test_failing_model_fails_after_its_tokens(load):
    """A model can break after so many tokens, for each request anew, and go on living."""
    engine = load(reply="abc", fail_after=2)
    for _ in range(2):
        listener = submit(engine, ask(engine)).listener
        end = listener.wait()
        assert isinstance(end, Failed)
        assert isinstance(end.error, InferenceFailed)
        assert pieces(listener) == [b"a", b"b"]
    assert engine.stats().slots_busy == 0


def test_model_may_fail_before_its_first_token(load):
    """A failure after no token comes right after the start."""
    engine = load(fail_after=0)
    listener = submit(engine, ask(engine)).listener
    listener.wait()
    assert [type(event) for event in listener.events] == [Started, Failed]


# Requests


class Among:
    """A guide that allows in each step one of the next bytes."""

    def __init__(self, *steps: bytes) -> None:
        self.steps = list(steps)

    def restrict(self, logits: Logits) -> None:
        allowed = list(self.steps[0]) if self.steps else [ENDING]
        kept = logits[allowed]
        logits[:] = -np.inf
        logits[allowed] = kept

    def accept(self, token: int) -> None:
        if token != ENDING:
            self.steps.pop(0)


def test_guided_reply_is_said_where_it_may_be(load):
    """The reply's next token comes, else the end, else the lowest; the reply waits meanwhile."""
    engine = load(reply="abc")
    guide = Among(b"za", b"xy", b"cb", b"0123456789abc", b"c")
    listener = run(engine, replace(ask(engine), guide=guide))
    assert b"".join(pieces(listener)) == b"axbcc"
    assert listener.finish().reason == "stop"


def test_guided_reply_ends_where_it_may(load):
    """A model that has nothing more to say ends as soon as its guide lets it."""
    engine = load(reply="ab")
    (guide, longer) = (Among(b"ab", b"bc"), Among(b"ab", b"bc", b"xy"))
    assert pieces(run(engine, replace(ask(engine), guide=guide))) == [b"a", b"b"]
    assert pieces(run(engine, replace(ask(engine), guide=longer))) == [b"a", b"b", b"x"]


def test_requests_are_kept_as_received(load):
    """An engine keeps what was submitted, for a test to look at."""
    engine = load()
    request = GenerateRequest(
        prompt=(1, 2),
        max_tokens=3,
        sampling=SamplingParams(temperature=0.5, seed=9),
        stop_token_ids=frozenset({7}),
    )
    run(engine, request)
    assert engine.requests == [request]


def test_refused_request_is_not_kept(load):
    """A request that was refused did not arrive."""
    engine = load()
    with pytest.raises(InvalidParameter):
        engine.submit(GenerateRequest(prompt=(), max_tokens=1), Listener())
    assert engine.requests == []


@pytest.mark.parametrize(
    ("param", "request_"),
    [
        ("stop_token_ids", {"stop_token_ids": frozenset({-1})}),
        ("logit_bias", {"sampling": SamplingParams(logit_bias={100_000: 1.0})}),
        ("logit_bias", {"sampling": SamplingParams(logit_bias={1: float("nan")})}),
        ("top_k", {"sampling": SamplingParams(top_k=-1)}),
        ("top_p", {"sampling": SamplingParams(top_p=1.5)}),
    ],
)
def test_odd_values_are_refused(load, param, request_):
    """A value out of range is refused by its name."""
    engine = load()
    with pytest.raises(InvalidParameter) as caught:
        engine.submit(GenerateRequest(prompt=(1,), max_tokens=1, **request_), Listener())
    assert caught.value.param == param


def test_prefix_is_reused(load):
    """A slot keeps what it held: the next prompt that starts the same is not evaluated again."""
    engine = load(reply="!")
    run(engine, ask(engine, "hello"))
    usage = run(engine, ask(engine, "hello! you")).finish().usage
    assert (usage.prompt_tokens, usage.cached_tokens) == (10, 6)
    assert run(engine, ask(engine, "hello")).finish().usage.cached_tokens == 4
    assert run(engine, ask(engine, "other")).finish().usage.cached_tokens == 0


def test_tight_context_ends_with_length(load):
    """The configured context is the one that ends an answer."""
    engine = load(LoadOptions(context_length=8), reply="abcdef")
    finish = run(engine, ask(engine, "hello")).finish()
    assert (finish.reason, finish.usage.completion_tokens) == ("length", 3)


# The gates


def test_held_load_stands_still(backend: FakeBackend, tmp_path: Path):
    """A held load reports its first step, then one for each release, and then is done."""
    facts = backend.probe(FakeModel(size_bytes=100, load_steps=2).write(tmp_path / "m.fake"))
    reports: list[LoadProgress] = []
    backend.load_gate.hold()
    with ThreadPoolExecutor() as pool:
        loading = pool.submit(backend.load, facts, OPTIONS, reports.append)
        assert backend.load_gate.wait_reached()
        assert [report.bytes_read for report in reports] == [0]
        backend.load_gate.release(1)
        assert backend.load_gate.wait_reached()
        assert [report.bytes_read for report in reports] == [0, 50]
        assert not backend.engines
        backend.load_gate.release(1)
        engine = loading.result(10)
    assert [report.bytes_read for report in reports] == [0, 50, 100, 100]
    assert backend.engines == [engine]


def test_loads_are_counted(backend: FakeBackend, tmp_path: Path):
    """Every load that begins is kept with what it was given, also one that fails."""
    facts = backend.probe(FakeModel(load_error="transient").write(tmp_path / "m.fake"))
    with pytest.raises(LoadFailed):
        backend.load(facts, OPTIONS, lambda _: None)
    assert [(load.facts, load.options) for load in backend.loads] == [(facts, OPTIONS)]
    assert not backend.engines


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("invalid", ModelFileInvalid),
        ("transient", LoadFailed),
        ("memory", InsufficientMemory),
    ],
)
def test_load_fails_as_the_model_says(load, kind, error: type[BackendError]):
    """A model can fail to load for each reason, every time."""
    for _ in range(3):
        with pytest.raises(error) as caught:
            load(load_error=kind, size_bytes=64)
        assert type(caught.value) is error


def test_load_succeeds_after_its_failures(load):
    """A model can fail to load so many times, and then succeed."""
    for _ in range(2):
        with pytest.raises(LoadFailed):
            load(load_error="transient", load_errors_before_success=2)
    assert load(load_error="transient", load_errors_before_success=2).facts


def test_held_tokens_come_one_by_one(backend: FakeBackend, load):
    """A held engine starts requests, and gives each a token for each release."""
    engine = load(reply="abc")
    backend.token_gate.hold()
    both = [submit(engine, ask(engine)).listener for _ in range(2)]
    for expected in ([], [b"a"], [b"a", b"b"]):
        assert backend.token_gate.wait_reached()
        assert [pieces(listener) for listener in both] == [expected, expected]
        backend.token_gate.release(1)
    backend.token_gate.release()
    for listener in both:
        assert listener.finish().reason == "stop"


def test_held_engine_still_cancels(backend: FakeBackend, load):
    """A cancelled request leaves while tokens are held, queued or running, and others go on."""
    engine = load()
    backend.token_gate.hold()
    one, other, queued = (submit(engine, ask(engine)) for _ in range(3))
    assert backend.token_gate.wait_reached()
    one.ticket.cancel()
    assert one.listener.finish().reason == "cancelled"
    third = submit(engine, ask(engine))
    third.ticket.cancel()
    assert third.listener.finish().reason == "cancelled"
    backend.token_gate.release()
    assert other.listener.finish().reason == queued.listener.finish().reason == "stop"


def test_held_engine_still_closes(backend: FakeBackend, load):
    """A close does not wait for held tokens, and a test can see it."""
    engine = load()
    backend.token_gate.hold()
    listener = submit(engine, ask(engine)).listener
    assert backend.token_gate.wait_reached()
    assert not engine.closed.is_set()
    engine.close()
    assert isinstance(listener.wait(), Failed)
    assert engine.closed.is_set()
    assert backend.engines == []


def test_emit_may_close_the_engine(load):
    """A close on the engine's own thread does not wait for itself."""
    engine = load()
    ends: list[object] = []

    def emit(event: object) -> None:
        if isinstance(event, Token):
            engine.close()
        if isinstance(event, Finish | Failed):
            ends.append(event)

    engine.submit(ask(engine), emit)
    assert engine.closed.wait(10)
    assert [type(end) for end in ends] == [Failed]


def test_gate_that_nothing_reaches_says_so(backend: FakeBackend):
    """Waiting for something at a gate ends, with false, where nothing comes."""
    backend.token_gate.hold()
    assert not backend.token_gate.wait_reached(timeout=0.01)


def test_times_stretch_a_load_and_its_tokens(load):
    """A model can take its time, for tests that see it only from another process."""
    engine = load(load_seconds=0.004, token_seconds=0.002, reply="ab")
    assert run(engine, ask(engine)).finish().timings.decode >= 0.002


def test_engine_thread_is_named_for_its_model(load):
    """A thread that leaks is recognised by its name."""
    engine = load()
    assert "fake-model" in {thread.name for thread in threading.enumerate()}
    engine.close()
    assert "fake-model" not in {thread.name for thread in threading.enumerate()}


def test_shared_prompt_is_counted_once(backend, load) -> None:
    """Who shares a prompt evaluates its last token; who does not, all of it in another slot."""
    engine = load(LoadOptions(parallel=4))
    backend.token_gate.hold()
    request = ask(engine, "hello you", 3)
    shared = replace(request, shares_prompt=True)
    asked = [submit(engine, one) for one in (shared, shared, shared, request)]
    backend.token_gate.release()
    whole = len(request.prompt)
    cached = [one.listener.finish().usage.cached_tokens for one in asked]
    assert cached == [0, whole - 1, whole - 1, 0]
    assert engine.stats().prompt_tokens == 2 * whole + 2
    assert len({tuple(one.listener.tokens) for one in asked}) == 1

"""From a name and messages to the events of an answer, over the fake backend."""

import asyncio
import gc
import threading
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import ClassVar

import pytest

from pilotlight.errors import (
    ContextLengthExceeded,
    InferenceError,
    InvalidRequest,
    ModelLoadFailed,
    ModelLoading,
    ModelNotFound,
    QueueFull,
    ServiceError,
)
from pilotlight.generation import (
    Begun,
    ChatPrompt,
    Ended,
    Events,
    GenerationEvent,
    GenerationParams,
    Generator,
    TextPrompt,
    ToolCalling,
    rendering,
)
from pilotlight.generation.engine_errors import param_of
from pilotlight.generation.prepared_model import read_template
from pilotlight.models.catalog import ModelEntry, ModelOptions
from pilotlight.models.discovery import Discovery
from pilotlight.models.loaded import Hold
from pilotlight.models.loading.history import LoadHistory
from pilotlight.models.pool import Pool
from pilotlight.models.registry import Registry
from pilotlight.models.resolver import Resolver
from pilotlight.observability.metrics import Metrics
from pilotlight.output.events import (
    ContentDelta,
    ReasoningDelta,
    ToolCallArguments,
    ToolCallStart,
)
from pilotlight.output.tool_calls import Function
from pilotlight.prompt.control_tokens import ControlNames, Marking, PromptText
from pilotlight.prompt.conversation import Conversation, TextPart, Tool, UserTurn
from pilotlight.scheduling.admission import Admission
from pilotlight.scheduling.lease import ModelLeases
from pilotlight.scheduling.rate_limits import Limits, RateLimiter
from pilotlight.schema.chat.request import ChatCompletionRequest
from pilotlight_backend import LoadOptions, SamplingParams
from pilotlight_backend.testing.fake import FakeBackend, FakeModel, Piece

CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 2}}\n</tool_call>'
ADD = ToolCalling((Function("add", {"type": "object", "additionalProperties": True}),))


def chat(text: str, **fields: object) -> ChatPrompt:
    """Return the prompt of a conversation in which the user says *text*."""
    turns = (UserTurn((TextPart(text),)),)
    return ChatPrompt(Conversation(**({"turns": turns} | fields)))


class Service:
    """A generator with what is below it, and one slot, so that a slot that leaks is noticed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.backend = FakeBackend()
        self.registry = Registry({"fake": self.backend})
        self.configured: list[ModelEntry] = []
        self.now = 0.0
        self.pool = Pool(
            self.registry,
            load_options=lambda entry: LoadOptions(
                parallel=1, context_length=entry.options.context_length
            ),
            memory_budget=None,
            idle_ttl=60.0,
            history=LoadHistory(None),
            max_held=256,
            clock=lambda: self.now,
        )
        discovery = Discovery(folder, self.registry)
        self.resolver = Resolver(
            self.registry, self.configured, discovery, lambda: self.pool.loaded
        )
        self.generator = self.make_generator()

    def make_generator(self, *, resolver: Resolver | None = None, max_queue: int = 8) -> Generator:
        self.metrics = Metrics(dict)
        leases = ModelLeases(
            resolver or self.resolver,
            self.pool,
            Admission(),
            self.metrics,
            RateLimiter(Limits(), lambda: self.now),
            max_queue=max_queue,
            clock=lambda: self.now,
        )
        return Generator(leases)

    def model(self, file: str = "m", options: dict | None = None, **keys: object) -> ModelEntry:
        """Write a model, with *options* as models.yaml would give them."""
        path = FakeModel(**keys).write(self.folder / f"{file}.fake")
        entry = ModelEntry(file, path, "configured", ModelOptions(path=str(path), **options or {}))
        self.configured.append(entry)
        return entry

    def ask(self, text: str = "hi", hold: float = 10.0, **options: object):
        """Begin an answer to *text*."""
        given = {
            "model": "m",
            "prompts": (chat(text),),
            "max_tokens": 100,
            "sampling": SamplingParams(),
        }
        return self.generator.generate(GenerationParams(**(given | options)), hold=Hold(hold))

    async def answer(self, text: str = "hi", **options: object) -> list[GenerationEvent]:
        """Return the events of a whole answer."""
        return [event async for events in self.ask(text, **options) for _, event in events]

    @property
    def prompt(self) -> str:
        """The last prompt that the engine was given."""
        engine = self.backend.engines[-1]
        return engine.detokenize(engine.requests[-1].prompt)

    @property
    def users(self) -> int:
        """How many hold or wait for a model."""
        return sum(model.users for model in self.pool._models.values())

    async def submitted(self, count: int) -> None:
        """Let the event loop go on until the engine has accepted *count* requests.

        The model is ready, so that takes a few passes of the loop.
        """
        for _ in range(100):
            await asyncio.sleep(0.01)
        assert len(self.backend.engines[0].requests) == count

    async def is_free(self) -> bool:
        """Return whether nobody is a user, and the one slot can be had, be the gate held or not."""
        if self.users:
            return False
        async with aclosing(self.ask()) as generation:
            (_, begun), *_ = await asyncio.wait_for(anext(generation), 10)
        return isinstance(begun, Begun) and not self.users


@pytest.fixture
async def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Service]:
    monkeypatch.setattr("pilotlight.models.registry.installed", lambda _: ())
    service = Service(tmp_path)
    yield service
    service.backend.load_gate.release()
    service.backend.token_gate.release()
    await service.pool.close()
    assert service.backend.engines == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


def text_of(events: list[GenerationEvent], kind: type) -> str:
    """Return the text of all deltas of one kind."""
    return "".join(event.text for event in events if isinstance(event, kind))


async def failure(service: Service, **options: object) -> ServiceError:
    """Return what an answer fails with, once it has left nothing behind."""
    with pytest.raises(ServiceError) as caught:
        await service.answer(**options)
    assert service.users == 0
    return caught.value


# The answer


async def test_choice_begins_and_ends(service):
    """An answer is a beginning with the prompt's tokens, its text, and an end with the usage."""
    service.model(reply="né")
    events = await service.answer("hello")
    begun, *deltas, ended = events
    prompt = len(service.backend.engines[0].requests[0].prompt)
    assert (begun.model, begun.prompt_tokens, begun.cached_tokens) == ("m", prompt, 0)
    assert text_of(deltas, ContentDelta) == "né"
    assert (ended.reason, ended.reasoning_tokens) == ("stop", 0)
    assert (ended.usage.prompt_tokens, ended.usage.completion_tokens) == (prompt, 4)
    assert service.prompt == "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"


async def test_begin_comes_before_the_first_token(service):
    """As soon as the request has its slot, the answer begins."""
    service.model()
    service.backend.token_gate.hold()
    async with aclosing(service.ask()) as generation:
        ((_, begun),) = await anext(generation)
    assert isinstance(begun, Begun)


async def test_values_reach_the_engine(service):
    """Sampling, length and stop ids are the request's."""
    service.model(reply="a")
    sampling = SamplingParams(temperature=0.0, top_k=7, seed=5, logit_bias={3: -1.0})
    await service.answer(sampling=sampling, max_tokens=9, stop_token_ids=frozenset({7}))
    (request,) = service.backend.engines[0].requests
    assert (request.sampling, request.max_tokens) == (sampling, 9)
    assert request.stop_token_ids == frozenset({7})


async def test_second_prompt_reuses_the_first(service):
    """Tokens that a slot still holds are reported as cached."""
    service.model(reply="a")
    await service.answer("hello")
    begun, *_, ended = await service.answer("hello")
    assert begun.cached_tokens == ended.usage.cached_tokens == begun.prompt_tokens - 1


@pytest.mark.parametrize(
    ("reply", "stops", "text", "tokens"),
    [
        (("Hello wo", "rld EN", "D more", "!"), ("END",), "Hello world ", 3),
        (("ab", "cd", "ef"), ("cd", "b"), "a", 1),
        (("END", "x"), ("END",), "", 1),
        (("x EN", "x"), ("END",), "x ENx", 3),
        (("🦙", "x"), ("🦙",), "", 1),
        ((Piece(b"a\xf0\x9f"), Piece(b"\xa6\x99"), "x"), ("🦙",), "a", 2),
        (("<think>", "hm ST", "OP", "</think>", "x STOP y"), ("STOP",), "x ", 5),
        (("<think>", "\n", "hm\n", "</think>", "\n\n", "yes", "\n", "no"), ("\n",), "yes", 7),
        (("a", "b", "<think>", "c"), ("bc",), "ab<think>c", 5),
    ],
)
async def test_stop_ends_the_choice_over_any_boundary(service, reply, stops, text, tokens):
    """The answer ends before the stop, counts the tokens up to it, and frees the slot."""
    service.model(reply=reply)
    events = await service.answer(stops=stops)
    assert text_of(events, ContentDelta) == text
    assert events[-1].reason == "stop"
    assert events[-1].usage.completion_tokens == tokens
    assert await service.is_free()


async def test_stopped_request_is_cancelled(service):
    """After a stop the engine ends the request: the next one gets the slot at once."""
    service.model(reply="aENDb")
    service.backend.token_gate.hold()
    answering = asyncio.create_task(service.answer(stops=("END",)))
    assert await asyncio.to_thread(service.backend.token_gate.wait_reached)
    service.backend.token_gate.release(4)
    assert text_of(await answering, ContentDelta) == "a"
    assert await service.is_free()


async def test_length_ends_the_choice(service):
    """An answer of as many tokens as asked for ends with `length`, and held text is released."""
    service.model(reply="abcdef")
    events = await service.answer(max_tokens=3, stops=("cX",))
    assert text_of(events, ContentDelta) == "abc"
    assert (events[-1].reason, events[-1].usage.completion_tokens) == ("length", 3)


async def test_stop_in_what_the_end_releases_is_why_it_ends(service):
    """Whitespace that might have gone before a call is content at the end, and is searched."""
    service.model(reply="ab\n" + "c" * 9)
    events = await service.answer(tool_calling=ADD, max_tokens=3, stops=("\n",))
    assert text_of(events, ContentDelta) == "ab"
    assert (events[-1].reason, events[-1].stop) == ("stop", "\n")


async def test_stop_is_not_looked_for_in_calls(service):
    """Neither the markup of a call nor its arguments end an answer; content behind it does."""
    service.model(reply=CALL + "fine. END x")
    events = await service.answer(tool_calling=ADD, stops=("\n", "add", "END"))
    assert text_of(events, ToolCallArguments) == '{"a": 2}'
    assert text_of(events, ContentDelta) == "fine. "
    assert (events[-1].reason, events[-1].stop) == ("tool_calls", "END")


async def test_context_ends_the_choice(service):
    """The context's end is a length too."""
    service.model(reply="x" * 100, context_length=60)
    (*_, ended) = await service.answer(max_tokens=1000)
    assert ended.reason == "length"
    assert ended.usage.prompt_tokens + ended.usage.completion_tokens == 60


@pytest.mark.parametrize(
    ("options", "keys", "reply"),
    [
        ({}, {}, "<think>\nhm\n</think>\n\nyes"),
        ({"reasoning_format": "magistral"}, {}, "[THINK]hm[/THINK]yes"),
        ({}, {"chat_template": "{{ messages[0].content }}<think>\n"}, "hm\n</think>\n\nyes"),
    ],
)
async def test_reasoning_is_apart(service, options, keys, reply):
    """Reasoning is separated by the template's format, by models.yaml's, or opened."""
    service.model(reply=reply, options=options, **keys)
    events = await service.answer()
    assert text_of(events, ReasoningDelta) == "hm"
    assert text_of(events, ContentDelta) == "yes"
    assert 0 < events[-1].reasoning_tokens < events[-1].usage.completion_tokens


async def test_tool_calls_are_the_reason(service):
    """Each call has an id of its own, and calls are the finish reason."""
    service.model(reply=CALL + CALL)
    events = await service.answer(tool_calling=ADD)
    starts = [event for event in events if isinstance(event, ToolCallStart)]
    assert [(start.index, start.name) for start in starts] == [(0, "add"), (1, "add")]
    assert len({start.id for start in starts}) == 2
    assert text_of(events, ToolCallArguments) == '{"a": 2}' * 2
    assert events[-1].reason == "tool_calls"


async def test_cut_tool_call_ends_by_length(service):
    """A call that the length cuts short is no reason to run a tool."""
    service.model(reply=CALL)
    (*_, ended) = await service.answer(tool_calling=ADD, max_tokens=len(CALL) - 30)
    assert ended.reason == "length"


async def test_calls_are_text_where_no_tools_are_listed(service):
    """Without tools in the request nothing is read as a call."""
    service.model(reply=CALL)
    events = await service.answer()
    assert text_of(events, ContentDelta) == CALL
    assert events[-1].reason == "stop"


# The prompt


async def test_prompt_has_tools_and_variables(service):
    """The template is given the tools and the request's own variables."""
    service.model()
    prompt = chat("hi", tools=[Tool("add")], template_options={"enable_thinking": False})
    await service.answer(prompts=(prompt,))
    tool = '{"type": "function", "function": {"name": "add"}}'
    assert service.prompt.startswith(f"<|im_start|>system\n# Tools\n{tool}\n")
    assert service.prompt.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")


async def test_long_prompt_is_the_same(service):
    """A prompt that is rendered and tokenised in a thread comes to the same."""
    service.model(reply="ok", context_length=30_000, options={"context_length": 30_000})
    events = await service.answer("é" * 9000)
    assert text_of(events, ContentDelta) == "ok"
    assert "é" * 9000 in service.prompt


@pytest.mark.parametrize("form", ["relative", "absolute"])
async def test_template_of_models_yaml_replaces_the_models_own(service, tmp_path, form):
    """A template is looked for in the model's folder, or where its path says."""
    template = tmp_path / "own.jinja"
    template.write_text("[{{ messages[0].content }}]")
    name = "own.jinja" if form == "relative" else str(template)
    service.model(options={"chat_template": name}, chat_template=None, reply="ok")
    await service.answer("hi")
    assert service.prompt == "[hi]"


def test_template_of_a_model_that_is_a_folder_is_inside(tmp_path):
    """Where the model is a folder, the folder is its own."""
    (tmp_path / "own.jinja").write_text("x")
    assert read_template(tmp_path, "own.jinja") == "x"


@pytest.mark.parametrize("content", [None, b"\xff", b"{% if %}"])
async def test_template_that_cannot_be_used_fails_the_model(service, tmp_path, content):
    """A missing or invalid template is the model's failure, without a path of the server."""
    if content:
        (tmp_path / "own.jinja").write_bytes(content)
    service.model(options={"chat_template": "own.jinja"})
    error = await failure(service)
    assert isinstance(error, ModelLoadFailed)
    assert error.should_retry is False
    assert str(tmp_path) not in error.message


@pytest.mark.parametrize("template", [None, ""])
async def test_model_without_a_template_cannot_chat(service, template):
    """It is the request that asked a model which is none for chats."""
    service.model(chat_template=template)
    error = await failure(service)
    assert type(error) is InvalidRequest
    assert error.param == "model"
    assert "'m' has no chat template" in error.message


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ raise_exception('only one user') }}", "refuses the request: only one user"),
        ("{{ messages[5].content.x }}", "the chat template failed"),
        ("{# nothing #}", "the prompt is empty"),
        ("{{ 'x' * 10000000000 }}", "too large"),
    ],
)
async def test_messages_that_cannot_be_rendered_are_the_requests_fault(service, template, message):
    """A template that refuses, breaks, or writes nothing is a 400 that names the messages."""
    service.model(chat_template=template)
    error = await failure(service)
    assert (type(error), error.param) == (InvalidRequest, "messages")
    assert message in error.message


# What is refused


async def test_prompt_too_long_has_both_numbers(service):
    """A prompt without room is an error with its length and the context's."""
    service.model(context_length=20)
    error = await failure(service, text="x" * 50)
    assert (type(error), error.param) == (ContextLengthExceeded, "messages")
    assert "has 69 tokens; this model's context length is 20 tokens" in error.message


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"stop_token_ids": frozenset({1_000_000})}, "stop_token_ids"),
        ({"sampling": SamplingParams(logit_bias={1_000_000: 1.0})}, "logit_bias"),
        ({"sampling": SamplingParams(top_k=-1)}, "top_k"),
        ({"sampling": SamplingParams(repeat_penalty=-1.0)}, "repeat_penalty"),
        ({"min_tokens": 100_000}, "min_tokens"),
    ],
)
async def test_value_that_the_engine_refuses_is_named(service, options, param):
    """The error names the client's own field."""
    service.model()
    error = await failure(service, **options)
    assert (type(error), error.param) == (InvalidRequest, param)


@pytest.mark.parametrize(
    ("name", "param"),
    [
        ("prompt", "messages"),
        ("sampling.top_k", "top_k"),
        ("sampling.logit_bias", "logit_bias"),
        ("max_tokens", "max_tokens"),
        ("stop_token_ids", "stop_token_ids"),
        ("sampling.repeat_penalty", "repeat_penalty"),
        ("ignore_eos", "ignore_eos"),
        ("min_tokens", "min_tokens"),
        ("sampling.dry_base", "dry_base"),
        ("kv_cache", None),
        ("", None),
    ],
)
def test_param_is_a_field_of_the_request(name, param):
    """Whatever a backend calls a field, a client gets a name that it could have sent."""
    assert param_of(name, ChatPrompt(Conversation(turns=()))) == param
    assert param is None or param in ChatCompletionRequest.__struct_fields__


async def test_full_queue_is_refused(service):
    """With a slot busy and the queue full the next request gets a 429, and the others go on."""
    service.model(reply="ok")
    service.generator = service.make_generator(max_queue=1)
    service.backend.token_gate.hold()
    async with aclosing(service.ask()) as running:
        await anext(running)
        queued = asyncio.create_task(service.answer())
        await service.submitted(2)
        with pytest.raises(QueueFull, match="requests waiting: 1") as caught:
            await service.answer()
        assert caught.value.retry_after == 5.0
        service.backend.token_gate.release()
        assert text_of(await queued, ContentDelta) == "ok"
    assert service.users == 0


async def test_unknown_model_is_not_found(service):
    """A name that means nothing is a 404."""
    error = await failure(service, model="nobody")
    assert isinstance(error, ModelNotFound)
    assert error.param == "model"


async def test_no_backend_at_all_is_an_error(tmp_path, service):
    """Without a backend every request gets an error that says so."""
    registry = Registry()
    resolver = Resolver(registry, [], Discovery(tmp_path, registry), list)
    service.generator = service.make_generator(resolver=resolver, max_queue=1)
    error = await failure(service)
    assert isinstance(error, ModelLoadFailed)
    assert "no backend is installed" in error.message


async def test_loading_model_is_an_error_after_the_hold(service):
    """A request that waits no longer learns when to come back."""
    service.model()
    service.backend.load_gate.hold()
    error = await failure(service, hold=0)
    assert isinstance(error, ModelLoading)


# What goes wrong


@pytest.mark.parametrize("tokens", [0, 2])
async def test_failing_engine_fails_after_what_it_said(service, tokens):
    """Events before the failure are yielded, then it is raised, and nothing leaks."""
    service.model(reply="abc", fail_after=tokens)
    events: list[GenerationEvent] = []

    async def listen() -> None:
        async for arrived in service.ask():
            events.extend(event for _, event in arrived)

    with pytest.raises(InferenceError, match=f"fails after {tokens} tokens"):
        await listen()
    assert isinstance(events[0], Begun)
    assert text_of(events, ContentDelta) == "abc"[:tokens]
    assert not any(isinstance(event, Ended) for event in events)
    assert service.users == 0


async def test_closed_pool_ends_the_choice(service):
    """At the server's end a running answer fails, and its lease ends in peace."""
    service.model()
    service.backend.token_gate.hold()
    generation = service.ask()
    await anext(generation)
    await service.pool.close()
    with pytest.raises(InferenceError, match="closed"):
        await anext(generation)
    assert service.users == 0


# Leaving early


async def test_generator_closed_early_leaves_nothing(service):
    """Closing in the middle of an answer cancels the request and gives the lease back."""
    service.model(reply="abc")
    service.backend.token_gate.hold()
    generation = service.ask()
    await anext(generation)
    service.backend.token_gate.release(1)
    await anext(generation)
    await generation.aclose()
    assert await service.is_free()


async def test_generator_never_begun_leaves_nothing(service):
    """A generation whose first event was not awaited has no effect."""
    service.model()
    await service.ask().aclose()
    assert service.backend.loads == []
    assert service.users == 0


async def test_queued_request_that_leaves_is_not_queued(service):
    """Cancelling in the queue frees its place."""
    service.model()
    service.backend.token_gate.hold()
    async with aclosing(service.ask()) as running:
        await anext(running)
        queued = asyncio.create_task(anext(service.ask()))
        await service.submitted(2)
        queued.cancel()
        with pytest.raises(asyncio.CancelledError):
            await queued
    assert await service.is_free()


@pytest.mark.parametrize("ticks", range(16))
async def test_cancelled_at_any_point_leaves_nothing(service, ticks):
    """Wherever a request is when it is cancelled, no slot, lease or task of it stays."""
    service.model(reply="abc")
    service.backend.token_gate.hold()
    task = asyncio.create_task(service.answer("é" * 1000))
    for _ in range(ticks):
        await asyncio.to_thread(lambda: None)  # a tick in which other threads get on too
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await service.is_free()


# Where it is rendered


class MarkingSeen(Marking):
    """Notes on which threads it works, and waits there for texts that say so."""

    threads: ClassVar[set[int]] = set()
    went_in, may_go_on = threading.Event(), threading.Event()

    def __init__(self, names: ControlNames, texts: object) -> None:
        self.threads.add(threading.get_ident())
        super().__init__(names, texts)
        if "wait for it" in str(texts):
            self.went_in.set()
            self.may_go_on.wait()

    def resolve(self, text: str) -> PromptText:
        self.threads.add(threading.get_ident())
        return super().resolve(text)


@pytest.fixture
def marking(monkeypatch):
    for event in (MarkingSeen.went_in, MarkingSeen.may_go_on):
        event.clear()
    MarkingSeen.threads.clear()
    monkeypatch.setattr(rendering, "Marking", MarkingSeen)
    yield MarkingSeen
    MarkingSeen.may_go_on.set()


LONG_TEXT = {"description": "a " * 10_000}
MANY_NUMBERS = {"enum": list(range(10_000))}


@pytest.mark.parametrize(
    ("said", "is_long"),
    [
        ({}, False),
        ({"turns": [UserTurn((TextPart("a" * 10_000),))]}, True),
        ({"tools": [Tool("f", **LONG_TEXT)]}, True),
        ({"tools": [Tool("f", parameters=MANY_NUMBERS)]}, True),
        ({"template_options": {"documents": [LONG_TEXT]}}, True),
        ({"prefill": "a" * 10_000}, True),
    ],
)
async def test_what_is_long_is_rendered_beside_the_event_loop(service, marking, said, is_long):
    """Whatever is long of it, so that a request with large tools keeps no stream waiting."""
    service.model(context_length=100_000, options={"context_length": 100_000}, reply="a")
    await service.answer()  # the template is known to be quick from here on
    marking.threads.clear()
    await service.answer(prompts=(chat("hi", **said),))
    assert (threading.get_ident() in marking.threads) is not is_long


async def test_a_check_that_hangs_keeps_no_other_model_s_waiting(service, marking):
    """Streams that wait for a slot are checked one at a time, but each model's by themselves."""
    for name in "mn":
        service.model(name, context_length=100_000, options={"context_length": 100_000}, reply="a")
    service.generator._announce_after = 0.0
    service.backend.token_gate.hold()
    busy = [asyncio.create_task(service.answer(model=name)) for name in "mmnn"]
    for _ in range(10_000):
        if [len(engine.requests) for engine in service.backend.engines] == [2, 2]:
            break
        await asyncio.sleep(0.001)

    def announced(model: str, text: str) -> AsyncGenerator[Events]:
        prompts = (chat(text),)
        given = {"model": model, "prompts": prompts, "max_tokens": 9}
        params = GenerationParams(**given, sampling=SamplingParams())
        return service.generator.generate(params, hold=Hold(10.0), announces=True)

    async with aclosing(announced("m", "wait for it" * 1000)) as hanging:
        first = asyncio.create_task(anext(hanging))
        await asyncio.to_thread(marking.went_in.wait)
        async with aclosing(announced("n", "hi")) as other:
            assert await asyncio.wait_for(anext(other), 10) == ()
        marking.may_go_on.set()
        assert await first == ()
    service.backend.token_gate.release()
    await asyncio.gather(*busy)
    assert await service.is_free()


# While the model loads


async def test_templates_are_imported_while_a_chat_request_waits(service, monkeypatch):
    """Behind the load they would be on the way to the first token."""
    imported = threading.Event()
    monkeypatch.setattr("pilotlight.generation.generator.import_templates", imported.set)
    service.model(reply="Hello.")
    service.backend.load_gate.hold()
    answer = asyncio.create_task(service.answer())
    assert await asyncio.to_thread(imported.wait, 10)
    assert not answer.done()
    service.backend.load_gate.release()
    await answer


async def test_requests_without_a_conversation_import_no_templates(service, monkeypatch):
    imported: list[str] = []
    monkeypatch.setattr(
        "pilotlight.generation.generator.import_templates", lambda: imported.append("jinja2")
    )
    service.model(reply="Hello.")
    await service.answer(prompts=(TextPrompt("hi"),))
    assert imported == []


# What is kept


async def test_model_is_prepared_once_and_forgotten_when_unloaded(service):
    """A model's template is compiled once; when the model is unloaded, nothing of it stays."""
    entry = service.model(reply="a")
    first, *_ = await service.answer()
    second, *_ = await service.answer()
    assert first.fingerprint == second.fingerprint
    assert first.fingerprint.startswith("fp_")
    assert len(service.generator._prepared_models) == 1
    service.now += 60
    service.pool.sweep()
    await service.pool._models[entry].closing
    # The thread that closed the engine ends a moment after it has told so, and holds the model.
    async with asyncio.timeout(10):
        while len(service.generator._prepared_models):
            gc.collect()
            await asyncio.sleep(0.001)


async def test_fingerprint_tells_models_apart(service):
    """Two models have two fingerprints."""
    service.model("m", reply="a", name="One")
    service.model("n", reply="a", name="Two")
    first, *_ = await service.answer()
    second, *_ = await service.answer(model="n")
    assert first.fingerprint != second.fingerprint

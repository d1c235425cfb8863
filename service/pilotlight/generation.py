"""resolve → render → submit → parse: what every endpoint that generates text shares.

The events of one answer are yielded in lists, as they arrive: first a `Begun`, then output
events, last an `Ended`. What goes wrong is raised as a `ServiceError`.
"""

import asyncio
import logging
import secrets
import zlib
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from weakref import WeakKeyDictionary, ref

from msgspec import Struct

from pilotlight import __version__
from pilotlight.admission import Admission
from pilotlight.answer_watch import AnswerWatch
from pilotlight.async_engine import AsyncEngine, EventStream
from pilotlight.errors import (
    ContextLengthExceeded,
    InferenceError,
    InvalidRequest,
    ModelLoadFailed,
    QueueFull,
    ServiceError,
)
from pilotlight.metrics import Metrics
from pilotlight.models.catalog import template_path
from pilotlight.models.pool import Hold, LoadedModel, ModelStatus, Pool
from pilotlight.models.resolver import Resolver
from pilotlight.output import reasoning, tool_calls
from pilotlight.output.answer import AnswerParser
from pilotlight.output.events import OutputEvent, ToolCallStart
from pilotlight.prompt.errors import TemplateFailed, TemplateInvalid, TemplateRefused
from pilotlight.receipt import Phases
from pilotlight_backend import (
    BackendError,
    EngineEvent,
    Failed,
    Finish,
    GenerateRequest,
    InvalidParameter,
    SamplingParams,
    Started,
    Token,
    Usage,
)
from pilotlight_backend import ContextLengthExceeded as PromptTooLong

if TYPE_CHECKING:
    from pilotlight.prompt.chat_template import ChatTemplate

logger = logging.getLogger(__name__)

_LONG = 8192
"""Characters of a prompt from which on it is rendered in a thread."""

_REQUEST_FIELDS = frozenset(
    {"max_tokens", "stop_token_ids", *SamplingParams.__struct_fields__} - {"repeat_penalty"}
)
"""The contract's fields that a request calls the same."""


class ChatPrompt(Struct, frozen=True):
    """A conversation as a chat template takes it; *variables* are the template's own switches."""

    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]] | None
    variables: Mapping[str, Any]


class GenerationParams(Struct, frozen=True, kw_only=True):
    """What to generate, in no endpoint's words."""

    model: str
    prompt: ChatPrompt
    max_tokens: int
    sampling: SamplingParams
    stops: Sequence[str] = ()
    stop_token_ids: frozenset[int] = frozenset()
    parse_tool_calls: bool = True


class Begun(Struct, frozen=True):
    """The request has a slot; from here on an error can only end a stream."""

    model: str
    fingerprint: str
    prompt_tokens: int
    cached_tokens: int
    receipt: Phases | None = None
    """Where the time went so far, if the model was cold when the request came."""


class FirstToken(Struct, frozen=True):
    """Told to a request that came to a cold model, with the whole receipt."""

    receipt: Phases


class Ended(Struct, frozen=True):
    """The answer is whole."""

    reason: Literal["stop", "length", "tool_calls"]
    usage: Usage
    reasoning_tokens: int


GenerationEvent: TypeAlias = Begun | FirstToken | OutputEvent | Ended


class Dialect(Struct, frozen=True, eq=False):
    """How one loaded model is spoken to: its template, the formats it answers in, its engine."""

    template: "ChatTemplate"
    reasoning: str | None
    tool_calls: str | None
    engine: AsyncEngine
    fingerprint: str


class Generator:
    """Generates with whatever model a request names."""

    def __init__(
        self,
        resolver: Resolver,
        pool: Pool,
        admission: Admission,
        metrics: Metrics,
        *,
        max_queue: int,
        clock: Callable[[], float],
    ) -> None:
        self._resolver = resolver
        self._pool = pool
        self._admission = admission
        self._metrics = metrics
        self._max_queue = max_queue
        self._clock = clock
        self._dialects: WeakKeyDictionary[LoadedModel, Dialect] = WeakKeyDictionary()
        self._first: ref[LoadedModel] | None = None
        """The model whose cold start was the process's own."""

    async def status(self, name: str) -> ModelStatus:
        """Return how far the model is that requests call *name*; raises `ModelNotFound`."""
        return self._pool.status(await self._resolver.resolve(name))

    async def generate(
        self, params: GenerationParams, *, hold: Hold
    ) -> AsyncGenerator[Sequence[GenerationEvent]]:
        """Yield the events of one answer. Close the generator to cancel.

        *hold* is how long to wait for a model that is loading.
        """
        watch = AnswerWatch(self._clock)
        try:
            with self._admission.request():
                entry = await self._resolver.resolve(params.model)
                watch.model = entry.name
                cold = self._pool.status(entry).state != "ready"
                async with self._pool.lease(entry, hold) as model:
                    if cold:
                        watch.cold(self._load_phases(model))
                    async with aclosing(self._answer(model, params, watch)) as answer:
                        async for events in answer:
                            yield events
        except ServiceError as error:
            watch.outcome = error.code
            raise
        except Exception:
            watch.outcome = InferenceError.code
            raise
        finally:
            self._metrics.note(watch.record())

    def _load_phases(self, model: LoadedModel) -> Phases:
        """Return what *model*'s cold start took, from exec on where it was the process's own."""
        self._first = self._first or ref(model)
        if self._first() is model and self._metrics.started_in is not None:
            began = {} if model.began_at is None else {"begin": model.began_at}
            return {"import": self._metrics.started_in, **began, **model.phases}
        return model.phases

    async def _answer(
        self, model: LoadedModel, params: GenerationParams, watch: AnswerWatch
    ) -> AsyncGenerator[Sequence[GenerationEvent]]:
        dialect = await self._dialect(model)
        prompt = await _render(dialect, params.prompt)
        tokens = await dialect.engine.tokenize(prompt, special=True)
        answer = _Answer(model, dialect, params, prompt, watch)
        stream = self._submit(dialect, params, tokens)
        watch.submitted()
        try:
            while not answer.ended:
                events = answer.feed(await stream.next())
                if events:
                    yield events
        finally:
            stream.cancel()
        if answer.failure:
            raise answer.failure

    async def _dialect(self, model: LoadedModel) -> Dialect:
        dialect = self._dialects.get(model)
        if dialect is None:
            dialect = await asyncio.to_thread(_learn, model, AsyncEngine(model.engine))
            self._dialects[model] = dialect
        return dialect

    def _submit(
        self, dialect: Dialect, params: GenerationParams, tokens: Sequence[int]
    ) -> EventStream:
        queued = dialect.engine.stats().queued
        if queued >= self._max_queue:
            raise QueueFull(f"{queued} requests wait for this model already", retry_after=5.0)
        request = GenerateRequest(
            prompt=tuple(tokens),
            max_tokens=params.max_tokens,
            sampling=params.sampling,
            stop_token_ids=params.stop_token_ids,
        )
        try:
            return dialect.engine.submit(request)
        except PromptTooLong as error:
            raise ContextLengthExceeded(
                f"the messages come to {error.prompt_tokens} tokens; this model's context is"
                f" {error.context_length} tokens, prompt and answer together",
                param="messages",
            ) from None
        except InvalidParameter as error:
            raise InvalidRequest(str(error), param=_param(error.param)) from None
        except BackendError as error:
            raise InferenceError(str(error)) from error


class _Answer:
    """One answer on its way from engine events to generation events."""

    def __init__(
        self,
        model: LoadedModel,
        dialect: Dialect,
        params: GenerationParams,
        prompt: str,
        watch: AnswerWatch,
    ) -> None:
        opened = dialect.reasoning is not None and reasoning.opened(dialect.reasoning, prompt)
        self._begun = (model.entry.name, dialect.fingerprint)
        self._watch = watch
        self._parser = AnswerParser(
            stops=params.stops,
            reasoning=dialect.reasoning,
            opened=opened,
            tool_calls=dialect.tool_calls if params.parse_tool_calls else None,
            new_id=_new_call_id,
        )
        self._prompt_tokens = 0
        self._cached_tokens = 0
        self._tokens = 0
        self._called = False
        self.ended = False
        self.failure: InferenceError | None = None
        """Why it ended too early; to be raised once what came before is told."""

    def feed(self, arrived: Sequence[EngineEvent]) -> list[GenerationEvent]:
        events: list[GenerationEvent] = []
        for event in arrived:
            events += self._feed(event)
            if self.ended:
                break
        return events

    def _feed(self, event: EngineEvent) -> Sequence[GenerationEvent]:
        match event:
            case Token():
                return self._token(event)
            case Started():
                self._prompt_tokens = event.prompt_tokens
                self._cached_tokens = event.cached_tokens
                receipt = self._watch.begun()
                return [Begun(*self._begun, event.prompt_tokens, event.cached_tokens, receipt)]
            case Finish():
                reason: Literal["stop", "length"] = "length" if event.reason == "length" else "stop"
                return self._end(reason, event.usage)
            case Failed():
                self.ended = True
                self.failure = InferenceError(str(event.error))
                self.failure.__cause__ = event.error
                return []

    def _token(self, token: Token) -> Sequence[GenerationEvent]:
        self._tokens += 1
        events: Sequence[GenerationEvent] = self._note_calls(self._parser.feed(token.piece))
        if self._tokens == 1 and (receipt := self._watch.first_token()) is not None:
            events = [FirstToken(receipt), *events]
        if self._parser.stopped:
            usage = Usage(
                prompt_tokens=self._prompt_tokens,
                completion_tokens=self._tokens,
                cached_tokens=self._cached_tokens,
            )
            return [*events, *self._end("stop", usage)]
        return events

    def _end(self, reason: Literal["stop", "length"], usage: Usage) -> Sequence[GenerationEvent]:
        self.ended = True
        rest = self._note_calls(self._parser.flush())
        called = self._called and reason == "stop"
        ended = Ended("tool_calls" if called else reason, usage, self._parser.reasoning_tokens)
        self._watch.ended(ended.reason, usage)
        return [*rest, ended]

    def _note_calls(self, events: Sequence[OutputEvent]) -> Sequence[OutputEvent]:
        self._called = self._called or any(isinstance(event, ToolCallStart) for event in events)
        return events


def _learn(model: LoadedModel, engine: AsyncEngine) -> Dialect:
    """Read how *model* is spoken to. Compiles a template, so it belongs into a thread."""
    # Here for the first time jinja2 is imported: the start does without it.
    from pilotlight.prompt.chat_template import ChatTemplate  # noqa: PLC0415

    options = model.entry.options
    source = model.facts.chat_template
    try:
        if options.chat_template:
            source = _read_template(model.entry.path, options.chat_template)
        if not source:
            raise InvalidRequest(
                f"the model {model.entry.name!r} has no chat template; models.yaml can give it one",
                param="model",
            )
        template = ChatTemplate(
            source, bos_token=model.facts.bos_token, eos_token=model.facts.eos_token
        )
    except TemplateInvalid as error:
        raise ModelLoadFailed(f"{model.entry.name}: {error}", retry_after=None) from error
    return Dialect(
        template,
        options.reasoning_format or reasoning.detect(source),
        options.tool_call_format or tool_calls.detect(source),
        engine,
        _fingerprint(model),
    )


def _read_template(model: Path, name: str) -> str:
    """Read the template *name*, relative to the folder that *model* is or is in."""
    path = template_path(model, name)
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        # The client learns the file's name, and the log where it was looked for.
        logger.exception("cannot read the chat template %s", path)
        raise ModelLoadFailed(
            f"the chat template {path.name!r} cannot be read", retry_after=None
        ) from error


async def _render(dialect: Dialect, prompt: ChatPrompt) -> str:
    """Render the prompt; a long one in a thread, so that the event loop goes on."""

    def render() -> str:
        return dialect.template.render(
            prompt.messages, tools=prompt.tools, add_generation_prompt=True, **prompt.variables
        )

    size = sum(len(message["content"]) for message in prompt.messages)
    try:
        return render() if size < _LONG else await asyncio.to_thread(render)
    except TemplateRefused as error:
        raise InvalidRequest(
            f"the model's chat template refuses this: {error}", param="messages"
        ) from None
    except TemplateFailed as error:
        raise InvalidRequest(str(error), param="messages") from error


def _param(name: str) -> str | None:
    """Return what the contract's field *name* is called in a request; None where it is not there.

    A backend may say where in the contract's request the field is: `sampling.top_k`.
    """
    field = name.rpartition(".")[2]
    return "messages" if field == "prompt" else field if field in _REQUEST_FIELDS else None


def _fingerprint(model: LoadedModel) -> str:
    """Name what determines the tokens of a seed: this server, the backend, the model."""
    identity = f"{__version__}/{model.backend}/{model.facts.name}/{model.facts.size_bytes}"
    return f"fp_{zlib.crc32(identity.encode()):08x}"


def _new_call_id() -> str:
    return f"call_{secrets.token_hex(12)}"

"""Generates with the model that a request names."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial
from weakref import WeakKeyDictionary

from msgspec.structs import replace

from pilotlight.config import Settings
from pilotlight.generation.async_engine import AsyncEngine, EventStream, Refused
from pilotlight.generation.choice import Choice
from pilotlight.generation.engine_errors import check_requests, generation_error, request_error
from pilotlight.generation.events import Events, total_usage
from pilotlight.generation.guide_factory import GuideFactory
from pilotlight.generation.image_reading import ImageReader, image_reader
from pilotlight.generation.params import ChatPrompt, GenerationParams, Prompt
from pilotlight.generation.prepared_model import PreparedModel, import_templates, prepare
from pilotlight.generation.rendering import Rendered, render, text_of_prompt
from pilotlight.generation.single_flight import SingleFlight
from pilotlight.generation.waiting import ANNOUNCE_AFTER, announced
from pilotlight.models.catalog import SpecialTokens
from pilotlight.models.loaded import Hold, LoadedModel
from pilotlight.models.state import ModelStatus
from pilotlight.observability.answer_recorder import AnswerRecorder
from pilotlight.scheduling.lease import ModelLeases
from pilotlight_backend import GenerateRequest, Guide, SamplingParams


class Generator:
    """Generates with the model that a request names."""

    def __init__(
        self,
        leases: ModelLeases,
        *,
        announce_after: float = ANNOUNCE_AFTER,
        special_tokens: SpecialTokens = "text",
        private_prompts: bool = True,
        images: ImageReader | None = None,
    ) -> None:
        """Announce requests that wait *announce_after* seconds for a slot.

        *special_tokens* says how their names in messages are read, unless models.yaml does. With
        *private_prompts*, a caller's requests use cached tokens of its own alone.
        """
        self._private_prompts = private_prompts
        self._leases = leases
        self._announce_after = announce_after
        self._images = images or image_reader(Settings())
        self._special_tokens = special_tokens
        self._checking: WeakKeyDictionary[LoadedModel, asyncio.Lock] = WeakKeyDictionary()
        self._guides = GuideFactory()
        self._importing: asyncio.Future[None] | None = None
        self._prepared_models: SingleFlight[LoadedModel, PreparedModel] = SingleFlight()

    async def status(self, name: str) -> ModelStatus:
        """Return the status of the model *name*; raises `ModelNotFound`."""
        return await self._leases.status(name)

    async def generate(
        self, params: GenerationParams, *, hold: Hold, caller: str = "", announces: bool = False
    ) -> AsyncGenerator[Events]:
        """Yield the events of all choices. Close the generator to cancel.

        *hold* is how long to wait for a model that is loading; *caller* is the caller's identity,
        or "". With *announces*, a request that waits long for its slot is checked and yields one
        empty sequence: headers can be sent, since nothing is wrong with the request.
        """
        self._expect(params.prompts)
        async with self._leases.lease(params.model, hold, caller, params.lora) as lease:
            model, recorder = lease.model, lease.recorder
            params = replace(params, adapters=lease.adapters)
            recorder.submitted()
            prompts = await self._images.fetched(model.facts, params.prompts)
            params = replace(params, prompts=prompts)
            submitted = asyncio.Event()
            stream = self._queued(model, params, recorder, caller, submitted)
            if announces:
                check = partial(self._check, model, params, submitted)
                stream = announced(stream, self._announce_after, check)
            async with aclosing(stream):
                async for events in stream:
                    yield events

    def _expect(self, prompts: Sequence[Prompt]) -> None:
        """Begin to import what renders conversations: meanwhile a cold model loads."""
        if not self._importing and any(isinstance(prompt, ChatPrompt) for prompt in prompts):
            loop = asyncio.get_running_loop()
            self._importing = loop.run_in_executor(None, import_templates)

    async def _queued(
        self,
        model: LoadedModel,
        params: GenerationParams,
        recorder: AnswerRecorder,
        caller: str,
        submitted: asyncio.Event,
    ) -> AsyncGenerator[Events]:
        """Wait in *caller*'s queue for slots, then yield the events of all choices."""
        slots = len(params.prompts) * params.n
        async with (
            self._leases.slots(model, caller, slots, recorder.adapters),
            aclosing(self._generate(model, params, recorder, caller, submitted)) as stream,
        ):
            async for events in stream:
                yield events

    async def _check(
        self, model: LoadedModel, params: GenerationParams, submitted: asyncio.Event
    ) -> None:
        """Raise the error that the request would be refused with in its slot.

        One request at a time for each model, so that requests with a slot are rendered first. The
        result is thrown away: tokens take about ten times the memory of their text.
        """
        async with self._checking.setdefault(model, asyncio.Lock()):
            if submitted.is_set():
                return  # the engine has checked it
            prepared = await self._prepare(model)
            prompts = [await self._render(prepared, prompt) for prompt in params.prompts]
            guides = await self._guides.guides(prepared, params, prompts)
            lengths = [prompt.length for prompt in prompts for _ in range(params.n)]
            check_requests(model.facts, params, _requests(params, prompts, guides), lengths)

    async def tokens(self, model: str, prompt: Prompt, *, hold: Hold, caller: str = "") -> int:
        """Return how many tokens *prompt* has, those of images included."""
        async with self.prepared(model, hold=hold, caller=caller) as prepared:
            return (await self.render(prepared, prompt)).length

    @asynccontextmanager
    async def prepared(
        self, model: str, *, hold: Hold, caller: str = ""
    ) -> AsyncIterator[PreparedModel]:
        """Lease the model *model* and yield it prepared, for tokenizing and detokenizing."""
        async with self._leases.lease(model, hold, caller) as lease:
            lease.recorder.outcome = "tokenized"
            yield await self._prepare(lease.model)

    async def render(self, prepared: PreparedModel, prompt: Prompt) -> Rendered:
        """Return *prompt*, whose images are fetched and decoded, in tokens."""
        (prompt,) = await self._images.fetched(prepared.facts, (prompt,))
        return await self._render(prepared, prompt)

    async def _render(self, prepared: PreparedModel, prompt: Prompt) -> Rendered:
        return await render(prepared, await self._images.decoded(prompt))

    async def _generate(
        self,
        model: LoadedModel,
        params: GenerationParams,
        recorder: AnswerRecorder,
        caller: str,
        submitted: asyncio.Event,
    ) -> AsyncGenerator[Events]:
        prepared = await self._prepare(model)
        prompts = [await self._render(prepared, prompt) for prompt in params.prompts]
        echoes = [
            await text_of_prompt(prepared, prompt) if params.echo else ""
            for prompt in params.prompts
        ]
        choices = [
            Choice(prepared, params, prompt, recorder, echo)
            for prompt, echo in zip(prompts, echoes, strict=True)
            for _ in range(params.n)
        ]
        guides = await self._guides.guides(prepared, params, prompts)
        scope = prompt_scope(caller if self._private_prompts else "", params.cache_salt)
        stream = _submit(prepared, params, _requests(params, prompts, guides, scope))
        submitted.set()
        try:
            while not (all(one.ended for one in choices) or any(one.failure for one in choices)):
                events = await _next(stream, choices)
                # The record ends before the last events are yielded: the client may close then.
                if all(choice.ended for choice in choices):
                    recorder.ended(_reason(choices[0]))
                if events:
                    yield events
        finally:
            stream.cancel()
            recorder.spent(total_usage([choice.usage for choice in choices], params.n))
        for number, choice in enumerate(choices):
            if choice.failure:
                prompt = params.prompts[number // params.n]
                raise generation_error(choice.failure, prompt) from choice.failure

    async def _prepare(self, model: LoadedModel) -> PreparedModel:
        return await self._prepared_models.get(
            model, lambda: _prepared_model(model, self._special_tokens)
        )


async def _prepared_model(model: LoadedModel, special: SpecialTokens) -> PreparedModel:
    engine = AsyncEngine(model.engine, model.calls)
    model.failure.subscribe(engine.fail)
    return await asyncio.to_thread(prepare, model, engine, special)


def prompt_scope(caller: str, salt: str | None) -> str:
    """Return the scope of cached tokens for requests of *caller*, divided by *salt*."""
    return caller if salt is None else f"{caller}\0{salt}"


def _requests(
    params: GenerationParams,
    prompts: Sequence[Rendered],
    guides: Sequence[Guide | None],
    scope: str = "",
) -> list[GenerateRequest]:
    """Return the engine's requests, one for each choice."""
    return [
        GenerateRequest(
            prompt=prompt.parts,
            max_tokens=max(1, params.max_tokens),  # engines generate at least one token
            sampling=_seeded(params.sampling, number % params.n),
            stop_token_ids=params.stop_token_ids,
            ignore_eos=params.ignore_eos,
            min_tokens=params.min_tokens,
            logprobs=params.logprobs,
            guide=guides[number],
            adapters=params.adapters,
            scope=scope,
            shares_prompt=params.n > 1,  # the engine prefills the prompt once for all of them
        )
        for number, prompt in enumerate(each for each in prompts for _ in range(params.n))
    ]


def _submit(
    prepared: PreparedModel, params: GenerationParams, requests: Sequence[GenerateRequest]
) -> EventStream:
    try:
        return prepared.engine.submit(requests)
    except Refused as refused:
        raise request_error(refused.error, params.prompts[refused.number // params.n]) from refused


async def _next(stream: EventStream, choices: Sequence[Choice]) -> Events:
    """Wait for the engine's next events; return the events of the choices."""
    events = []
    for number, event in await stream.next():
        choice = choices[number]
        if choice.over():
            continue  # it ended at a stop, and the engine was a step ahead
        events += [(number, made) for made in choice.feed(event)]
        if choice.over():
            stream.cancel(number)
    return events


def _seeded(sampling: SamplingParams, number: int) -> SamplingParams:
    """Return the sampling parameters of the *number*-th choice of a prompt."""
    if sampling.seed is None or not number:
        return sampling
    return replace(sampling, seed=sampling.seed + number)


def _reason(choice: Choice) -> str:
    return "" if choice.ended is None else choice.ended.reason

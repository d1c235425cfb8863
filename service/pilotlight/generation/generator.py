"""Generates with whatever model a request names."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial
from weakref import WeakKeyDictionary

from msgspec.structs import replace

from pilotlight.generation.async_engine import AsyncEngine, EventStream, Refused
from pilotlight.generation.choice import Answer
from pilotlight.generation.dialect import Dialect, learn
from pilotlight.generation.events import Events, total_usage
from pilotlight.generation.guiding import Guiding
from pilotlight.generation.params import GenerationParams, Prompt
from pilotlight.generation.refusal import check_requests, failure, refusal
from pilotlight.generation.rendering import Rendered, render
from pilotlight.generation.single_flight import SingleFlight
from pilotlight.generation.spelling import spell
from pilotlight.generation.waiting import ANNOUNCE_AFTER, announced
from pilotlight.models.catalog import SpecialTokens
from pilotlight.models.loaded import Hold, LoadedModel
from pilotlight.models.state import ModelStatus
from pilotlight.observability.answer_watch import AnswerWatch
from pilotlight.scheduling.lease import ModelLeases
from pilotlight_backend import GenerateRequest, Guide, SamplingParams


class Generator:
    """Generates with whatever model a request names."""

    def __init__(
        self,
        leases: ModelLeases,
        *,
        announce_after: float = ANNOUNCE_AFTER,
        special_tokens: SpecialTokens = "text",
    ) -> None:
        """Announce requests that wait *announce_after* seconds for a slot.

        *special_tokens* says what their names in messages are, where models.yaml does not.
        """
        self._leases = leases
        self._announce_after = announce_after
        self._special_tokens = special_tokens
        self._checking: WeakKeyDictionary[LoadedModel, asyncio.Lock] = WeakKeyDictionary()
        self._guiding = Guiding()
        self._dialects: SingleFlight[LoadedModel, Dialect] = SingleFlight()

    async def status(self, name: str) -> ModelStatus:
        """Return how far the model is that requests call *name*; raises `ModelNotFound`."""
        return await self._leases.status(name)

    async def generate(
        self, params: GenerationParams, *, hold: Hold, caller: str = "", announces: bool = False
    ) -> AsyncGenerator[Events]:
        """Yield the events of the answers. Close the generator to cancel.

        *hold* is how long to wait for a model that is loading; *caller* is who asks, where callers
        are told apart. A generation that *announces* yields no events at all once, if it waits long
        for its slot: from then on nothing is wrong with the request.
        """
        async with self._leases.lease(params.model, hold, caller) as (model, watch):
            watch.submitted()
            submitted = asyncio.Event()
            answer = self._in_turn(model, params, watch, caller, submitted)
            if announces:
                check = partial(self._check, model, params, submitted)
                answer = announced(answer, self._announce_after, check)
            async with aclosing(answer):
                async for events in answer:
                    yield events

    async def _in_turn(
        self,
        model: LoadedModel,
        params: GenerationParams,
        watch: AnswerWatch,
        caller: str,
        submitted: asyncio.Event,
    ) -> AsyncGenerator[Events]:
        """Wait in *caller*'s queue for slots, and yield the events of the answers."""
        slots = len(params.prompts) * params.n
        async with (
            self._leases.slots(model, caller, slots),
            aclosing(self._answer(model, params, watch, submitted)) as answer,
        ):
            async for events in answer:
                yield events

    async def _check(
        self, model: LoadedModel, params: GenerationParams, submitted: asyncio.Event
    ) -> None:
        """Raise what the request would be refused for when its turn comes.

        One at a time for each model, whose engine may hang, and the outcome is not kept: those
        whose turn it is come first, and what waits holds no more than its text.
        """
        async with self._checking.setdefault(model, asyncio.Lock()):
            if submitted.is_set():
                return  # the engine has checked it
            dialect = await self._dialect(model)
            prompts = [await render(dialect, prompt) for prompt in params.prompts]
            guides = await self._guiding.guides(dialect, params, prompts)
            check_requests(model.facts, params, _requests(params, prompts, guides))

    async def tokens(
        self, model: str, prompt: Prompt, *, hold: Hold, caller: str = ""
    ) -> Sequence[int]:
        """Return the tokens that *prompt* would be evaluated as."""
        async with self.speaking(model, hold=hold, caller=caller) as dialect:
            return (await render(dialect, prompt)).tokens

    @asynccontextmanager
    async def speaking(self, model: str, *, hold: Hold, caller: str = "") -> AsyncIterator[Dialect]:
        """Keep the model loaded that requests call *model*, and tell how it is spoken to.

        What is asked of it is tokens, or their text.
        """
        async with self._leases.lease(model, hold, caller) as (loaded, watch):
            watch.outcome = "tokenized"
            yield await self._dialect(loaded)

    async def _answer(
        self,
        model: LoadedModel,
        params: GenerationParams,
        watch: AnswerWatch,
        submitted: asyncio.Event,
    ) -> AsyncGenerator[Events]:
        dialect = await self._dialect(model)
        prompts = [await render(dialect, prompt) for prompt in params.prompts]
        echoes = [await spell(dialect, prompt) if params.echo else "" for prompt in params.prompts]
        answers = [
            Answer(dialect, params, prompt, watch, echo)
            for prompt, echo in zip(prompts, echoes, strict=True)
            for _ in range(params.n)
        ]
        guides = await self._guiding.guides(dialect, params, prompts)
        stream = _submit(dialect, params, _requests(params, prompts, guides))
        submitted.set()
        try:
            while not (all(one.ended for one in answers) or any(one.failure for one in answers)):
                events = await _next(stream, answers)
                if all(answer.ended for answer in answers):
                    watch.ended(_reason(answers[0]))
                if events:
                    yield events
        finally:
            stream.cancel()
            watch.spent(total_usage([answer.usage for answer in answers], params.n))
        for number, answer in enumerate(answers):
            if answer.failure:
                prompt = params.prompts[number // params.n]
                raise failure(answer.failure, prompt) from answer.failure

    async def _dialect(self, model: LoadedModel) -> Dialect:
        return await self._dialects.get(model, lambda: _learn(model, self._special_tokens))


async def _learn(model: LoadedModel, special: SpecialTokens) -> Dialect:
    engine = AsyncEngine(model.engine, model.calls)
    model.failure.subscribe(engine.fail)
    return await asyncio.to_thread(learn, model, engine, special)


def _requests(
    params: GenerationParams, prompts: Sequence[Rendered], guides: Sequence[Guide | None]
) -> list[GenerateRequest]:
    """Return what the engine is asked, one request for each answer."""
    return [
        GenerateRequest(
            prompt=prompt.tokens,
            max_tokens=max(1, params.max_tokens),  # engines know no request for nothing
            sampling=_seeded(params.sampling, number % params.n),
            stop_token_ids=params.stop_token_ids,
            ignore_eos=params.ignore_eos,
            min_tokens=params.min_tokens,
            logprobs=params.logprobs,
            guide=guides[number],
            shares_prompt=params.n > 1,
        )
        for number, prompt in enumerate(each for each in prompts for _ in range(params.n))
    ]


def _submit(
    dialect: Dialect, params: GenerationParams, requests: Sequence[GenerateRequest]
) -> EventStream:
    try:
        return dialect.engine.submit(requests)
    except Refused as refused:
        raise refusal(refused.error, params.prompts[refused.number // params.n]) from refused


async def _next(stream: EventStream, answers: Sequence[Answer]) -> Events:
    """Wait for what the engine says next; return what the answers make of it."""
    events = []
    for number, event in await stream.next():
        answer = answers[number]
        if answer.over():
            continue  # it ended on its own word, and the engine had gone on meanwhile
        events += [(number, told) for told in answer.feed(event)]
        if answer.over():
            stream.cancel(number)
    return events


def _seeded(sampling: SamplingParams, number: int) -> SamplingParams:
    """Return what the *number*-th answer to a prompt is sampled with."""
    if sampling.seed is None or not number:
        return sampling
    return replace(sampling, seed=sampling.seed + number)


def _reason(answer: Answer) -> str:
    return "" if answer.ended is None else answer.ended.reason

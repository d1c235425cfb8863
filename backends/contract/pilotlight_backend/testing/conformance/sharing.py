"""Sharing: requests with the same prompt, which is evaluated once for all of them."""
# ruff: noqa: S101 - the suite asserts

import threading
from collections.abc import Callable, Iterator

import pytest
from msgspec.structs import replace

from pilotlight_backend.errors import EngineClosed
from pilotlight_backend.protocols import Backend, Engine
from pilotlight_backend.testing.conformance.fixtures import ConformanceFixtures, load
from pilotlight_backend.testing.conformance.listener import (
    GREEDY,
    Listener,
    Submitted,
    check_order,
    eventually,
    fill_slots,
    request_of,
    run,
    submit,
    within,
)
from pilotlight_backend.types import (
    EngineEvent,
    Failed,
    GenerateRequest,
    LoadOptions,
    ModelFacts,
    SamplingParams,
    Started,
)

ANSWERS = 4
LENGTH = 12
LONG = 100
AGAIN = 16
"""Prompt tokens that each of the sharers may evaluate itself: the last one in any case, whose
logits choose the first of its answer, and some more where kernels take tokens in tiles."""


class ShareConformance(ConformanceFixtures):
    """`GenerateRequest.shares_prompt`, for a model whose cache can be copied or cut back."""

    @pytest.fixture(scope="class")
    @classmethod
    def sharing_options(cls, options: LoadOptions) -> LoadOptions:
        """Return how to load the model; `long_prompt` and an answer of 100 tokens fit into it.

        A chunk is small, so that to read the prompt takes several steps.
        """
        return replace(options, parallel=ANSWERS, context_length=1024, chunk=64)

    @pytest.fixture(scope="class")
    @classmethod
    def shared_prompt(cls, prompt: list[int]) -> list[int]:
        """Return the long prompt that is shared: 500 tokens."""
        return (prompt * 500)[:500]

    @pytest.fixture
    def sharing(
        self, backend: Backend, model: ModelFacts, sharing_options: LoadOptions
    ) -> Iterator[Engine]:
        """Load an engine that holds nothing yet."""
        engine = load(backend, model, sharing_options)
        yield engine
        within(engine.close)

    @pytest.fixture
    def alone(
        self, backend: Backend, model: ModelFacts, sharing_options: LoadOptions
    ) -> Iterator[Engine]:
        """Load another one, for what a request is answered alone."""
        engine = load(backend, model, sharing_options)
        yield engine
        within(engine.close)

    def test_shared_prompt_is_evaluated_once(
        self, sharing: Engine, shared_prompt: list[int]
    ) -> None:
        """Four requests evaluate one prompt and a few tokens, and report their cached tokens."""
        asked = [submit(sharing, sharer_of(shared_prompt)) for _ in range(ANSWERS)]
        ends = [one.listener.finish() for one in asked]
        assert [end.usage.completion_tokens for end in ends] == [LENGTH] * ANSWERS
        assert all(end.usage.prompt_tokens == len(shared_prompt) for end in ends)
        assert all(isinstance(one.listener.events[0], Started) for one in asked)
        assert_read_once(sharing, shared_prompt, ANSWERS)
        cached = [end.usage.cached_tokens for end in ends]
        stats = sharing.stats()
        assert sum(cached) == stats.cached_tokens
        assert sum(cached) + stats.prompt_tokens == ANSWERS * len(shared_prompt)
        assert min(cached) == 0
        assert sorted(cached)[1] >= len(shared_prompt) - AGAIN
        assert max(cached) < len(shared_prompt)

    @pytest.mark.parametrize("temperature", [0.0, 1.0])
    def test_sharers_answer_as_they_do_alone(
        self, sharing: Engine, alone: Engine, shared_prompt: list[int], temperature: float
    ) -> None:
        """Greedy or with a seed, each request has the tokens that it has alone."""
        requests = [
            sharer_of(shared_prompt, sampling=SamplingParams(temperature=temperature, seed=seed))
            for seed in range(ANSWERS)
        ]
        asked = [submit(sharing, request) for request in requests]
        for one in asked:
            one.listener.finish()
        single = [run(alone, replace(one, shares_prompt=False)).tokens for one in requests]
        assert [one.listener.tokens for one in asked] == single

    def test_more_sharers_than_slots(self, sharing: Engine, shared_prompt: list[int]) -> None:
        """Requests that wait for a slot reuse the prompt too."""
        count = 2 * ANSWERS + 1
        asked = [submit(sharing, sharer_of(shared_prompt)) for _ in range(count)]
        tokens = [one.listener.finish() and one.listener.tokens for one in asked]
        assert tokens == [tokens[0]] * count
        assert_read_once(sharing, shared_prompt, count)

    @pytest.mark.parametrize("mixed", [False, True], ids=["in groups", "mixed"])
    def test_sharers_among_strangers(
        self,
        sharing: Engine,
        alone: Engine,
        shared_prompt: list[int],
        prompt: list[int],
        *,
        mixed: bool,
    ) -> None:
        """Two groups and some others: each prompt once, and everyone's own answer.

        Where strangers come between the sharers they may need the slot that had the prompt.
        """
        shared, other, stranger = shared_prompt, shared_prompt[::-1], prompt[1:]
        prompts = (
            [shared, other, stranger, shared, stranger, other, shared]
            if mixed
            else [stranger, shared, shared, shared, stranger, other, other]
        )
        asked = [
            submit(sharing, replace(request_of(one, LENGTH), shares_prompt=one is not stranger))
            for one in prompts
        ]
        for one in asked:
            one.listener.finish()
        if not mixed:
            most = 2 * len(shared) + 2 * len(stranger) + 3 * AGAIN
            assert sharing.stats().prompt_tokens <= most
        single = [run(alone, request_of(one, LENGTH)).tokens for one in prompts]
        assert [one.listener.tokens for one in asked] == single

    def test_first_is_cancelled_while_it_reads(
        self, sharing: Engine, alone: Engine, shared_prompt: list[int], prompt: list[int]
    ) -> None:
        """Another request evaluates the prompt then, and all others finish."""
        blockers = block(sharing, prompt[::-1])
        first = AtStart()
        first.act = sharing.submit(sharer_of(shared_prompt), first).cancel
        others = [submit(sharing, sharer_of(shared_prompt)) for _ in range(ANSWERS)]
        before = sharing.stats().prompt_tokens
        unblock(blockers)
        assert first.finish().reason == "cancelled"
        assert not first.tokens
        for one in others:
            assert one.listener.finish().reason == "length"
        expected = run(alone, request_of(shared_prompt, LENGTH)).tokens
        assert [one.listener.tokens for one in others] == [expected] * ANSWERS
        # The first one's evaluated tokens may be reused or not.
        most = 2 * len(shared_prompt) + ANSWERS * AGAIN
        assert sharing.stats().prompt_tokens - before <= most

    def test_first_is_cancelled_while_it_answers(
        self, sharing: Engine, shared_prompt: list[int]
    ) -> None:
        """The prompt stays cached for later requests."""
        first = submit(sharing, sharer_of(shared_prompt, LONG), slow=True)
        first.listener.wait_tokens()
        others = [submit(sharing, sharer_of(shared_prompt)) for _ in range(ANSWERS)]
        first.ticket.cancel()
        first.listener.hurry()
        assert first.listener.finish().reason == "cancelled"
        for one in others:
            assert one.listener.finish().reason == "length"
        assert_read_once(sharing, shared_prompt, 1 + ANSWERS)

    def test_waiting_sharer_is_cancelled(
        self, sharing: Engine, shared_prompt: list[int], prompt: list[int]
    ) -> None:
        """It ends, and the others are not affected."""
        blockers = block(sharing, prompt[::-1])
        first = AtStart()
        sharing.submit(sharer_of(shared_prompt, LONG), first)
        others = [submit(sharing, sharer_of(shared_prompt, LONG)) for _ in range(ANSWERS - 1)]
        first.act = others[0].ticket.cancel
        before = sharing.stats().prompt_tokens
        unblock(blockers)
        assert others[0].listener.finish().reason == "cancelled"
        for listener in (first, *(one.listener for one in others[1:])):
            assert listener.finish().reason == "length"
        assert_read_once(sharing, shared_prompt, ANSWERS, before)

    def test_close_ends_those_that_wait(
        self, sharing: Engine, shared_prompt: list[int], prompt: list[int]
    ) -> None:
        """A close while the prompt is read ends every sharer as closed, and returns."""
        blockers = block(sharing, prompt[::-1])
        closer = threading.Thread(target=sharing.close, daemon=True)
        first = AtStart()
        first.act = closer.start
        sharing.submit(sharer_of(shared_prompt, LONG), first)
        others = [submit(sharing, sharer_of(shared_prompt, LONG)) for _ in range(2 * ANSWERS)]
        unblock(blockers)
        listeners = [first, *(one.listener for one in others)]
        for listener in listeners:
            end = listener.wait()
            assert isinstance(end, Failed), end
            assert isinstance(end.error, EngineClosed)
            check_order(listener.events)
        within(closer.join)

    def test_single_sharer_and_shortest_prompt(
        self, sharing: Engine, alone: Engine, prompt: list[int]
    ) -> None:
        """A single request with a shared prompt runs; so does a shared prompt of one token."""
        single = submit(sharing, sharer_of(prompt)).listener
        assert single.finish().reason == "length"
        assert single.tokens == run(alone, request_of(prompt, LENGTH)).tokens
        short = [submit(sharing, sharer_of(prompt[:1])) for _ in range(ANSWERS)]
        assert [one.listener.finish().usage.cached_tokens for one in short] == [0] * ANSWERS
        assert len({tuple(one.listener.tokens) for one in short}) == 1

    def test_nothing_is_left(self, sharing: Engine, shared_prompt: list[int]) -> None:
        """After sharers that ended in every way all slots are free, and the engine answers."""
        asked: list[Submitted] = []
        for turn in range(5):
            prompt = [shared_prompt[turn], *shared_prompt]
            asked += [submit(sharing, sharer_of(prompt)) for _ in range(ANSWERS)]
            asked[-turn].ticket.cancel()
        for one in asked:
            assert one.listener.finish().reason in {"length", "cancelled"}
        assert eventually(lambda: sharing.stats().slots_busy == sharing.stats().queued == 0)
        assert run(sharing, request_of(shared_prompt, 2)).tokens


def sharer_of(
    prompt: list[int], max_tokens: int = LENGTH, *, sampling: SamplingParams = GREEDY
) -> GenerateRequest:
    """Return a request that shares *prompt*."""
    return replace(request_of(prompt, max_tokens, sampling=sampling), shares_prompt=True)


def assert_read_once(engine: Engine, prompt: list[int], count: int, before: int = 0) -> None:
    """Assert that *prompt* was evaluated once for *count* requests since there were *before*."""
    read = engine.stats().prompt_tokens - before
    assert len(prompt) <= read <= len(prompt) + (count - 1) * AGAIN


def block(engine: Engine, prompt: list[int]) -> list[Submitted]:
    """Take all slots, so that what is submitted next starts together, in `unblock`."""
    return fill_slots(engine, prompt, ANSWERS, LONG)


def unblock(blockers: list[Submitted]) -> None:
    """End the requests that occupy the slots."""
    for one in blockers:
        one.ticket.cancel()
        one.listener.hurry()


class AtStart(Listener):
    """A listener that does something when its request starts, before the prompt is read."""

    act: Callable[[], None]

    def __call__(self, event: EngineEvent) -> None:
        """Take an event, and act at the start."""
        super().__call__(event)
        if isinstance(event, Started):
            self.act()

"""Cached prompts: kept apart by scope, cleared, and found by the next load."""
# ruff: noqa: S101 - the suite asserts

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from msgspec.structs import replace

from pilotlight_backend.errors import EngineClosed
from pilotlight_backend.protocols import Backend, CachingEngine, Engine
from pilotlight_backend.testing.conformance.fixtures import ConformanceFixtures, load
from pilotlight_backend.testing.conformance.listener import request_of, run, submit, within
from pilotlight_backend.types import LoadOptions, ModelFacts, PromptCacheOptions

PROMPT = 200
"""Tokens; the context of the suite has at least 256."""
FOUND = 100
"""Tokens of these that a request finds at least, where it may."""
LENGTH = 4


class CacheConformance(ConformanceFixtures):
    """`GenerateRequest.scope` for every engine, and `CachingEngine` where the backend has such."""

    @pytest.fixture(scope="class")
    @classmethod
    def cached_prompt(cls, prompt: list[int]) -> list[int]:
        """Return a prompt that is worth caching."""
        return (prompt * PROMPT)[:PROMPT]

    @pytest.fixture
    def storage(self, tmp_path: Path) -> Path:
        """Return the folder in which states are stored."""
        return tmp_path / "states"

    @pytest.fixture
    def open_engine(
        self, backend: Backend, model: ModelFacts, options: LoadOptions, storage: Path
    ) -> Iterator[Callable[[], Engine]]:
        """Return a function that loads the model with a prompt cache; its engines are closed."""
        cache = PromptCacheOptions(memory_bytes=64 << 20, storage=str(storage))
        engines: list[Engine] = []

        def open_engine() -> Engine:
            engines.append(load(backend, model, replace(options, parallel=2, prompt_cache=cache)))
            return engines[-1]

        yield open_engine
        for engine in engines:
            within(engine.close)

    def test_scope_finds_its_own_tokens_alone(
        self, open_engine: Callable[[], Engine], cached_prompt: list[int]
    ) -> None:
        """The prompt is evaluated again for another scope, and for the same owner's other one."""
        engine = open_engine()
        assert cached(engine, cached_prompt, "ann") == 0
        for scope in ("bob", "", "ann\0salt"):
            assert cached(engine, cached_prompt, scope) == 0, scope
        for scope in ("bob", "ann"):
            other = [*cached_prompt[::-1], cached_prompt[0]]
            cached(engine, other, scope)
            if isinstance(engine, CachingEngine):
                assert cached(engine, other, scope) >= FOUND

    def test_scope_that_shares_a_prompt_does_not_share_it_with_others(
        self, open_engine: Callable[[], Engine], cached_prompt: list[int]
    ) -> None:
        """Requests for the same prompt, submitted together by two callers, read it twice."""
        engine = open_engine()
        requests = [
            replace(request_of(cached_prompt, LENGTH), scope=scope, shares_prompt=True)
            for scope in ("ann", "bob")
        ]
        for one in [submit(engine, request) for request in requests]:
            assert one.listener.finish().usage.cached_tokens == 0

    def test_cleared_prompts_are_evaluated_again(
        self, open_engine: Callable[[], Engine], cached_prompt: list[int]
    ) -> None:
        """An owner's in every scope of it; those of others stay."""
        engine = caching(open_engine())
        for scope in ("ann", "ann\0salt"):
            cached(engine, cached_prompt, scope)
        within(lambda: engine.clear_prompts("ann"))
        for scope in ("ann", "ann\0salt"):
            assert cached(engine, cached_prompt, scope) == 0
        within(lambda: engine.clear_prompts("bob"))
        assert cached(engine, cached_prompt, "ann\0salt") >= FOUND
        within(engine.clear_prompts)
        assert cached(engine, cached_prompt, "ann\0salt") == 0

    def test_prompt_of_a_running_request_is_cleared_when_it_ends(
        self, open_engine: Callable[[], Engine], cached_prompt: list[int]
    ) -> None:
        """The request goes on; its slot is empty afterwards."""
        engine = caching(open_engine())
        running = submit(
            engine, replace(request_of(cached_prompt, 40), scope="ann", ignore_eos=True), slow=True
        )
        running.listener.wait_tokens()
        within(lambda: engine.clear_prompts("ann"))
        running.listener.hurry()
        assert running.listener.finish().usage.completion_tokens == 40  # noqa: PLR2004
        assert cached(engine, cached_prompt, "ann") == 0

    def test_next_load_finds_what_was_saved(
        self, open_engine: Callable[[], Engine], cached_prompt: list[int], storage: Path
    ) -> None:
        """With the same tokens as without a cache, in the same scope alone, until it is cleared."""
        first = caching(open_engine())
        expected = answer(first, cached_prompt, "ann")
        within(lambda: first.save_prompts(30.0))
        if not list(storage.glob("*.state")):
            pytest.skip("this engine gives no states out")
        within(first.close)
        longer = [*cached_prompt, cached_prompt[0]]
        second = caching(open_engine())
        assert cached(second, longer, "bob") == 0
        assert cached(second, longer, "ann") >= FOUND
        assert answer(second, cached_prompt, "ann") == expected
        assert second.stats().prompt_cache.storage_hits == 1
        within(lambda: second.clear_prompts("ann"))
        within(second.close)
        third = caching(open_engine())
        assert cached(third, longer, "ann") == 0

    def test_closed_engine_is_cleared_at_once(self, open_engine: Callable[[], Engine]) -> None:
        """Nobody waits for a thread that has ended."""
        engine = caching(open_engine())
        within(engine.close)
        with suppress(EngineClosed):
            within(engine.clear_prompts)


def caching(engine: Engine) -> CachingEngine:
    """Return *engine* as one that caches prompts; skips where it is none."""
    if not isinstance(engine, CachingEngine):
        pytest.skip("this backend caches no prompts")
    return engine


def answer(engine: Engine, prompt: list[int], scope: str) -> list[int]:
    """Return the tokens of a greedy completion."""
    return run(engine, replace(request_of(prompt, LENGTH), scope=scope)).tokens


def cached(engine: Engine, prompt: list[int], scope: str) -> int:
    """Return how many tokens of *prompt* a request of *scope* finds."""
    listener = run(engine, replace(request_of(prompt, LENGTH), scope=scope))
    return listener.finish().usage.cached_tokens

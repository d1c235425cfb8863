"""Conversations: the next turn reuses its slot, and no other conversation evicts it."""
# ruff: noqa: S101 - the suite asserts

from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from pilotlight_backend.protocols import Backend, Engine
from pilotlight_backend.testing.conformance.fixtures import ConformanceFixtures, load
from pilotlight_backend.testing.conformance.listener import request_of, run, within
from pilotlight_backend.types import LoadOptions, ModelFacts

TURNS = 3
LENGTH = 8
AGAIN = 16
"""Tokens that may be evaluated again: the last ones, whose logits choose the next, and some more
where kernels take tokens in tiles."""


class ConversationConformance(ConformanceFixtures):
    """Prompt caching, for a model whose cache can be continued."""

    @pytest.fixture
    def fresh(self, backend: Backend, model: ModelFacts, options: LoadOptions) -> Iterator[Engine]:
        """Load an engine that holds nothing yet."""
        engine = load(backend, model, options)
        yield engine
        within(engine.close)

    def test_another_scope_uses_no_cached_token(self, fresh: Engine, prompt: list[int]) -> None:
        """Whose request it is cannot be told by the time of another's."""
        long = (prompt * 50)[:50]
        for scope in ("one", "two"):
            listener = run(fresh, replace(request_of(long, LENGTH), scope=scope))
            assert listener.finish().usage.cached_tokens == 0
        again = run(fresh, replace(request_of(long, LENGTH), scope="one"))
        assert again.finish().usage.cached_tokens >= len(long) - AGAIN

    @pytest.mark.parametrize("shared", [3, 100], ids=["few tokens", "a system prompt"])
    @pytest.mark.parametrize("spare", [0, 1], ids=["as many as slots", "fewer than slots"])
    def test_conversations_in_turn_keep_their_history(
        self, fresh: Engine, prompt: list[int], options: LoadOptions, shared: int, spare: int
    ) -> None:
        """With a slot for each, each turn starts behind the last one, whatever they share."""
        beginning = (prompt * shared)[:shared]
        conversations = [
            [*beginning, *fresh.tokenize(f"{number} is my number.", special=False)]
            for number in range(options.parallel - spare)
        ]
        held = [0] * len(conversations)
        for turn in range(TURNS):
            for number in _order(len(conversations), turn):
                history = conversations[number]
                listener = run(fresh, request_of(history, LENGTH))
                assert listener.finish().usage.cached_tokens >= held[number] - AGAIN
                history += listener.tokens
                held[number] = len(history)
                history += prompt[:4]


def _order(count: int, turn: int) -> list[int]:
    """Return the order of conversations in *turn*: forwards, backwards, from the middle."""
    numbers = list(range(count))
    if turn % 2:
        numbers.reverse()
    middle = turn // 2 % count
    return numbers[middle:] + numbers[:middle]

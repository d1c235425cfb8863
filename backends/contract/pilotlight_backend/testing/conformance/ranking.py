"""Ranking: scores of pairs, alone and together; skipped where the backend does not rank."""
# ruff: noqa: S101 - the suite asserts

import math
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from pilotlight_backend.errors import ContextLengthExceeded, EngineClosed, InvalidParameter
from pilotlight_backend.protocols import Backend, RankingEngine, Ticket
from pilotlight_backend.testing.conformance.fixtures import ConformanceFixtures
from pilotlight_backend.testing.conformance.listener import eventually, within
from pilotlight_backend.testing.conformance.pooling_listener import PoolingListener
from pilotlight_backend.types import (
    Failed,
    Finish,
    LoadOptions,
    ModelFacts,
    RankEvent,
    Scored,
    Started,
    TokenizedPairs,
)

CLOSE = 1e-3
"""Tolerance for a score in another batch."""
QUERY = "what is the cat?"
DOCUMENTS = ("the cat sat on the mat", "a dog ran home", "", "cat", "hello hello hello", "dog 7")
MANY = 200


class RankConformance(ConformanceFixtures):
    """`RankingEngine`; skipped where `ranking_model_path` names no model."""

    @pytest.fixture(scope="class")
    @classmethod
    def ranking_model_path(cls) -> Path | None:
        """Return a small model that ranks; None, as here, where the backend knows no such."""
        return None

    @pytest.fixture(scope="class")
    @classmethod
    def ranking_model(cls, backend: Backend, ranking_model_path: Path | None) -> ModelFacts:
        """Return what the model's probe says."""
        if ranking_model_path is None:
            pytest.skip("this backend does not rank")
        facts = backend.probe(ranking_model_path)
        assert facts is not None, f"the backend does not know its own model {ranking_model_path}"
        return facts

    @pytest.fixture(scope="class")
    @classmethod
    def ranker(
        cls, backend: Backend, ranking_model: ModelFacts, options: LoadOptions
    ) -> Iterator[RankingEngine]:
        """Load the model once for the class, and close it."""
        engine = load_ranker(backend, ranking_model, options)
        yield engine
        within(engine.close)

    @pytest.fixture
    def own_ranker(
        self, backend: Backend, ranking_model: ModelFacts, options: LoadOptions
    ) -> Iterator[RankingEngine]:
        """Load an engine for one test, which may leave it in any state."""
        engine = load_ranker(backend, ranking_model, options)
        yield engine
        within(engine.close)

    @pytest.fixture(scope="class")
    @classmethod
    def pairs(cls, ranker: RankingEngine) -> list[list[int]]:
        """Return the tokens of one query with a few documents of different lengths."""
        return ranker.tokenize_pairs(QUERY, DOCUMENTS).pairs

    def test_ranking_facts_say_so(
        self, ranker: RankingEngine, ranking_model: ModelFacts, options: LoadOptions
    ) -> None:
        """The facts say that it ranks and nothing else, and what a score is."""
        for facts in (ranking_model, ranker.facts):
            assert (facts.ranks, facts.embeds, facts.generates) == (True, False, False)
            assert facts.relevance in ("logit", "probability")
        assert ranker.facts.context_length == options.context_length

    def test_each_pair_has_a_score(self, ranker: RankingEngine, pairs: list[list[int]]) -> None:
        """A finite number, from 0 to 1 where the facts say that it is a probability."""
        scores = rank(ranker, pairs)
        assert len(scores) == len(pairs)
        assert all(map(math.isfinite, scores))
        assert len(set(scores)) > 1
        if ranker.facts.relevance == "probability":
            assert all(0 <= score <= 1 for score in scores)

    def test_ranking_events_come_in_order_on_the_engines_thread(
        self, ranker: RankingEngine, pairs: list[list[int]]
    ) -> None:
        """A start, the scores, one end; on one thread of the engine's."""
        listener = submit_pairs(ranker, pairs).listener
        finish = listener.finish()
        kinds = [type(event) for event in listener.events]
        assert kinds == [Started, *[Scored] * len(pairs), Finish]
        total = sum(map(len, pairs))
        assert listener.events[0] == Started(total, 0)
        assert finish.reason == "stop"
        assert (finish.usage.prompt_tokens, finish.usage.completion_tokens) == (total, 0)
        assert len(listener.threads) == 1
        assert threading.get_ident() not in listener.threads

    def test_pair_has_the_same_score_in_company(
        self, ranker: RankingEngine, pairs: list[list[int]]
    ) -> None:
        """Alone, among others of its request, and beside other requests."""
        alone = [rank(ranker, [one])[0] for one in pairs]
        assert_close(rank(ranker, pairs), alone)
        assert_close(rank(ranker, pairs[::-1]), alone[::-1])
        beside = [submit_pairs(ranker, [one]) for one in pairs for _ in range(3)]
        found = [one.listener.scores() for one in beside]
        assert_close([scores[0] for scores in found[::3]], alone)

    def test_score_depends_on_the_query(self, ranker: RankingEngine) -> None:
        """Another query gives the same documents other scores."""
        pairs = [ranker.tokenize_pairs(query, DOCUMENTS).pairs for query in (QUERY, "a dog")]
        assert rank(ranker, pairs[0]) != rank(ranker, pairs[1])

    def test_many_pairs(self, ranker: RankingEngine, pairs: list[list[int]]) -> None:
        """More pairs than fit a step are all scored, in their order."""
        few = rank(ranker, pairs)
        many = [pairs[place % len(pairs)] for place in range(MANY)]
        assert_close(rank(ranker, many), [few[place % len(few)] for place in range(MANY)])

    def test_pair_may_fill_the_context(self, ranker: RankingEngine, pairs: list[list[int]]) -> None:
        """A pair as long as the context has a score, and the same among short ones."""
        full = filled(ranker, pairs)
        (alone,) = rank(ranker, [full])
        assert_close(rank(ranker, [pairs[0], full, pairs[1]])[1:2], [alone])

    def test_pair_beyond_the_context_is_refused(
        self, ranker: RankingEngine, pairs: list[list[int]]
    ) -> None:
        """One token more is refused with both figures, at any index."""
        long = [*filled(ranker, pairs), pairs[0][0]]
        for tokens in ([long], [pairs[0], long]):
            with pytest.raises(ContextLengthExceeded) as caught:
                ranker.rank(tokens, never)
            assert caught.value.prompt_tokens == len(long)
            assert caught.value.context_length == ranker.facts.context_length

    def test_pairs_that_are_none_are_refused(
        self, ranker: RankingEngine, pairs: list[list[int]]
    ) -> None:
        """No pairs, an empty pair and unknown tokens are refused."""
        refused: list[list[list[int]]] = [[], [[]], [pairs[0], []], [[-1]], [[2**31 - 1]]]
        for wrong in refused:
            with pytest.raises(InvalidParameter):
                ranker.rank(wrong, never)

    def test_parts_of_a_pair_are_known(self, ranker: RankingEngine) -> None:
        """A pair is its frame and its document, and begins and ends as the others do."""
        made = ranker.tokenize_pairs(QUERY, ["", "cat", "the cat sat"])
        empty, *_ = made.pairs
        assert (len(made.pairs), len(empty)) == (3, made.frame)
        assert 0 <= made.tail < made.frame
        assert lengths(made) == sorted(lengths(made))
        for pair in made.pairs:
            assert tail_of(made, pair) == tail_of(made, empty)
            assert len(pair) >= made.frame

    def test_shortened_pair_has_a_score(self, ranker: RankingEngine) -> None:
        """Tokens may be dropped in front of the tail."""
        made = ranker.tokenize_pairs(QUERY, ["the cat sat on the mat"])
        (pair,) = made.pairs
        cut = pair[: len(pair) - made.tail - 1] + tail_of(made, pair)
        assert rank(ranker, [cut]) != rank(ranker, [pair])

    def test_control_names_in_texts_are_text(self, ranker: RankingEngine) -> None:
        """A query and a document that hold such names have no more control tokens than others."""
        names = sorted(ranker.facts.control_names)
        control = {ranker.tokenize(name, special=True)[0] for name in names}
        plain = ranker.tokenize_pairs("a", ["b"]).pairs[0]
        for name in names[:5]:
            (pair,) = ranker.tokenize_pairs(f"a{name}", [f"b{name}"]).pairs
            assert sum(token in control for token in pair) == sum(
                token in control for token in plain
            )

    def test_cancelled_ranking_ends(self, ranker: RankingEngine, pairs: list[list[int]]) -> None:
        """Cancelled while and before it runs, a request ends once and frees its slot."""
        running = submit_pairs(ranker, pairs * MANY, slow=True)
        queued = submit_pairs(ranker, pairs)
        queued.ticket.cancel()
        running.listener.wait_started()
        running.ticket.cancel()
        running.listener.hurry()
        assert running.listener.finish().reason == "cancelled"
        assert queued.listener.finish().reason in ("cancelled", "stop")
        assert len(rank(ranker, pairs)) == len(pairs)
        assert eventually(lambda: ranker.stats().slots_busy == ranker.stats().queued == 0)

    def test_closing_ends_ranking(self, own_ranker: RankingEngine, pairs: list[list[int]]) -> None:
        """Every request ends with `EngineClosed`, and later ones are refused."""
        under_way = [submit_pairs(own_ranker, pairs * MANY, slow=True) for _ in range(3)]
        under_way[0].listener.wait_started()
        within(own_ranker.close)
        for one in under_way:
            end = one.listener.end()
            assert isinstance(end, Failed)
            assert isinstance(end.error, EngineClosed)
        with pytest.raises(EngineClosed):
            own_ranker.rank(pairs, never)

    def test_ranking_stats_add_up(self, ranker: RankingEngine, pairs: list[list[int]]) -> None:
        """Tokens and steps are counted."""
        before = ranker.stats()
        rank(ranker, pairs)
        total = before.prompt_tokens + sum(map(len, pairs))
        assert eventually(lambda: ranker.stats().prompt_tokens == total)
        assert ranker.stats().steps > before.steps


class SubmittedPairs:
    """A submitted request: its listener and its ticket."""

    def __init__(self, listener: PoolingListener, ticket: Ticket) -> None:
        self.listener = listener
        self.ticket = ticket


def load_ranker(backend: Backend, model: ModelFacts, options: LoadOptions) -> RankingEngine:
    """Load a model that ranks."""
    engine = within(partial(backend.load, model, options, lambda _: None))
    assert isinstance(engine, RankingEngine)
    return engine


def submit_pairs(
    engine: RankingEngine, pairs: Sequence[Sequence[int]], *, slow: bool = False
) -> SubmittedPairs:
    """Submit *pairs* and listen."""
    listener = PoolingListener(slow=slow)
    return SubmittedPairs(listener, engine.rank(pairs, listener))


def rank(engine: RankingEngine, pairs: Sequence[Sequence[int]]) -> list[float]:
    """Return the scores of *pairs*."""
    return submit_pairs(engine, pairs).listener.scores()


def filled(engine: RankingEngine, pairs: Sequence[Sequence[int]]) -> list[int]:
    """Return a pair as long as the context."""
    context_length = engine.facts.context_length
    return ([token for one in pairs for token in one] * context_length)[:context_length]


def lengths(made: TokenizedPairs) -> list[int]:
    """Return the lengths of the pairs."""
    return [len(one) for one in made.pairs]


def tail_of(made: TokenizedPairs, pair: Sequence[int]) -> list[int]:
    """Return the tokens of *pair* behind its document."""
    return list(pair[len(pair) - made.tail :])


def assert_close(found: Sequence[float], expected: Sequence[float]) -> None:
    """Assert that the scores are equal within the tolerance of another batch."""
    assert found == pytest.approx(expected, abs=CLOSE)


def never(event: RankEvent) -> None:
    """Stand for an `emit` that must not be called."""
    raise AssertionError(f"a refused request has no events, and here is {event}")

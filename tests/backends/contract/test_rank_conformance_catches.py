"""The ranking part of the suite fails where a backend breaks the contract, one fault a time."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from pilotlight_backend import (
    Finish,
    LoadOptions,
    RankEvent,
    Scored,
    Started,
    Ticket,
    TokenizedPairs,
)
from pilotlight_backend.testing.conformance import BackendConformance
from pilotlight_backend.testing.conformance.ranking import DOCUMENTS, QUERY
from pilotlight_backend.testing.fake import FakeBackend, FakeModel, FakeRankingEngine

SUITE = BackendConformance()


class FaultyRanker:
    """An engine whose pairs, tokens and events pass through functions that a test gives."""

    def __init__(
        self,
        engine: FakeRankingEngine,
        events: Callable[[RankEvent], list[RankEvent]] = lambda event: [event],
        pairs: Callable[[Sequence[Sequence[int]]], Sequence[Sequence[int]]] = lambda one: one,
        made: Callable[[TokenizedPairs], TokenizedPairs] = lambda one: one,
    ) -> None:
        self._engine = engine
        self._events = events
        self._pairs = pairs
        self._made = made
        self.facts = engine.facts
        self.stats = engine.stats
        self.tokenize = engine.tokenize

    def tokenize_pairs(self, query: str, documents: Sequence[str]) -> TokenizedPairs:
        return self._made(self._engine.tokenize_pairs(query, documents))

    def rank(self, pairs: Sequence[Sequence[int]], emit: Callable[[RankEvent], None]) -> Ticket:
        def pass_on(event: RankEvent) -> None:
            for one in self._events(event):
                emit(one)

        return self._engine.rank(self._pairs(pairs), pass_on)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[FakeRankingEngine]:
    backend = FakeBackend()
    facts = backend.probe(FakeModel(relevance="probability").write(tmp_path / "model.fake"))
    engine = backend.load(facts, LoadOptions(parallel=2, context_length=256), lambda _: None)
    yield engine
    engine.close()


@pytest.fixture
def pairs(engine: FakeRankingEngine) -> list[list[int]]:
    return engine.tokenize_pairs(QUERY, DOCUMENTS).pairs


def without_scores(event: RankEvent) -> list[RankEvent]:
    return [] if isinstance(event, Scored) else [event]


def as_logits(event: RankEvent) -> list[RankEvent]:
    return [Scored(event.score * 8 - 4)] if isinstance(event, Scored) else [event]


def all_equal(event: RankEvent) -> list[RankEvent]:
    return [Scored(0.5)] if isinstance(event, Scored) else [event]


@pytest.mark.parametrize("fault", [without_scores, as_logits, all_equal])
def test_wrong_scores_are_caught(engine, pairs, fault):
    """No score for a pair, one that is no probability, and one that is always the same."""
    with pytest.raises(AssertionError):
        SUITE.test_each_pair_has_a_score(FaultyRanker(engine, fault), pairs)


def test_start_without_tokens_is_caught(engine, pairs):
    """An engine that miscounts fails."""

    def miscounting(event: RankEvent) -> list[RankEvent]:
        return [Started(0, 0)] if isinstance(event, Started) else [event]

    with pytest.raises(AssertionError):
        SUITE.test_ranking_events_come_in_order_on_the_engines_thread(
            FaultyRanker(engine, miscounting), pairs
        )


def test_missing_end_is_caught(engine, pairs, monkeypatch):
    """An engine that never ends a request fails."""
    monkeypatch.setattr("pilotlight_backend.testing.conformance.pooling_listener.DEADLINE", 0.2)
    silent = FaultyRanker(engine, lambda event: [] if isinstance(event, Finish) else [event])
    with pytest.raises(AssertionError, match="stuck"):
        SUITE.test_each_pair_has_a_score(silent, pairs)


def test_mixed_up_pairs_are_caught(engine, pairs):
    """An engine that answers in another order fails."""
    shuffling = FaultyRanker(engine, pairs=lambda given: given[::-1])
    with pytest.raises(AssertionError):
        SUITE.test_pair_has_the_same_score_in_company(shuffling, pairs)


def test_ignored_query_is_caught(engine):
    """An engine that looks at the document alone fails."""
    blind = FaultyRanker(engine, all_equal)
    with pytest.raises(AssertionError):
        SUITE.test_score_depends_on_the_query(blind)


def test_truncating_is_caught(engine, pairs):
    """An engine that cuts a long pair instead of refusing it fails."""
    cutting = FaultyRanker(engine, pairs=lambda given: [one[:256] for one in given])
    with pytest.raises(pytest.fail.Exception, match="ContextLengthExceeded"):
        SUITE.test_pair_beyond_the_context_is_refused(cutting, pairs)


@pytest.mark.parametrize("wrong", [{"frame": 3}, {"tail": 9}])
def test_wrong_parts_are_caught(engine, wrong):
    """An engine that miscounts what is around a document fails."""
    miscounting = FaultyRanker(engine, made=lambda made: replace(made, **wrong))
    with pytest.raises(AssertionError):
        SUITE.test_parts_of_a_pair_are_known(miscounting)


def test_control_tokens_of_a_document_are_caught(engine):
    """An engine that reads names of control tokens in a document fails."""

    class Parsing(FaultyRanker):
        def tokenize_pairs(self, query: str, documents: Sequence[str]) -> TokenizedPairs:
            read = [self.tokenize(one, special=True) for one in documents]
            return TokenizedPairs([[*query.encode(), 257, *one, 257] for one in read], 1, 1)

    with pytest.raises(AssertionError):
        SUITE.test_control_names_in_texts_are_text(Parsing(engine))

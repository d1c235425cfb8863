"""The embedding part of the suite fails where a backend breaks the contract, one fault a time."""

from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from pilotlight_backend import Embedded, EmbedEvent, Finish, LoadOptions, Started, Ticket
from pilotlight_backend.testing.conformance import BackendConformance
from pilotlight_backend.testing.conformance.embedding import TEXTS
from pilotlight_backend.testing.fake import FakeBackend, FakeEmbeddingEngine, FakeModel

SUITE = BackendConformance()


class FaultyEmbedder:
    """An engine whose inputs and events pass through two functions that a test gives."""

    def __init__(
        self,
        engine: FakeEmbeddingEngine,
        events: Callable[[EmbedEvent], list[EmbedEvent]] = lambda event: [event],
        inputs: Callable[[Sequence[Sequence[int]]], Sequence[Sequence[int]]] = lambda one: one,
    ) -> None:
        self._engine = engine
        self._events = events
        self._inputs = inputs
        self.facts = engine.facts
        self.stats = engine.stats
        self.tokenize = engine.tokenize
        self.tokenize_input = engine.tokenize_input

    def embed(self, inputs: Sequence[Sequence[int]], emit: Callable[[EmbedEvent], None]) -> Ticket:
        def pass_on(event: EmbedEvent) -> None:
            for one in self._events(event):
                emit(one)

        return self._engine.embed(self._inputs(inputs), pass_on)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[FakeEmbeddingEngine]:
    backend = FakeBackend()
    facts = backend.probe(FakeModel(embedding_length=8).write(tmp_path / "model.fake"))
    engine = backend.load(facts, LoadOptions(parallel=2, context_length=256), lambda _: None)
    yield engine
    engine.close()


@pytest.fixture
def inputs(engine: FakeEmbeddingEngine) -> list[list[int]]:
    return [engine.tokenize_input(text) for text in TEXTS]


def without_vectors(event: EmbedEvent) -> list[EmbedEvent]:
    return [] if isinstance(event, Embedded) else [event]


def twice_as_long(event: EmbedEvent) -> list[EmbedEvent]:
    if isinstance(event, Embedded):
        return [Embedded(array("f", [2 * one for one in event.vector]))]
    return [event]


def in_doubles(event: EmbedEvent) -> list[EmbedEvent]:
    return [Embedded(array("d", event.vector))] if isinstance(event, Embedded) else [event]


@pytest.mark.parametrize("events", [without_vectors, twice_as_long, in_doubles])
def test_wrong_vectors_are_caught(engine, inputs, events):
    """None, of another length, and of another type."""
    with pytest.raises(AssertionError):
        SUITE.test_each_input_has_a_vector_of_length_one(FaultyEmbedder(engine, events), inputs)


@pytest.mark.parametrize(
    "events",
    [
        lambda event: [] if isinstance(event, Started) else [event],
        lambda event: [event, event] if isinstance(event, Finish) else [event],
    ],
    ids=["no start", "two ends"],
)
def test_wrong_events_are_caught(engine, inputs, events):
    """A start that is missing, and an end that comes twice."""
    with pytest.raises(AssertionError):
        SUITE.test_embedding_events_come_in_order_on_the_engines_thread(
            FaultyEmbedder(engine, events), inputs
        )


def test_order_that_does_not_count_is_caught(engine, inputs):
    """An engine that looks at a bag of tokens fails."""
    sorting = FaultyEmbedder(engine, inputs=lambda given: [sorted(one) for one in given])
    with pytest.raises(AssertionError):
        SUITE.test_different_inputs_have_different_vectors(sorting, inputs)


def test_mixed_up_inputs_are_caught(engine, inputs):
    """An engine that answers in another order fails."""
    shuffling = FaultyEmbedder(engine, inputs=lambda given: given[::-1])
    with pytest.raises(AssertionError):
        SUITE.test_input_has_the_same_vector_in_company(shuffling, inputs)


def test_truncating_is_caught(engine, inputs):
    """An engine that cuts a long input instead of refusing it fails."""
    cutting = FaultyEmbedder(engine, inputs=lambda given: [one[:256] for one in given])
    with pytest.raises(pytest.fail.Exception, match="ContextLengthExceeded"):
        SUITE.test_input_beyond_the_context_is_refused(cutting, inputs)


def test_missing_validation_is_caught(engine, inputs):
    """An engine that takes an empty input fails."""
    lenient = FaultyEmbedder(engine, inputs=lambda given: [one or [1] for one in given] or [[1]])
    with pytest.raises(pytest.fail.Exception, match="InvalidParameter"):
        SUITE.test_inputs_that_are_none_are_refused(lenient, inputs)

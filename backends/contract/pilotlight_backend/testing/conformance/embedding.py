"""Embedding: vectors of inputs, alone and together; skipped where the backend does not embed."""
# ruff: noqa: S101 - the suite asserts

import math
import threading
from array import array
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from pilotlight_backend.errors import ContextLengthExceeded, EngineClosed, InvalidParameter
from pilotlight_backend.protocols import Backend, EmbeddingEngine, Ticket
from pilotlight_backend.testing.conformance.fixtures import ConformanceFixtures
from pilotlight_backend.testing.conformance.listener import DEADLINE, eventually, within
from pilotlight_backend.testing.conformance.pooling_listener import PoolingListener
from pilotlight_backend.types import (
    Embedded,
    EmbedEvent,
    Failed,
    Finish,
    LoadOptions,
    ModelFacts,
    RankEvent,
    Started,
)

CLOSE = 1e-3
"""Tolerance for a vector's values in another batch."""
TEXTS = ("the cat", "What is 2+2?", "the cat sat on the mat", "a", "hello hello hello", "dog 7")
MANY = 200


class EmbedConformance(ConformanceFixtures):
    """`EmbeddingEngine`; skipped where `embedding_model_path` names no model."""

    @pytest.fixture(scope="class")
    @classmethod
    def embedding_model_path(cls) -> Path | None:
        """Return a small model that embeds; None, as here, where the backend knows no such."""
        return None

    @pytest.fixture(scope="class")
    @classmethod
    def embedding_model(cls, backend: Backend, embedding_model_path: Path | None) -> ModelFacts:
        """Return what the model's probe says."""
        if embedding_model_path is None:
            pytest.skip("this backend does not embed")
        facts = backend.probe(embedding_model_path)
        assert facts is not None, f"the backend does not know its own model {embedding_model_path}"
        return facts

    @pytest.fixture(scope="class")
    @classmethod
    def embedder(
        cls, backend: Backend, embedding_model: ModelFacts, options: LoadOptions
    ) -> Iterator[EmbeddingEngine]:
        """Load the model once for the class, and close it."""
        engine = load_embedder(backend, embedding_model, options)
        yield engine
        within(engine.close)

    @pytest.fixture
    def own_embedder(
        self, backend: Backend, embedding_model: ModelFacts, options: LoadOptions
    ) -> Iterator[EmbeddingEngine]:
        """Load an engine for one test, which may leave it in any state."""
        engine = load_embedder(backend, embedding_model, options)
        yield engine
        within(engine.close)

    @pytest.fixture(scope="class")
    @classmethod
    def inputs(cls, embedder: EmbeddingEngine) -> list[list[int]]:
        """Return the tokens of a few texts of different lengths."""
        return [embedder.tokenize_input(text) for text in TEXTS]

    def test_embedding_facts_say_so(
        self, embedder: EmbeddingEngine, embedding_model: ModelFacts, options: LoadOptions
    ) -> None:
        """The facts have the vectors' length, and of a loaded engine the context in force."""
        assert embedding_model.embeds
        assert embedder.facts.embeds
        assert embedder.facts.context_length == options.context_length

    def test_each_input_has_a_vector_of_length_one(
        self, embedder: EmbeddingEngine, inputs: list[list[int]]
    ) -> None:
        """In the order of the inputs, in 32-bit floats, as long as the facts say."""
        vectors = embed(embedder, inputs)
        assert len(vectors) == len(inputs)
        for vector in vectors:
            assert vector.typecode == "f"
            assert len(vector) == embedder.facts.embedding_length
            assert math.hypot(*vector) == pytest.approx(1.0, abs=1e-5)

    def test_embedding_events_come_in_order_on_the_engines_thread(
        self, embedder: EmbeddingEngine, inputs: list[list[int]]
    ) -> None:
        """A start, the vectors, one end; on one thread of the engine's."""
        listener = submit_inputs(embedder, inputs).listener
        finish = listener.finish()
        kinds = [type(event) for event in listener.events]
        assert kinds == [Started, *[Embedded] * len(inputs), Finish]
        total = sum(map(len, inputs))
        assert listener.events[0] == Started(total, 0)
        assert finish.reason == "stop"
        assert (finish.usage.prompt_tokens, finish.usage.completion_tokens) == (total, 0)
        for seconds in (finish.timings.queue, finish.timings.prefill, finish.timings.decode):
            assert math.isfinite(seconds)
            assert seconds >= 0
        assert len(listener.threads) == 1
        assert threading.get_ident() not in listener.threads

    def test_input_has_the_same_vector_in_company(
        self, embedder: EmbeddingEngine, inputs: list[list[int]]
    ) -> None:
        """Alone, among others of its request, and beside other requests."""
        alone = [embed(embedder, [one])[0] for one in inputs]
        assert_close(embed(embedder, inputs), alone)
        assert_close(embed(embedder, inputs[::-1]), alone[::-1])
        beside = [submit_inputs(embedder, [one]) for one in inputs for _ in range(3)]
        found = [one.listener.vectors() for one in beside]
        assert_close([vectors[0] for vectors in found[::3]], alone)

    def test_different_inputs_have_different_vectors(
        self, embedder: EmbeddingEngine, inputs: list[list[int]]
    ) -> None:
        """The vector depends on the order of the tokens."""
        reversed_ = [one[::-1] for one in inputs if len(set(one)) > 1]
        vectors = [tuple(one) for one in embed(embedder, [*inputs, *reversed_])]
        assert len(set(vectors)) >= len(inputs) + 1

    def test_many_inputs(self, embedder: EmbeddingEngine, inputs: list[list[int]]) -> None:
        """More inputs than fit a step are all embedded, in their order."""
        few = embed(embedder, inputs)
        many = [inputs[place % len(inputs)] for place in range(MANY)]
        assert_close(embed(embedder, many), [few[place % len(few)] for place in range(MANY)])

    def test_input_may_fill_the_context(
        self, embedder: EmbeddingEngine, inputs: list[list[int]]
    ) -> None:
        """An input as long as the context is embedded; among short ones it has the same vector."""
        full = filled(embedder, inputs)
        (alone,) = embed(embedder, [full])
        assert_close(embed(embedder, [inputs[0], full, inputs[1]])[1:2], [alone])

    def test_input_beyond_the_context_is_refused(
        self, embedder: EmbeddingEngine, inputs: list[list[int]]
    ) -> None:
        """One token more is refused with both figures, at any index."""
        long = [*filled(embedder, inputs), inputs[0][0]]
        for tokens in ([long], [inputs[0], long]):
            with pytest.raises(ContextLengthExceeded) as caught:
                embedder.embed(tokens, never)
            assert caught.value.prompt_tokens == len(long)
            assert caught.value.context_length == embedder.facts.context_length

    def test_inputs_that_are_none_are_refused(
        self, embedder: EmbeddingEngine, inputs: list[list[int]]
    ) -> None:
        """No inputs, an empty input and unknown tokens are refused."""
        refused: list[list[list[int]]] = [
            [],
            [[]],
            [inputs[0], []],
            [[-1]],
            [inputs[0], [2**31 - 1]],
        ]
        for wrong in refused:
            with pytest.raises(InvalidParameter):
                embedder.embed(wrong, never)

    def test_input_of_a_text_holds_the_text(self, embedder: EmbeddingEngine) -> None:
        """The tokens of an input contain those of its text."""
        for text in TEXTS:
            plain = embedder.tokenize(text, special=True)
            whole = embedder.tokenize_input(text)
            places = range(len(whole) - len(plain) + 1)
            assert plain
            assert any(whole[place : place + len(plain)] == plain for place in places)

    def test_cancelled_embedding_ends(
        self, embedder: EmbeddingEngine, inputs: list[list[int]]
    ) -> None:
        """Cancelled before, while and after it runs, a request ends once and frees its slot."""
        many = inputs * MANY
        running = submit_inputs(embedder, many, slow=True)
        queued = submit_inputs(embedder, inputs)
        queued.ticket.cancel()
        running.listener.wait_started()
        running.ticket.cancel()
        running.ticket.cancel()
        running.listener.hurry()
        assert running.listener.finish().reason == "cancelled"
        assert queued.listener.finish().reason in ("cancelled", "stop")
        for one in (running, queued):
            one.ticket.cancel()
        assert len(embed(embedder, inputs)) == len(inputs)
        assert eventually(lambda: embedder.stats().slots_busy == embedder.stats().queued == 0)
        for one in (running, queued):
            assert sum(isinstance(event, Finish) for event in one.listener.events) == 1

    def test_emit_that_raises_while_embedding_harms_nobody_else(
        self, embedder: EmbeddingEngine, inputs: list[list[int]]
    ) -> None:
        """If `emit` raises, at any event, the engine still works."""
        expected = embed(embedder, inputs)
        for kind in (Started, Embedded, Finish):
            listener = RaisingListener(kind)
            embedder.embed(inputs, listener)
            assert listener.raised.wait(DEADLINE)
            assert_close(embed(embedder, inputs), expected)
        assert eventually(lambda: embedder.stats().slots_busy == 0)

    def test_closing_ends_embedding(
        self, own_embedder: EmbeddingEngine, inputs: list[list[int]]
    ) -> None:
        """Every request ends with `EngineClosed`, and later ones are refused."""
        under_way = [submit_inputs(own_embedder, inputs * MANY, slow=True) for _ in range(3)]
        under_way[0].listener.wait_started()
        within(own_embedder.close)
        for one in under_way:
            end = one.listener.end()
            assert isinstance(end, Failed)
            assert isinstance(end.error, EngineClosed)
        with pytest.raises(EngineClosed):
            own_embedder.embed(inputs, never)
        within(own_embedder.close)

    def test_emit_may_close_an_embedding_engine(
        self, own_embedder: EmbeddingEngine, inputs: list[list[int]]
    ) -> None:
        """An engine may be closed on its own thread, from inside `emit`."""
        closed = threading.Event()

        def emit(event: EmbedEvent) -> None:
            if isinstance(event, Embedded) and not closed.is_set():
                own_embedder.close()
                closed.set()

        own_embedder.embed(inputs * MANY, emit)
        assert closed.wait(DEADLINE)

    def test_embedding_stats_add_up(
        self, embedder: EmbeddingEngine, inputs: list[list[int]]
    ) -> None:
        """Tokens and steps are counted."""
        before = embedder.stats()
        embed(embedder, inputs)
        total = before.prompt_tokens + sum(map(len, inputs))
        assert eventually(lambda: embedder.stats().prompt_tokens == total)
        after = embedder.stats()
        assert after.steps > before.steps
        assert after.slots >= 1
        assert after.completion_tokens == after.queued == 0

    def test_any_thread_may_embed(self, embedder: EmbeddingEngine, inputs: list[list[int]]) -> None:
        """Threads that embed at the same time get the same vectors as one alone."""
        expected = embed(embedder, inputs)
        found: list[list[array[float]]] = []

        def work() -> None:
            for _ in range(5):
                found.append(embed(embedder, inputs))  # noqa: PERF401 - from several threads

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 5 * len(threads)
        for vectors in found:
            assert_close(vectors, expected)

    def test_more_context_than_trained_is_not_given(
        self, backend: Backend, embedding_model: ModelFacts
    ) -> None:
        """Positions that were not trained have no vectors: the context stays as trained."""
        asked = LoadOptions(context_length=embedding_model.context_length * 2)
        engine = load_embedder(backend, embedding_model, asked)
        context_length = engine.facts.context_length
        within(engine.close)
        assert context_length == embedding_model.context_length


class RaisingListener(PoolingListener):
    """A listener that raises at the first event of a kind."""

    def __init__(self, kind: type) -> None:
        super().__init__()
        self.raised = threading.Event()
        self._kind = kind

    def __call__(self, event: EmbedEvent | RankEvent) -> None:
        """Raise at the event."""
        if isinstance(event, self._kind) and not self.raised.is_set():
            self.raised.set()
            raise RuntimeError(f"this listener takes no {self._kind.__name__}")


class SubmittedInputs:
    """A submitted request: its listener and its ticket."""

    def __init__(self, listener: PoolingListener, ticket: Ticket) -> None:
        self.listener = listener
        self.ticket = ticket


def load_embedder(backend: Backend, model: ModelFacts, options: LoadOptions) -> EmbeddingEngine:
    """Load a model that embeds."""
    engine = within(partial(backend.load, model, options, lambda _: None))
    assert isinstance(engine, EmbeddingEngine)
    return engine


def submit_inputs(
    engine: EmbeddingEngine, inputs: Sequence[Sequence[int]], *, slow: bool = False
) -> SubmittedInputs:
    """Submit *inputs* and listen."""
    listener = PoolingListener(slow=slow)
    return SubmittedInputs(listener, engine.embed(inputs, listener))


def embed(engine: EmbeddingEngine, inputs: Sequence[Sequence[int]]) -> "list[array[float]]":
    """Return the vectors of *inputs*."""
    return submit_inputs(engine, inputs).listener.vectors()


def filled(engine: EmbeddingEngine, inputs: Sequence[Sequence[int]]) -> list[int]:
    """Return an input as long as the context."""
    context_length = engine.facts.context_length
    return ([token for one in inputs for token in one] * context_length)[:context_length]


def assert_close(found: "Sequence[array[float]]", expected: "Sequence[array[float]]") -> None:
    """Assert that the vectors are equal within the tolerance of another batch."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert max(abs(a - b) for a, b in zip(one, other, strict=True)) < CLOSE


def never(event: EmbedEvent) -> None:
    """Stand for an `emit` that must not be called."""
    raise AssertionError(f"a refused request has no events, and here is {event}")

"""Seeing: prompts with images."""
# ruff: noqa: S101 - the suite asserts

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pytest
from msgspec.structs import replace

from pilotlight_backend.errors import ContextLengthExceeded, InvalidParameter
from pilotlight_backend.image import Image
from pilotlight_backend.protocols import Backend, Engine, SeeingEngine
from pilotlight_backend.testing.conformance.fixtures import ConformanceFixtures, load
from pilotlight_backend.testing.conformance.listener import (
    GREEDY,
    Listener,
    check_order,
    eventually,
    run,
    submit,
    within,
)
from pilotlight_backend.types import (
    Finish,
    GenerateRequest,
    LoadOptions,
    PromptPart,
    Started,
    Token,
)

PICTURES = 4
LENGTH = 8
TELLING = 48
"""Tokens with which an engine that echoes its prompt has come past a text and an image."""
ROUNDING = 0.02
"""Log probabilities of one token that differ by less are the same."""
AGAIN = 16
"""Prompt tokens that may be evaluated again, as in `sharing`."""


def picture(number: int, width: int = 40, height: int = 30) -> Image:
    """Return an image of stripes; another *number* is another image of the same size."""
    stripes = (bytes([number * 37 % 256, column * 5 % 256, 200]) for column in range(width))
    return Image.of(width, height, b"".join(stripes) * height)


def asking(
    *parts: PromptPart | list[int], shares: bool = False, length: int = LENGTH
) -> GenerateRequest:
    """Return a greedy request for so many tokens and their log probabilities."""
    flat = chain.from_iterable(part if isinstance(part, list) else [part] for part in parts)
    return GenerateRequest(
        prompt=tuple(flat),
        max_tokens=length,
        sampling=GREEDY,
        ignore_eos=True,
        logprobs=1,
        shares_prompt=shares,
    )


@dataclass(eq=False)
class Said:
    """A response: tokens and their log probabilities."""

    tokens: list[int]
    logprobs: list[float]

    def __eq__(self, other: object) -> bool:
        """Return whether the tokens are the same, and their candidates but for rounding.

        A prompt whose last token is evaluated alone may round otherwise than one of a chunk.
        """
        if not isinstance(other, Said) or self.tokens != other.tokens:
            return False
        pairs = zip(self.logprobs, other.logprobs, strict=True)
        return all(abs(one - another) < ROUNDING for one, another in pairs)

    def __hash__(self) -> int:
        return hash(tuple(self.tokens))


def said(listener: Listener) -> Said:
    """Return the response that *listener* has."""
    tokens = [one for one in listener.events if isinstance(one, Token)]
    return Said([one.id for one in tokens], [one.logprob or 0.0 for one in tokens])


def end_of(listener: Listener) -> Finish:
    """Return the last event, a success."""
    check_order(listener.events)
    end = listener.events[-1]
    assert isinstance(end, Finish), end
    return end


class SeeConformance(ConformanceFixtures):
    """A model whose prompts may have images: `ModelFacts.sees`."""

    @pytest.fixture(scope="class")
    @classmethod
    def seeing_model_path(cls) -> Path:
        """Return the path of a small model that sees; skips for a backend without one."""
        pytest.skip("the backend has no model that sees; override the fixture `seeing_model_path`")

    @pytest.fixture(scope="class")
    @classmethod
    def seeing_options(cls, options: LoadOptions) -> LoadOptions:
        """Return how to load it: at least as many slots as there are pictures."""
        return replace(options, parallel=PICTURES, context_length=2048)

    @pytest.fixture
    def seeing(
        self, backend: Backend, seeing_model_path: Path, seeing_options: LoadOptions
    ) -> Iterator[SeeingEngine]:
        """Load an engine that holds nothing yet."""
        facts = backend.probe(seeing_model_path)
        assert facts is not None
        engine = load(backend, facts, seeing_options)
        assert isinstance(engine, SeeingEngine)
        yield engine
        within(engine.close)

    @pytest.fixture
    def words(self, seeing: SeeingEngine) -> list[int]:
        """Return the tokens of a text."""
        return seeing.tokenize("What do you see?", special=False)

    def test_facts_say_that_it_sees(self, backend: Backend, seeing_model_path: Path) -> None:
        """The probe knows already, so that a request is refused before a load."""
        facts = backend.probe(seeing_model_path)
        assert facts is not None
        assert facts.sees
        assert facts.input_modalities == ("text", "image")
        assert facts.generates

    def test_image_takes_the_tokens_that_the_engine_says(
        self, seeing: SeeingEngine, words: list[int]
    ) -> None:
        """The usage has them, wherever the image stands."""
        count = seeing.image_tokens(40, 30)
        assert count > 0
        before, behind = asking(picture(1), words), asking(words, picture(1))
        for request in (before, behind):
            usage = end_of(run(seeing, request)).usage
            assert usage.prompt_tokens == count + len(words)
        started = run(seeing, asking(words, picture(2), words)).events[0]
        assert isinstance(started, Started)
        assert started.prompt_tokens == count + 2 * len(words)

    def test_what_an_image_shows_matters(self, seeing: SeeingEngine, words: list[int]) -> None:
        """Another image, or none, gives another response."""
        small, large = picture(1), picture(1, 90, 200)
        prompts = (
            asking(words, small, words, length=TELLING),
            asking(words, large, words, length=TELLING),
            asking(words, words, length=TELLING),
        )
        responses = [said(run(seeing, one)) for one in prompts]
        assert responses[0] != responses[1]
        assert responses[0] != responses[2]

    def test_response_is_the_same_from_cached_images(
        self, seeing: SeeingEngine, words: list[int]
    ) -> None:
        """An image that a slot holds is not evaluated again, and gives the same response."""
        request = asking(words, picture(1), words)
        first, second = run(seeing, request), run(seeing, request)
        assert said(first) == said(second)
        usage = end_of(second).usage
        assert usage.cached_tokens >= usage.prompt_tokens - max(AGAIN, len(words))

    def test_image_is_encoded_once(self, seeing: SeeingEngine, words: list[int]) -> None:
        """Three questions on one image encode it once, wherever the tokens are cached."""
        for index in range(3):
            question = seeing.tokenize(f"Question {index}.", special=False)
            listener = run(seeing, asking(words, picture(1), question))
            if index:
                assert end_of(listener).usage.cached_tokens >= seeing.image_tokens(40, 30)
        assert seeing.stats().images_encoded <= 1

    def test_image_of_the_same_size_is_another_prompt(
        self, seeing: SeeingEngine, words: list[int]
    ) -> None:
        """No token of an image is taken from another one's."""
        run(seeing, asking(words, picture(1), words))
        usage = end_of(run(seeing, asking(words, picture(2), words))).usage
        assert usage.cached_tokens <= len(words)

    def test_images_beside_each_other_are_alone(
        self, seeing: SeeingEngine, words: list[int]
    ) -> None:
        """Twice as many requests as slots, with four pictures: each as it would be alone."""
        requests = [
            asking(words, picture(number % PICTURES, 30 + 10 * (number % PICTURES)), words)
            for number in range(2 * PICTURES)
        ]
        alone = [said(run(seeing, request)) for request in requests[:PICTURES]]
        asked = [submit(seeing, request).listener for request in requests]
        assert [said(finished(one)) for one in asked] == alone * 2

    def test_answers_to_one_prompt_share_its_images(
        self, seeing: SeeingEngine, words: list[int]
    ) -> None:
        """Requests that share a prompt evaluate its image once."""
        request = asking(words * 3, picture(3), words, shares=True)
        asked = [submit(seeing, request).listener for _ in range(3)]
        ends = [end_of(finished(one)) for one in asked]
        assert seeing.stats().images_encoded <= 1
        assert all(said(one) == said(asked[0]) for one in asked)
        assert all(end.usage.prompt_tokens == ends[0].usage.prompt_tokens for end in ends)

    def test_several_images_in_one_prompt(self, seeing: SeeingEngine, words: list[int]) -> None:
        """They are told apart by their order, and the same one may come twice."""
        one, two = picture(1), picture(2, 60, 60)
        orders = [[one, two], [two, one], [one, one]]
        responses = [
            said(run(seeing, asking(words, *images, words, length=TELLING))) for images in orders
        ]
        usage = end_of(run(seeing, asking(words, one, two, words))).usage
        counts = seeing.image_tokens(40, 30) + seeing.image_tokens(60, 60)
        assert usage.prompt_tokens == counts + 2 * len(words)
        assert responses[0] != responses[2]

    def test_prompt_of_an_image_alone(self, seeing: SeeingEngine) -> None:
        """The first token follows the image."""
        first, second = (run(seeing, asking(picture(1))) for _ in range(2))
        assert said(first) == said(second)
        assert end_of(first).usage.completion_tokens == LENGTH

    def test_cancelled_image_leaves_nothing(self, seeing: SeeingEngine, words: list[int]) -> None:
        """A request that is cancelled at its image ends, and the next one is as on a new engine."""
        request = asking(words, picture(1, 200, 90), words)
        for _ in range(5):
            submitted = submit(seeing, request)
            submitted.ticket.cancel()
            submitted.listener.wait()
        assert eventually(lambda: seeing.stats().slots_busy == 0)
        after = said(run(seeing, request))
        assert said(run(seeing, request)) == after

    def test_image_without_room_is_refused(self, seeing: SeeingEngine, words: list[int]) -> None:
        """Images count when a prompt is measured against the context."""
        count = seeing.image_tokens(40, 30)
        many = seeing.facts.context_length // count + 1
        with pytest.raises(ContextLengthExceeded) as caught:
            refused(seeing, asking(*[picture(1)] * many, words))
        assert caught.value.prompt_tokens == many * count + len(words)

    def test_impossible_size_is_refused(self, seeing: SeeingEngine) -> None:
        """A size that the model cannot see is refused in words."""
        with pytest.raises(InvalidParameter) as caught:
            seeing.image_tokens(1, 1 << 20)
        assert caught.value.param == "prompt"
        assert str(1 << 20) in str(caught.value)


def finished(listener: Listener) -> Listener:
    """Wait for the end of a request."""
    listener.finish()
    return listener


def refused(engine: Engine, request: GenerateRequest) -> None:
    """Raise what the engine refuses *request* with, at once or by its last event."""
    listener = Listener()
    engine.submit(request, listener)
    end = listener.wait()
    assert not isinstance(end, Finish)
    raise end.error

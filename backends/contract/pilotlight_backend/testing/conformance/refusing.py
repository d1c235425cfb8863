"""Refusing: requests that can never run."""
# ruff: noqa: S101 - the suite asserts

import math

import pytest
from msgspec.structs import replace

from pilotlight_backend.errors import ContextLengthExceeded, InvalidParameter
from pilotlight_backend.image import Image
from pilotlight_backend.protocols import Engine
from pilotlight_backend.testing.conformance.fixtures import ConformanceFixtures
from pilotlight_backend.testing.conformance.generating import OUT_OF_NEUTRAL
from pilotlight_backend.testing.conformance.listener import Listener, request_of, run
from pilotlight_backend.types import GenerateRequest, SamplingParams

OUTSIDE = 1 << 30
"""A token id that no vocabulary has."""


class RefuseConformance(ConformanceFixtures):
    """`Engine.submit`, where it raises."""

    def test_prompt_without_room_is_refused(self, engine: Engine, prompt: list[int]) -> None:
        """A prompt that leaves no room for a token is refused with both figures."""
        context_length = engine.facts.context_length
        for length in (context_length, context_length + 1, context_length * 4):
            request = request_of((prompt * length)[:length])
            with pytest.raises(ContextLengthExceeded) as caught:
                submit_refused(engine, request)
            assert caught.value.prompt_tokens == length
            assert caught.value.context_length == context_length
            assert caught.value.param == "prompt"

    def test_empty_prompt_is_refused(self, engine: Engine) -> None:
        """A prompt has at least one token."""
        assert_refused(engine, request_of([]), "prompt")

    @pytest.mark.parametrize("token", [-1, OUTSIDE])
    def test_token_outside_the_vocabulary_is_refused(
        self, engine: Engine, prompt: list[int], token: int
    ) -> None:
        """A prompt with an id that is no token's is refused, wherever it stands."""
        assert_refused(engine, request_of([token, *prompt]), "prompt")
        assert_refused(engine, request_of([*prompt, token]), "prompt")

    def test_image_for_a_model_that_reads_text_alone_is_refused(
        self, engine: Engine, prompt: list[int]
    ) -> None:
        """It says that the model takes none."""
        if engine.facts.sees:
            return
        request = replace(request_of(prompt), prompt=(*prompt, Image.of(1, 1, bytes(3))))
        with pytest.raises(InvalidParameter, match="takes no images") as caught:
            submit_refused(engine, request)
        assert caught.value.param == "prompt"

    @pytest.mark.parametrize("max_tokens", [0, -1])
    def test_no_tokens_is_refused(self, engine: Engine, prompt: list[int], max_tokens: int) -> None:
        """A request asks for at least one token."""
        assert_refused(engine, request_of(prompt, max_tokens), "max_tokens")

    @pytest.mark.parametrize("temperature", [math.nan, math.inf, -1.0])
    def test_impossible_temperature_is_refused(
        self, engine: Engine, prompt: list[int], temperature: float
    ) -> None:
        """A temperature is a number, and not below zero."""
        sampling = SamplingParams(temperature=temperature)
        assert_refused(engine, request_of(prompt, sampling=sampling), "temperature")

    @pytest.mark.parametrize("param", ["top_p", "min_p", "presence_penalty", "frequency_penalty"])
    def test_not_a_number_is_refused(self, engine: Engine, prompt: list[int], param: str) -> None:
        """A sampling parameter that is not a number is refused by its name."""
        sampling = replace(SamplingParams(), **{param: math.nan})
        assert_refused(engine, request_of(prompt, sampling=sampling), param)

    @pytest.mark.parametrize("param", sorted(OUT_OF_NEUTRAL))
    def test_what_is_not_honoured_is_refused(
        self, engine: Engine, prompt: list[int], param: str
    ) -> None:
        """A field that the engine does not honour is refused by name, not ignored."""
        if param in engine.facts.sampling:
            return
        sampling = replace(SamplingParams(), **OUT_OF_NEUTRAL[param])
        with pytest.raises(InvalidParameter) as caught:
            submit_refused(engine, request_of(prompt, sampling=sampling))
        assert caught.value.param in OUT_OF_NEUTRAL[param]
        assert caught.value.param in str(caught.value)

    def test_more_tokens_than_may_come_are_refused(self, engine: Engine, prompt: list[int]) -> None:
        """A request cannot ask for more tokens at least than at most."""
        assert_refused(engine, request_of(prompt, 3, min_tokens=4), "min_tokens")
        assert_refused(engine, request_of(prompt, 3, min_tokens=-1), "min_tokens")

    def test_refused_request_leaves_no_trace(self, engine: Engine, prompt: list[int]) -> None:
        """After refusals the engine answers, and has nothing in its queue."""
        assert_refused(engine, request_of(prompt, 0), "max_tokens")
        assert run(engine, request_of(prompt, 3)).tokens
        assert engine.stats().queued == 0


def assert_refused(engine: Engine, request: GenerateRequest, param: str) -> None:
    """Assert that *request* is refused for *param*, in words."""
    with pytest.raises(InvalidParameter) as caught:
        submit_refused(engine, request)
    assert caught.value.param == param
    assert str(caught.value)


def submit_refused(engine: Engine, request: GenerateRequest) -> None:
    """Submit *request*, which raises; assert that its `emit` is never called."""
    listener = Listener()
    try:
        engine.submit(request, listener)
    finally:
        assert not listener.events

"""Prefill: a long prompt delays neither a cancel nor a close."""
# ruff: noqa: S101 - the suite asserts

import time

import pytest

from pilotlight_backend.errors import EngineClosed
from pilotlight_backend.protocols import Engine
from pilotlight_backend.testing.conformance.fixtures import ConformanceFixtures
from pilotlight_backend.testing.conformance.listener import (
    Submitted,
    eventually,
    request_of,
    run,
    submit,
    within,
)
from pilotlight_backend.types import Failed, LoadOptions, Started

SOON = 2.0
"""Seconds after which a request has ended: one by the contract, and one for a busy machine."""
LENGTH = 64
"""Tokens of the answer: a slow listener hears them for longer than a fast engine takes."""


class PrefillConformance(ConformanceFixtures):
    """A prompt of nearly the whole context, with a model whose step may take long."""

    @pytest.fixture(scope="class")
    @classmethod
    def filling_prompt(cls, prompt: list[int], options: LoadOptions) -> list[int]:
        """Return a prompt that leaves room for an answer of `LENGTH` tokens."""
        length = (options.context_length or 4096) - LENGTH
        return (prompt * length)[:length]

    def test_cancel_ends_the_prefill(
        self, own_engine: Engine, prompt: list[int], filling_prompt: list[int]
    ) -> None:
        """The request ends within a second, and its slot holds nothing that is not there."""
        short = run(own_engine, request_of(prompt, 4)).tokens
        one = submit_long(own_engine, [*prompt, *filling_prompt[len(prompt) :]])
        began = time.monotonic()
        one.ticket.cancel()
        finish = one.listener.finish()
        assert time.monotonic() - began < SOON
        assert finish.reason == "cancelled"
        assert eventually(lambda: own_engine.stats().slots_busy == 0)
        assert run(own_engine, request_of(prompt, 4)).tokens == short

    def test_close_ends_the_prefill(self, own_engine: Engine, filling_prompt: list[int]) -> None:
        """A close returns within a second, and the request has ended as closed."""
        one = submit_long(own_engine, filling_prompt)
        began = time.monotonic()
        within(own_engine.close)
        assert time.monotonic() - began < SOON
        end = one.listener.wait()
        assert isinstance(end, Failed), end
        assert isinstance(end.error, EngineClosed)


def submit_long(engine: Engine, prompt: list[int]) -> Submitted:
    """Submit *prompt*, and wait until it is evaluated, or has been."""
    one = submit(engine, request_of(prompt, LENGTH), slow=True)
    assert eventually(
        lambda: (
            any(isinstance(event, Started) for event in one.listener.events)
            and (bool(one.listener.tokens) or any(step.tokens for step in engine.stats().under_way))
        )
    )
    return one

"""What every backend refuses, and in which words."""

import math

import pytest

from pilotlight_backend import GenerateRequest, InvalidParameter, SamplingParams
from pilotlight_backend.validation import _BOUNDS, check_inputs, check_request


def message(sampling=None, **fields) -> str:
    """Return what the request is refused with."""
    request = GenerateRequest(
        **{"prompt": (1, 2), "max_tokens": 4, "sampling": SamplingParams(**(sampling or {}))}
        | fields
    )
    with pytest.raises(InvalidParameter) as caught:
        check_request(
            request,
            context_length=16,
            vocabulary_size=10,
            sampling=frozenset(SamplingParams.__struct_fields__),
        )
    assert caught.value.param == str(caught.value).partition(":")[0].partition("[")[0]
    return str(caught.value)


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        ({"temperature": -1.0}, "temperature: expected a number of at least 0, got -1.0"),
        ({"temperature": math.nan}, "temperature: expected a number of at least 0, got nan"),
        ({"temperature": math.inf}, "temperature: expected a number of at least 0, got inf"),
        ({"top_p": 1.5}, "top_p: expected a number from 0 to 1, got 1.5"),
        ({"repeat_penalty": 0.0}, "repeat_penalty: expected a number greater than 0, got 0.0"),
        ({"presence_penalty": -math.inf}, "presence_penalty: expected a finite number, got -inf"),
        ({"top_k": 2**31}, "top_k: expected a number from 0 to 2147483647, got 2147483648"),
        ({"repeat_last_n": -2}, "repeat_last_n: expected a number from -1 to 2147483647, got -2"),
        ({"mirostat": 3}, "mirostat: expected a number from 0 to 2, got 3"),
        ({"logit_bias": {3: math.nan}}, "logit_bias: expected a finite number, got nan"),
        ({"logit_bias": {10: 1.0}}, "logit_bias: the vocabulary has no token 10"),
    ],
)
def test_sampling_field_is_refused_with_its_bounds(sampling, expected):
    assert message(sampling) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"max_tokens": 0}, "max_tokens: expected a number of at least 1, got 0"),
        ({"min_tokens": 5}, "min_tokens: expected a number from 0 to 4, got 5"),
        ({"logprobs": 101}, "logprobs: expected a number from 0 to 100, got 101"),
        ({"prompt": (1, -1)}, "prompt: the vocabulary has no token -1"),
        ({"stop_token_ids": frozenset({10})}, "stop_token_ids: the vocabulary has no token 10"),
    ],
)
def test_request_field_is_refused_with_its_bounds(fields, expected):
    assert message(**fields) == expected


def test_bounds_name_every_number():
    """A new number among the sampling parameters has its bounds in the table."""
    others = {"logit_bias", "seed", "dry_sequence_breakers"}
    assert {*_BOUNDS, *others} == set(SamplingParams.__struct_fields__)


def test_values_at_the_bounds_are_accepted():
    edges = SamplingParams(top_p=0.0, min_p=1.0, repeat_penalty=math.ulp(0.0))
    request = GenerateRequest(prompt=(0, 9), max_tokens=10**400, min_tokens=3, sampling=edges)
    check_request(request, context_length=3, vocabulary_size=10)


def test_empty_input_is_named_by_its_index():
    with pytest.raises(InvalidParameter, match=r"^inputs\[1\]: the input is empty$"):
        check_inputs([[1], []], context_length=8, vocabulary_size=10)
    with pytest.raises(InvalidParameter, match=r"^inputs: expected at least one input$"):
        check_inputs([], context_length=8, vocabulary_size=10)

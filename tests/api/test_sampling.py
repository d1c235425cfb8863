"""What requests of all APIs say of how tokens are drawn."""

import msgspec
import pytest

from pilotlight.api.params.sampling import sampling_of
from pilotlight.schema.chat.request import ChatCompletionRequest
from pilotlight.schema.completions import CompletionRequest
from pilotlight.schema.messages.request import MessagesRequest
from pilotlight.schema.responses.request import ResponseRequest
from pilotlight_backend import SamplingParams

BODIES = [
    ({"messages": [{"role": "user", "content": "hi"}]}, ChatCompletionRequest),
    ({"prompt": "hi"}, CompletionRequest),
    ({"input": "hi"}, ResponseRequest),
    ({"messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}, MessagesRequest),
]


def sampling(body: dict, kind: type, **fields: object) -> SamplingParams:
    """Return what a request of *kind* with *fields* means."""
    return sampling_of(msgspec.convert({"model": "m"} | body | fields, kind))


@pytest.mark.parametrize(("body", "kind"), BODIES)
def test_omitted_fields_have_one_default(body, kind):
    """It is the same at every endpoint, whether omitted or null."""
    default = SamplingParams(temperature=1.0, top_p=0.95, top_k=64)
    assert sampling(body, kind) == default
    assert sampling(body, kind, temperature=None, top_p=None, top_k=None) == default


@pytest.mark.parametrize(("body", "kind"), BODIES)
def test_zero_is_a_value(body, kind):
    """0 is honoured, and is not taken for an omitted field."""
    zero = SamplingParams(temperature=0.0, top_p=0.0, top_k=0)
    assert sampling(body, kind, temperature=0, top_p=0, top_k=0) == zero


def test_fields_of_chat_in_the_contracts_words():
    """Seeds are folded to 32 bits less one value, biases have ids, and -1 keeps all tokens."""
    given = {"top_k": -1, "seed": 2**32 - 1, "logit_bias": {"7": -100}, "repetition_penalty": 1.1}
    said = sampling(*BODIES[0], **given, dry_sequence_breakers=["a"], min_p=0.1)
    assert said == SamplingParams(
        temperature=1.0,
        top_p=0.95,
        top_k=0,
        min_p=0.1,
        seed=0,
        logit_bias={7: -100.0},
        repeat_penalty=1.1,
        dry_sequence_breakers=("a",),
    )


def test_responses_have_min_p():
    """llama-server's and vLLM's field, as in chat."""
    assert sampling(*BODIES[2], min_p=0.1).min_p == 0.1

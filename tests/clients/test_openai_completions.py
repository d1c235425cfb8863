"""Completions by the official Python client, unmodified, against the live service."""

from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import openai
import pytest
from openai.types import Completion

from tests.clients.strict_types import misfits

PROMPT = "<|im_start|>user\nWhat is 2+2?<|im_end|>\n<|im_start|>assistant\n"
FREE = {"temperature": 1.5, "top_p": 1.0, "extra_body": {"top_k": 0}}


@pytest.fixture
def client(spark: Any) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{spark.url}/v1", api_key="none") as client:
        yield client


def assert_fits(answer: Completion, *, chunk: bool = False) -> None:
    """Hold *answer* to the client's types, strictly; the client builds it without validation.

    A chunk says null where its answer goes on: OpenAI's own do, and the client's types do not.
    """
    told = answer.to_dict()
    for choice in told["choices"]:
        if chunk and choice["finish_reason"] is None:
            choice["finish_reason"] = "stop"
    assert misfits(msgspec.json.encode(told), Completion) == []


def complete(client: openai.OpenAI, prompt: Any = PROMPT, **fields: Any) -> Completion:
    """Return the answer to *prompt*, which fits the client's types."""
    answer = client.completions.create(model="spark", prompt=prompt, **fields)
    assert_fits(answer)
    return answer


def texts(answer: Completion) -> list[str]:
    return [choice.text for choice in answer.choices]


def test_an_answer(client: openai.OpenAI):
    """A prompt that is a rendered conversation is continued as the chat template has it."""
    answer = complete(client, temperature=0, max_tokens=40)

    assert "4" in answer.choices[0].text
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_a_stream(client: openai.OpenAI):
    """The pieces of a stream are the whole answers, each by its index."""
    asked = {"temperature": 0, "max_tokens": 12, "n": 2, "echo": True}
    whole = complete(client, [PROMPT, "One, two,"], **asked)

    *chunks, usage = client.completions.create(
        model="spark",
        prompt=[PROMPT, "One, two,"],
        stream=True,
        stream_options={"include_usage": True},
        **asked,
    )

    told = [""] * 4
    reasons: list[Any] = [None] * 4
    for chunk in chunks:
        assert_fits(chunk, chunk=True)
        for choice in chunk.choices:
            told[choice.index] += choice.text
            reasons[choice.index] = choice.finish_reason
    assert told == texts(whole)
    assert reasons == [choice.finish_reason for choice in whole.choices]
    assert all(text.startswith(PROMPT) for text in told[:2])
    assert usage.choices == []
    assert usage.usage.completion_tokens == whole.usage.completion_tokens


def test_tokens_are_the_text(client: openai.OpenAI, spark: Any):
    """A prompt in tokens is answered as its text is, and spells it."""
    body = {"model": "spark", "prompt": PROMPT}
    tokens = httpx.post(f"{spark.url}/tokenize", json=body).json()["tokens"]

    given = {"temperature": 0, "max_tokens": 12, "echo": True}
    assert texts(complete(client, tokens, **given)) == texts(complete(client, PROMPT, **given))


def test_log_probabilities(client: openai.OpenAI):
    """Greedy tokens are the likeliest of those returned, and spell the text at their offsets."""
    (choice,) = complete(client, temperature=0, max_tokens=12, logprobs=3).choices

    logprobs = choice.logprobs
    assert "".join(logprobs.tokens) == choice.text
    for token, offset in zip(logprobs.tokens, logprobs.text_offset, strict=True):
        assert choice.text[offset:].startswith(token)
    for token, logprob, top in zip(
        logprobs.tokens, logprobs.token_logprobs, logprobs.top_logprobs, strict=True
    ):
        assert len(top) == 3
        assert top[token] == logprob == max(top.values())
        assert logprob <= 0


def test_the_best_of_several(client: openai.OpenAI):
    """The choices are the likeliest of those that the same seed gives with `n`."""
    asked = {"seed": 7, "max_tokens": 8, "logprobs": 0, **FREE}
    every = complete(client, "Once upon", n=6, **asked)

    best = complete(client, "Once upon", n=2, best_of=6, **asked)

    def mean(choice: Any) -> float:
        return sum(choice.logprobs.token_logprobs) / len(choice.logprobs.token_logprobs)

    likeliest = sorted(every.choices, key=mean, reverse=True)[:2]
    assert texts(best) == [choice.text for choice in likeliest]
    assert len(set(texts(every))) > 1
    assert best.usage.completion_tokens == every.usage.completion_tokens


def test_a_seed_repeats(client: openai.OpenAI):
    """The same seed gives the same answers."""
    first = complete(client, ["Once", "One"], n=2, seed=3, **FREE)
    second = complete(client, ["Once", "One"], n=2, seed=3, **FREE)
    assert texts(first) == texts(second)


def test_a_stop(client: openai.OpenAI):
    """The answer ends before the text, and the log probabilities with it."""
    (whole,) = complete(client, temperature=0, max_tokens=12).choices
    stop = whole.text[3:6]

    (choice,) = complete(client, temperature=0, max_tokens=12, stop=stop, logprobs=0).choices

    assert choice.text == whole.text[: whole.text.index(stop)]
    assert choice.finish_reason == "stop"
    assert all(offset < len(choice.text) for offset in choice.logprobs.text_offset)


def test_errors_are_the_clients_own(client: openai.OpenAI):
    """Errors arrive as the client's exceptions, with the field at fault."""
    with pytest.raises(openai.BadRequestError) as suffix:
        complete(client, suffix=".")
    with pytest.raises(openai.BadRequestError) as token:
        complete(client, [[1, 2], [99999]])
    with pytest.raises(openai.BadRequestError) as echo:
        complete(client, echo=True, logprobs=1)
    with pytest.raises(openai.NotFoundError) as unknown:
        client.completions.create(model="nobody", prompt=PROMPT)

    assert suffix.value.param == "suffix"
    assert token.value.param == "prompt[1]"
    assert echo.value.param == "logprobs"
    assert unknown.value.code == "model_not_found"


def test_tokens_and_back(spark: Any):
    """A text's tokens spell it, whatever it holds, and as many as generating would count."""
    with httpx.Client(base_url=spark.url) as http:
        for text in (PROMPT, "naïve 😀 \n\n x", ""):
            body = {"model": "spark", "content": text, "with_pieces": True}
            tokens = http.post("/tokenize", json=body).json()["tokens"]
            ids = [token["id"] for token in tokens]
            back = http.post("/detokenize", json={"model": "spark", "tokens": ids}).json()
            assert back["content"] == text
        chat = {"model": "spark", "messages": [{"role": "user", "content": "hi"}]}
        counted = http.post("/tokenize", json=chat).json()
        usage = http.post("/v1/chat/completions", json=chat).json()["usage"]
    assert counted["count"] == usage["prompt_tokens"]
    assert counted["max_model_len"] == 1024

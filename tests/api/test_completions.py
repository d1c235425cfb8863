"""Completions over the fake backend: what reaches the engine, and what comes back."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from openai.types.completion_create_params import CompletionCreateParamsBase

from pilotlight.api.endpoints.completions.projection import fold
from pilotlight.generation import Begun, Ended, Events
from pilotlight.output.events import ContentDelta
from pilotlight.schema.completions import CompletionRequest
from pilotlight_backend import SamplingParams, Token, Usage
from pilotlight_backend.testing.fake import Piece
from tests.api.caller import Call
from tests.api.tables import documented
from tests.conftest import FakeService, chat, events

pytestmark = pytest.mark.slow

PATH = "/v1/completions"
THINKING = "<think>Let me see.</think>Four."
CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 2}}\n</tool_call>'


def completion(prompt: Any = "Once", **fields: Any) -> dict[str, Any]:
    """Return a request for completions."""
    return {"model": "m", "prompt": prompt, **fields}


async def post(service: FakeService, prompt: Any = "Once", **fields: Any) -> Any:
    return await service.client.post(PATH, json=completion(prompt, **fields))


async def ask(service: FakeService, prompt: Any = "Once", **fields: Any) -> dict[str, Any]:
    """Return the answer to *prompt*."""
    response = await post(service, prompt, **fields)
    assert response.status_code == 200, response.text
    return response.json()


async def stream(service: FakeService, prompt: Any = "Once", **fields: Any) -> list[Any]:
    """Return the chunks of the streamed answer to *prompt*; `[DONE]` was the last event."""
    response = await post(service, prompt, stream=True, **fields)
    assert response.status_code == 200, response.text
    *chunks, done = events(response.text)
    assert done == "[DONE]"
    return chunks


async def refused(service: FakeService, prompt: Any = "Once", **fields: Any) -> dict[str, Any]:
    """Return the 400 that the request is answered with."""
    response = await post(service, prompt, **fields)
    assert response.status_code == 400, response.text
    return response.json()["error"]


def texts(answer: dict[str, Any]) -> list[str]:
    return [choice["text"] for choice in answer["choices"]]


def streamed(chunks: list[Any], count: int = 1) -> list[tuple[str, str | None]]:
    """Return the text and the finish reason that *chunks* add up to for each answer."""
    told: list[tuple[str, str | None]] = [("", None)] * count
    for chunk in chunks:
        for choice in chunk["choices"]:
            text, reason = told[choice["index"]]
            assert reason is None, "a chunk after the last"
            told[choice["index"]] = text + choice["text"], choice["finish_reason"]
    return told


# ── an answer ───────────────────────────────────────────────────────────────────────────────────


async def test_an_answer(service):
    """A whole answer has OpenAI's fields, with usage and fingerprint."""
    answer = await ask(service)

    assert answer.pop("id").startswith("cmpl-")
    assert answer.pop("created") > 1_700_000_000
    assert answer.pop("system_fingerprint").startswith("fp_")
    assert answer == {
        "object": "text_completion",
        "model": "m",
        "choices": [{"index": 0, "text": "Hello.", "logprobs": None, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": 4,
            "completion_tokens": 7,
            "total_tokens": 11,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
    }


async def test_a_stream(service):
    """Its chunks are of one answer, the last has the finish reason, and `[DONE]` ends it."""
    chunks = await stream(service)

    assert len({(chunk["id"], chunk["created"]) for chunk in chunks}) == 1
    assert all(chunk["object"] == "text_completion" for chunk in chunks)
    assert all("usage" not in chunk for chunk in chunks)
    assert chunks[0]["choices"] == [
        {"index": 0, "text": "H", "logprobs": None, "finish_reason": None}
    ]
    assert chunks[-1]["choices"] == [
        {"index": 0, "text": "", "logprobs": None, "finish_reason": "stop"}
    ]


async def test_usage_in_a_stream(service):
    """With `include_usage` one chunk more, without choices, has the usage; the others a null."""
    whole = await ask(service, ["Once", "Twice"], n=2)
    *chunks, usage = await stream(
        service, ["Once", "Twice"], n=2, stream_options={"include_usage": True}
    )

    assert all(chunk["usage"] is None for chunk in chunks)
    assert usage["choices"] == []
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert usage["usage"][name] == whole["usage"][name]


@pytest.mark.parametrize(
    "reply",
    [
        "Hello.",
        THINKING,
        CALL,
        (Piece(b"\xf0\x9f"), Piece(b"\x98\x80"), " smile"),
        (Piece(b"\xff"), "broken", Piece(b"\xe2\x82")),
        "",
    ],
)
@pytest.mark.parametrize("echo", [False, True])
async def test_a_stream_adds_up_to_the_whole_answer(start, reply, echo):
    """For the same reply a stream's pieces are the whole answer, to the character."""
    service = await start()
    service.write(reply=reply)

    (choice,) = (await ask(service, echo=echo, max_tokens=99))["choices"]
    chunks = await stream(service, echo=echo, max_tokens=99)

    assert streamed(chunks) == [(choice["text"], choice["finish_reason"])]


@pytest.mark.parametrize("reply", [THINKING, CALL])
async def test_text_is_told_as_it_is(start, reply):
    """Reasoning and calls stay in the text of a completion."""
    service = await start()
    service.write(reply=reply)

    answer = await ask(service, max_tokens=99)

    assert texts(answer) == [reply]
    assert answer["choices"][0]["finish_reason"] == "stop"


async def test_a_model_without_a_chat_template_completes(start):
    """What cannot chat can still go on from a text."""
    service = await start()
    service.write(chat_template=None, reply="Hello.")
    assert texts(await ask(service)) == ["Hello."]


@pytest.mark.parametrize("template", ["{% if %}", "{{ messages", "x" * 300_000])
async def test_a_model_with_a_broken_chat_template_completes(start, template):
    """Texts and tokens need no template; a conversation gets the template's error, permanently."""
    service = await start()
    service.write(chat_template=template, reply="Hello.")

    assert texts(await ask(service)) == ["Hello."]
    tokens = await service.post({"model": "m", "prompt": "Hi"}, path="/tokenize")
    assert tokens.json()["count"] == 2
    for path, body in (
        ("/v1/chat/completions", chat()),
        ("/v1/messages", {**chat(), "max_tokens": 3}),
        ("/tokenize", chat()),
    ):
        answer = await service.post(body, path=path)
        assert answer.status_code == 503
        assert "m: the chat template" in answer.json()["error"]["message"]
        assert "retry-after" not in answer.headers
        assert answer.headers["x-should-retry"] == "false"
    assert texts(await ask(service)) == ["Hello."]


# ── what reaches the engine ─────────────────────────────────────────────────────────────────────


async def test_defaults(service):
    """What is left out is as in chat, and 16 tokens."""
    await ask(service)

    (request,) = service.engine.requests
    assert request.sampling == SamplingParams(temperature=1.0, top_p=0.95, top_k=64)
    assert request.max_tokens == 16
    assert request.stop_token_ids == frozenset()
    assert request.logprobs is None
    assert not request.shares_prompt


async def test_values_that_are_given(service):
    """Each is honoured, 0 included."""
    await ask(
        service,
        temperature=0,
        top_p=0.5,
        top_k=0,
        min_p=0.25,
        presence_penalty=-1,
        frequency_penalty=0.5,
        logit_bias={"72": -100},
        seed=-1,
        max_tokens=3,
        stop_token_ids=[1],
        logprobs=0,
    )

    (request,) = service.engine.requests
    assert request.sampling == SamplingParams(
        temperature=0.0,
        top_p=0.5,
        top_k=0,
        min_p=0.25,
        presence_penalty=-1.0,
        frequency_penalty=0.5,
        logit_bias={72: -100.0},
        seed=2**32 - 2,
    )
    assert request.max_tokens == 3
    assert request.stop_token_ids == {1}
    assert request.logprobs == 0


async def test_null_is_left_out(service):
    """Every field that may be null means then what it means when it is not there."""
    await ask(service)
    names = set(CompletionRequest.__struct_fields__) - {"model", "prompt"}
    await ask(service, **dict.fromkeys(names))

    first, second = service.engine.requests
    assert first == second


async def test_fields_without_effect(service):
    """They are accepted, and the answer is the same."""
    fields = {
        "user": "somebody",
        "stream_options": {"include_obfuscation": True, "continuous_usage_stats": True},
    }
    assert texts(await ask(service, **fields)) == ["Hello."]


# ── prompts ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("prompt", "tokens"),
    [
        ("Hi", [b"Hi"]),
        ("é<think>", [b"\xc3\xa9" + b"<think>"]),
        ([72, 105], [b"Hi"]),
        ([72.0, 105], [b"Hi"]),
        (["Hi"], [b"Hi"]),
        ([[72, 105]], [b"Hi"]),
        (["Hi", "there"], [b"Hi", b"there"]),
        ([[72], [105]], [b"H", b"i"]),
        (["Hi", [72]], [b"Hi", b"H"]),
    ],
)
async def test_a_prompt_in_each_form(service, prompt, tokens):
    """Texts and tokens, one or several, come to the engine as they are, in order."""
    answer = await ask(service, prompt)

    spelt = [service.engine.detokenize(one.prompt).encode() for one in service.engine.requests]
    assert spelt == tokens
    assert texts(answer) == ["Hello."] * len(tokens)


@pytest.mark.parametrize("prompt", ["", None, [""]])
async def test_an_empty_prompt_starts_a_text(start, prompt):
    """Where the model has a token that texts begin with, it is the whole prompt."""
    service = await start()
    service.write(reply="Hello.", bos_token="<s>", add_bos=True)  # noqa: S106 - a special token

    assert texts(await ask(service, prompt)) == ["Hello."]
    (request,) = service.engine.requests
    assert service.engine.detokenize(request.prompt) == "<s>"


@pytest.mark.parametrize(("prompt", "param"), [("", "prompt"), (["a", ""], "prompt[1]")])
async def test_an_empty_prompt_to_a_model_without_such_a_token(service, prompt, param):
    """There is nothing to go on from, and the prompt at fault is named."""
    assert (await refused(service, prompt))["param"] == param
    assert texts(await ask(service)) == ["Hello."]
    assert service.engine.stats().slots_busy == 0


async def test_text_begins_as_the_models_texts_do(start):
    """The token is put before a text that lacks it, and before no tokens."""
    service = await start()
    service.write(reply="Hello.", bos_token="<s>", add_bos=True)  # noqa: S106 - a special token

    await ask(service, ["Hi", "<s>Hi", [72]])

    spelt = [service.engine.detokenize(one.prompt) for one in service.engine.requests]
    assert spelt == ["<s>Hi", "<s>Hi", "H"]


@pytest.mark.parametrize(
    ("prompt", "param"),
    [
        ([], "prompt"),
        ([[]], "prompt[0]"),
        ([[72], []], "prompt[1]"),
        (7, "prompt"),
        ({"text": "Hi"}, "prompt"),
        ([True], "prompt[0]"),
        ([{}], "prompt[0]"),
        ([-1], "prompt[0]"),
        ([[72, "x"]], "prompt[0][1]"),
        ([72.5], "prompt[0]"),
        ([72, "x"], "prompt[1]"),
        (["x", 72], "prompt[1]"),
        ([72, [72]], "prompt[1]"),
        ([99999], "prompt"),
        (["x", [72, 99999]], "prompt[1]"),
        (["x"] * 1025, "prompt"),
    ],
)
async def test_a_prompt_that_is_none(service, prompt, param):
    """What is neither text nor tokens of this model is refused, with its place."""
    assert (await refused(service, prompt))["param"] == param


async def test_no_prompt_at_all(service):
    """A request has a prompt."""
    response = await service.client.post(PATH, json={"model": "m"})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "prompt"


@pytest.mark.parametrize("streams", [False, True])
async def test_a_prompt_over_the_context(start, streams):
    """The prompt that leaves no room is named, and no other one runs."""
    service = await start(context_length=16)
    service.write(reply="Hello.")

    said = await refused(service, ["a", "b" * 16, "c"], stream=streams)

    assert said["code"] == "context_length_exceeded"
    assert said["param"] == "prompt[1]"
    assert "16 tokens" in said["message"]
    assert texts(await ask(service)) == ["Hello."]
    assert service.engine.stats().slots_busy == 0


# ── several answers ─────────────────────────────────────────────────────────────────────────────


async def test_answers_are_counted_by_prompt_then_by_answer(start):
    """Of two prompts with `n` 2 the second one's answers are 2 and 3; here each echoes its own."""
    service = await start()
    service.write()  # says what it is asked

    answer = await ask(service, ["one", "two"], n=2)
    chunks = await stream(service, ["one", "two"], n=2)

    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]
    assert texts(answer) == ["one", "one", "two", "two"]
    assert [text for text, _ in streamed(chunks, 4)] == ["one", "one", "two", "two"]
    assert answer["usage"]["prompt_tokens"] == 6
    assert answer["usage"]["completion_tokens"] == 4 * 4


async def test_each_answer_to_a_prompt_has_its_own_seed(service):
    """And the prompt is evaluated once for all of them."""
    await ask(service, ["one", "two"], n=2, seed=7)

    requests = service.engine.requests
    assert [request.sampling.seed for request in requests] == [7, 8, 7, 8]
    assert all(request.shares_prompt for request in requests)


async def test_more_answers_than_slots(start):
    """Those that find none wait for one."""
    service = await start(parallel=2)
    service.write()
    prompts = [f"prompt {number}" for number in range(9)]
    assert texts(await ask(service, prompts)) == prompts


async def test_more_answers_than_one_request_may_have(service):
    """They would all be queued at once."""
    said = await refused(service, ["x"] * 1000, n=3)
    assert said["param"] == "n"
    said = await refused(service, ["x"] * 1000, best_of=3)
    assert said["param"] == "best_of"


# ── the best of several ─────────────────────────────────────────────────────────────────────────


def answered(number: int, *tokens: tuple[bytes, float]) -> Events:
    """Return the events of an answer with *tokens*, of these log probabilities."""
    told = [
        ContentDelta(piece.decode(), tokens=(Token(piece[0], piece, logprob),))
        for piece, logprob in tokens
    ]
    usage = Usage(prompt_tokens=3, completion_tokens=len(tokens) + 1)
    ended = Ended("length" if len(tokens) > 2 else "stop", usage, reasoning_tokens=0)
    return [(number, one) for one in (Begun("m", "fp_1", 3, 0), *told, ended)]


async def generation(*answers: Events) -> AsyncGenerator[Events]:
    for one in answers:
        yield one


async def test_the_likeliest_answers_are_told():
    """By the mean over its tokens, the likeliest first, of each prompt its own; all count."""
    answers = [
        answered(0, (b"a", -1.0), (b"b", -3.0)),
        answered(1, (b"c", -1.5), (b"d", -1.5), (b"e", -1.5)),  # the least sum, a higher mean
        answered(2, (b"f", -0.5)),
        answered(3, (b"g", -2.0)),
        answered(4),  # without a token there is nothing to say for it
        answered(5, (b"h", -9.0)),
    ]

    answer, _ = await fold(generation(*answers), prompts=2, n=2, best_of=3, logprobs=False)

    told = [(choice.index, choice.text, choice.finish_reason) for choice in answer.choices]
    assert told == [(0, "f", "stop"), (1, "cde", "length"), (2, "g", "stop"), (3, "h", "stop")]
    assert answer.usage.completion_tokens == 8 + 6
    assert answer.usage.prompt_tokens == 6
    assert all(choice.logprobs is None for choice in answer.choices)


async def test_answers_that_are_equally_likely_stay_in_order():
    """The first of them is returned."""
    answers = [answered(0, (b"a", -1.0)), answered(1, (b"b", -1.0))]
    answer, _ = await fold(generation(*answers), prompts=1, n=1, best_of=2, logprobs=True)
    assert [choice.text for choice in answer.choices] == ["a"]
    assert answer.choices[0].logprobs.tokens == ["a"]


async def test_best_of_generates_more_than_it_tells(service):
    """The engine returns log probabilities, and the response has none."""
    answer = await ask(service, ["one", "two"], n=1, best_of=3)

    assert texts(answer) == ["Hello."] * 2
    assert [choice["index"] for choice in answer["choices"]] == [0, 1]
    assert answer["choices"][0]["logprobs"] is None
    assert [request.logprobs for request in service.engine.requests] == [0] * 6
    assert answer["usage"]["completion_tokens"] == 6 * 7
    assert answer["usage"]["prompt_tokens"] == 6


@pytest.mark.parametrize(
    "fields", [{"n": 3, "best_of": 2}, {"best_of": 2, "stream": True}, {"best_of": 0}]
)
async def test_best_of_that_cannot_be(service, fields):
    """Fewer than `n`, or a stream, which cannot take back a choice, is refused."""
    assert (await refused(service, **fields))["param"] == "best_of"


async def test_best_of_as_many_as_are_told(service):
    """Nothing is chosen then, so it can be streamed."""
    chunks = await stream(service, n=2, best_of=2)
    assert streamed(chunks, 2) == [("Hello.", "stop")] * 2


# ── echo ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("prompt", "told"),
    [
        ("Once ", ["Once Hello."]),
        ([72, 105, 256], ["Hi<|im_start|>Hello."]),
        (["é", [195, 169], [195]], ["éHello.", "éHello.", "\N{REPLACEMENT CHARACTER}Hello."]),
    ],
)
async def test_echo(service, prompt, told):
    """An answer begins with its prompt's text, of tokens with what they spell; streamed too."""
    assert texts(await ask(service, prompt, echo=True)) == told
    chunks = await stream(service, prompt, echo=True)
    assert [text for text, _ in streamed(chunks, len(told))] == told


@pytest.mark.parametrize(("echo", "told"), [(False, ""), (True, "Once ")])
async def test_no_tokens(service, echo, told):
    """With `max_tokens` 0 the prompt is evaluated and nothing is generated; streamed too."""
    whole = await ask(service, "Once ", max_tokens=0, echo=echo)
    assert texts(whole) == [told]
    assert whole["choices"][0]["finish_reason"] == "length"
    assert (whole["usage"]["prompt_tokens"], whole["usage"]["completion_tokens"]) == (5, 0)
    chunks = await stream(service, "Once ", max_tokens=0, echo=echo)
    assert streamed(chunks, 1) == [(told, "length")]


async def test_no_tokens_of_a_model_that_says_nothing(start):
    """An answer that would have ended at once is empty as well, and its prompt is cached then."""
    service = await start()
    service.write(reply="")
    whole = await ask(service, ["Once ", "Twice "], max_tokens=0, n=2)
    assert texts(whole) == [""] * 4
    assert whole["usage"]["completion_tokens"] == 0
    again = await ask(service, "Twice ", max_tokens=1)
    assert again["usage"]["prompt_tokens_details"]["cached_tokens"] > 0


async def test_the_prompt_is_not_what_stops(service):
    """Stops are looked for in what is generated."""
    assert texts(await ask(service, "Once.", echo=True, stop=["ce", "."])) == ["Once.Hello"]


async def test_echo_without_the_token_that_texts_begin_with(start):
    """The prompt is echoed as it was sent."""
    service = await start()
    service.write(reply="Hello.", bos_token="<s>", add_bos=True)  # noqa: S106 - a special token
    assert texts(await ask(service, "Once ", echo=True)) == ["Once Hello."]


async def test_echo_with_the_best(service):
    """The best answer begins with the prompt as well."""
    assert texts(await ask(service, "Once ", echo=True, best_of=2)) == ["Once Hello."]


async def test_echo_of_a_token_that_is_none(service):
    """It has no text, and the error has its path."""
    assert (await refused(service, [72, 9999], echo=True))["param"] == "prompt[1]"
    assert (await refused(service, ["x", [9999]], echo=True))["param"] == "prompt[1][0]"


@pytest.mark.parametrize("logprobs", [0, 5])
async def test_echo_with_log_probabilities(service, logprobs):
    """A prompt's own are not known, and leaving them out would shift all the others."""
    said = await refused(service, echo=True, logprobs=logprobs)
    assert said["param"] == "logprobs"
    assert "echo" in said["message"]


# ── log probabilities ───────────────────────────────────────────────────────────────────────────


async def test_log_probabilities(service):
    """OpenAI's older shape: lists beside each other, the likeliest by their text, places."""
    (choice,) = (await ask(service, max_tokens=2, logprobs=2))["choices"]

    assert choice["logprobs"] == {
        "tokens": ["H", "e"],
        "token_logprobs": [-0.5, -0.5],
        "top_logprobs": [{"H": -0.5, "I": -1.5}, {"e": -0.5, "f": -1.5}],
        "text_offset": [0, 1],
    }


async def test_log_probabilities_without_others(service):
    """With 0 each token is returned without alternatives."""
    (choice,) = (await ask(service, max_tokens=1, logprobs=0))["choices"]
    assert choice["logprobs"]["top_logprobs"] == [{"H": -0.5}]


def joined(chunks: list[Any]) -> dict[str, list[Any]]:
    """Return the log probabilities that *chunks* add up to."""
    lists: dict[str, list[Any]] = {
        "tokens": [],
        "token_logprobs": [],
        "top_logprobs": [],
        "text_offset": [],
    }
    for chunk in chunks:
        for name, values in (chunk["choices"][0]["logprobs"] or {}).items():
            lists[name] += values
    return lists


@pytest.mark.parametrize(
    ("reply", "stop", "tokens", "offsets"),
    [
        ("Hello.", [], ["H", "e", "l", "l", "o", "."], [0, 1, 2, 3, 4, 5]),
        (("Hel", "lo", " END", " more"), ["END"], ["Hel", "lo", " END"], [0, 3, 5]),
        (("Hel", "lo E", "ND more"), ["END"], ["Hel", "lo E"], [0, 3]),
        (("Hel", "lo", "EN", "D"), ["END"], ["Hel", "lo"], [0, 3]),
        # What looked like a stop is content after all, with all that was held back.
        (("Hel", "lo", "EN", "Dx"), ["ENDE"], ["Hel", "lo", "EN", "Dx"], [0, 3, 5, 7]),
        # The shorter stop is complete first; the token before it is content, the stop's is not.
        (("a", "E", "ND"), ["ENDX", "ND"], ["a", "E"], [0, 1]),
        (("x", "EN"), ["END"], ["x", "EN"], [0, 1]),
        (
            ("é", Piece(b"\xf0\x9f"), Piece(b"\x98\x80"), "!"),
            [],
            ["é", "bytes:\\xf0\\x9f", "bytes:\\x98\\x80", "!"],
            [0, 1, 1, 2],
        ),
        ((), [], [], []),
    ],
)
async def test_tokens_and_their_places(start, reply, stop, tokens, offsets):
    """Every token of the text is listed once, with its offset; a stop's tokens are not."""
    service = await start()
    service.write(reply=reply or "")

    (choice,) = (await ask(service, stop=stop, logprobs=1))["choices"]
    chunks = await stream(service, stop=stop, logprobs=1)

    assert choice["logprobs"]["tokens"] == tokens
    assert choice["logprobs"]["text_offset"] == offsets
    assert len(choice["logprobs"]["top_logprobs"]) == len(tokens)
    assert joined(chunks) == choice["logprobs"]
    assert streamed(chunks) == [(choice["text"], choice["finish_reason"])]


async def test_places_are_each_answers_own(service):
    """The answers of a stream come at the same time, and each is counted from its beginning."""
    chunks = await stream(service, n=2, logprobs=0)
    for index in range(2):
        own = [chunk for chunk in chunks if chunk["choices"][0]["index"] == index]
        assert joined(own)["text_offset"] == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("logprobs", [-1, 6, True, "2"])
async def test_log_probabilities_that_cannot_be(service, logprobs):
    """OpenAI has 5 at the most."""
    assert (await refused(service, logprobs=logprobs))["param"] == "logprobs"


# ── the end ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("reply", "stop", "text"),
    [
        ("Hello.", ".", "Hello"),
        ("Hello.", ["x", "lo"], "Hel"),
        (("He", "l", "lo. M", "ore"), ["o. More"], "Hell"),
        (("One\n", "\nTwo"), ["\n\n"], "One"),
    ],
)
async def test_a_stop_over_token_boundaries(start, reply, stop, text):
    """The text ends before the stop, wherever tokens end, streamed or not."""
    service = await start()
    service.write(reply=reply)

    answer = await ask(service, stop=stop)
    chunks = await stream(service, stop=stop)

    assert texts(answer) == [text]
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert streamed(chunks) == [(text, "stop")]


async def test_length_ends_an_answer(start):
    """After 16 tokens where nothing else is said."""
    service = await start()
    service.write(reply="x" * 40)

    assert streamed(await stream(service)) == [("x" * 16, "length")]
    (choice,) = (await ask(service, max_tokens=5))["choices"]
    assert (choice["text"], choice["finish_reason"]) == ("xxxxx", "length")


async def test_a_token_that_stops(service):
    """It is not in the text, and the finish reason is `stop`."""
    (choice,) = (await ask(service, stop_token_ids=[ord("o")]))["choices"]
    assert (choice["text"], choice["finish_reason"]) == ("Hell", "stop")


async def test_a_fault_in_a_stream(start):
    """The error comes, then each answer that is not whole ends with reason `error`."""
    service = await start()
    service.write(reply="Hello.", fail_after=3)

    *chunks, said, one, other = await stream(service, n=2)

    assert streamed([*chunks, one, other], 2) == [("Hel", "error")] * 2
    assert said["error"]["code"] == "inference_error"


async def test_a_fault_in_a_whole_answer(start):
    """It has a status of its own."""
    service = await start()
    service.write(reply="Hello.", fail_after=3)
    response = await post(service)
    assert response.status_code == 500
    assert response.json()["error"]["code"] == "inference_error"


# ── what is refused ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"suffix": "."}, "suffix"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"n": 0}, "n"),
        ({"n": 129}, "n"),
        ({"best_of": 129}, "best_of"),
        ({"temperature": 2.5}, "temperature"),
        ({"stop": ""}, "stop"),
        ({"echo": "yes"}, "echo"),
        ({"messages": []}, "messages"),
        ({"stream_options": {"usage": True}}, "stream_options.usage"),
        ({"stop_token_ids": [100_000]}, "stop_token_ids"),
        ({"logit_bias": {"99999": 1}}, "logit_bias"),
    ],
)
async def test_a_field_at_fault_is_named(service, fields, param):
    """A value that cannot be honoured is a 400 with its place."""
    assert (await refused(service, **fields))["param"] == param


async def test_unknown_fields_can_be_ignored(start):
    """With `unknown_fields` ignore they are dropped."""
    service = await start(unknown_fields="ignore")
    service.write(reply="Hello.")
    assert texts(await ask(service, ["Once", [72]], unheard_of=1)) == ["Hello."] * 2


async def test_a_model_that_is_not_there(service):
    """It is a 404, as everywhere."""
    response = await service.client.post(PATH, json={"model": "x", "prompt": "Once"})
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize("streams", [False, True])
async def test_a_model_that_embeds(service, streams):
    """It writes nothing: a 400 that names the model."""
    service.write("e", embedding_length=4)
    body = {"model": "e", "prompt": "Once", "stream": streams}
    response = await service.client.post(PATH, json=body)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "model"


# ── a cold model, and clients that leave ────────────────────────────────────────────────────────


async def test_a_model_that_is_loading(service):
    """After the hold it is a 503 that says when to try again."""
    service.backend.load_gate.hold()
    response = await service.client.post(PATH, json=completion(), headers={"prefer": "wait=0"})
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "model_loading"
    assert int(response.headers["retry-after"]) >= 1


async def test_the_answer_of_a_cold_model_carries_the_timing(service):
    """The headers have the timing of the cold start."""
    response = await post(service)
    assert "read;dur=" in response.headers["server-timing"]
    assert "server-timing" not in (await post(service)).headers


async def test_the_wait_is_shown_in_events(service):
    """On request it is sent in chunks without choices, before the text."""
    service.backend.load_gate.hold()
    body = completion(stream=True, echo=True, stream_options={"include_loading": "events"})
    call = Call(service.app, body, path=PATH)
    (first,) = await call.next()
    assert (first["object"], first["choices"]) == ("text_completion", [])
    assert first["loading"]["state"] == "loading"

    service.backend.load_gate.release()
    told: list[Any] = []
    while "[DONE]" not in told:
        told += await call.next()
    chunks = [one for one in told[:-1] if "loading" not in one]
    assert streamed(chunks) == [("OnceHello.", "stop")]
    await call.hang_up()


@pytest.mark.parametrize("streams", [False, True])
async def test_hanging_up_frees_the_slots_of_all_answers(start, streams):
    """Those that run end at the next step, and those that wait leave the queue."""
    service = await start(parallel=4)
    service.write(reply="A long answer.")
    service.backend.token_gate.hold()
    call = Call(service.app, completion(["one", "two", "three"], n=2, stream=streams), path=PATH)
    assert await asyncio.to_thread(service.backend.token_gate.wait_reached)
    stats = service.engine.stats()
    assert (stats.slots_busy, stats.queued) == (4, 2)

    await call.hang_up()

    following = Call(service.app, completion(stream=True, echo=True), path=PATH)
    (first,) = await following.next()  # its prompt: it has a slot
    assert first["choices"][0]["text"] == "Once"
    stats = service.engine.stats()
    assert (stats.slots_busy, stats.queued, stats.steps) == (1, 0, 0)
    await following.hang_up()


# ── the fields ──────────────────────────────────────────────────────────────────────────────────


def test_every_field_of_openai_is_known():
    """The request knows each field that the official client can send, if only to refuse it."""
    known = set(CompletionRequest.__struct_fields__)
    assert {*CompletionCreateParamsBase.__annotations__, "stream"} <= known


def test_every_field_is_documented():
    """Each field is in one of the three tables: honoured, accepted, refused."""
    tables = [documented("Completions", name) for name in ("honoured", "accepted", "refused")]
    assert set.union(*tables) == set(CompletionRequest.__struct_fields__)
    assert sum(map(len, tables)) == len(set.union(*tables))
    assert documented("Completions", "refused") == {"suffix"}

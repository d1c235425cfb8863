"""Chat answers over the fake backend: what reaches the engine, and what comes back."""

import msgspec
import pytest

from pilotlight.api.endpoints.openai import usage_of
from pilotlight.generation import Ended
from pilotlight_backend import SamplingParams, Usage
from pilotlight_backend.testing.fake import FakeModel, Piece
from tests.conftest import chat

THINKING = "<think>Let me see.</think>Four."
CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 2, "b": 2}}\n</tool_call>'
ANY = {"type": "object", "additionalProperties": True}

TOOLS = [{"type": "function", "function": {"name": "add", "parameters": ANY}}]


def folded(chunks):
    """Return what the chunks of a stream, without `[DONE]`, add up to, as a message has it."""
    message = {"role": "assistant", "content": "", "reasoning_content": "", "tool_calls": []}
    finish_reason = None
    for chunk in chunks:
        for choice in chunk["choices"]:
            delta = choice["delta"]
            message["content"] += delta.get("content", "")
            message["reasoning_content"] += delta.get("reasoning_content", "")
            for call in delta.get("tool_calls", ()):
                if "id" in call:
                    message["tool_calls"].append(
                        {"name": call["function"]["name"], "arguments": ""}
                    )
                message["tool_calls"][call["index"]]["arguments"] += call["function"]["arguments"]
            finish_reason = choice["finish_reason"] or finish_reason
    return message, finish_reason


async def test_an_answer(service):
    """A whole answer has OpenAI's fields, with usage and fingerprint, and no thought."""
    answer = await service.ask()

    assert answer.pop("id").startswith("chatcmpl-")
    assert answer.pop("created") > 1_700_000_000
    assert answer.pop("system_fingerprint").startswith("fp_")
    prompt_tokens = len(service.engine.requests[0].prompt)
    assert answer == {
        "object": "chat.completion",
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello.", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": 7,
            "total_tokens": prompt_tokens + 7,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
    }


async def test_a_stream(service):
    """The first chunk has the role, the last the finish reason, and `[DONE]` ends it."""
    *chunks, done = await service.stream()

    assert done == "[DONE]"
    assert len({(chunk["id"], chunk["created"]) for chunk in chunks}) == 1
    assert all(chunk["object"] == "chat.completion.chunk" for chunk in chunks)
    assert all("usage" not in chunk for chunk in chunks)
    first, last = chunks[0]["choices"][0], chunks[-1]["choices"][0]
    assert first["delta"] == {"role": "assistant", "content": ""}
    assert first["finish_reason"] is None
    assert last["delta"] == {}
    assert last["finish_reason"] == "stop"


async def test_usage_in_a_stream(service):
    """With `include_usage` one chunk more, without choices, has the usage; the others a null."""
    whole = await service.ask()
    *chunks, usage, done = await service.stream(stream_options={"include_usage": True})

    assert done == "[DONE]"
    assert all(chunk["usage"] is None for chunk in chunks)
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"]
    assert usage["usage"]["prompt_tokens"] == whole["usage"]["prompt_tokens"]


@pytest.mark.parametrize(
    "reply",
    [
        "Hello.",
        THINKING,
        f"<think>Sum.</think>I add.\n{CALL}",
        CALL + CALL,
        (Piece(b"\xf0\x9f"), Piece(b"\x98\x80"), " smile"),
        (Piece(b"\xff"), "broken"),
        "",
    ],
)
async def test_a_stream_adds_up_to_the_whole_answer(start, reply):
    """For the same reply a stream's pieces are the whole answer, to the character."""
    service = await start()
    service.write(reply=reply)

    choice = (await service.ask(tools=TOOLS))["choices"][0]
    *chunks, _ = await service.stream(tools=TOOLS)

    message, finish_reason = folded(chunks)
    calls = [call["function"] for call in choice["message"].get("tool_calls", ())]
    assert message["content"] == (choice["message"]["content"] or "")
    assert message["reasoning_content"] == choice["message"].get("reasoning_content", "")
    assert message["tool_calls"] == calls
    assert finish_reason == choice["finish_reason"]


async def test_reasoning_leaves_the_content(service):
    """A thought stands in `reasoning_content` and `thought`, in both modes, not in content."""
    service.write(reply=THINKING)

    answer = await service.ask()
    *chunks, _ = await service.stream()

    message = answer["choices"][0]["message"]
    assert message["content"] == "Four."
    assert message["reasoning_content"] == answer["thought"] == "Let me see."
    assert answer["usage"]["completion_tokens_details"]["reasoning_tokens"] > 0
    thoughts = [chunk["thought"] for chunk in chunks if "thought" in chunk]
    assert "".join(thoughts) == "Let me see."
    for chunk in chunks:
        assert chunk["choices"][0]["delta"].get("reasoning_content") == chunk.get("thought")


async def test_a_tool_call(service):
    """A call leaves the content: content is null, and the finish reason says `tool_calls`."""
    service.write(reply=CALL)

    choice = (await service.ask(tools=TOOLS))["choices"][0]

    (call,) = choice["message"]["tool_calls"]
    assert call.pop("id").startswith("call_")
    assert call == {
        "type": "function",
        "function": {"name": "add", "arguments": '{"a": 2, "b": 2}'},
    }
    assert choice["message"]["content"] is None
    assert choice["finish_reason"] == "tool_calls"


async def test_a_tool_call_in_a_stream(service):
    """The id, the type and the name come first and once, then the arguments in pieces."""
    service.write(reply=CALL)

    *chunks, _ = await service.stream(tools=TOOLS)

    calls = [c for chunk in chunks for c in chunk["choices"][0]["delta"].get("tool_calls", ())]
    assert calls[0].pop("id").startswith("call_")
    assert calls[0] == {
        "index": 0,
        "type": "function",
        "function": {"name": "add", "arguments": ""},
    }
    assert all(set(call) == {"index", "function"} for call in calls[1:])
    assert all(set(call["function"]) == {"arguments"} for call in calls[1:])


@pytest.mark.parametrize("fields", [{}, {"tools": TOOLS, "tool_choice": "none"}])
async def test_calls_are_text_where_no_tool_is_offered(service, fields):
    """Without tools, or with `tool_choice` none, what looks like a call is content."""
    service.write(reply=CALL)

    choice = (await service.ask(**fields))["choices"][0]

    assert choice["message"]["content"] == CALL
    assert choice["finish_reason"] == "stop"


# ── what reaches the engine ─────────────────────────────────────────────────────────────────────


async def test_defaults(service):
    """What is left out is temperature 1.0, top_p 0.95, top_k 64 and 2048 tokens."""
    await service.ask()

    (request,) = service.engine.requests
    assert request.sampling == SamplingParams(temperature=1.0, top_p=0.95, top_k=64)
    assert request.max_tokens == 2048
    assert request.stop_token_ids == frozenset()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", 0.0),
        ("temperature", 2.0),
        ("top_p", 0.0),
        ("top_p", 0.5),
        ("top_k", 0),
        ("top_k", 1),
        ("min_p", 0.25),
        ("presence_penalty", -2.0),
        ("frequency_penalty", 2.0),
        ("top_n_sigma", 1.5),
        ("top_n_sigma", 0.0),
        ("typical_p", 0.7),
        ("typical_p", 0.0),
        ("xtc_probability", 0.5),
        ("xtc_threshold", 0.0),
        ("dynatemp_range", 0.5),
        ("dynatemp_exponent", 2.0),
        ("mirostat", 2),
        ("mirostat_tau", 3.0),
        ("mirostat_eta", 0.0),
        ("repeat_penalty", 1.3),
        ("repeat_last_n", 0),
        ("repeat_last_n", -1),
        ("dry_multiplier", 0.8),
        ("dry_base", 1.0),
        ("dry_allowed_length", 0),
        ("dry_penalty_last_n", -1),
        ("seed", 0),
        ("seed", 7),
    ],
)
async def test_a_value_that_is_given(service, name, value):
    """A value reaches the engine as it is given, 0 included."""
    await service.ask(**{name: value})

    (request,) = service.engine.requests
    assert getattr(request.sampling, name) == value


async def test_breakers_are_those_of_the_request(service):
    """A list replaces the default ones; an empty one leaves none."""
    for given, told in ((["x", "é"], ("x", "é")), ([], ())):
        await service.ask(dry_multiplier=1, dry_sequence_breakers=given)
        assert service.engine.requests[-1].sampling.dry_sequence_breakers == told


async def test_repetition_penalty_is_another_name_of_repeat_penalty(service):
    """VLLM's name means the same; both may come where they say the same."""
    for fields in ({"repetition_penalty": 1.3}, {"repetition_penalty": 1.3, "repeat_penalty": 1.3}):
        await service.ask(**fields)
        assert service.engine.requests[-1].sampling.repeat_penalty == 1.3


async def test_what_asks_for_nothing(service):
    """Clients of vLLM send -1 for all tokens, and 0 log probabilities with none asked for."""
    await service.ask(top_k=-1, top_logprobs=0)
    assert service.engine.requests[0].sampling.top_k == 0
    assert service.engine.requests[0].logprobs is None


async def test_lengths_reach_the_engine(service):
    """`min_tokens` and `ignore_eos` are the engine's, for each of several answers."""
    await service.ask(min_tokens=2, ignore_eos=True, max_tokens=4, n=2)

    for request in service.engine.requests:
        assert (request.min_tokens, request.ignore_eos, request.max_tokens) == (2, True, 4)


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [({}, 10_000), ({"max_tokens": 7}, 7), ({"max_completion_tokens": 8, "max_tokens": 7}, 8)],
)
async def test_an_answer_without_a_limit_has_the_server_s(start, fields, wanted):
    """The setting is for requests that state none."""
    service = await start(default_max_tokens=10_000)
    service.write(reply="Hello.", context_length=20_000)
    await service.ask(**fields)

    (request,) = service.engine.requests
    assert request.max_tokens == wanted


async def test_null_is_left_out(service):
    """Null means what leaving out means, as with OpenAI."""
    await service.ask(temperature=None, top_p=None, top_k=None, max_tokens=None, stop=None)

    (request,) = service.engine.requests
    assert request.sampling == SamplingParams(temperature=1.0, top_p=0.95, top_k=64)
    assert request.max_tokens == 2048


@pytest.mark.parametrize(
    ("fields", "tokens"),
    [
        ({"max_tokens": 3}, 3),
        ({"max_completion_tokens": 4}, 4),
        ({"max_tokens": 3, "max_completion_tokens": 4}, 4),
    ],
)
async def test_max_tokens(service, fields, tokens):
    """The modern name wins over the older one, and the answer ends there with `length`."""
    answer = await service.ask(**fields)

    assert answer["choices"][0]["message"]["content"] == "Hello."[:tokens]
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == tokens


@pytest.mark.parametrize(
    ("stop", "content"),
    [("l", "He"), (["zz", "lo"], "Hel"), (["Hello."], ""), ([], "Hello."), ("absent", "Hello.")],
)
async def test_stop(service, stop, content):
    """A stop is one text or several, found over any tokens' boundaries, and not in the answer."""
    whole = (await service.ask(stop=stop))["choices"][0]
    *chunks, _ = await service.stream(stop=stop)

    assert whole["message"]["content"] == content
    assert whole["finish_reason"] == "stop"
    assert folded(chunks)[0]["content"] == content


async def test_stop_token_ids(service):
    """A stop token ends the answer and is not in it."""
    answer = await service.ask(stop_token_ids=[ord("l")])

    assert answer["choices"][0]["message"]["content"] == "He"


@pytest.mark.parametrize(
    ("seed", "folded_seed"),
    [(2**32 - 2, 2**32 - 2), (2**32 - 1, 0), (2**32, 1), (-1, 2**32 - 2), (2**63 - 1, 2**31 - 1)],
)
async def test_seeds_are_folded(service, seed, folded_seed):
    """Any 64-bit seed is one of 32 bits; none is the value that means `draw one`."""
    await service.ask(seed=seed)

    (request,) = service.engine.requests
    assert request.sampling.seed == folded_seed


async def test_logit_bias(service):
    """Biases arrive by token id."""
    await service.ask(logit_bias={"7": -100, "8": 0.5})

    (request,) = service.engine.requests
    assert request.sampling.logit_bias == {7: -100.0, 8: 0.5}


async def test_thinking_can_be_turned_off(service):
    """`reasoning_effort` none and the template's own switch reach the template."""
    await service.ask(reasoning_effort="none")
    await service.ask(chat_template_kwargs={"enable_thinking": False})
    await service.ask()

    prompts = [service.engine.detokenize(request.prompt) for request in service.engine.requests]
    assert [prompt.endswith("<think>\n\n</think>\n\n") for prompt in prompts] == [True, True, False]


async def test_text_parts_are_one_text(service):
    """Parts of a message are joined by line breaks."""
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    await service.ask(messages=[{"role": "user", "content": parts}])

    (request,) = service.engine.requests
    assert "one\ntwo<|im_end|>" in service.engine.detokenize(request.prompt)


async def test_fields_without_effect(service):
    """What clients send for OpenAI's sake is accepted."""
    body = chat(
        metadata={"a": "b"},
        n=1,
        parallel_tool_calls=True,
        prompt_cache_key="k",
        response_format={"type": "text"},
        safety_identifier="s",
        service_tier="auto",
        store=True,
        user="u",
        verbosity="low",
    )
    assert (await service.post(body)).status_code == 200


async def test_unknown_fields_can_be_ignored(start):
    """With `unknown_fields = ignore` fields that nobody knows are dropped, wherever they stand."""
    service = await start(unknown_fields="ignore")
    service.write(reply="Hello.")
    message = {"role": "user", "content": [{"type": "text", "text": "hi", "x": 1}], "y": 2}

    answer = await service.ask(messages=[message], z=3, temperature=0)

    assert answer["choices"][0]["message"]["content"] == "Hello."
    assert service.engine.requests[0].sampling.temperature == 0
    assert (await service.post(chat(temperature="hot"))).status_code == 400


async def test_a_model_in_its_own_words(start, tmp_path):
    """models.yaml names a model; the answer carries that name, whatever its case in the request."""
    path = FakeModel(reply="Hi.").write(tmp_path / "file.fake")
    (tmp_path / "models.yaml").write_text(f"models: {{Org/Name: {path}}}")
    service = await start()

    assert (await service.ask(model="  ORG/name "))["model"] == "org/name"


async def test_the_chat_path_can_be_moved(start):
    """The endpoint is at its new path alone, in the document too."""
    service = await start(chat_completions_path="/ask/me")
    service.write(reply="Hello.")

    assert (await service.client.post("/ask/me", json=chat())).status_code == 200
    assert (await service.post(chat())).status_code == 404
    document = (await service.client.get("/openapi.json")).json()
    assert document["info"]["x-chat-completions-path"] == "/ask/me"
    assert "/ask/me" in document["paths"]


async def test_the_chat_endpoint_can_be_switched_off(start):
    """Switched off, nothing answers; the document has no such path and still names it."""
    service = await start(chat_completions=False)

    assert (await service.post(chat())).status_code == 404
    document = (await service.client.get("/openapi.json")).json()
    assert document["info"]["x-chat-completions-path"] == "/v1/chat/completions"
    assert "/v1/chat/completions" not in document["paths"]


def test_drafted_tokens_are_in_the_usage():
    """Those of all choices; the refused ones are in no other number."""
    endings = {
        number: Ended(
            "length",
            Usage(prompt_tokens=5, completion_tokens=20, drafted_tokens=drafted, accepted_tokens=8),
            reasoning_tokens=3,
        )
        for number, drafted in enumerate((9, 12))
    }
    usage = usage_of(endings, 2)
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (5, 40, 45)
    assert msgspec.to_builtins(usage.completion_tokens_details) == {
        "reasoning_tokens": 6,
        "accepted_prediction_tokens": 16,
        "rejected_prediction_tokens": 5,
    }


def test_nothing_is_said_of_drafts_without_them():
    """As with a model that does not speculate."""
    ended = Ended("stop", Usage(prompt_tokens=5, completion_tokens=20), reasoning_tokens=0)
    details = usage_of({0: ended}, 1).completion_tokens_details
    assert msgspec.to_builtins(details) == {"reasoning_tokens": 0}

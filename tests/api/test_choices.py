"""What a chat request chooses: how many answers, which tools, log probabilities, a beginning."""

import pytest

from pilotlight_backend.testing.fake import Piece
from tests.conftest import chat

CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
OTHER_CALL = '<tool_call>\n{"name": "mul", "arguments": {"a": 2}}\n</tool_call>'


ANY = {"type": "object", "additionalProperties": True}


def tool(name: str) -> dict:
    return {"type": "function", "function": {"name": name, "parameters": ANY}}


TOOLS = [tool("add"), tool("mul")]


def named(name: str) -> dict:
    return {"type": "function", "function": {"name": name}}


def allowed(*names: str, mode: str = "auto") -> dict:
    tools = [named(name) for name in names]
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}


# ── several answers ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("stop", [None, ["\n"], ["name"]])
async def test_a_call_whose_header_the_length_cuts(service, stop):
    """Its markup is no content, and no stop is found in it."""
    service.write(reply=CALL)
    answer = await service.ask(tools=TOOLS, tool_choice="required", max_tokens=3, stop=stop)
    (choice,) = answer["choices"]
    assert choice["finish_reason"] == "length"
    assert not choice["message"]["content"]


async def test_several_answers(service):
    """With `n` there are as many choices, the prompt counts once and every answer's tokens."""
    one = (await service.ask())["usage"]

    answer = await service.ask(n=3)

    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    assert {choice["message"]["content"] for choice in answer["choices"]} == {"Hello."}
    assert answer["usage"]["prompt_tokens"] == one["prompt_tokens"]
    assert answer["usage"]["completion_tokens"] == 3 * one["completion_tokens"]


async def test_the_answers_of_one_prompt_share_it(service):
    """The engine learns that the requests share a prompt, and each has a seed of its own."""
    await service.ask(n=3, seed=7)

    requests = service.engine.requests
    assert [request.sampling.seed for request in requests] == [7, 8, 9]
    assert len({request.prompt for request in requests}) == 1
    assert all(request.shares_prompt for request in requests)


async def test_one_answer_shares_nothing(service):
    """A single answer is no sharer, and its seed is the request's."""
    await service.ask(seed=7)

    (request,) = service.engine.requests
    assert request.sampling.seed == 7
    assert not request.shares_prompt


async def test_several_answers_in_a_stream(service):
    """Each chunk says whose it is; every answer begins, ends, and the usage comes once, last."""
    *chunks, usage, done = await service.stream(n=2, stream_options={"include_usage": True})

    assert done == "[DONE]"
    for index in range(2):
        own = [
            choice for chunk in chunks for choice in chunk["choices"] if choice["index"] == index
        ]
        assert own[0]["delta"]["role"] == "assistant"
        assert "".join(choice["delta"].get("content", "") for choice in own) == "Hello."
        assert [choice["finish_reason"] for choice in own if choice["finish_reason"]] == ["stop"]
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == 14


async def test_a_fault_ends_every_answer_that_is_not_whole(start):
    """One error comes before the chunks that end the answers."""
    service = await start()
    service.write(reply="Hello.", fail_after=2)

    *_, error, first, second, done = await service.stream(n=2)

    ends = [choice for chunk in (first, second) for choice in chunk["choices"]]
    assert sorted((end["index"], end["finish_reason"]) for end in ends) == [
        (0, "error"),
        (1, "error"),
    ]
    assert error["error"]["code"] == "inference_error"
    assert done == "[DONE]"


async def test_text_stops_end_each_answer_on_its_own(service):
    """An answer that met its stop ends; the others go on to theirs."""
    answer = await service.ask(n=2, stop="lo")

    assert [choice["message"]["content"] for choice in answer["choices"]] == ["Hel", "Hel"]
    assert [choice["finish_reason"] for choice in answer["choices"]] == ["stop", "stop"]


# ── log probabilities ───────────────────────────────────────────────────────────────────────────


async def test_log_probabilities(service):
    """Each token of the content has its log probability, its bytes and the likeliest others."""
    answer = await service.ask(logprobs=True, top_logprobs=2)

    logprobs = answer["choices"][0]["logprobs"]
    assert logprobs["refusal"] is None
    assert "".join(token["token"] for token in logprobs["content"]) == "Hello."
    first = logprobs["content"][0]
    assert first == {
        "token": "H",
        "logprob": -0.5,
        "bytes": [72],
        "top_logprobs": [
            {"token": "H", "logprob": -0.5, "bytes": [72]},
            {"token": "I", "logprob": -1.5, "bytes": [73]},
        ],
    }


async def test_log_probabilities_without_others(service):
    """`logprobs` alone returns the sampled tokens only."""
    answer = await service.ask(logprobs=True)

    content = answer["choices"][0]["logprobs"]["content"]
    assert [token["top_logprobs"] for token in content] == [[]] * 6


async def test_log_probabilities_in_a_stream(service):
    """The chunks' log probabilities add up to the whole answer's."""
    whole = await service.ask(logprobs=True, top_logprobs=1)

    *chunks, _ = await service.stream(logprobs=True, top_logprobs=1)

    pieces = [chunk["choices"][0]["logprobs"] for chunk in chunks]
    told = [token for piece in pieces if piece for token in piece["content"]]
    assert told == whole["choices"][0]["logprobs"]["content"]


async def test_log_probabilities_of_half_characters(start):
    """A token that is half a character has its bytes; the text around it is whole."""
    service = await start()
    service.write(reply=(Piece(b"\xf0\x9f"), Piece(b"\x98\x80"), "!"))

    answer = await service.ask(logprobs=True)

    choice = answer["choices"][0]
    assert choice["message"]["content"] == "\U0001f600!"
    assert [token["bytes"] for token in choice["logprobs"]["content"]] == [
        [0xF0, 0x9F],
        [0x98, 0x80],
        [0x21],
    ]


async def test_only_content_has_log_probabilities(start):
    """The tokens of reasoning and of calls have none."""
    service = await start()
    service.write(reply=f"<think>Hm.</think>Ok.{CALL}")

    answer = await service.ask(logprobs=True, tools=TOOLS)

    told = answer["choices"][0]["logprobs"]["content"]
    assert "".join(token["token"] for token in told) == "Ok."


# ── tools ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("choice", "shown"),
    [
        (None, {"add", "mul"}),
        ("auto", {"add", "mul"}),
        ("none", set()),
        (named("mul"), {"mul"}),
        (allowed("add"), {"add"}),
        (allowed("mul", "add"), {"add", "mul"}),
    ],
)
async def test_the_model_is_shown_what_it_may_call(service, choice, shown):
    """Tools that may not be called are not in the prompt."""
    await service.ask(tools=TOOLS, tool_choice=choice)

    prompt = service.engine.detokenize(service.engine.requests[-1].prompt)
    assert {name for name in ("add", "mul") if f'"name": "{name}"' in prompt} == shown


@pytest.mark.parametrize(
    ("choice", "param"),
    [
        (named("div"), "tool_choice.function.name"),
        (allowed("add", "div"), "tool_choice.allowed_tools.tools[1].function.name"),
        ({"type": "custom", "custom": {"name": "x"}}, "tool_choice.type"),
    ],
)
async def test_a_choice_that_is_not_there(service, choice, param):
    """A tool that the request does not declare, or of an unknown type, is a 400."""
    response = await service.post(chat(tools=TOOLS, tool_choice=choice))
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [*TOOLS, tool("add")]},
        {"tools": TOOLS, "tool_choice": allowed("add", "mul", "add")},
    ],
)
async def test_a_tool_that_is_named_twice_is_shown_once(service, fields):
    """A small request would become a prompt of millions of tokens."""
    await service.ask(**fields)

    prompt = service.engine.detokenize(service.engine.requests[-1].prompt)
    assert [prompt.count(f'"name": "{name}"') for name in ("add", "mul")] == [1, 1]


async def test_several_calls(start):
    """Several calls are one answer where nothing says otherwise."""
    service = await start()
    service.write(reply=CALL + OTHER_CALL)

    answer = await service.ask(tools=TOOLS)

    calls = answer["choices"][0]["message"]["tool_calls"]
    assert [call["function"]["name"] for call in calls] == ["add", "mul"]


async def test_one_call_at_most(start):
    """Without `parallel_tool_calls` the answer ends with its first call."""
    service = await start()
    service.write(reply=CALL + OTHER_CALL)

    answer = await service.ask(tools=TOOLS, parallel_tool_calls=False)
    *chunks, _ = await service.stream(tools=TOOLS, parallel_tool_calls=False)

    choice = answer["choices"][0]
    assert [call["function"]["name"] for call in choice["message"]["tool_calls"]] == ["add"]
    assert choice["finish_reason"] == "tool_calls"
    called = [
        call["function"]["name"]
        for chunk in chunks
        for call in chunk["choices"][0]["delta"].get("tool_calls", ())
        if "id" in call
    ]
    assert called == ["add"]


# ── an answer that has begun ────────────────────────────────────────────────────────────────────


def begun(content: object, **fields: object) -> dict:
    question = {"role": "user", "content": "Count."}
    return chat(messages=[question, {"role": "assistant", "content": content, **fields}])


@pytest.mark.parametrize("content", ["One, two", [{"type": "text", "text": "One, two"}]])
async def test_an_answer_is_gone_on_from(service, content):
    """A last message of the assistant's is where the answer begins, with no thought before it."""
    response = await service.post(begun(content))

    assert response.json()["choices"][0]["message"]["content"] == "Hello."
    prompt = service.engine.detokenize(service.engine.requests[-1].prompt)
    assert prompt.endswith(
        "Count.<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\nOne, two"
    )


async def test_a_thought_that_the_template_opens_is_closed_before_what_has_begun(start):
    """If the template always opens the reasoning, the continued text follows it."""
    service = await start()
    template = "{% for m in messages %}{{ m.content }}{% endfor %}<think>\n"
    service.write(reply="<think>ok</think> three", chat_template=template)

    answer = (await service.post(begun("One"))).json()["choices"][0]["message"]

    prompt = service.engine.detokenize(service.engine.requests[-1].prompt)
    assert prompt == "Count.<think>\n</think>\n\nOne"
    assert answer["content"] == "three"


@pytest.mark.parametrize(
    ("fields", "end"),
    [
        ({"continue_final_message": True}, "<think>\n\n</think>\n\nOne, two"),
        (
            {"continue_final_message": True, "add_generation_prompt": False},
            "<think>\n\n</think>\n\nOne, two",
        ),
        (
            {"continue_final_message": False},
            "assistant\nOne, two<|im_end|>\n<|im_start|>assistant\n",
        ),
        ({"add_generation_prompt": False}, "assistant\nOne, two<|im_end|>\n"),
        (
            {"add_generation_prompt": False, "continue_final_message": False},
            "assistant\nOne, two<|im_end|>\n",
        ),
        ({"add_generation_prompt": True}, "<think>\n\n</think>\n\nOne, two"),
    ],
)
async def test_how_a_prompt_ends(service, fields, end):
    """By vLLM's fields; the prompt is the one that `/tokenize` returns."""
    body = begun("One, two") | fields
    assert (await service.post(body)).status_code == 200

    engine = service.engine
    prompt = engine.detokenize(engine.requests[-1].prompt)
    assert prompt.endswith(end)
    told = await service.post(body, path="/tokenize")
    assert tuple(told.json()["tokens"]) == tuple(engine.requests[-1].prompt)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/tokenize"])
async def test_a_message_that_cannot_be_continued(service, path):
    """A user's last message is none that an answer continues."""
    response = await service.post(chat(continue_final_message=True), path=path)
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, "continue_final_message")
    assert "expected the last message to be the assistant's" in error["message"]


async def test_a_call_is_no_beginning(service):
    """An assistant's last message with calls is a turn like others; a new one follows."""
    call = {"id": "c", "type": "function", "function": {"name": "add", "arguments": "{}"}}
    await service.post(begun(None, tool_calls=[call]))

    prompt = service.engine.detokenize(service.engine.requests[-1].prompt)
    assert prompt.endswith("</tool_call><|im_end|>\n<|im_start|>assistant\n")


async def test_a_refusal_is_text_to_the_model(service):
    """An earlier answer may consist of text and refusals."""
    parts = [{"type": "text", "text": "Well."}, {"type": "refusal", "refusal": "No."}]
    messages = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": parts},
        {"role": "user", "content": "y"},
    ]
    await service.post({"model": "m", "messages": messages})

    prompt = service.engine.detokenize(service.engine.requests[-1].prompt)
    assert "<|im_start|>assistant\nWell.\nNo.<|im_end|>" in prompt

"""The form of an answer, over the fake backend.

The fake says the next token of its reply where the form allows that, else ends, else says the
lowest that is allowed.
"""

import msgspec
import pytest

from tests.conftest import chat

pytestmark = pytest.mark.slow

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
WEATHER = '{"city": "Rome", "days": 2}'


def schema_format(schema: object) -> dict:
    return {"type": "json_schema", "json_schema": {"name": "weather", "schema": schema}}


STRAIGHT = {"chat_template_kwargs": {"enable_thinking": False}}


async def content(service, **fields) -> str:
    return (await service.ask(**fields))["choices"][0]["message"]["content"]


@pytest.mark.parametrize(
    "fields",
    [
        {"response_format": schema_format(SCHEMA)},
        {"response_format": {"type": "json_object"}},
        {"response_format": {"type": "json_object", "schema": SCHEMA}},
        {"response_format": {"type": "text"}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "any"}}},
        {"guided_json": SCHEMA},
        {"guided_json": True},
        {"guided_regex": r"\{.*\}"},
        {"guided_choice": ["no", WEATHER]},
        {"grammar": 'start: "{" /[^}]*/ "}"'},
        {"grammar": 'root ::= "{" [^}]* "}"'},
    ],
)
async def test_what_keeps_the_form_is_said_as_it_is(start, fields):
    """A form takes nothing from an answer that keeps it, whole or as a stream."""
    service = await start()
    service.write(reply=WEATHER)

    assert await content(service, **fields) == WEATHER
    *chunks, _ = await service.stream(**fields)
    pieces = [chunk["choices"][0]["delta"].get("content", "") for chunk in chunks]
    assert "".join(pieces) == WEATHER


async def test_a_schema_beside_json_object(start):
    """As llama-server has it; the answer validates against it, and a fault in it has its place."""
    service = await start()
    service.write(reply='{"town": "Rome"}')
    asked = {"type": "json_object", "schema": SCHEMA}

    assert (await content(service, response_format=asked, max_tokens=9)).startswith('{"city"')
    fault = asked | {"schema": {"type": "no"}}
    response = await service.post(chat(response_format=fault))
    assert (response.status_code, response.json()["error"]["param"]) == (
        400,
        "response_format.schema.type",
    )


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"guided_choice": ["yes", "no"]}, "no"),
        ({"guided_regex": "[0-9]{3}"}, "000"),
        ({"grammar": 'start: "b" | "a"'}, "a"),
        ({"guided_json": {"const": 7}}, "7"),
        ({"response_format": schema_format({"enum": ["b", "a"]})}, '"a"'),
    ],
)
async def test_what_does_not_keep_the_form_is_not_said(start, fields, said):
    """Whatever the model would say, the form leaves it what it allows."""
    service = await start()
    service.write(reply="xyz")

    answer = (await service.ask(**fields, **STRAIGHT))["choices"][0]

    assert answer["message"]["content"] == said
    assert answer["finish_reason"] == "stop"


async def test_an_answer_goes_on_where_it_left_the_form(start):
    """What the form refuses waits until it is allowed; the answer is valid at any rate."""
    service = await start()
    service.write(reply='{"city": "Rome", "weather": 2, "days": 2}')

    said = msgspec.json.decode(await content(service, guided_json=SCHEMA, max_tokens=200))

    assert set(said) == {"city", "days"}


async def test_a_thought_comes_before_the_form(start):
    """The form begins behind the thought, and what is thought is free."""
    service = await start()
    service.write(reply=f"<think>Not JSON.</think>{WEATHER}")

    message = (await service.ask(guided_json=SCHEMA))["choices"][0]["message"]

    assert message["reasoning_content"] == "Not JSON."
    assert message["content"] == WEATHER


async def test_a_thought_that_the_prompt_opened_comes_before_the_form(start):
    """Where the template opens the thought, the answer begins inside it, and the form behind."""
    service = await start()
    template = "{% for m in messages %}{{ m.content }}{% endfor %}<think>"
    service.write(reply=f"Not JSON.</think>{WEATHER}", chat_template=template)

    message = (await service.ask(guided_json=SCHEMA))["choices"][0]["message"]

    assert message["reasoning_content"] == "Not JSON."
    assert message["content"] == WEATHER


async def test_a_form_holds_for_what_has_begun(start):
    """Where the answer has begun already, the form is for what is new."""
    service = await start()
    service.write(reply="abc")
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "12"}]

    answer = await service.post(
        {"model": "m", "messages": messages, "guided_regex": "[0-9]{2}", "max_tokens": 50}
    )

    assert answer.json()["choices"][0]["message"]["content"] == "00"


def tool(name: str, **properties: object) -> dict:
    schema = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return {"type": "function", "function": {"name": name, "parameters": schema}}


TOOLS = [tool("add", a={"type": "integer"}), tool("look", at={"enum": ["sky", "sea"]})]
CALL = '<tool_call>\n{"name": "look", "arguments": {"at": "sea"}}\n</tool_call>'


def named(name: str) -> dict:
    return {"type": "function", "function": {"name": name}}


def must(*names: str) -> dict:
    tools = [named(name) for name in names]
    return {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": tools}}


@pytest.mark.parametrize("choice", ["auto", "required", named("look"), must("look", "add")])
async def test_a_call_is_made_as_the_model_makes_it(start, choice):
    """A call that has to be made is the one that the model wants to make, whole or as a stream."""
    service = await start()
    service.write(reply=f"<think>Look.</think>{CALL}")

    answer = (await service.ask(tools=TOOLS, tool_choice=choice))["choices"][0]

    (call,) = answer["message"]["tool_calls"]
    assert call["function"] == {"name": "look", "arguments": '{"at": "sea"}'}
    assert answer["message"]["content"] is None
    assert answer["message"]["reasoning_content"] == "Look."
    assert answer["finish_reason"] == "tool_calls"


@pytest.mark.parametrize(
    ("choice", "called"),
    [("required", {"add", "look"}), (named("look"), {"look"}), (must("add"), {"add"})],
)
async def test_a_call_has_to_be_made(start, choice, called):
    """A model that would rather talk calls all the same, with arguments that are valid."""
    service = await start()
    service.write(reply="I would rather not.")

    answer = (await service.ask(tools=TOOLS, tool_choice=choice, max_tokens=200, **STRAIGHT))[
        "choices"
    ][0]

    for call in answer["message"]["tool_calls"]:
        arguments = msgspec.json.decode(call["function"]["arguments"])
        assert call["function"]["name"] in called
        assert set(arguments) == ({"a"} if call["function"]["name"] == "add" else {"at"})
    assert answer["message"]["content"] is None


async def test_one_call_has_to_be_made(start):
    """Without `parallel_tool_calls` the grammar has one call."""
    service = await start()
    service.write(reply=CALL + "\n" + CALL)

    answer = await service.ask(tools=TOOLS, tool_choice="required", parallel_tool_calls=False)

    assert len(answer["choices"][0]["message"]["tool_calls"]) == 1


@pytest.mark.parametrize(("reply", "calls"), [(CALL, 1), (WEATHER, 0)])
async def test_a_form_leaves_calls_alone(start, reply, calls):
    """With tools to call at will, the answer is a call or has its form."""
    service = await start()
    service.write(reply=reply)

    message = (await service.ask(tools=TOOLS, guided_json=SCHEMA))["choices"][0]["message"]

    assert len(message.get("tool_calls", ())) == calls
    assert message["content"] == (None if calls else WEATHER)


async def test_a_form_beside_a_call_that_has_to_be_made(service):
    """The form binds the text, of which there is none; the schema binds the call."""
    service.write(reply=CALL)
    fields = {"tools": TOOLS, "tool_choice": "required", "guided_json": {"type": "null"}}
    choice = (await service.ask(**fields))["choices"][0]

    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["tool_calls"][0]["function"]["name"] == "look"


LOOK_AHEAD = {"to": {"type": "string", "pattern": "^(?!x)a+$"}}


@pytest.mark.parametrize(
    ("changed", "path", "says"),
    [
        (
            {"a": {"not": {"type": "string"}}},
            ".properties.a.not",
            "the keyword 'not' is not supported",
        ),
        (LOOK_AHEAD, ".properties.to.pattern", "look-ahead is not supported"),
        (
            {"a": {"type": "array", "items": {"enum": []}}, **LOOK_AHEAD},
            ".properties.to.pattern",
            "look-ahead is not supported",
        ),
    ],
)
@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "odd"}}])
async def test_parameters_that_cannot_be_kept(service, changed, path, says, choice):
    """Those of a function that has to be called are refused by their place, and no other's."""
    secret = tool("secret", hidden={"const": "unseen"})
    response = await service.post(chat(tools=[secret, tool("odd", **changed)], tool_choice=choice))

    said = response.json()["error"]
    assert response.status_code == 400
    assert said["param"] == f"tools[1].function.parameters{path}"
    assert said["message"] == f"{said['param']}: {says} (function 'odd')"


@pytest.mark.parametrize("strict", [True, False])
async def test_a_name_that_a_grammar_cannot_have(service, strict):
    """The error is about the name, and names it."""
    odd = tool("look up", a={"type": "integer"})
    odd["function"]["strict"] = strict
    response = await service.post(chat(tools=[tool("add"), odd], tool_choice="required"))
    said = response.json()["error"]
    assert (response.status_code, said["param"]) == (400, "tools[1].function.name")
    assert "expected up to 128 letters, digits" in said["message"]


async def test_strict_parameters_that_cannot_be_kept(service):
    """Who is strict is refused with `auto` too; who is not has what can be kept."""
    odd = tool("odd", **LOOK_AHEAD)
    service.write(reply="Hello.")
    assert (await service.post(chat(tools=[odd]))).status_code == 200

    odd["function"]["strict"] = True
    response = await service.post(chat(tools=[odd]))
    assert response.status_code == 400
    path = "tools[0].function.parameters.properties.to.pattern"
    assert response.json()["error"]["param"] == path


@pytest.mark.parametrize("strict", [True, False])
async def test_call_keeps_to_its_schema_under_auto(service, strict):
    """The model says "sea" where a number has to be, and cannot."""
    look = tool("look", at={"type": "integer"})
    look["function"] |= {"strict": strict}
    service.write(reply=f"<think>So {CALL}</think>I look.{CALL}")
    asked = {"tools": [look], "max_tokens": 400, "parallel_tool_calls": False}
    message = (await service.ask(**asked))["choices"][0]["message"]

    assert message["reasoning_content"] == f"So {CALL}"
    assert message["content"] == "I look."
    (call,) = message["tool_calls"]
    assert isinstance(msgspec.json.decode(call["function"]["arguments"])["at"], int)


@pytest.mark.parametrize(
    "parameters", [None, {}, {"type": "object"}, {"type": "object", "properties": {}}]
)
@pytest.mark.parametrize("choice", ["auto", "required"])
async def test_function_without_parameters(service, parameters, choice):
    """It is called with `{}`."""
    ping = {"type": "function", "function": {"name": "look", "parameters": parameters}}
    service.write(reply=CALL)
    message = (await service.ask(tools=[ping], tool_choice=choice))["choices"][0]["message"]

    assert message["tool_calls"][0]["function"]["arguments"] == "{}"


async def test_function_of_any_parameters(service):
    """An open object needs `additionalProperties: true`."""
    any_of = {"type": "object", "additionalProperties": True}
    look = {"type": "function", "function": {"name": "look", "parameters": any_of}}
    service.write(reply=CALL)
    message = (await service.ask(tools=[look]))["choices"][0]["message"]

    assert message["tool_calls"][0]["function"]["arguments"] == '{"at": "sea"}'


async def test_a_model_that_shows_no_way_to_call(start):
    """A template without a format of calls cannot be made to call."""
    service = await start()
    template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    service.write(reply="x", chat_template=template)

    response = await service.post(chat(tools=TOOLS, tool_choice="required"))

    assert response.status_code == 400
    assert response.json()["error"]["param"] == "tool_choice"


async def test_each_answer_has_a_guide_of_its_own(start):
    """Several answers keep the form each for itself."""
    service = await start()
    service.write(reply=WEATHER)

    answer = await service.ask(n=3, guided_json=SCHEMA)

    assert [choice["message"]["content"] for choice in answer["choices"]] == [WEATHER] * 3


async def test_log_probabilities_are_the_models_own(start):
    """A grammar changes the sampled tokens, and not the log probabilities."""
    service = await start()
    service.write(reply="xyz")

    answer = await service.ask(guided_choice=["b", "a"], logprobs=True, top_logprobs=1, **STRAIGHT)

    (told,) = answer["choices"][0]["logprobs"]["content"]
    assert told["bytes"] == [ord("a")]
    assert told["top_logprobs"][0]["bytes"] == [ord("x")]


@pytest.mark.parametrize(
    ("effort", "tokens"), [("minimal", 128), ("low", 512), ("medium", 2048), ("high", 8192)]
)
async def test_an_effort_bounds_the_thought(start, effort, tokens):
    """Reasoning that exceeds its tokens is closed, and the content follows."""
    service = await start(context_length=20_000)
    service.write(reply="<think>" + "a" * 10_000 + "</think>Four.", context_length=20_000)

    answer = await service.ask(reasoning_effort=effort, max_tokens=tokens + 60)

    message = answer["choices"][0]["message"]
    assert message["reasoning_content"] == "a" * tokens
    assert message["content"].startswith("aaa")
    assert answer["usage"]["completion_tokens_details"]["reasoning_tokens"] <= tokens + 14


@pytest.mark.parametrize("effort", ["minimal", "xhigh", None])
async def test_a_short_thought_is_not_touched(start, effort):
    """A thought within its bounds, and one without any, ends where the model ends it."""
    service = await start()
    service.write(reply="<think>Two and two.</think>Four.")

    message = (await service.ask(reasoning_effort=effort))["choices"][0]["message"]

    assert message["reasoning_content"] == "Two and two."
    assert message["content"] == "Four."


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        (
            {"guided_json": {"unevaluatedProperties": False}},
            "guided_json.unevaluatedProperties",
            "guided_json.unevaluatedProperties: the keyword 'unevaluatedProperties' is not",
        ),
        (
            {"response_format": schema_format({"properties": {"a": {"$ref": "http://x.y/z"}}})},
            "response_format.json_schema.schema.properties.a.$ref",
            "http://x.y/z",
        ),
        ({"guided_regex": "[0-9"}, "guided_regex", "unclosed character class"),
        ({"grammar": "start: nothing"}, "grammar", "nothing"),
        ({"grammar": "root ::= nothing"}, "grammar", "nothing"),
        (
            {"guided_regex": "a", "response_format": {"type": "json_object"}},
            "guided_regex",
            "cannot be combined with response_format",
        ),
        ({"guided_choice": []}, "guided_choice", "at least 1 item"),
    ],
)
async def test_a_form_that_cannot_be(service, fields, param, words):
    """A form that cannot be honoured is a 400 that names its field and what is wrong with it."""
    response = await service.post(chat(**fields))

    said = response.json()["error"]
    assert response.status_code == 400
    assert said["param"] == param
    assert words in said["message"]


async def test_a_refused_form_leaves_nothing_behind(service):
    """The slots are free after it."""
    await service.post(chat(guided_regex="[0-9"))

    assert service.engine.stats().slots_busy == 0
    assert await content(service) == "Hello."

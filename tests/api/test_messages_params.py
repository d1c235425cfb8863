"""What Anthropic's requests come to as parameters of a generation."""

import msgspec
import pytest

from pilotlight.api.endpoints.messages.params import structured_output_of, thinking_budget
from pilotlight.api.endpoints.messages.tools import offer_of
from pilotlight.api.http.bodies import BodyDecoder
from pilotlight.api.params.tools import Offer
from pilotlight.errors import InvalidRequest
from pilotlight.generation import StructuredOutput, ToolCalling
from pilotlight.guidance import JsonSchema
from pilotlight.output.tool_calls import Function
from pilotlight.prompt.conversation import Tool
from pilotlight.schema.messages.request import MessagesRequest

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
ADD = {"name": "add", "input_schema": SCHEMA}


def asked(**fields: object) -> MessagesRequest:
    """Return a request as it is decoded."""
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    return BodyDecoder(MessagesRequest).decode(
        msgspec.json.encode(body | fields), ignore_unknown=False
    )


def test_a_tool():
    """Its name, description, schema and strictness reach the template; the rest has no effect."""
    tool = ADD | {"description": "Adds", "strict": True, "type": "custom", "defer_loading": True}
    offer = offer_of(asked(tools=[tool]))
    assert offer.tools == [Tool("add", "Adds", SCHEMA, strict=True)]


@pytest.mark.parametrize(
    ("choice", "names", "required"),
    [
        (None, ["add", "sub"], False),
        ({"type": "auto"}, ["add", "sub"], False),
        ({"type": "any"}, ["add", "sub"], True),
        ({"type": "tool", "name": "sub"}, ["sub"], True),
    ],
)
def test_a_tool_choice(choice, names, required):
    """The tools that the choice leaves may be called, and must be if it requires a call."""
    offer = offer_of(asked(tools=[ADD, ADD | {"name": "sub"}], tool_choice=choice))
    assert [tool.name for tool in offer.tools] == names
    places = {"add": "tools[0].input_schema", "sub": "tools[1].input_schema"}
    assert offer.tool_calling == ToolCalling(
        tuple(Function(name, SCHEMA, param=places[name]) for name in names),
        required=required,
        parallel=True,
    )


@pytest.mark.parametrize(
    "fields", [{}, {"tools": []}, {"tools": [ADD], "tool_choice": {"type": "none"}}]
)
def test_no_tools(fields):
    """Where none is shown nothing is taken for a call."""
    assert offer_of(asked(**fields)) == Offer((), None)


@pytest.mark.parametrize("kind", ["auto", "any", "tool"])
@pytest.mark.parametrize(("disabled", "parallel"), [(None, True), (False, True), (True, False)])
def test_parallel_tool_use(kind, disabled, parallel):
    """It can be disabled with each choice."""
    choice = {"type": kind, "disable_parallel_tool_use": disabled}
    if kind == "tool":
        choice["name"] = "add"
    calls = offer_of(asked(tools=[ADD], tool_choice=choice)).tool_calling
    assert calls is not None
    assert calls.parallel is parallel


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"tool_choice": {"type": "any"}, "tools": []}, "tool_choice"),
        ({"tool_choice": {"type": "tool", "name": "sub"}, "tools": [ADD]}, "tool_choice.name"),
    ],
)
def test_a_choice_of_nothing(fields, param):
    """A tool that is not there cannot be called."""
    with pytest.raises(InvalidRequest) as refused:
        offer_of(asked(**fields))
    assert refused.value.param == param


@pytest.mark.parametrize("config", [None, {}, {"format": None}])
def test_no_form(config):
    """Text is text."""
    assert structured_output_of(asked(output_config=config)) is None


def test_a_form():
    """A schema that cannot be honoured is named by its place in this request."""
    config = {"format": {"type": "json_schema", "schema": SCHEMA}}
    form = structured_output_of(asked(output_config=config))
    assert form == StructuredOutput(JsonSchema(SCHEMA), "output_config.format.schema")


@pytest.mark.parametrize(
    ("thinking", "effort", "budget"),
    [
        (None, None, None),
        (None, "low", 512),
        (None, "medium", 2048),
        (None, "high", 8192),
        (None, "xhigh", None),
        (None, "max", None),
        ({"type": "enabled", "budget_tokens": 1024}, None, 1024),
        ({"type": "enabled", "budget_tokens": 1024}, "low", 1024),
        ({"type": "adaptive"}, "low", 512),
        ({"type": "adaptive"}, None, None),
        ({"type": "disabled"}, None, None),
    ],
)
def test_a_thinking_budget(thinking, effort, budget):
    """What the request sets wins over what its effort allows."""
    fields = {"thinking": thinking, "output_config": {"effort": effort}}
    assert thinking_budget(asked(**fields)) == budget

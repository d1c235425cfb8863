"""What a request of Anthropic's means to the generator.

Tools and the choice of them go through chat's own structs, so that they mean the same on both
endpoints.
"""

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from pilotlight.api.params import tool_choice
from pilotlight.api.params.response_format import BUDGETS
from pilotlight.api.params.sampling import TEMPERATURE, TOP_K, TOP_P
from pilotlight.errors import ThreadNotFound
from pilotlight.generation import Calls, ChatPrompt, Form, GenerationParams
from pilotlight.guidance import JsonSchema
from pilotlight.prompt.blocks import conversation
from pilotlight.prompt.messages import template_tools
from pilotlight.schema.chat import request as chat
from pilotlight.schema.declared import offered
from pilotlight.schema.messages.request import (
    AnyToolChoice,
    AutoToolChoice,
    ContinuedThread,
    CountTokensRequest,
    CustomTool,
    MessagesRequest,
    MessagesTool,
    MessagesToolChoice,
    NoToolChoice,
    OneToolChoice,
    ThinkingDisabled,
    ThinkingEnabled,
)
from pilotlight_backend import SamplingParams


class Tools(Struct, frozen=True):
    """The tools that the model is shown, and what it may or must do with them."""

    shown: list[chat.Tool]
    calls: Calls | None


def tools_of(asked: CountTokensRequest) -> Tools:
    """Return the tools of *asked*. Raises `InvalidRequest` for one that is not there."""
    declared = asked.tools or []
    chosen = asked.tool_choice or AutoToolChoice()
    choice = _choice(chosen, declared)
    tools = [_tool(tool) for tool in offered(declared, CustomTool)]
    shown = tool_choice.tools_of(tools, choice)
    single = not isinstance(chosen, NoToolChoice) and chosen.disable_parallel_tool_use
    params = tool_choice.params_of(declared, "input_schema")
    return Tools(shown, tool_choice.calls_of(shown, choice, parallel=not single, params=params))


def _choice(chosen: MessagesToolChoice, tools: Sequence[MessagesTool]) -> chat.ToolChoice:
    match chosen:
        case NoToolChoice():
            return "none"
        case AnyToolChoice():
            tool_choice.required(tools, CustomTool)
            return "required"
        case OneToolChoice(name=name):
            if all(tool.name != name for tool in offered(tools, CustomTool)):
                raise tool_choice.no_such_tool(tools, name, "tool_choice.name")
            return chat.NamedToolChoice(function=chat.FunctionName(name=name))
        case AutoToolChoice():
            return "auto"


def _tool(tool: CustomTool) -> chat.Tool:
    return chat.Tool(
        type="function",
        function=chat.FunctionDefinition(
            name=tool.name,
            description=tool.description,
            parameters=tool.input_schema,
            strict=tool.strict,
        ),
    )


def form_of(asked: CountTokensRequest) -> Form | None:
    """Return the form of the answer, where the request has one."""
    if asked.output_config is None or asked.output_config.format is None:
        return None
    return Form(JsonSchema(asked.output_config.format.schema), "output_config.format.schema")


def thinking_budget(asked: CountTokensRequest) -> int | None:
    """Return the tokens after which the thinking ends; None where it may go on."""
    if isinstance(asked.thinking, ThinkingEnabled):
        return asked.thinking.budget_tokens
    effort = asked.output_config.effort if asked.output_config else None
    return BUDGETS.get(effort or "")


def chat_prompt(asked: CountTokensRequest, tools: Tools) -> ChatPrompt:
    """Return the prompt that *asked* describes."""
    messages, prefill = conversation(asked.system, asked.messages)
    variables: dict[str, Any] = {}
    if asked.output_config and asked.output_config.effort:
        variables["reasoning_effort"] = asked.output_config.effort
    if asked.thinking is not None:
        variables["enable_thinking"] = not isinstance(asked.thinking, ThinkingDisabled)
    elif prefill:
        variables["enable_thinking"] = False  # a thought would stand before what is there already
    return ChatPrompt(messages, template_tools(tools.shown), variables, prefill)


def generation_params(asked: MessagesRequest) -> GenerationParams:
    """Return what *asked* means, with the defaults for what it leaves out.

    Raises `ThreadNotFound` where it continues a conversation that would have to be stored.
    """
    if isinstance(asked.thread, ContinuedThread):
        raise ThreadNotFound(
            "thread: nothing is stored; send the whole conversation as messages", param="thread"
        )
    tools = tools_of(asked)
    return GenerationParams(
        model=asked.model,
        prompts=(chat_prompt(asked, tools),),
        max_tokens=asked.max_tokens,
        sampling=SamplingParams(
            temperature=TEMPERATURE if asked.temperature is None else asked.temperature,
            top_p=TOP_P if asked.top_p is None else asked.top_p,
            top_k=TOP_K if asked.top_k is None else asked.top_k,
        ),
        stops=tuple(asked.stop_sequences or ()),
        form=form_of(asked),
        thinking_budget=thinking_budget(asked),
        calls=tools.calls,
    )

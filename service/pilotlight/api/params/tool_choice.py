"""Which tools a request shows to the model, and what it may or must do with them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from pilotlight.errors import InvalidRequest
from pilotlight.generation import Calls
from pilotlight.output.tool_calls import Function
from pilotlight.schema.chat.request import (
    AllowedTool,
    AllowedToolsChoice,
    ChatTool,
    NamedToolChoice,
    Tool,
    ToolChoice,
)
from pilotlight.schema.declared import DeclaredTool, SkippedTool, offered

T = TypeVar("T")


def tools_of(tools: Sequence[ChatTool] | None, choice: ToolChoice | None) -> list[Tool]:
    """Return the tools that the model may call. Raises `InvalidRequest` for one that is not there.

    What it may not call, it is not shown either: a small model would call it.
    """
    tools = tools or []
    match choice:
        case "none":
            return []
        case "required":
            return required(tools, Tool)
        case NamedToolChoice():
            return [_named(tools, choice.function.name, "tool_choice.function.name")]
        case AllowedToolsChoice(allowed_tools=allowed):
            return _allowed(tools, allowed.tools, required=allowed.mode == "required")
        case _:
            return offered(tools, Tool)


def required(tools: Sequence[DeclaredTool], kind: type[T]) -> list[T]:
    """Return those of *tools* that the model is offered. Raises `InvalidRequest` without any."""
    shown = offered(tools, kind)
    if not shown:
        skipped = ", ".join(tool.name for tool in tools if isinstance(tool, SkippedTool))
        only = f", for {skipped} are skipped" if skipped else ""
        raise InvalidRequest(f"tool_choice: there are no tools to call{only}", param="tool_choice")
    return shown


def no_such_tool(tools: Sequence[DeclaredTool], name: str, param: str) -> InvalidRequest:
    """Return the error of a choice of *name*, which is none of the *tools* that are offered."""
    for tool in tools:
        if isinstance(tool, SkippedTool) and name in (tool.name, tool.type):
            return InvalidRequest(
                f"{param}: {name!r} is of type {tool.type}; tools of this type are skipped, so the"
                " model cannot call it",
                param=param,
            )
    return InvalidRequest(f"{param}: the request has no tool {name!r}", param=param)


def nothing_allowed(skipped: Sequence[DeclaredTool], param: str) -> InvalidRequest:
    """Return the error of a call that is required of tools that are all *skipped*."""
    names = ", ".join(tool.name for tool in skipped if isinstance(tool, SkippedTool))
    return InvalidRequest(f"{param}: {names} are skipped, so there is nothing to call", param=param)


def calls_of(
    tools: Sequence[Tool],
    choice: ToolChoice | None,
    *,
    parallel: bool | None,
    params: Mapping[str, str],
) -> Calls | None:
    """Return what the model may do with *tools*, or has to.

    *params* says by a tool's name what the request calls the schema of its parameters.
    """
    if not tools:
        return None
    match choice:
        case "required" | NamedToolChoice():
            required = True
        case AllowedToolsChoice(allowed_tools=allowed):
            required = allowed.mode == "required"
        case _:
            required = False
    functions = tuple(
        Function(
            tool.function.name,
            closed_parameters(tool.function.parameters),
            strict=bool(tool.function.strict),
            param=params.get(tool.function.name, "tools"),
        )
        for tool in tools
    )
    return Calls(functions, required, parallel is not False)


def params_of(tools: Iterable[Any], schema: str) -> dict[str, str]:
    """Return by each tool's name the JSON path of its *schema*; the first of a name's.

    *tools* are one API's, in the order of the request, with those that are skipped.
    """
    params: dict[str, str] = {}
    for index, tool in enumerate(tools):
        name = tool.function.name if isinstance(tool, Tool) else tool.name
        params.setdefault(name, f"tools[{index}].{schema}")
    return params


_DESCRIBING = frozenset(
    ("additionalProperties", "allOf", "anyOf", "oneOf", "patternProperties", "$ref", "required")
)


def closed_parameters(schema: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return the schema of a function's arguments: an object, `{}` where nothing is described.

    A model that may make up arguments does. Who wants any says `additionalProperties: true`.
    """
    schema = schema or {}
    if schema.get("properties") or _DESCRIBING & schema.keys():
        return {**schema, "type": "object"}
    return {**schema, "type": "object", "properties": {}, "additionalProperties": False}


def _allowed(
    tools: Sequence[ChatTool], allowed: Sequence[DeclaredTool], *, required: bool
) -> list[Tool]:
    param = "tool_choice.allowed_tools.tools"
    shown = [
        _named(tools, one.function.name, f"{param}[{index}].function.name")
        for index, one in enumerate(allowed)
        if isinstance(one, AllowedTool)
    ]
    if required and not shown:
        raise nothing_allowed(allowed, param)
    return shown


def _named(tools: Sequence[ChatTool], name: str, param: str) -> Tool:
    for tool in offered(tools, Tool):
        if tool.function.name == name:
            return tool
    raise no_such_tool(tools, name, param)

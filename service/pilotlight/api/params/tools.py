"""Which of its tools a request offers to the model, and whether the model must call one."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from msgspec import Struct

from pilotlight.errors import InvalidRequest
from pilotlight.generation import ToolCalling
from pilotlight.output.tool_calls import Function
from pilotlight.prompt.conversation import Tool
from pilotlight.schema.declared import DeclaredTool, SkippedTool, offered

T = TypeVar("T")


class DeclaredTools(Struct, frozen=True):
    """The tools that a request declares."""

    tools: Sequence[Tool]
    """Those that a model can be offered."""
    skipped: Sequence[SkippedTool]
    schemas: Mapping[str, str]
    """The JSON path of each tool's schema, by the tool's name."""


class NamedTool(Struct, frozen=True):
    """A tool that `tool_choice` names; *param* is the JSON path of the name."""

    name: str
    param: str


class ToolChoice(Struct, frozen=True):
    """A request's `tool_choice`."""

    required: bool = False
    """Whether the model must call a tool."""
    only: Sequence[NamedTool] | None = None
    """The tools that it may call; None for all."""


class Offer(Struct, frozen=True):
    """The tools that the model is shown, and what it may or must do with them."""

    tools: Sequence[Tool]
    tool_calling: ToolCalling | None


def declared_tools(
    tools: Sequence[DeclaredTool],
    kind: type[T],
    tool_of: Callable[[T], Tool],
    *,
    schema: str,
    more: Iterable[tuple[str, DeclaredTool]] = (),
) -> DeclaredTools:
    """Return *tools*, of which a model can be offered those of *kind*, and *more* of them.

    *schema* is the path of the parameters in a tool; *more* has the path of each tool. Of two with
    one name the first counts.
    """
    listed = [(f"tools[{index}]", tool) for index, tool in enumerate(tools)] + list(more)
    schemas: dict[str, str] = {}
    for path, tool in listed:
        name = tool_of(tool).name if isinstance(tool, kind) else getattr(tool, "name", "")
        schemas.setdefault(name, f"{path}.{schema}")
    both = [tool for _, tool in listed]
    named: dict[str, Tool] = {}
    for made in map(tool_of, offered(both, kind)):
        named.setdefault(made.name, made)
    return DeclaredTools(
        list(named.values()),
        [tool for tool in both if isinstance(tool, SkippedTool)],
        schemas,
    )


def offer(declared: DeclaredTools, choice: ToolChoice, *, parallel: bool) -> Offer:
    """Return what *choice* makes of *declared*; *parallel* allows several calls in a response.

    Raises `InvalidRequest` for a tool that is not there. A tool that the model may not call is not
    shown either: a small model would call it.
    """
    tools = declared.tools
    if choice.only is not None:
        tools = [_named(declared, one) for one in choice.only]
    elif choice.required and not tools:
        skipped = ", ".join(tool.name for tool in declared.skipped)
        note = f"; skipped: {skipped}" if skipped else ""
        raise InvalidRequest(
            f"tool_choice: tools has no function that the model can call{note}", param="tool_choice"
        )
    if not tools:
        return Offer((), None)
    functions = tuple(
        Function(
            tool.name,
            closed_parameters(tool.parameters),
            strict=bool(tool.strict),
            param=declared.schemas.get(tool.name, "tools"),
        )
        for tool in tools
    )
    return Offer(tools, ToolCalling(functions, choice.required, parallel))


def allowed(
    tools: Sequence[DeclaredTool],
    kind: type[T],
    named: Callable[[T], tuple[str, str]],
    *,
    required: bool,
    param: str,
) -> ToolChoice:
    """Return the choice of those *tools* of an `allowed_tools` that are of *kind*, each once.

    *named* returns the name of one and the path of that name in it; *param* is the path of the
    list. Raises `InvalidRequest` where a call is *required* and all of them are skipped.
    """
    only: dict[str, NamedTool] = {}
    for index, tool in enumerate(tools):
        if isinstance(tool, kind):
            name, field = named(tool)
            only.setdefault(name, NamedTool(name, f"{param}[{index}].{field}"))
    if required and not only:
        names = ", ".join(tool.name for tool in tools if isinstance(tool, SkippedTool))
        raise InvalidRequest(
            f"{param}: no function that the model can call; skipped: {names}", param=param
        )
    return ToolChoice(required, list(only.values()))


_DESCRIBING = frozenset(
    ("additionalProperties", "allOf", "anyOf", "oneOf", "patternProperties", "$ref", "required")
)


def closed_parameters(schema: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return the schema of a function's arguments: an object, `{}` where nothing is described.

    A model that may invent arguments does. `additionalProperties: true` allows any.
    """
    schema = schema or {}
    if schema.get("properties") or _DESCRIBING & schema.keys():
        return {**schema, "type": "object"}
    return {**schema, "type": "object", "properties": {}, "additionalProperties": False}


def _named(declared: DeclaredTools, wanted: NamedTool) -> Tool:
    name, param = wanted.name, wanted.param
    for tool in declared.tools:
        if tool.name == name:
            return tool
    for skipped in declared.skipped:
        if name in (skipped.name, skipped.type):
            raise InvalidRequest(
                f"{param}: {name!r} is of type {skipped.type}; tools of this type are skipped, so"
                " the model cannot call it",
                param=param,
            )
    names = ", ".join(repr(tool.name) for tool in declared.tools)
    raise InvalidRequest(
        f"{param}: the request declares no tool {name!r}; expected one of {names}", param=param
    )

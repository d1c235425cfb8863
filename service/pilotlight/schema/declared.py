"""Tools that a request declares: those that a model is offered, and those that are skipped.

msgspec has no union for them: a skipped tool is known by a pattern of its type, and Anthropic's
own tools may have no type. So a list of tools has items of a `DeclaredTool`, which is no
struct, and msgspec asks `decode_declared` what each is.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar

from msgspec import Meta, ValidationError

T = TypeVar("T")

TOOLS = Meta(description="Functions that the model may call; other tools are skipped.")
TOOL_CHOICE = Meta(
    description=(
        "`none`: no call, and the model does not see the tools. `auto`: the model decides."
        " `required` or a named function: the model must call. `allowed_tools`: the model"
        " sees these tools only."
    )
)
"""Descriptions of the fields of OpenAI's two APIs."""

Convert = Callable[[Any, type[Any]], Any]
"""Converts decoded JSON to a struct; raises as msgspec does."""


class DeclaredTool:
    """An item of one API's lists of tools; each of its structs is a subclass."""

    __slots__ = ()

    offered: ClassVar[type[Any]]
    """The struct of a tool that the model is offered."""
    skipped: ClassVar[type["SkippedTool"]]
    """The struct of one that is skipped."""
    skipped_types: ClassVar[re.Pattern[str]]
    """The types of skipped tools."""


class SkippedTool(dict[str, Any]):
    """A tool that is not offered to the model, as it was declared."""

    @property
    def type(self) -> str:
        """The type that it was declared with."""
        return str(self["type"])

    @property
    def name(self) -> str:
        """Its name, or its type if it has none."""
        name = self.get("name")
        return name if isinstance(name, str) else self.type


def decode_declared(kind: type[Any], value: Any, convert: Convert, *, skip_unknown: bool) -> Any:
    """Return *value* as an item of a list of *kind*; msgspec's `dec_hook` for the wire types.

    Raises `ValueError` with the message of *convert*: msgspec adds the item's path to it. With
    *skip_unknown* a tool of an unknown type is skipped too.
    """
    if not issubclass(kind, DeclaredTool):
        raise NotImplementedError(f"{kind} is no declared tool")
    if isinstance(value, dict) and isinstance(declared := value.get("type"), str):
        unknown = skip_unknown and declared not in ("function", "custom")
        if kind.skipped_types.fullmatch(declared) or unknown:
            return kind.skipped(value)
    try:
        return convert(value, kind.offered)
    except ValidationError as error:
        raise ValueError(str(error)) from None


def offered(tools: Sequence[Any] | None, kind: type[T]) -> list[T]:
    """Return those of *tools* that the model is offered, all of which are *kind*.

    A tool that only a vendor's program may call (`allowed_callers`) is not offered.
    """
    return [tool for tool in tools or () if isinstance(tool, kind) and _is_direct(tool)]


def _is_direct(tool: Any) -> bool:
    callers = getattr(tool, "allowed_callers", None)
    return not callers or "direct" in callers


def schema_of_declared(kind: type[Any], ref_template: str) -> dict[str, Any]:
    """Return the JSON Schema of an item; msgspec's `schema_hook` for the wire types."""
    if not issubclass(kind, DeclaredTool):
        raise NotImplementedError(f"{kind} is no declared tool")
    reference = ref_template.format(name=kind.offered.__name__)
    return {
        "anyOf": [
            {"$ref": reference},
            {
                "type": "object",
                "description": "A tool that is skipped: the model does not see it.",
                "properties": {
                    "type": {"type": "string", "pattern": f"^({kind.skipped_types.pattern})$"}
                },
                "required": ["type"],
            },
        ]
    }

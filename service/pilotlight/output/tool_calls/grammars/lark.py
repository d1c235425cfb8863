"""Grammars for constrained decoding, in llguidance's dialect of Lark.

The syntax: https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md. Tags are written as
plain strings, whether or not the model has tokens for them: the vocabulary that a grammar is
matched over spells such tokens out.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from msgspec import Struct

from pilotlight.errors import InvalidRequest
from pilotlight.output.tool_calls.readers.call_reader import encoded


class Function(Struct, frozen=True):
    """A function that may be called; *parameters* is a JSON Schema."""

    name: str
    parameters: Mapping[str, Any]
    strict: bool = False
    """Whether calls have to be valid, or to be refused."""
    param: str = "tools"
    """What the request calls the schema: its JSON path."""


class GrammarWriter(Protocol):
    """Writes how a format's calls are written."""

    def __call__(self, functions: Sequence[Function], *, parallel: bool) -> str:
        """Return the rules of `calls`: one call, to any of *functions*.

        With *parallel* one and more. Other rules' names begin with `tool_`. `InvalidRequest` for
        names and schemas that the format cannot keep; what a schema says otherwise is for
        llguidance to refuse.
        """


_NAME = re.compile(r"[\w.-]{1,128}")


def calls(
    functions: Sequence[Function],
    rule: Callable[[int, Function], str],
    *,
    parallel: bool,
    opener: str = "",
    opening: str = "",
    between: str = "",
    closing: str = "",
) -> str:
    """Return the rule `tool_calls` and those below it.

    *rule* returns the rules of one function's call: `tool_call_<index>`, a whole call, and
    `tool_body_<index>`, its end behind the function's name. *opener*, *opening*, *between* and
    *closing* are expressions around the calls; behind the opener comes the rule `tool_rest`, and
    behind the first call `tool_more`.
    """
    if not functions:
        raise ValueError("a grammar of calls needs a function")
    for function in functions:
        if not _NAME.fullmatch(function.name):
            raise InvalidRequest(
                f"The function name {function.name!r} cannot be written in a constrained call:"
                " up to 128 letters, digits, '_', '-' and '.' can.",
                param="tools",
            )
    more = f"({between} tool_call)*" if parallel else ""
    lines = [
        f"tool_calls: {opener} tool_rest",
        f"tool_rest: {opening} tool_call tool_more",
        f"tool_more: {more} {closing}" if more or closing else 'tool_more: ""',
        "tool_call: " + " | ".join(f"tool_call_{index}" for index in range(len(functions))),
        *(rule(index, function) for index, function in enumerate(functions)),
    ]
    return "\n".join(lines) + "\n"


def literal(text: str) -> str:
    """Return the expression of a fixed text."""
    return encoded(text)


def json_object(schema: Mapping[str, Any]) -> str:
    """Return the expression of a JSON object that a function's parameters describe."""
    if schema.get("properties") == {} and schema.get("additionalProperties") is False:
        return literal("{}")
    return json_value({"type": "object", **schema})


def json_value(schema: Any) -> str:
    """Return the expression of JSON text that is valid by *schema*."""
    return "%json " + encoded({"allOf": [schema]} if isinstance(schema, bool) else schema)


def with_definitions(schema: Any, root: Mapping[str, Any]) -> Any:
    """Return a part of *root* as a schema of its own: references to definitions stay good."""
    if not isinstance(schema, Mapping):
        return schema
    definitions = {key: root[key] for key in ("$defs", "definitions") if key in root}
    return {**definitions, **schema}


def until(word: str) -> str:
    """Return the body of a lazy rule: any text up to the first *word*, and the word."""
    return f"/(?s:.*){re.escape(word).replace('/', chr(92) + '/')}/"


class Layout(Struct, frozen=True):
    """How a format writes calls whose arguments are JSON: what stands around them.

    All are expressions but *before*, in which `$name` stands for the function's name.
    """

    before: tuple[str, ...]
    """Fixed texts, and between them expressions, in turns."""
    after: str = ""
    opener: str = ""
    """What begins the calls, and nothing else: see `Trigger`."""
    opening: str = ""
    between: str = ""
    closing: str = ""

    def grammar(self, functions: Sequence[Function], *, parallel: bool) -> str:
        """Write the rules."""
        return calls(
            functions,
            self._rule,
            parallel=parallel,
            opener=self.opener,
            opening=self.opening,
            between=self.between,
            closing=self.closing,
        )

    def _rule(self, index: int, function: Function) -> str:
        before = [
            part if odd % 2 else literal(part.replace("$name", function.name))
            for odd, part in enumerate(self.before)
            if part
        ]
        return "\n".join(
            (
                " ".join((f"tool_call_{index}:", *before, f"tool_body_{index}")),
                f"tool_body_{index}: {json_object(function.parameters)} {self.after}",
            )
        )

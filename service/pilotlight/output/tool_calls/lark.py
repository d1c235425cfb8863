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
from pilotlight.output.tool_calls.reader import encoded


class Function(Struct, frozen=True):
    """A function that may be called; *parameters* is a JSON Schema."""

    name: str
    parameters: Mapping[str, Any]


class GrammarWriter(Protocol):
    """Writes how a format's calls are written."""

    def __call__(self, functions: Sequence[Function], *, parallel: bool) -> str:
        """Return the rule `tool_calls`, and what it needs: one call, to any of *functions*.

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
    opening: str = "",
    between: str = "",
    closing: str = "",
) -> str:
    """Return the rule `tool_calls` and those below it.

    *rule* returns the rules of one function's call, of which the first is `tool_call_<index>`;
    *opening*, *between* and *closing* are expressions around the calls.
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
        " ".join(part for part in ("tool_calls:", opening, "tool_call", more, closing) if part),
        "tool_call: " + " | ".join(f"tool_call_{index}" for index in range(len(functions))),
        *(rule(index, function) for index, function in enumerate(functions)),
    ]
    return "\n".join(lines) + "\n"


def literal(text: str) -> str:
    """Return the expression of a fixed text."""
    return encoded(text)


def json_object(schema: Mapping[str, Any]) -> str:
    """Return the expression of a JSON object that a function's parameters describe."""
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
    opening: str = ""
    between: str = ""
    closing: str = ""

    def grammar(self, functions: Sequence[Function], *, parallel: bool) -> str:
        """Write the rules."""
        return calls(
            functions,
            self._rule,
            parallel=parallel,
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
        parts = (f"tool_call_{index}:", *before, json_object(function.parameters), self.after)
        return " ".join(part for part in parts if part)

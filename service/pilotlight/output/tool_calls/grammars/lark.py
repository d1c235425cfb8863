"""Grammars of tool calls in llguidance's variant of Lark.

The syntax: https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md. Tags are written as
plain strings, whether or not the model has tokens for them: `GuideTokenizer` gives every token as
its bytes.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from msgspec import Struct

from pilotlight.errors import InvalidRequest
from pilotlight.output.tool_calls.readers.call_reader import encoded


class Function(Struct, frozen=True):
    """A function that the model may call; *parameters* is a JSON Schema."""

    name: str
    parameters: Mapping[str, Any]
    strict: bool = False
    """Whether a schema that cannot be enforced is an error."""
    param: str = "tools"
    """The schema's JSON path in the request."""

    @property
    def name_param(self) -> str:
        """The name's JSON path, which is beside the schema's."""
        above, dot, _ = self.param.rpartition(".")
        return f"{above}.name" if dot else self.param


class GrammarWriter(Protocol):
    """Writes the grammar of a format's calls."""

    def __call__(self, functions: Sequence[Function], *, parallel: bool) -> str:
        """Return the rules of `tool_calls`: one call to any of *functions*.

        With *parallel* one or more. All rules' names begin with `tool_`. Raises `InvalidRequest`
        for names and schemas that the format cannot express; llguidance refuses other faults.
        """


_SEPARATORS = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""Those of `tojson` in chat templates, so of what models are trained on. llguidance's options."""
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
    `tool_body_<index>`, its part behind the function's name. *opener*, *opening*, *between* and
    *closing* are expressions around the calls; `tool_rest` follows the opener, and `tool_more` the
    first call.
    """
    if not functions:
        raise ValueError("a grammar of calls needs a function")
    for function in functions:
        if not _NAME.fullmatch(function.name):
            raise InvalidRequest(
                f"the function name {function.name!r} is not supported in constrained calls:"
                " expected up to 128 letters, digits, '_', '-' and '.'",
                param=function.name_param,
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


def json_object(schema: Mapping[str, Any], *, indented: bool = False) -> str:
    """Return the expression of a function's arguments as a JSON object; see `json_value`."""
    if schema.get("properties") == {} and schema.get("additionalProperties") is False:
        return literal("{}")
    return json_value({"type": "object", **schema}, indented=indented)


def json_value(schema: Any, *, indented: bool = False) -> str:
    """Return the expression of JSON text that is valid by *schema*.

    It is written as templates write it to the model (`_SEPARATORS`); *indented* with any
    whitespace. What is certain need not be sampled then: a call of three arguments took a quarter
    of the time, and a weak model cannot fill it with whitespace.
    """
    whole = {"allOf": [schema]} if isinstance(schema, bool) else schema
    if isinstance(whole, Mapping) and not indented:
        whole = {**whole, "x-guidance": _SEPARATORS}
    return "%json " + encoded(whole)


def with_definitions(schema: Any, root: Mapping[str, Any]) -> Any:
    """Return a part of *root* as a schema of its own, with the definitions that it may refer to."""
    if not isinstance(schema, Mapping):
        return schema
    definitions = {key: root[key] for key in ("$defs", "definitions") if key in root}
    return {**definitions, **schema}


def until(word: str) -> str:
    """Return the body of a lazy rule: any text up to the first *word*, which is included."""
    return f"/(?s:.*){re.escape(word).replace('/', chr(92) + '/')}/"


class Layout(Struct, frozen=True):
    """How a format writes calls with JSON arguments: the texts around them.

    All are expressions except *before*, in which `$name` stands for the function's name.
    """

    before: tuple[str, ...]
    """Fixed texts and expressions, alternating."""
    after: str = ""
    opener: str = ""
    """Begins the calls, and nothing else: see `Trigger`."""
    opening: str = ""
    between: str = ""
    closing: str = ""
    indented: bool = False
    """Whether models write the arguments over several lines."""

    def grammar(self, functions: Sequence[Function], *, parallel: bool) -> str:
        """Return the rules of calls to *functions*."""
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
        arguments = json_object(function.parameters, indented=self.indented)
        return "\n".join(
            (
                " ".join((f"tool_call_{index}:", *before, f"tool_body_{index}")),
                f"tool_body_{index}: {arguments} {self.after}",
            )
        )

"""Compiles what constrains a choice: structured output, tool calls and the reasoning budget.

Structured output constrains the content, and a function's schema constrains calls of it. A schema
that is not supported is an error if the request relies on it: for structured output, strict
functions and required calls. Other functions are constrained to the names of their parameters.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from pilotlight.errors import InvalidRequest
from pilotlight.generation.params import StructuredOutput, ToolCalling
from pilotlight.guidance import (
    Grammar,
    GrammarInvalid,
    Guides,
    GuideTokenizer,
    LazyGrammar,
    Reasoning,
    check_compiles,
    compile_grammar,
    supported,
)
from pilotlight.output import reasoning, tool_calls
from pilotlight.output.reasoning import ReasoningTracker
from pilotlight.output.tool_calls import Function


class Constraints(Struct, frozen=True, kw_only=True):
    """What constrains one choice, in the formats of a model."""

    structured_output: StructuredOutput | None
    tool_calling: ToolCalling | None
    prefixes: tuple[str, ...]
    reasoning: Reasoning | None
    reasoning_format: str | None
    opened: bool
    tool_call_format: str
    """"" if there are no calls."""


def compile_constraints(constraints: Constraints, tokenizer: GuideTokenizer) -> Guides | None:
    """Compile *constraints*; None if nothing is restricted. Raises `InvalidRequest`.

    Call it on a thread: schemas may be large.
    """
    if constraints.tool_calling is None:
        return _compile(constraints, tokenizer, None)
    if constraints.structured_output is not None:
        _compile(constraints, tokenizer, None)  # so that an error below is about the calls
    # All functions are compiled as one grammar. Only if that fails, each one is compiled alone, to
    # find those that are at fault: the common case stays one compilation.
    try:
        return _compile(constraints, tokenizer, _supported(constraints.tool_calling))
    except _CallsInvalid:
        functions = _compiling(constraints.tool_calling, constraints.tool_call_format, tokenizer)
    try:
        return _compile(constraints, tokenizer, functions)
    except _CallsInvalid as error:
        if constraints.tool_calling.required or any(one.strict for one in functions):
            raise InvalidRequest(str(error), param="tools") from None
        return _compile(constraints, tokenizer, None)


class _CallsInvalid(Exception):
    """The calls to all functions together are not supported as one grammar."""


def _compile(
    constraints: Constraints, tokenizer: GuideTokenizer, functions: Sequence[Function] | None
) -> Guides | None:
    grammar = Grammar(
        content=None
        if constraints.structured_output is None
        else constraints.structured_output.grammar,
        prefixes=constraints.prefixes,
        reasoning=constraints.reasoning,
    )
    if functions is not None and constraints.tool_calling is not None:
        grammar = _with_calls(grammar, constraints, constraints.tool_calling, functions)
    elif constraints.structured_output is None and (
        constraints.reasoning is None or constraints.reasoning.budget is None
    ):
        return None
    try:
        return compile_grammar(grammar, tokenizer)
    except GrammarInvalid as error:
        if functions is not None:
            raise _CallsInvalid(
                "tools: the schemas of all functions together are too complex"
            ) from None
        param = (
            "tools"
            if constraints.structured_output is None
            else constraints.structured_output.param + error.path
        )
        raise InvalidRequest(f"{param}: {error}", param=param) from None


def _with_calls(
    grammar: Grammar, constraints: Constraints, calls: ToolCalling, functions: Sequence[Function]
) -> Grammar:
    written = tool_calls.FORMATS[constraints.tool_call_format]
    try:
        if calls.required or constraints.structured_output is not None:
            return replace(grammar, calls=written.grammar(functions, parallel=calls.parallel))
        closer = (
            ""
            if constraints.reasoning_format is None
            else reasoning.FORMATS[constraints.reasoning_format].closer
        )
        rules = written.lazy_grammar(functions, parallel=calls.parallel, closer=closer)
    except InvalidRequest as error:
        raise _CallsInvalid(f"tools: {error}") from None
    tracker = partial(ReasoningTracker, constraints.reasoning_format, opened=constraints.opened)
    return replace(grammar, lazy=LazyGrammar(rules, tracker, calls.parallel))


def _supported(calls: ToolCalling) -> Sequence[Function]:
    """Return the functions with their schemas rewritten for llguidance."""
    return [
        _checked(
            one,
            partial(supported, one.parameters, strict=one.strict),
            must=calls.required or one.strict,
        )
        for one in calls.functions
    ]


def _compiling(calls: ToolCalling, written: str, tokenizer: GuideTokenizer) -> Sequence[Function]:
    """Return the functions with schemas that compile, each alone, and that the format supports."""

    def check(function: Function) -> Any:
        check_compiles(function.parameters, tokenizer, strict=function.strict)
        parameters = supported(function.parameters, strict=function.strict)
        one = replace(function, parameters=parameters)
        tool_calls.FORMATS[written].grammar([one], parallel=False)
        return parameters

    return [
        _checked(one, partial(check, one), must=calls.required or one.strict)
        for one in calls.functions
    ]


def _checked(function: Function, check: Callable[[], Any], *, must: bool) -> Function:
    """Return *function* with the schema that *check* returns, or a loose one unless *must*."""
    try:
        return replace(function, parameters=check())
    except GrammarInvalid as error:
        if must:
            param = function.param + error.path
            message = f"{param}: {error} (function {function.name!r})"
            raise InvalidRequest(message, param=param) from None
    except InvalidRequest as error:
        if must:
            param = error.param or function.param
            raise InvalidRequest(f"{param}: {error}", param=param) from None
    return replace(function, parameters=supported(_loose(function.parameters)))


def _loose(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema with the same property names and any values."""
    properties, required = schema.get("properties"), schema.get("required")
    if not isinstance(properties, Mapping) or not properties:
        return {"type": "object"}
    names = required if isinstance(required, list) else []
    return {
        "type": "object",
        "properties": {name: {} for name in properties},
        "required": [name for name in names if name in properties],
    }

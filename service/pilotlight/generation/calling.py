"""The grammar of an answer with a form, with calls, or with both; on a thread, for it may be large.

A form binds the text and a function's schema binds its calls. What cannot be kept is refused where
the request relies on it: a form, a strict function, and calls that are required. Other functions
keep what can be kept, the names of their parameters at least.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from pilotlight.errors import InvalidRequest
from pilotlight.generation.params import Calls, Form
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


class Plan(Struct, frozen=True, kw_only=True):
    """What one answer is to be, in a model's formats."""

    form: Form | None
    calls: Calls | None
    prefixes: tuple[str, ...]
    thought: Reasoning | None
    reasoning: str | None
    opened: bool
    tool_calls: str
    """The format of calls; "" where there are none."""


def compiled(plan: Plan, tokens: GuideTokenizer) -> Guides | None:
    """Compile *plan*; None where nothing is restricted. Raises `InvalidRequest`."""
    if plan.calls is None:
        return _compiled(plan, tokens, None)
    if plan.form is not None:
        _compiled(plan, tokens, None)  # so that what fails below are the calls
    try:
        return _compiled(plan, tokens, _supported(plan.calls))
    except _CallsInvalid:
        functions = _compiling(plan.calls, plan.tool_calls, tokens)
    try:
        return _compiled(plan, tokens, functions)
    except _CallsInvalid as error:
        if plan.calls.required or any(one.strict for one in functions):
            raise InvalidRequest(str(error), param="tools") from None
        return _compiled(plan, tokens, None)


class _CallsInvalid(Exception):
    """The calls cannot be written as a grammar, all together."""


def _compiled(
    plan: Plan, tokens: GuideTokenizer, functions: Sequence[Function] | None
) -> Guides | None:
    grammar = Grammar(
        body=None if plan.form is None else plan.form.body,
        prefixes=plan.prefixes,
        reasoning=plan.thought,
    )
    if functions is not None and plan.calls is not None:
        grammar = _with_calls(grammar, plan, plan.calls, functions)
    elif plan.form is None and (plan.thought is None or plan.thought.budget is None):
        return None
    try:
        return compile_grammar(grammar, tokens)
    except GrammarInvalid as error:
        if functions is not None:
            raise _CallsInvalid("tools: together they are too complex") from None
        param = "tools" if plan.form is None else plan.form.param + error.path
        raise InvalidRequest(f"{param}: {error}", param=param) from None


def _with_calls(
    grammar: Grammar, plan: Plan, calls: Calls, functions: Sequence[Function]
) -> Grammar:
    written = tool_calls.FORMATS[plan.tool_calls]
    try:
        if calls.required or plan.form is not None:
            return replace(grammar, calls=written.grammar(functions, parallel=calls.parallel))
        closer = "" if plan.reasoning is None else reasoning.FORMATS[plan.reasoning].closer
        rules = written.lazy_grammar(functions, parallel=calls.parallel, closer=closer)
    except InvalidRequest as error:
        raise _CallsInvalid(f"tools: {error}") from None
    thinking = partial(ReasoningTracker, plan.reasoning, opened=plan.opened)
    return replace(grammar, lazy=LazyGrammar(rules, thinking, calls.parallel))


def _supported(calls: Calls) -> Sequence[Function]:
    """Return the functions with schemas that llguidance takes."""
    return [
        _checked(
            one,
            partial(supported, one.parameters, strict=one.strict),
            must=calls.required or one.strict,
        )
        for one in calls.functions
    ]


def _compiling(calls: Calls, written: str, tokens: GuideTokenizer) -> Sequence[Function]:
    """Return the functions with schemas that compile, each alone, and that the format can write."""

    def check(function: Function) -> Any:
        check_compiles(function.parameters, tokens, strict=function.strict)
        parameters = supported(function.parameters, strict=function.strict)
        one = replace(function, parameters=parameters)
        tool_calls.FORMATS[written].grammar([one], parallel=False)
        return parameters

    return [
        _checked(one, partial(check, one), must=calls.required or one.strict)
        for one in calls.functions
    ]


def _checked(function: Function, check: Callable[[], Any], *, must: bool) -> Function:
    """Return *function* with the schema that *check* returns, or a loose one if it need not be."""
    try:
        return replace(function, parameters=check())
    except GrammarInvalid as error:
        if must:
            param = function.param + error.path
            message = f"{param}: {error} (function {function.name!r})"
            raise InvalidRequest(message, param=param) from None
    except InvalidRequest as error:
        if must:
            param = function.param
            raise InvalidRequest(f"{param}: {error}", param=param) from None
    return replace(function, parameters=supported(_loose(function.parameters)))


def _loose(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema of the same names, with any values."""
    properties, required = schema.get("properties"), schema.get("required")
    if not isinstance(properties, Mapping) or not properties:
        return {"type": "object"}
    names = required if isinstance(required, list) else []
    return {
        "type": "object",
        "properties": {name: {} for name in properties},
        "required": [name for name in names if name in properties],
    }

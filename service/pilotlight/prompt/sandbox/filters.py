"""The filters and tests that a chat template may use, each with its bound.

A filter without an entry here does not exist for templates, so none that Jinja adds can be missed.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from jinja2 import pass_context
from jinja2.runtime import Context

from pilotlight.prompt.sandbox import limits
from pilotlight.prompt.sandbox.budget import budget_of
from pilotlight.prompt.sandbox.estimates import (
    CASED,
    ESCAPED,
    QUOTED,
    Estimate,
    as_text,
    constant,
    filled,
    indented,
    join_filter,
    keyed,
    linked,
    listed,
    replaced,
    rounded,
    slow,
    summed,
    times,
    too_large,
    truncated,
    whole_number,
    wrapped,
)
from pilotlight.prompt.sandbox.formatting import percent
from pilotlight.prompt.sandbox.sizes import held, readable, written_size

_FILTERS: dict[str, Estimate] = {
    # These return parts of the value, or a number.
    **dict.fromkeys(
        (
            *("abs", "attr", "count", "d", "default", "first", "float", "items", "last", "length"),
            *("map", "random", "reject", "rejectattr", "select", "selectattr"),
        ),
        constant,
    ),
    **dict.fromkeys(("lower", "string", "trim", "safe", "filesizeformat"), as_text),
    **dict.fromkeys(("capitalize", "upper"), times(CASED)),
    **dict.fromkeys(("e", "escape", "forceescape"), times(ESCAPED)),
    "urlencode": slow(times(QUOTED)),
    "title": slow(times(CASED)),
    **dict.fromkeys(("striptags", "wordcount"), slow(as_text)),
    "xmlattr": slow(times(ESCAPED)),
    "urlize": slow(linked),
    "pprint": slow(indented),
    "wordwrap": wrapped,
    "truncate": truncated,
    **dict.fromkeys(("center", "indent"), filled),
    "replace": replaced,
    "join": join_filter,
    "format": percent,
    "tojson": constant,  # it counts what it writes itself
    "from_json": slow(as_text),
    **dict.fromkeys(("batch", "list", "reverse", "slice"), listed),
    **dict.fromkeys(("dictsort", "groupby", "max", "min", "sort", "unique"), keyed),
    "sum": summed,
    "int": whole_number,
    "round": rounded,
}
_LAZY = frozenset(
    {
        "attr", "count", "d", "default", "first", "items", "length", "map", "reject",
        "rejectattr", "select", "selectattr",
    }
)  # fmt: skip
"""Filters that do not go through what they are arguments, or hand on one after the other."""
_FRESH = frozenset({"batch", "dictsort", "groupby", "slice"})
"""Filters that return lists of new elements."""


_COMPARING = frozenset(
    {
        *("!=", "<", "<=", "==", ">", ">=", "eq", "equalto", "ge", "greaterthan", "gt", "in"),
        *("le", "lessthan", "lt", "ne"),
    }
)
"""Tests that compare values, as the operators do."""


_CASES = frozenset({"lower", "upper"})
"""Tests that write the value as text."""


def bounded_tests(tests: Mapping[str, Any]) -> dict[str, Any]:
    """Return *tests*, each within the limits: `select` calls one for every element of a list."""
    return {name: _bounded_test(name, test) for name, test in tests.items()}


def _bounded_test(name: str, test: Callable[..., Any]) -> Callable[..., Any]:
    wants_environment = hasattr(test, "jinja_pass_arg")

    @pass_context
    @wraps(test)
    def bounded(context: Context, *values: Any) -> Any:
        budget_of(context).check_time()
        for value in values if name in _COMPARING else ():
            readable(value)
        if name in _CASES:
            written_size(values[0])
        return test(*(context.environment,) * wants_environment, *values)

    return bounded


def bounded_filters(filters: Mapping[str, Callable[..., Any]]) -> dict[str, Callable[..., Any]]:
    """Return those of *filters* that have an estimate, each within the limits."""
    return {
        name: _bounded(name, function, _FILTERS[name])
        for name, function in filters.items()
        if name in _FILTERS
    }


def _bounded(name: str, function: Callable[..., Any], estimate: Estimate) -> Callable[..., Any]:
    wants = getattr(getattr(function, "jinja_pass_arg", None), "name", None)
    order = list(inspect.signature(function).parameters)

    @pass_context
    @wraps(function)
    def bounded(context: Context, value: Any, *arguments: Any, **named: Any) -> Any:
        if name not in _LAZY:
            value = held(value)
        given = [*map(held, arguments)]
        keywords = [named[one] for one in order if one in named]
        keywords += [one for key, one in named.items() if key not in order]
        if estimate(value, readable(given + keywords)) > limits.MAX_OUTPUT:
            raise too_large(name)
        leading: dict[str | None, tuple[Any, ...]] = {
            "context": (context,),
            "eval_context": (context.eval_ctx,),
            "environment": (context.environment,),
        }
        made = function(*leading.get(wants, ()), value, *given, **named)
        if name in _FRESH:
            made = held(made)
        return budget_of(context).made(made, fresh=name in _FRESH)

    return bounded

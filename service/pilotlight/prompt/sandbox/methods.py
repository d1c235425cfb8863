"""The methods that a chat template may call, each with its bound.

A method without an entry here raises `TemplateExceeded`.
"""

from types import BuiltinFunctionType
from typing import Any

from jinja2.ext import Extension
from jinja2.runtime import LoopContext
from jinja2.utils import Cycler

from pilotlight.prompt.errors import TemplateExceeded
from pilotlight.prompt.sandbox import limits
from pilotlight.prompt.sandbox.budget import OwnList
from pilotlight.prompt.sandbox.estimates import (
    CASED,
    Arguments,
    Estimate,
    compared,
    constant,
    filled,
    join_method,
    lines,
    replaced,
    split,
    times,
    too_large,
    translated,
)

_OF_TEXT: dict[str, Estimate] = {
    **dict.fromkeys(
        (
            *("count", "endswith", "find", "index", "rfind", "rindex", "startswith"),
            *("isalnum", "isalpha", "isascii", "isdecimal", "isdigit", "isidentifier", "islower"),
            *("isnumeric", "isprintable", "isspace", "istitle", "isupper"),
            *("lstrip", "partition", "removeprefix", "removesuffix", "rpartition", "rstrip"),
            "strip",
            *("format", "format_map"),  # they count what they write themselves
        ),
        constant,
    ),
    **dict.fromkeys(
        ("capitalize", "casefold", "lower", "swapcase", "title", "upper"), times(CASED)
    ),
    **dict.fromkeys(("center", "expandtabs", "ljust", "rjust", "zfill"), filled),
    **dict.fromkeys(("split", "rsplit"), split),
    "splitlines": lines,
    "replace": replaced,
    "join": join_method,
    "translate": translated,
}
_METHODS: dict[type, dict[str, Estimate]] = {
    str: _OF_TEXT,
    dict: dict.fromkeys(("copy", "get", "items", "keys", "values"), constant),
    list: {"copy": constant, **dict.fromkeys(("count", "index"), compared)},
    OwnList: {
        **dict.fromkeys(("append", "copy", "pop"), constant),
        **dict.fromkeys(("count", "index"), compared),
    },
    tuple: dict.fromkeys(("count", "index"), compared),
    range: dict.fromkeys(("count", "index"), constant),
    int: dict.fromkeys(("bit_count", "bit_length", "conjugate"), constant),
    float: dict.fromkeys(("conjugate", "hex", "is_integer"), constant),
    LoopContext: dict.fromkeys(("changed", "cycle"), constant),
    Cycler: dict.fromkeys(("next", "reset"), constant),
}
_FRESH_METHODS = frozenset({"split", "rsplit", "splitlines", "partition", "rpartition"})


def check_called(called: Any, arguments: Arguments) -> bool:
    """Raise `TemplateExceeded` if *called* is a method that is not allowed, or makes too much.

    Returns whether it returns a list of new elements. A callable that is not a method is a macro
    or one of the environment's functions, and is allowed.
    """
    owner = getattr(called, "__self__", None)
    if owner is None:  # Jinja's sandbox wraps `format`
        owner = getattr(getattr(called, "__wrapped__", None), "__self__", None)
    static = owner is None and isinstance(called, BuiltinFunctionType)
    if isinstance(owner, Extension) or (owner is None and not static):
        return False
    name = getattr(called, "__name__", "")
    methods = next((_METHODS[kind] for kind in type(owner).__mro__ if kind in _METHODS), None)
    estimate = None if methods is None else methods.get(name)
    if estimate is None:
        raise TemplateExceeded(
            f"the chat template calls {type(owner).__name__}.{name}, which is not allowed"
        )
    if estimate(owner, arguments) > limits.MAX_OUTPUT:
        raise too_large(name)
    return name in _FRESH_METHODS

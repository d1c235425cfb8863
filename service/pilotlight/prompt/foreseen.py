"""How large a value will be that a chat template makes, before it is made.

One rule: a filter, a method or an operator is in a table here, with what it makes of its operands
at the most, or a template cannot use it. What has no entry cannot be forgotten.
"""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from itertools import islice
from types import BuiltinFunctionType
from typing import Any

from jinja2 import pass_context
from jinja2.ext import Extension
from jinja2.runtime import Context, LoopContext
from jinja2.utils import Cycler
from markupsafe import Markup

from pilotlight.prompt import bounds
from pilotlight.prompt.bounds import (
    OwnList,
    bits,
    budget_of,
    comparable,
    held,
    length,
    size,
    written_size,
)
from pilotlight.prompt.errors import TemplateExceeded

Given = list[Any]
"""The arguments of a call, those with names at the end."""
Foresee = Callable[[Any, Given], int]
"""Returns the characters that a call makes of a value at the most, or raises `TemplateExceeded`."""

_SLOW = 1_000_000
"""Characters for what is written in Python and takes a microsecond for each."""
_WRAPPED = 50_000
"""Characters for `wordwrap`: `textwrap` copies the rest of a long word, and the list of the words,
for every line, so that its time grows with the square; 300,000 blanks took 7 s."""
_MARKUP = 6
"""Characters that HTML's escaping makes of one."""
_CASED = 3
"""Characters that another case of one has at the most, as Unicode maps it."""
_QUOTED = 12
"""Characters of one that is percent-encoded: four bytes of UTF-8."""
_DIGITS = 4300
"""As many as Python converts without being asked (sys.int_info.default_max_str_digits)."""


def _too_large(by: str) -> TemplateExceeded:
    return TemplateExceeded(f"the chat template makes too large a value with {by}")


def _number(value: object) -> int:
    """Return the magnitude of an integer, 0 of anything else; raises where it is too large."""
    number = abs(value) if isinstance(value, int) else 0
    if number > bounds.MAX_NUMBER:
        raise TemplateExceeded(f"the chat template asks for too large a number: {number}")
    return number


def _widest(given: Given) -> int:
    """Return the largest number, or the longest text, among the arguments."""
    return max((len(one) if isinstance(one, str) else _number(one) for one in given), default=0)


# ── text ────────────────────────────────────────────────────────────────────────────────────────


def _nothing(_value: Any, _given: Given) -> int:
    return 0


def _text(value: Any, _given: Given) -> int:
    return written_size(value)


def _times(factor: int) -> Foresee:
    def foresee(value: Any, _given: Given) -> int:
        if isinstance(value, str) and value.isascii() and factor == _CASED:
            return len(value)
        return factor * written_size(value)

    return foresee


def _slow(inner: Foresee) -> Foresee:
    def foresee(value: Any, given: Given) -> int:
        if written_size(value) > _SLOW:
            return bounds.MAX_OUTPUT + 1
        return inner(value, given)

    return foresee


def _filled(value: Any, given: Given) -> int:
    """Foresee what has a width more for each line or tab."""
    text = value if isinstance(value, str) else ""
    lines = 1 + text.count("\t") + sum(map(text.count, _LINE_ENDS))
    return written_size(value) + _widest(given) * lines


def _truncated(value: Any, given: Given) -> int:
    return written_size(value) + sum(len(one) for one in given if isinstance(one, str))


def _replaced(value: Any, given: Given) -> int:
    old, new, *_ = (*given, "", "")
    if max(map(written_size, (value, old))) > bounds.MAX_OUTPUT:
        return bounds.MAX_OUTPUT + 1
    escaped = _MARKUP if isinstance(value, Markup) or isinstance(new, Markup) else 1
    return escaped * (written_size(value) + str(value).count(str(old)) * written_size(new))


def _joined(parts: Any, separator: Any) -> int:
    if isinstance(parts, str):
        parts_size, count = len(parts), len(parts)
    elif isinstance(parts, (list, tuple)):
        parts_size, count = sum(map(written_size, parts)), len(parts)
    else:
        parts_size, count = written_size(parts), length(parts)
    escaped = 1
    if isinstance(separator, Markup) or (
        isinstance(parts, (list, tuple)) and any(isinstance(one, Markup) for one in parts)
    ):
        escaped = _MARKUP
    return escaped * (parts_size + count * written_size(separator))


def _join_filter(value: Any, given: Given) -> int:
    return _joined(value, given[0] if given else "")


def _join_method(value: Any, given: Given) -> int:
    return _joined(given[0] if given else "", value)


def _wrapped(value: Any, given: Given) -> int:
    if written_size(value) > _WRAPPED:
        return bounds.MAX_OUTPUT + 1
    longest = max((len(one) for one in given if isinstance(one, str)), default=1)
    return length(value) * (1 + longest)


def _translated(value: Any, given: Given) -> int:
    table = given[0] if given else {}
    if not isinstance(table, Mapping):
        return bounds.MAX_OUTPUT + 1
    return length(value) * max((length(one) for one in table.values()), default=1)


def _linked(value: Any, given: Given) -> int:
    added = 64 + _MARKUP * sum(len(one) for one in given if isinstance(one, str))
    return 2 * _MARKUP * written_size(value) + (1 + length(value) // 2) * added


def _indented(value: Any, _given: Given) -> int:
    """Foresee `pprint`, which indents by all that stands before a value in its line."""
    written = written_size(value)
    return written * max(1, written // 80)


# ── formats ─────────────────────────────────────────────────────────────────────────────────────

_CONVERSION = re.compile(r"[#0\- +]*(\*|\d*)(?:\.(\*|\d*))?[hlL]?.?", re.DOTALL)
"""A conversion of `%` behind its name (docs.python.org, printf-style String Formatting)."""
_FIELDS = 10_000
"""Conversions or fields in a format: each takes a microsecond."""
_NAME = 1000
"""Characters of a name in a format."""
_TIME_WIDTH = re.compile(r"%[^A-Za-z%]*?(\d+)")
_TIME_FORMAT = 1000
"""Characters of a format of `strftime_now`; a width in it has three digits at the most."""


def _percent(value: Any, given: Given) -> int:
    text = str(value) if isinstance(value, str) else ""
    if text.count("%") > _FIELDS:
        raise _too_large("%")
    arguments = [one for each in given for one in _arguments(each)]
    longest = max(map(written_size, arguments), default=0)
    escaped = _MARKUP if isinstance(value, Markup) else 1
    total, at = len(text), text.find("%")
    while at >= 0:
        conversion = _CONVERSION.match(text, _after_name(text, at + 1))
        assert conversion  # noqa: S101 - it matches the empty text too
        widths = [part for part in conversion.groups() if part]
        if "*" in widths:  # the width is an argument, of whatever size
            raise _too_large("%")
        total += sum(map(_digits, widths)) + escaped * longest + _FLOAT
        at = text.find("%", conversion.end())
    return total


def _after_name(text: str, start: int) -> int:
    """Return where a conversion goes on behind its `(name)`, in which parentheses may nest."""
    at, depth = start, 0
    while at < len(text) and (text[at] == "(" or depth):
        depth += (text[at] == "(") - (text[at] == ")")
        at += 1
        if at - start > _NAME:
            raise _too_large("%")
        if not depth:
            break
    return at


_FLOAT = 330
"""Characters of a float that is written without an exponent, 1e308 with six decimals."""


def _arguments(value: Any) -> Iterable[object]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, tuple) else (value,)


def _digits(width: str) -> int:
    if len(width) > len(str(bounds.MAX_NUMBER)):
        raise TemplateExceeded("the chat template asks for too large a number in a format")
    return _number(int(width))


def check_field(value: Any, spec: str) -> int:
    """Return the characters that *value* has in the format *spec*, at the most, or raise."""
    return written_size(value) + _FLOAT + sum(_digits(one) for one in re.findall(r"\d+", spec))


def check_fields(text: str) -> None:
    """Raise `TemplateExceeded` where the format *text* has too many fields."""
    if text.count("{") > _FIELDS:
        raise _too_large("format")


def check_time_format(form: object) -> None:
    """Raise `TemplateExceeded` where a time would be written with too many characters."""
    widths = _TIME_WIDTH.findall(form) if isinstance(form, str) else ()
    if length(form) > _TIME_FORMAT or any(len(one) > len("100") for one in widths):
        raise _too_large("strftime_now")


# ── lists ───────────────────────────────────────────────────────────────────────────────────────

_LINE_ENDS = ("\n", "\r", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029")
_SPACES = (" ", "\t", *_LINE_ENDS[:7])


def _listed(value: Any, given: Given) -> int:
    """Foresee a list of what *value* holds, filled up to a number where one is given."""
    _check_elements(length(value) + sum(map(_number, given)))
    return 0


def _compared(value: Any, _given: Given) -> int:
    comparable(value)
    return 0


def _keyed(value: Any, given: Given) -> int:
    """Foresee the keys by which *value*'s elements are compared: each is a lower-case copy.

    A list can hold one long text a million times, but its keys are a million texts.
    """
    size(value)  # raises
    return _listed(value, given)


def _summed(value: Any, _given: Given) -> int:
    _check_elements(written_size(value))
    return 0


def _split(value: Any, given: Given) -> int:
    separator = next((one for one in given if isinstance(one, str)), None)
    most = next((one for one in given if isinstance(one, int) and one >= 0), bounds.MAX_ELEMENTS)
    ends = _SPACES if separator is None else (separator,)
    if any(ends):  # else Python refuses the empty separator itself
        _check_elements(min(1 + sum(map(value.count, ends)), most + 1))
    return len(value)


def _lines(value: Any, _given: Given) -> int:
    _check_elements(1 + sum(map(value.count, _LINE_ENDS)))
    return len(value)


def _check_elements(count: int) -> None:
    if count > bounds.MAX_ELEMENTS:
        raise TemplateExceeded(
            f"the chat template makes a list of more than {bounds.MAX_ELEMENTS} elements"
        )


def _whole_number(value: Any, _given: Given) -> int:
    return bounds.MAX_OUTPUT + 1 if length(value) > _DIGITS else 0


def _rounded(_value: Any, given: Given) -> int:
    return bounds.MAX_OUTPUT + 1 if _widest(given) > _DIGITS else 0


# ── filters ─────────────────────────────────────────────────────────────────────────────────────

_FILTERS: dict[str, Foresee] = {
    # These hand on what is there, or make a number.
    **dict.fromkeys(
        (
            *("abs", "attr", "count", "d", "default", "first", "float", "items", "last", "length"),
            *("map", "random", "reject", "rejectattr", "select", "selectattr"),
        ),
        _nothing,
    ),
    **dict.fromkeys(("lower", "string", "trim", "safe", "filesizeformat"), _text),
    **dict.fromkeys(("capitalize", "upper"), _times(_CASED)),
    **dict.fromkeys(("e", "escape", "forceescape"), _times(_MARKUP)),
    "urlencode": _slow(_times(_QUOTED)),
    "title": _slow(_times(_CASED)),
    **dict.fromkeys(("striptags", "wordcount"), _slow(_text)),
    "xmlattr": _slow(_times(_MARKUP)),
    "urlize": _slow(_linked),
    "pprint": _slow(_indented),
    "wordwrap": _wrapped,
    "truncate": _truncated,
    **dict.fromkeys(("center", "indent"), _filled),
    "replace": _replaced,
    "join": _join_filter,
    "format": _percent,
    "tojson": _nothing,  # it counts what it writes
    "from_json": _slow(_text),
    **dict.fromkeys(("batch", "list", "reverse", "slice"), _listed),
    **dict.fromkeys(("dictsort", "groupby", "max", "min", "sort", "unique"), _keyed),
    "sum": _summed,
    "int": _whole_number,
    "round": _rounded,
}
_LAZY = frozenset(
    {
        "attr", "count", "d", "default", "first", "items", "length", "map", "reject",
        "rejectattr", "select", "selectattr",
    }
)  # fmt: skip
"""Filters that do not go through what they are given, or hand on one after the other."""
_FRESH = frozenset({"batch", "dictsort", "groupby", "slice"})
"""Filters whose lists have new elements."""


_COMPARING = frozenset(
    {
        *("!=", "<", "<=", "==", ">", ">=", "eq", "equalto", "ge", "greaterthan", "gt", "in"),
        *("le", "lessthan", "lt", "ne"),
    }
)
"""Tests that compare, as operators do."""


def bounded_tests(tests: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of *tests* that compare, each within the bounds."""
    return {name: _bounded_test(test) for name, test in tests.items() if name in _COMPARING}


def _bounded_test(test: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(test)
    def bounded(*values: Any) -> Any:
        return test(*map(comparable, values))

    return bounded


def bounded_filters(filters: Mapping[str, Callable[..., Any]]) -> dict[str, Callable[..., Any]]:
    """Return those of *filters* that can be foreseen, each within the bounds."""
    return {
        name: _bounded(name, function, _FILTERS[name])
        for name, function in filters.items()
        if name in _FILTERS
    }


def _bounded(name: str, function: Callable[..., Any], foresee: Foresee) -> Callable[..., Any]:
    wants = getattr(getattr(function, "jinja_pass_arg", None), "name", None)
    order = list(inspect.signature(function).parameters)

    @pass_context
    @wraps(function)
    def bounded(context: Context, value: Any, *arguments: Any, **named: Any) -> Any:
        if name not in _LAZY:
            value = held(value)
        given = [*map(held, arguments)]
        by_place = [named[one] for one in order if one in named]
        by_place += [one for key, one in named.items() if key not in order]
        if foresee(value, given + by_place) > bounds.MAX_OUTPUT:
            raise _too_large(name)
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


# ── methods ─────────────────────────────────────────────────────────────────────────────────────

_OF_TEXT: dict[str, Foresee] = {
    **dict.fromkeys(
        (
            *("count", "endswith", "find", "index", "rfind", "rindex", "startswith"),
            *("isalnum", "isalpha", "isascii", "isdecimal", "isdigit", "isidentifier", "islower"),
            *("isnumeric", "isprintable", "isspace", "istitle", "isupper"),
            *("lstrip", "partition", "removeprefix", "removesuffix", "rpartition", "rstrip"),
            "strip",
            *("format", "format_map"),  # they count what they write
        ),
        _nothing,
    ),
    **dict.fromkeys(
        ("capitalize", "casefold", "lower", "swapcase", "title", "upper"), _times(_CASED)
    ),
    **dict.fromkeys(("center", "expandtabs", "ljust", "rjust", "zfill"), _filled),
    **dict.fromkeys(("split", "rsplit"), _split),
    "splitlines": _lines,
    "replace": _replaced,
    "join": _join_method,
    "translate": _translated,
}
_METHODS: dict[type, dict[str, Foresee]] = {
    str: _OF_TEXT,
    dict: dict.fromkeys(("copy", "get", "items", "keys", "values"), _nothing),
    list: {"copy": _nothing, **dict.fromkeys(("count", "index"), _compared)},
    OwnList: {
        **dict.fromkeys(("append", "copy", "pop"), _nothing),
        **dict.fromkeys(("count", "index"), _compared),
    },
    tuple: dict.fromkeys(("count", "index"), _compared),
    range: dict.fromkeys(("count", "index"), _nothing),
    int: dict.fromkeys(("bit_count", "bit_length", "conjugate"), _nothing),
    float: dict.fromkeys(("conjugate", "hex", "is_integer"), _nothing),
    LoopContext: dict.fromkeys(("changed", "cycle"), _nothing),
    Cycler: dict.fromkeys(("next", "reset"), _nothing),
}
_FRESH_METHODS = frozenset({"split", "rsplit", "splitlines", "partition", "rpartition"})


def check_called(called: Any, given: Given) -> bool:
    """Raise `TemplateExceeded` where the method *called* of a value would make too much.

    Returns whether the elements of a list that it makes are new. What is no method is a macro, or
    one of the functions that templates are given.
    """
    owner = getattr(called, "__self__", None)
    if owner is None:  # the sandbox wraps `format`
        owner = getattr(getattr(called, "__wrapped__", None), "__self__", None)
    static = owner is None and isinstance(called, BuiltinFunctionType)
    if isinstance(owner, Extension) or (owner is None and not static):
        return False
    name = getattr(called, "__name__", "")
    methods = next((_METHODS[kind] for kind in type(owner).__mro__ if kind in _METHODS), None)
    foresee = None if methods is None else methods.get(name)
    if foresee is None:
        raise TemplateExceeded(
            f"the chat template calls {type(owner).__name__}.{name}, which it may not"
        )
    if foresee(owner, given) > bounds.MAX_OUTPUT:
        raise _too_large(name)
    return name in _FRESH_METHODS


# ── operators ───────────────────────────────────────────────────────────────────────────────────


def check_operator(operator: str, left: Any, right: Any) -> None:
    """Raise `TemplateExceeded` where what *operator* makes would be too large."""
    if operator == "**":
        too_large = bits(left) * abs(right) > bounds.MAX_BITS if isinstance(right, int) else False
    elif operator == "*":
        too_large = (
            _repeated(left, right)
            or _repeated(right, left)
            or bits(left) + bits(right) > bounds.MAX_BITS
        )
    elif operator == "%":
        too_large = isinstance(left, str) and _percent(left, [right]) > bounds.MAX_OUTPUT
    else:
        too_large = _added(left, right)
    if too_large:
        raise _too_large(operator)


def _repeated(value: Any, count: Any) -> bool:
    return isinstance(count, int) and length(value) * count > _most(value)


def _added(left: Any, right: Any) -> bool:
    together = length(left) + length(right)
    escaped = _MARKUP if isinstance(left, Markup) or isinstance(right, Markup) else 1
    return escaped * together > _most(left)


def _most(value: Any) -> int:
    return bounds.MAX_OUTPUT if isinstance(value, str) else bounds.MAX_ELEMENTS


def check_joined(parts: tuple[object, ...]) -> None:
    """Raise `TemplateExceeded` where `~` would make too large a text."""
    if sum(map(written_size, parts)) > bounds.MAX_OUTPUT:
        raise _too_large("~")


# ── JSON ────────────────────────────────────────────────────────────────────────────────────────


def json_text(pieces: Iterable[str]) -> str:
    """Return *pieces* of JSON in one, or raise where they come to too much."""
    written: list[str] = []
    left = bounds.MAX_OUTPUT
    iterator = iter(pieces)
    while batch := list(islice(iterator, 100)):
        piece = "".join(batch)
        left -= len(piece)
        if left < 0:
            raise _too_large("tojson")
        written.append(piece)
    return "".join(written)


def check_json(value: object, indent: object, separators: object, *, ascii_only: bool) -> None:
    """Raise `TemplateExceeded` where JSON would be spaced out too far, or a text in it too long."""
    for one in (indent, *(separators if isinstance(separators, (list, tuple)) else ())):
        width = len(one) if isinstance(one, str) else _number(one)
        if width > bounds.MAX_INDENT:
            raise TemplateExceeded(f"the chat template asks tojson for too large a number: {width}")

    if size(value) * _UNICODE_ESCAPES > bounds.MAX_OUTPUT:
        for text in _texts(value):
            if _json_length(text, ascii_only=ascii_only) > bounds.MAX_OUTPUT:
                raise _too_large("tojson")


_UNICODE_ESCAPES = 12
"""Characters of one beyond 16 bits in ASCII: two escapes of six."""
_CONTROLS = [chr(code) for code in range(32)]


def _json_length(text: str, *, ascii_only: bool) -> int:
    """Return the characters that *text* has in JSON, at the most."""
    if len(text) * _UNICODE_ESCAPES <= bounds.MAX_OUTPUT:
        return 0
    if ascii_only and not text.isascii():
        return len(text) * _UNICODE_ESCAPES
    controls = 0 if text.isprintable() else sum(map(text.count, _CONTROLS))
    short = sum(map(text.count, "\n\r\t\b\f"))  # these have escapes of two characters
    return len(text) + 5 * controls - 4 * short + text.count('"') + text.count("\\")


def _texts(value: object) -> Iterable[str]:
    """Yield every text in *value*, however deep."""
    inside = [value]
    while inside:
        one = inside.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, Mapping):
            inside += (*one.keys(), *one.values())
        elif isinstance(one, (list, tuple)):
            inside += one


def json_is_small(value: object) -> bool:
    """Tell whether the JSON of *value* in one line is within the bounds, whatever is in it."""
    return size(value) * (_UNICODE_ESCAPES + bounds.MAX_INDENT) <= bounds.MAX_OUTPUT

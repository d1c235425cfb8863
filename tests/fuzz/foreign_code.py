"""Programs of others: the chat templates of models, the schemas and grammars of callers."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

import pilotlight_onnx
from pilotlight.guidance import (
    ContentGrammar,
    Gbnf,
    Grammar,
    GrammarInvalid,
    GuideTokenizer,
    JsonSchema,
    Lark,
    OneOf,
    Regex,
    compile_grammar,
)
from pilotlight.prompt.chat_template import ChatTemplate
from pilotlight.prompt.errors import ChatTemplateError
from tests.fuzz.case import MEBIBYTE, bounded, case
from tests.fuzz.strategies import altered, json_values, text_of
from tests.guidance.random_schemas import SchemaMaker
from tests.guidance.walker import tokens

# ── chat templates ──────────────────────────────────────────────────────────────────────────────

_SPARK = (Path(pilotlight_onnx.__file__).parent / "spark/chat_template.jinja").read_text()
_EXPRESSIONS = (
    *("messages", "messages[0]", "messages[0].content", "tools", "bos_token", "1", "'ab'", "[1]"),
    *("range(9999)", "range(10**9)", "10**9", "-1", "none", "true", "{'a': 1}", "ns.v", "missing"),
    *("namespace(v='a')", "raise_exception('x')", "strftime_now('%Y')", "''.__class__", "self"),
    *("strftime_now('%9999d')", "strftime_now('%999d' * 9999)", "1.5", "('%', '9' * 9)", "'{:{}}'"),
    *("['x' * 99999] * 999999", "x == x", "x in x", "x is in(x)", "x < [x, x]"),
    *("cycler(1)", "joiner()", "lipsum()", "dict(a=1)", "loop", "caller()", "m(1)", "x"),
)
_FILTERS = (
    *("length", "tojson", "list", "join(',')", "join(x)", "upper", "trim", "string", "safe", "int"),
    *("center(10**9)", "indent(10**9)", "replace('a', 'b' * 999)", "batch(2)", "slice(10**9)"),
    *("attr('__class__')", "map('upper')", "selectattr('role')", "groupby('role')", "sort", "e"),
    *("format(1)", "truncate(3)", "wordwrap(1)", "xmlattr", "pprint", "urlize", "tojson(indent=9)"),
    *("format('x', 10**9)", "format(*x)", "indent('b' * 9999)", "int(0, 16)", "round(10**9)"),
    *("urlize(rel=x)", "tojson(separators=('a' * 99, x))", "urlencode", "replace('', x)", "title"),
    *("map('center', 9999)|list", "batch(9999, x)|list", "sum(start=[])", "truncate(9, end=x)"),
    *(
        "list|list",
        "sum",
        "reverse",
        "unique",
        "min",
        "max",
        "striptags",
        "random",
        "items",
        "dictsort",
    ),
)
_METHODS = (
    *(".split('')", ".format(1)", ".ljust(10**9)", ".zfill(10**9)", ".join(x)", ".append(1)"),
    *(".format('x', '9' * 9)", ".format(w=10**9)", ".format_map({'a': x})", ".split()"),
    *(".translate({97: 'b' * 9999})", ".to_bytes(10**9, 'big')", ".splitlines()", ".center(x)"),
    *(".replace('', 'abc')", ".items()", ".__init__", ".encode()", ".expandtabs(10**9)", "[::-1]"),
)


@st.composite
def _formats(draw: st.DrawFn) -> str:
    """Return what writes a value in a width that is given in one of many ways."""
    width = draw(st.sampled_from(("9", "999", "99999", "999999999", "*", "{}", "{w}", "{:{}}")))
    value = draw(st.sampled_from(("'x'", "1", "1.5", "x", "messages")))
    size = draw(st.sampled_from(("9", "99999", "10**9", "'999999999'", "x")))
    times = draw(st.sampled_from(("", " * 99", " * 99999")))
    return draw(
        st.sampled_from(
            (
                f"('{{:{width}}}'{times}).format({value}, {size}, w={size})",
                f"('{{0!r:>{width}}}'{times}).format({value}, {size})",
                f"('{{a:.{width}}}'{times}).format_map({{'a': {value}, 'w': {size}}})",
                f"('%{width}s'{times}) % ({size}, {value})",
                f"('%.{width}f'{times})|format({size}, {value})",
                f"('%(a){width}d'{times}) % {{'a': {value}}}",
                f"strftime_now('%{width}d'{times})",
            )
        )
    )


def _deeper(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    operators = st.sampled_from(
        (" + ", " * ", " ** ", " ~ ", " % ", " // ", " in ", " and ", " - ")
    )
    return st.one_of(
        st.tuples(inner, operators, inner).map(lambda parts: f"({''.join(parts)})"),
        st.tuples(inner, st.sampled_from(_FILTERS)).map("|".join),
        st.tuples(inner, st.sampled_from(_METHODS)).map("".join),
    )


_expressions = st.recursive(st.sampled_from(_EXPRESSIONS) | _formats(), _deeper, max_leaves=5)


def _around(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Return templates with more of them inside."""
    return st.one_of(
        st.lists(inner, max_size=3).map("".join),
        st.tuples(_expressions, inner).map(
            lambda it: f"{{% for x in {it[0]} %}}{it[1]}{{% endfor %}}"
        ),
        st.tuples(_expressions, inner).map(
            lambda it: f"{{% for x in {it[0]} recursive %}}{it[1]}{{{{ loop(x) }}}}{{% endfor %}}"
        ),
        st.tuples(_expressions, inner).map(lambda it: f"{{% if {it[0]} %}}{it[1]}{{% endif %}}"),
        inner.map(lambda it: f"{{% macro m(x) %}}{it}{{% endmacro %}}{{{{ m(1) }}}}"),
        inner.map(lambda it: f"{{% set x %}}{it}{{% endset %}}{{{{ x }}}}"),
        inner.map(lambda it: f"{{% generation %}}{it}{{% endgeneration %}}"),
        inner.map(lambda it: f"{{% filter upper %}}{it}{{% endfilter %}}"),
    )


_templates = st.recursive(
    st.one_of(
        _expressions.map("{{{{ {} }}}}".format),
        _expressions.map("{{% set x = {} %}}".format),
        _expressions.map("{{% set ns = namespace(v={}) %}}".format),
        st.sampled_from(
            ("{% set ns.v = ns.v ~ ns.v %}", "{% set x = x * 9 %}", "{% break %}", "text")
        ),
    ),
    _around,
    max_leaves=6,
)


@contextmanager
def _within_memory(mebibytes: int) -> Iterator[None]:
    """Let the process have so much more memory than it has: one that takes all ends the machine."""
    with open("/proc/self/statm") as pages:  # noqa: PTH123 - no file of a disk
        held = int(pages.read().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (held + mebibytes * MEBIBYTE, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


_CONVERSATION: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f"}}]},
]


@case(
    "chat templates",
    short=80,
    source=_templates | text_of(("{{", "}}", "{%", "%}", "for x in", "if", "endif", _SPARK)),
    messages=st.just(_CONVERSATION) | altered([_CONVERSATION]),
    variables=st.dictionaries(st.sampled_from(("x", "ns", "loop", "self", "context")), json_values),
)
def chat_templates(source: str, messages: Any, variables: dict[str, Any]) -> None:
    """A prompt or `ChatTemplateError`, soon, and without all of the memory."""
    with bounded(seconds=5), _within_memory(1024), suppress(ChatTemplateError):
        template = ChatTemplate(source, bos_token="<s>", eos_token="</s>")  # noqa: S106
        # One of these names is Python's own; a request's variables are given in the same way.
        prompt = template.render(messages, tools=None, add_generation_prompt=True, **variables)
        assert isinstance(prompt, str)


# ── grammars ────────────────────────────────────────────────────────────────────────────────────


@cache
def _tokens() -> GuideTokenizer:
    return tokens()


_random_schemas = st.builds(
    lambda seed, bounded: SchemaMaker(seed, bounded=bounded).make(),
    st.integers(0, 2**32),
    st.booleans(),
)
_REGEX = (
    "[a-z]",
    "+",
    "*",
    "{1,999}",
    "{0,99999}",
    "(",
    ")",
    "|",
    "\\d",
    "\\p{L}",
    "(?i)",
    "^",
    "\\1",
)
_LARK = (
    "start:",
    "a",
    "|",
    '"x"',
    "/[a-z]+/",
    "\n",
    "%json {}",
    "[lazy]",
    "@x",
    "(a)*",
    "%ignore ",
)
_GBNF = ("root ::=", "root", '"x"', "[a-z]", "*", "{1,9}", "(", ")", "|", "\n", "#", "\\u0000")

_bodies: st.SearchStrategy[ContentGrammar] = st.one_of(
    _random_schemas.map(JsonSchema),
    _random_schemas.flatmap(lambda schema: altered([schema])).map(JsonSchema),
    json_values.map(JsonSchema),
    text_of(_REGEX).map(Regex),
    text_of(_LARK).map(Lark),
    text_of(_GBNF).map(Gbnf),
    st.lists(st.text(), max_size=4).map(lambda texts: OneOf(tuple(texts))),
)


@case("grammars", short=50, body=_bodies)
def grammars(body: ContentGrammar) -> None:
    """A guide that allows a first token, or `GrammarInvalid`, within seconds."""
    with bounded(seconds=8), suppress(GrammarInvalid):
        compile_grammar(Grammar(content=body), _tokens())()


CASES = (chat_templates, grammars)

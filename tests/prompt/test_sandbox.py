"""The sandbox of chat templates: nothing outside is reachable, and every operation is bounded."""

import time
import tracemalloc

import pytest

from pilotlight.prompt.errors import (
    TemplateExceeded,
    TemplateFailed,
    TemplateInvalid,
    TemplateRefused,
)
from pilotlight.prompt.sandbox import limits
from pilotlight.prompt.sandbox.budget import Budget
from pilotlight.prompt.sandbox.json_filters import tojson
from tests.prompt.templates import QWEN3, USER, compiled, render


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update(role='system') }}",
        "{{ raise_exception.__globals__['json'] }}",
        "{{ '{0.__class__.__mro__}'.format(1) }}",
        "{{ (self|attr('__init__')).__globals__ }}",
        "{{ strftime_now.__code__.co_code }}",
    ],
)
def test_sandbox_holds(source):
    """Python's insides cannot be reached, nor can the messages be changed."""
    with pytest.raises(TemplateFailed, match=r"SecurityError|UndefinedError"):
        render(source)


@pytest.mark.parametrize(
    "source",
    ["{{ ''.__class__ }}", "{{ strftime_now.__globals__ }}", "{{ '{0.__class__}'.format(1) }}"],
)
def test_forbidden_attribute_prints_nothing(source):
    """To the template, an attribute that the sandbox forbids is undefined."""
    assert render(source) == ""


LOOP = "{%% set n = namespace(v='a') %%}{%% for i in range(99) %%}{%% set %s %%}{%% endfor %%}"
"""A value that is made of itself again and again."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "source",
    [
        "{{ range(10**9) }}",
        "{% for i in range(99999) %}{{ 'a' * 9999 }}{% endfor %}",
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}",
        "{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(60) }}",
        "{% for m in messages recursive %}{{ loop(messages) }}{% endfor %}",
        "{{ 'a' * 10**9 }}",
        "{{ 10**9 * [1] }}",
        "{{ 2 ** (10**9) }}",
        "{% set n=namespace(v='a') %}{% for i in range(99) %}{% set n.v = n.v + n.v %}{% endfor %}",
        "{% set n = namespace(v=9) %}{% for i in range(99) %}{% set n.v = n.v * n.v %}{% endfor %}",
        "{{ '%999999999d' % 1 }}",
        "{{ '%*d' % (999999999, 1) }}",
        "{{ '%999999999d'|format(1) }}",
        "{{ '{:999999999}'.format(1) }}",
        "{{ '{:{w}}'.format(1, w=999999999) }}",
        "{{ 'a'.ljust(10**9) }}",
        "{{ 'a'|center(10**9) }}",
        "{% if 'a'|center(10**9) %}{% endif %}",
        "{{ '\n' * 10**6 | indent(90000) }}",
        "{{ ('\n' * 10**6)|indent(90000) }}",
        "{{ ('\t' * 10**6).expandtabs(90000) }}",
        "{{ [[1]]|tojson(indent=10**9) }}",
        "{{ [1]|batch(10**9, 'x')|list }}",
        "{{ range(99999)|map('string')|join('a' * 10**7) }}",
        "{{ ('a' * 10**7).join(range(99999)|map('string')) }}",
        "{{ (['a' * 10**7] * 99999)|string }}",
        "{{ ['a' * 10**7] * 99999 }}",
        "{{ (['a' * 10**7] * 99999)|upper }}",
        "{{ ('a ' * 10**6)|wordwrap(1, wrapstring='b' * 10**6) }}",
        "{{ ('a' * 10**5)|wordwrap(1) }}",
        "{{ (' ' * 10**5)|wordwrap(5) }}",
        "{{ ('%s' * 10**6) % ((1,) * 10**6) }}",
        LOOP % "n.v = n.v ~ n.v",
        LOOP % "n.v = [n.v, n.v]|join",
        LOOP % "n.v = n.v.replace('a', 'a' * 10)",
        LOOP % "n.v = n.v|replace('a', 'a' * 10)",
        LOOP % "n.v = [n.v, n.v]" + "{{ n.v }}",
        LOOP % "n.v = (n.v, n.v)" + "{{ n.v }}",
        LOOP % "n.v = {1: n.v, 2: n.v}" + "{{ n.v }}",
        LOOP % "n.v = namespace(a=n.v, b=n.v)" + "{{ n.v }}",
        "{% macro d(x) %}{{ x }}{{ x }}{% endmacro %}" + LOOP % "n.v = d(n.v)",
        LOOP % "x %}{{ n.v }}{{ n.v }}{% endset %}{% set n.v = x",
        "{{ lipsum(n=10**5) }}",
        # formats
        "{{ '{:{}}'.format('x', '300000000') }}",
        "{{ '{:{w}}'.format('x', w='3' * 8) }}",
        "{{ '{:.{}f}'.format(1.5, 300000000) }}",
        "{{ '{:>300000000}'.format_map({}) if false else '{a:>300000000}'.format_map({'a': 1}) }}",
        "{{ ('{:99999}' * 9999).format(*range(9999)) }}",
        "{{ ('{0}' * 9999).format('x' * 10**6) }}",
        "{{ ('{0!r}' * 99).format(['\x00' * 10**6]) }}",
        "{{ ('{}' * 10**6).format(1) }}",
        "{{ ('%99999d' * 9999) % ((1,) * 9999) }}",
        "{{ '%.300000000f' % 1.5 }}",
        "{{ '%(a)300000000s' % {'a': 1} }}",
        "{{ '%((a))300000000s' % {'(a)': 1} }}",
        "{{ ('%(' * 10**6) % {'a': 1} }}",
        "{{ '%*.*f' % (9, 300000000, 1.5) }}",
        "{{ ('x'|safe).format(1) }}{{ ('{0}' * 9999)|safe|format('<' * 10**6) }}",
        "{{ strftime_now('%300000000d') }}",
        "{{ strftime_now('%999d' * 10**5) }}",
        "{{ strftime_now('x' * 10**7) }}",
        "{{ strftime_now('%_30000000Y') }}",
        # widths and separators that are text
        "{{ ('\n' * 10**6)|indent('x' * 10**6) }}",
        "{{ ('a' * 10**6).translate({97: 'x' * 10**6}) }}",
        "{{ ('a' * 10**6)|replace('', 'x' * 10**6) }}",
        "{{ ('a' * 10**6)|replace(new='x' * 10**6, old='a') }}",
        "{{ ('a' * 10**5)|replace('a', [range(9999)|list] * 99) }}",
        "{{ [1]|tojson(separators=('x' * 10**6, ':')) }}",
        "{{ (range(99999)|list)|tojson(indent='x' * 10**6) }}",
        "{{ ('<a b=\"\">' * 10**6)|urlize(rel='x' * 1000) }}",
        "{{ ('http://a.bc ' * 80000)|urlize(rel='x' * 1000) }}",
        "{{ ('\u20ac' * 2 * 10**6)|urlencode }}",
        "{{ {'a': '<' * 10**6}|xmlattr }}",
        "{{ ('<' * 10**7)|e }}",
        "{{ ('\u1e96' * 10**7)|upper }}",
        # lists
        "{{ ('a ' * 8 * 10**6).split() }}",
        "{{ ('a,' * 8 * 10**6).split(',')|length }}",
        "{{ ('a\n' * 8 * 10**6).splitlines()|length }}",
        "{{ ('a' * 10**7)|list|length }}",
        "{{ ([1] * 1000 * 1000 * 10)|length }}",
        "{{ ('a' * 10**7)|map('upper')|list|length }}",
        "{{ ('a' * 10**7)|batch(1)|list|length }}",
        "{{ range(99999)|map('center', 99999)|list|length }}",
        "{{ ([[1] * 1000] * 10**4)|sum(start=[])|length }}",
        (
            "{% set n = namespace(v=[]) %}{% for i in range(99999) %}"
            "{% set n.v = n.v + [1]|batch(99999, 2)|list %}{% endfor %}"
        ),
        (
            "{% set n = namespace(v=[]) %}{% for i in range(999) %}"
            "{% set n.v = n.v + [('a ' * 99999).split()] %}{% endfor %}"
        ),
        (
            "{% set n = namespace(v=[], x='a' * 10**7) %}{% for i in range(999) %}"
            "{% set n.v = n.v + [n.x[1:]] %}{% endfor %}"
        ),
        (
            "{% set n = namespace(v=[]) %}{% for i in range(999) %}"
            "{% set n.v = n.v + [('\u20ac' * 10**6)] %}{% endfor %}"
        ),
        # numbers
        "{{ (1).to_bytes(300000000, 'big') }}",
        "{{ ('f' * 10**7)|int(0, 16) }}",
        "{{ 1.5|round(10**9) }}",
        "{{ (2 ** 1000) ** 1000 }}",
        # what calls itself
        "{% block b %}{{ self.b() }}{{ self.b() }}{% endblock %}",
        (
            "{% macro m() %}{{ caller() }}{% endmacro %}{% macro r() %}"
            "{% call m() %}{{ r() }}{{ r() }}{% endcall %}{% endmacro %}{{ r() }}"
        ),
        # what is on no list
        "{{ 'a'.encode('punycode') }}",
        "{{ 'a'.maketrans('a', 'b') }}",
        "{{ {}.fromkeys(range(9)) }}",
        "{{ (x for x in y) if false else {'a': 1}.items().isdisjoint([]) }}",
    ],
)
def test_endless_template_is_stopped(source):
    """Loops, recursion, numbers and output are bounded, whether anything is written or not."""
    with pytest.raises((TemplateFailed, TemplateInvalid)):
        render(source)


@pytest.mark.parametrize(
    "source",
    [
        "{{ '{:{}}'.format('x', '300000000') | length }}",
        "{{ '{:{}{}}'.format('x', '3000', '00000') | length }}",
        "{{ strftime_now('%999d' * 100000) | length }}",
        "{{ '%*d' % (300000000, 1) }}",
        "{{ '%300000000.300000000f' % 1.5 }}",
        "{{ (1).to_bytes(300000000, 'big')|length }}",
        "{{ ('\n' * 10**6)|indent('x' * 1000)|length }}",
        "{{ ('a' * 10**6).translate({97: 'x' * 1000})|length }}",
        "{{ ('a ' * 8 * 10**6).split()|length }}",
        "{{ ('a' * 16 * 10**6)|list|length }}",
        "{{ ([1] * 99999 * 999)|length }}",
        "{{ (range(9999)|list)|tojson(indent='x' * 99999)|length }}",
        "{{ ('x' * 10**6)|replace('x', 'y' * 1000)|length }}",
        "{{ range(99999)|join('x' * 10**4)|length }}",
        "{{ (['x' * 10**4] * 99999)|string|length }}",
        "{{ ('\x00' * 10**7)|tojson|length }}",
        # One long text many times: its keys, or one comparison, are as large as all of them.
        "{{ (['x' * 99999] * 999999)|sort }}",
        "{{ (['x' * 99999] * 999999)|unique|list }}",
        "{{ (['x' * 99999] * 999999)|min }}",
        "{{ (['x' * 99999] * 999999)|max }}",
        "{{ (['x' * 99999] * 999999)|groupby(0) }}",
        "{{ (['x' * 99999] * 999999).index('x' * 99998 ~ 'y') }}",
        "{{ ('x' * 9999999 ~ 'y') in ['x' * 9999999 ~ 'z'] * 999999 }}",
        "{{ 1 if ['x' * 9999999] * 999999 == ['x' * 9999999 ~ ''] * 999999 }}",
        "{{ [['x' * 9999999] * 999999]|select('eq', ['x' * 9999999 ~ ''] * 999999)|list }}",
        "{{ {'a': 'x' * 9999999, 'b': ['x' * 9999999] * 9}|dictsort(by='value') }}",
        # A list that holds itself many times.
        (
            "{% set a = [] %}{% for i in range(19999) %}{% set _ = a.append(a) %}{% endfor %}"
            "{{ a|string|length }}"
        ),
    ],
)
def test_what_is_refused_takes_no_memory(source):
    """It is refused before it is made: what leads to it is small."""
    template = compiled(source)
    tracemalloc.start()
    try:
        with pytest.raises(TemplateFailed):
            template.render([USER], tools=None, add_generation_prompt=True)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 48 * 1024 * 1024


TWICE = (
    "{% set n = namespace(a=[1]) %}{% for i in range(50) %}{% set n.b = [] %}"
    "{% set _ = n.b.append(n.a) %}{% set _ = n.b.append(n.a) %}{% set n.a = n.b %}{% endfor %}"
)
"""A list of two lists of two lists …, which has 2⁵⁰ elements when it is read."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "source",
    [
        TWICE + "{{ n.a is upper }}",
        TWICE + "{{ [n.a]|select('lower')|list }}",
        TWICE + "{{ 'http://a.com'|urlize(target=n.a) }}",
        TWICE + "{{ raise_exception(n.a) }}",
        TWICE + "{{ messages[n.a].x }}",
        TWICE + "{{ dict(a=n.a).values() }}",
        TWICE + "{{ dict(a=n.a).items() ~ '' }}",
        # Each element is within the limits, and takes time to measure.
        "{{ ([[1] * 90000] * 90000)|join|length }}",
        "{{ ','.join([[1] * 90000] * 90000)|length }}",
        "{{ '%s' % (([1] * 90000,) * 90000) }}",
        "{{ '%s'|format(*([[1] * 90000] * 90000))|length }}",
        "{{ ([['']] * 120000)|sum(start=[])|length }}",
        "{{ ([[]] * 120000)|sum(start=[1] * 999999)|length }}",
    ],
)
def test_what_is_refused_takes_no_time(source):
    """No operation reads more than a value's limit before it is refused."""
    template = compiled(source)
    began = time.thread_time()
    with pytest.raises((TemplateFailed, TemplateRefused)):
        template.render([USER], tools=None, add_generation_prompt=True)
    assert time.thread_time() - began < 2  # 0.3; endless before


@pytest.mark.parametrize(
    "source",
    [
        "{{ ([[1] * 9000] * 90000)|select('eq', 1)|list }}",
        "{{ (['x' * 10**6] * 10**5)|select('lower')|list }}",
        "{% if [1] * 9000 == 1 %}{% endif %}" * 200,
    ],
)
def test_comparisons_and_tests_are_timed(source, monkeypatch):
    """Each takes a while, and no loop of the template's own is around them."""
    template = compiled(source)
    monkeypatch.setattr(limits, "MAX_SECONDS", 0.05)
    began = time.thread_time()
    with pytest.raises(TemplateFailed, match="ran for more than"):
        template.render([USER], tools=None, add_generation_prompt=True)
    assert time.thread_time() - began < 2


def test_template_that_only_takes_time_is_stopped():
    """The CPU time of one rendering is bounded, whatever it is spent on."""
    now = [0.0]
    budget = Budget(clock=lambda: now[0])
    for _ in range(100):
        budget.step()
    now[0] = limits.MAX_SECONDS + 1

    def some_steps():
        for _ in range(100):
            budget.step()

    with pytest.raises(TemplateFailed, match="for more than 10 s"):
        some_steps()


def test_template_that_is_too_long_is_not_compiled():
    """To compile takes time too; templates of models have some tens of thousands of characters."""
    compiled("x" * limits.MAX_SOURCE)
    with pytest.raises(TemplateInvalid, match="has 262145 characters; at most 262144"):
        compiled("x" * (limits.MAX_SOURCE + 1))


@pytest.mark.parametrize(
    "source",
    [
        "{{ " + "-" * 20_000 + "1 }}",
        "{{ " + "not " * 20_000 + "1 }}",
        "{{ 1" + "+1" * 20_000 + " }}",
        "{{ " + "[" * 9000 + "]" * 9000 + " }}",
        "{{ a" + "[0]" * 20_000 + " }}",
        "{{ a" + "|upper" * 20_000 + " }}",
        "{% if a %}" * 9000 + "{% endif %}" * 9000,
        "{% for a in b %}" * 60 + "{% endfor %}" * 60,
    ],
    ids=["minus", "not", "plus", "list", "subscript", "filter", "if", "for"],
)
def test_deep_template_is_invalid(source):
    """Nesting ends the compilation, and not the process."""
    with pytest.raises(TemplateInvalid):
        compiled(source)


def test_lists_may_grow_by_a_message_at_a_time():
    """Templates collect messages so: what a list holds is no new text each time."""
    source = (
        "{% set n = namespace(v=[]) %}{% for m in messages %}{% set n.v = n.v + [m] %}{% endfor %}"
        "{{ n.v|length }}{% for m in n.v %}{{ m.role ~ ': ' ~ m.content }}{% endfor %}"
    )
    messages = [{"role": "user", "content": "x" * 1000}] * 2000
    assert render(source, messages).startswith("2000user: xxx")


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ '%05.1f|%s' % (1.25, 'a') }}", "001.2|a"),
        ("{{ '{:>5}'.format('a') }}", "    a"),
        (
            "{{ '{:{}}'.format('a', 3) }}{{ '{a!r:>{w}}'.format_map({'a': 'b', 'w': 5}) }}",
            "a    'b'",
        ),
        ("{{ '{0[0].role} {0[0][content]}'.format(messages) }}", "user Hi <b>"),
        ("{{ '%(a)3d %%' % {'a': 1} }}{{ '%s-%s'|format('a', 'b') }}", "  1 %a-b"),
        ("{{ '<%s>'|safe % '<' }}{{ ('<{}>'|safe).format('<') }}", "<&lt;><&lt;>"),
        ("{{ strftime_now('%d %B %Y, %-H:%M') }}", "26 July 2025, 12:30"),
        (
            "{{ 'a b  c'.split()|length }}{{ 'a,b'.split(',', 1) }}{{ 'a\nb'.splitlines() }}",
            "3['a', 'b']['a', 'b']",
        ),
        ("{{ 'ab'.translate({97: 'xyz'}) }}{{ 'straße'|upper }}", "xyzbSTRASSE"),
        ("{{ [1, 2, 3]|batch(2, 0)|list }}{{ [3, 1]|sort }}", "[[1, 2], [3, 0]][1, 3]"),
        ("{{ [[1], [2]]|sum(start=[]) }}{{ '12'|int + 1 }}{{ 2.567|round(1) }}", "[1, 2]132.6"),
        ("{{ {'a': {'b': 1}}|pprint }}{{ {'c': '<'}|xmlattr }}", "{'a': {'b': 1}} c=\"&lt;\""),
        ("{{ 'a b'|urlencode }}{{ 'a b c'|wordcount }}{{ 'abc'[1:] }}", "a%20b3bc"),
        (
            "{% for a in [1, 2] %}{{ loop.cycle('x', 'y') }}{{ loop.changed(a) }}{% endfor %}",
            "xTrueyTrue",
        ),
        ("{% set c = cycler(1, 2) %}{{ c.next() }}{{ c.next() }}{{ c.current }}", "121"),
        ("{% set j = joiner('|') %}{% for a in [1, 2] %}{{ j() }}{{ a }}{% endfor %}", "1|2"),
        ("{% block b %}x{% endblock %}{{ self.b() }}", "xx"),
        ("{% macro m() %}[{{ caller() }}]{% endmacro %}{% call m() %}x{% endcall %}", "[x]"),
        ("{{ {'b': '😀', 'a': [1, none]}|tojson(indent=2, ensure_ascii=true)|length }}", "55"),
        ("{{ 'a-b'.replace('-', '+') }}{{ 'a-b'|replace('-', '') }}", "a+bab"),
        ("{{ ['a', 'b']|join(', ') }}{{ '-'.join(['c', 'd']) }}", "a, bc-d"),
        ("{{ messages|map(attribute='role')|join('/') }}", "user"),
        ("{{ {'a': [1, (2, 3)]}|tojson(indent=2)|length }}", "52"),
        ("{{ 'a' ~ 1 ~ none ~ [2] }}", "a1None[2]"),
        ("{% for a, b in {'x': 1}.items() %}{{ a }}{{ b }}{% endfor %}", "x1"),
        ("{% for a, b in [('x', 1)] %}{{ a }}{{ b }}{% endfor %}", "x1"),
        ("{% set a, b = 1, 2 %}{{ a + b }}", "3"),
        ("{{ range(99999)|list|length }}", "99999"),
        ("{{ 'a'|indent(3, true) }}{{ 'b'|center(3) }}", "   a b "),
        ("{% set x %}{{ 'in' }}side{% endset %}{{ x|upper }}", "INSIDE"),
    ],
)
def test_bounds_change_nothing_that_is_small(source, text):
    """What templates use is as Jinja has it."""
    assert render(source) == text


@pytest.mark.slow
def test_long_conversation_is_within_the_bounds():
    """What stops an endless template does not stop a large request."""
    messages = [{"role": "user", "content": "x" * 1000}] * 10_000
    assert len(render(QWEN3, messages)) > 10_000_000


def test_output_may_be_exactly_the_limit(monkeypatch):
    """The bound on the output is in characters and includes its last one."""
    monkeypatch.setattr(limits, "MAX_OUTPUT", 6)
    assert render("{{ messages[0].content }}") == "Hi <b>"
    with pytest.raises(TemplateFailed, match="more than 6 characters"):
        render("{{ messages[0].content }}.")


LONG = 16 * 1024 * 1024 // 12 + 1
"""Characters of a text whose JSON may be too long: each may become two escapes of six."""


@pytest.mark.parametrize(
    ("value", "ascii_only", "written"),
    [
        ("a" * LONG, False, LONG + 2),
        ("a" * LONG, True, LONG + 2),
        ("\n" * LONG, False, 2 * LONG + 2),
        ("\x01" * LONG, False, 6 * LONG + 2),
        ('"\\' * LONG, False, 4 * LONG + 2),
        ("\N{GRINNING FACE}" * LONG, False, LONG + 2),
        ("\N{GRINNING FACE}" * (LONG - 1), True, 12 * (LONG - 1) + 2),
        ("\N{GRINNING FACE}" * LONG, True, None),
        ({"a": ["b", "\x01" * (3 * LONG)]}, False, None),
        ({"\x01" * (3 * LONG): 1}, False, None),
        (["\x01" * LONG, ("\x01" * LONG, "\x01" * LONG)], False, None),
    ],
    ids=[
        "plain",
        "plain as ASCII",
        "short escapes",
        "control characters",
        "quotes and backslashes",
        "beyond U+FFFF",
        "two escapes each, just short enough",
        "two escapes each",
        "inside an array",
        "a key",
        "none too long, but together",
    ],
)
def test_json_of_a_long_text_is_written_or_refused(value, ascii_only, written):
    """What fits is written whole; what does not is refused before it is made, or as it grows."""
    if written is None:
        with pytest.raises(TemplateExceeded, match="tojson"):
            tojson(value, ensure_ascii=ascii_only)
    else:
        assert len(tojson(value, ensure_ascii=ascii_only)) == written

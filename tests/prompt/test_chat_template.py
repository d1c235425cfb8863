"""A model's own template becomes a prompt, and a hostile one becomes an error."""

import tracemalloc
from datetime import UTC, datetime

import pytest

from pilotlight.prompt.chat_template import (
    ChatTemplate,
    ChatTemplateError,
    TemplateFailed,
    TemplateInvalid,
    TemplateRefused,
)
from pilotlight.prompt.sandbox import limits
from pilotlight.prompt.sandbox.budget import Budget

SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "Hi <b>"}
CALL = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {"type": "function", "function": {"name": "clock", "arguments": {"zone": "Zürich"}}},
    ],
}
TOOL = {"type": "function", "function": {"name": "clock", "description": "Tells it's <late>"}}


TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}


def compiled(source):
    now = datetime(2025, 7, 26, 12, 30, tzinfo=UTC)
    return ChatTemplate(source, **TOKENS, now=lambda: now)


def render(source, messages=(USER,), *, tools=None, add_generation_prompt=True, **variables):
    return compiled(source).render(
        list(messages),
        tools=tools,
        add_generation_prompt=add_generation_prompt,
        **variables,
    )


# In the manner of Qwen3: ChatML, tools as JSON lines, a thought that can be switched off.
QWEN3 = """\
{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0].role == 'system' %}
        {{- messages[0].content + '\\n\\n' }}
    {%- endif %}
    {{- "# Tools\\n<tools>" }}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\\n</tools><|im_end|>\\n" }}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- set ns = namespace(last=-1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.last < 0 and message.role == "user" and message.content is string %}
        {%- set ns.last = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.role == 'user' or (message.role == 'system' and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == 'assistant' %}
        {{- '<|im_start|>assistant\\n' + message.content.split('</think>')[-1].lstrip('\\n') }}
        {%- for call in message.tool_calls %}
            {{- '<tool_call>\\n{"name": "' + call.function.name + '", "arguments": ' }}
            {{- call.function.arguments | tojson }}
            {{- '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}
"""

# In the manner of Gemma: roles renamed, strict alternation.
GEMMA = """\
{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not \
supported') }}{% endif %}{% for message in messages %}{% if (message['role'] == 'user') != \
(loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate') }}{% endif %}\
{% if message['role'] == 'assistant' %}{% set role = 'model' %}{% else %}{% set role = \
message['role'] %}{% endif %}{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + \
'<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}\
{% endif %}"""

# In the manner of Llama 3: the date, and headers.
LLAMA3 = """\
{{- bos_token }}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\nToday Date: " + date_string + "<|eot_id|>" }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
    {{- message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""

# In the manner of Mistral: system text within the last instruction, loop controls.
MISTRAL = """\
{%- if messages[0]["role"] == "system" %}
    {%- set system = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "system" %}
        {%- continue %}
    {%- endif %}
    {%- if message["role"] == "user" %}
        {{- "[INST]" + (system + "\\n\\n" if loop.last and system is defined else "") }}
        {{- message["content"] + "[/INST]" }}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"] + eos_token }}
    {%- else %}
        {{- raise_exception("Only user and assistant roles are supported, not " + message.role) }}
    {%- endif %}
{%- endfor %}
"""


def test_qwen_style_with_a_system_message():
    """Messages are wrapped in turns, and the answer's turn is begun."""
    assert render(QWEN3, [SYSTEM, USER]) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\nHi <b><|im_end|>\n<|im_start|>assistant\n"
    )


def test_qwen_style_with_tools_and_a_call():
    """Tools and calls are written as JSON for a model, in UTF-8 and with nothing escaped."""
    assert render(QWEN3, [USER, CALL], tools=[TOOL], add_generation_prompt=False) == (
        "<|im_start|>system\n# Tools\n<tools>\n"
        '{"type": "function", "function": {"name": "clock", "description": "Tells it\'s <late>"}}\n'
        "</tools><|im_end|>\n<|im_start|>user\nHi <b><|im_end|>\n"
        '<|im_start|>assistant\n<tool_call>\n{"name": "clock", "arguments": {"zone": "Zürich"}}\n'
        "</tool_call><|im_end|>\n"
    )


def test_variables_of_the_request_reach_the_template():
    """What a request adds, such as `enable_thinking`, is a variable."""
    assert render(QWEN3, enable_thinking=False).endswith("assistant\n<think>\n\n</think>\n\n")
    assert render(QWEN3, enable_thinking=True).endswith("assistant\n")


def test_gemma_style():
    """Roles are renamed, the first token is the model's own."""
    assert render(GEMMA, [USER, {"role": "assistant", "content": " Yo "}, USER]) == (
        "<s><start_of_turn>user\nHi <b><end_of_turn>\n<start_of_turn>model\nYo<end_of_turn>\n"
        "<start_of_turn>user\nHi <b><end_of_turn>\n<start_of_turn>model\n"
    )


@pytest.mark.parametrize(
    ("messages", "reason"),
    [([SYSTEM, USER], "System role not supported"), ([USER, USER], "must alternate")],
)
def test_template_refuses_messages_with_its_own_words(messages, reason):
    """`raise_exception` tells the client what the model cannot take."""
    with pytest.raises(TemplateRefused, match=reason):
        render(GEMMA, messages)


def test_llama_style_knows_the_date():
    """`strftime_now` reads the clock that was given."""
    assert render(LLAMA3) == (
        "<s><|start_header_id|>system<|end_header_id|>\n\nToday Date: 26 Jul 2025<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nHi <b><|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )


def test_local_time_without_a_clock():
    """The clock is the machine's where none is given."""
    template = ChatTemplate("{{ strftime_now('%Y') }}", bos_token="", eos_token="")
    assert int(template.render([], tools=None, add_generation_prompt=False)) >= 2025


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ date_string }}|{{ datetime }}", "26 Jul 2025|Jul 26 2025"),
        ("{% if not date_string is defined %}x{% endif %}{{ date_string }}", "26 Jul 2025"),
        ("{{ functions }}", '[\n  {\n    "type": "function"\n  }\n]'),
        ("{{ functions is defined }}{{ tools|length }}{{ documents is none }}", "True1True"),
        ("{{ thinking is defined }}{{ enable_thinking is defined }}", "FalseFalse"),
        ("{{ messages[0].thinking }}{{ messages[0].reasoning_content }}", "Hm.Hm."),
        ("{{ ('{\"a\": 1}'|from_json).a }}", "1"),
        ("{% set q = namespace(v=[]) %}{% set _ = q.v.append(1) %}{{ q.v.pop(0) }}", "1"),
        ("{% set m = messages[:1] %}{% set _ = m.append(1) %}{{ m|count - messages|count }}", "1"),
    ],
)  # fmt: skip
def test_what_llama_cpp_and_transformers_give(source, text):
    """The date, tools under another name, reasoning under its older one, lists that grow."""
    message = {**USER, "reasoning_content": "Hm."}
    assert render(source, [message], tools=[{"type": "function"}]) == text


def test_what_a_request_gives_comes_before_defaults():
    assert render("{{ date_string }}", date_string="today") == "today"
    assert render("{{ functions }}|") == "|"


@pytest.mark.parametrize(
    "source", ["{{ messages.append(1) }}", "{{ messages[0].a.append(1) }}", "{{ tools.pop() }}"]
)
def test_what_a_request_has_stays(source):
    message = {**USER, "a": [1]}
    with pytest.raises(TemplateFailed, match="SecurityError"):
        render(source, [message], tools=[TOOL])
    assert message["a"] == [1]


def test_mistral_style_with_loop_controls():
    """`continue` is part of the language that templates are written in."""
    messages = [SYSTEM, USER, {"role": "assistant", "content": "Yo"}, SYSTEM, USER]
    assert render(MISTRAL, messages) == (
        "<s>[INST]Hi <b>[/INST] Yo</s>[INST]Be brief.\n\nHi <b>[/INST]"
    )


def test_block_lines_leave_no_trace():
    """The newline after a block, and the space before it, are dropped as transformers does."""
    assert (
        render("{% for m in messages %}\n  {% if true %}\nx\n  {% endif %}\n{% endfor %}") == "x\n"
    )


def test_generation_tag_is_passed_through():
    """The tag that marks what to train on shows its body; names set in it stay in it."""
    source = "{% set a = 1 %}a{% generation %}{% set a = 2 %}b{{ a }}{% endgeneration %}c{{ a }}"
    assert render(source) == "ab2c1"


def test_tojson_takes_the_arguments_of_transformers():
    """`tojson` indents, sorts, separates and escapes as it is told to."""
    source = "{{ {'b': 'é', 'a': 1} | tojson(%s) }}"
    assert render(source % "") == '{"b": "é", "a": 1}'
    assert render(source % "indent=2") == '{\n  "b": "é",\n  "a": 1\n}'
    assert render(source % "ensure_ascii=true") == '{"b": "\\u00e9", "a": 1}'
    assert render(source % "sort_keys=true, separators=(',', ':')") == '{"a":1,"b":"é"}'


def test_content_is_no_template():
    """What a message says is never evaluated."""
    message = {"role": "user", "content": "{{ bos_token }}{% if"}
    assert render("{{ messages[0].content }}", [message]) == "{{ bos_token }}{% if"


def test_absent_tools_are_none():
    """Templates test `tools is none` and `documents is none`, as transformers lets them."""
    assert render("{{ tools is none }} {{ documents is none }} {{ x is defined }}") == (
        "True True False"
    )


def test_variables_replace_nothing_that_is_given_otherwise():
    """A request's variables are no way around its messages or the model's tokens."""
    source = "{{ messages|length }}{{ bos_token }}{{ documents }}"
    variables = {"messages": [], "bos_token": "x", "documents": "d"}
    rendered = compiled(source).render(
        [USER],
        tools=None,
        add_generation_prompt=True,
        **variables,
    )
    assert rendered == "1<s>d"


def test_template_renders_again_and_again():
    """Rendering leaves no state behind."""
    template = compiled("{% for m in messages %}{{ m.content }}{% endfor %}")
    for _ in range(3):
        assert template.render([USER], tools=None, add_generation_prompt=True) == "Hi <b>"


@pytest.mark.parametrize(
    "source",
    [
        "{% if %}",
        "{{ messages",
        "{% for m in messages %}",
        "{{ x | nofilter }}",
        "{% generation %}",
        "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    ],
)
def test_source_that_does_not_compile_is_invalid(source):
    """A broken template is known when the model is loaded, not at the first request."""
    with pytest.raises(TemplateInvalid, match="does not compile"):
        compiled(source)


@pytest.mark.parametrize(
    "source",
    [
        "{{ missing.attribute.of.it }}",
        "{{ messages[0].content + 1 }}",
        "{{ 1 / 0 }}",
        "{{ messages | tojson(indent=messages) }}",
        "{{ missing | tojson }}",
        "{% include 'other' %}",
        "{{ raise_exception() }}",
    ],
)
def test_template_that_breaks_has_failed(source):
    """Whatever rendering raises is one kind of error."""
    with pytest.raises(TemplateFailed, match="cannot be rendered"):
        render(source)


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
    with pytest.raises(TemplateInvalid, match="has 262145 characters, 262144 are the most"):
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


def test_template_is_quick_once_it_was():
    """The event loop waits for a template of which that is known, and for no other."""
    template = compiled("{{ messages[0].content }}")
    assert not template.quick
    template.render([USER], tools=None, add_generation_prompt=True)
    assert template.quick


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


def test_errors_are_one_tree():
    """A caller can catch all that goes wrong with a template at once."""
    for error in (TemplateInvalid, TemplateRefused, TemplateFailed):
        assert issubclass(error, ChatTemplateError)

"""Chat templates: rendered as in transformers and llama.cpp; errors are of one tree."""

import pytest

from pilotlight.prompt.chat_template import (
    ChatTemplate,
    ChatTemplateError,
    TemplateFailed,
    TemplateInvalid,
    TemplateRefused,
)
from tests.prompt.templates import QWEN3, USER, compiled, render

SYSTEM = {"role": "system", "content": "Be brief."}
CALL = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {"type": "function", "function": {"name": "clock", "arguments": {"zone": "Zürich"}}},
    ],
}
TOOL = {"type": "function", "function": {"name": "clock", "description": "Tells it's <late>"}}


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
    """`raise_exception` returns the template's message to the client."""
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
    """`tojson` indents, sorts, separates and escapes by its arguments."""
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
    with pytest.raises(TemplateFailed, match="the chat template failed"):
        render(source)


def test_template_is_quick_once_it_was():
    """The event loop waits for a template of which that is known, and for no other."""
    template = compiled("{{ messages[0].content }}")
    assert not template.quick
    template.render([USER], tools=None, add_generation_prompt=True)
    assert template.quick


def test_errors_are_one_tree():
    """A caller can catch all that goes wrong with a template at once."""
    for error in (TemplateInvalid, TemplateRefused, TemplateFailed):
        assert issubclass(error, ChatTemplateError)

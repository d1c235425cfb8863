"""Templates that take a conversation in a shape of their own get it so; others get it as it is."""

import json

import pytest

from pilotlight.prompt.chat_template import ChatTemplate
from pilotlight.prompt.errors import TemplateExceeded, TemplateFailed, TemplateRefused
from pilotlight.prompt.template_variables import TemplateVariables
from pilotlight.prompt.workarounds import (
    _one_call_a_message,
    _system_first,
    render_with_workarounds,
    required_workarounds,
)

SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "Hi"}
ANSWER = {"role": "assistant", "content": "Yo"}


def call(*names, content="", **fields):
    calls = [
        {
            "type": "function",
            "id": f"call_{name}",
            "function": {"name": name, "arguments": {"a": 1}},
        }
        for name in names
    ]
    return {"role": "assistant", "content": content, "tool_calls": calls, **fields}


def result(name):
    return {"role": "tool", "content": f"did {name}", "tool_call_id": f"call_{name}"}


TOOL = {
    "type": "function",
    "function": {"name": "f", "parameters": {"type": "object", "properties": {"a": {}}}},
}

EACH = "{%- for m in messages %}{{ m.role[0] }}:{{ m.content }};{% endfor %}"
NO_SYSTEM = (
    "{%- for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}"
    "{% endif %}{% endfor %}" + EACH
)
SYSTEM_FIRST = (
    "{%- for m in messages %}{% if m.role == 'system' and not loop.first %}"
    "{{ raise_exception('system must be first') }}{% endif %}{% endfor %}" + EACH
)
TURNS = (
    "{%- set rest = messages[1:] if messages[0].role == 'system' else messages %}"
    "{%- for m in rest %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}{% endfor %}" + EACH
)
STRICT = NO_SYSTEM + TURNS.removesuffix(EACH)
CALLS = "{%- for m in messages %}{% for c in m.tool_calls or [] %}{{ %s }};{% endfor %}{% endfor %}"
TEXT_ARGUMENTS = CALLS.replace("%s", "c.function.name + c.function.arguments")
ITEMS = CALLS.replace("%s", "c.function.arguments.items()|list")
IDS = (
    "{%- for m in messages %}{% for id in [m.tool_call_id] + (m.tool_calls or [])"
    "|map(attribute='id')|list if id %}{% if id|length != 9 %}{{ raise_exception('nine') }}"
    "{% endif %}{{ id }};{% endfor %}{% endfor %}"
)
ONE_CALL = (
    "{%- for m in messages %}{% if m.tool_calls and m.tool_calls|length > 1 %}"
    "{{ raise_exception('one call at a time') }}{% endif %}"
    "{{ m.content }}{% for c in m.tool_calls or [] %}<{{ c.function.name }}>{% endfor %};"
    "{% endfor %}"
)
FIRST_CALL = (
    "{%- for m in messages %}{{ m.content }}{% if m.tool_calls %}"
    "<{{ m.tool_calls[0].function.name }}>{% endif %};{% endfor %}"
)
LIST_OF_TOOLS = "{%- for t in tools %}{{ t.function.name }};{% endfor %}" + EACH
DESCRIBED = (
    "{%- for t in tools or [] %}{{ t.function.name + t.function.description }}"
    "{% for n, p in t.function.parameters.properties.items() %}{{ n + p.description }}"
    "{% endfor %};{% endfor %}"
)
EITHER = (
    "{%- for m in messages %}{% if m.tool_calls and m.content and m.thinking %}"
    "{{ raise_exception('content or thinking') }}{% endif %}{{ m.thinking }}|{{ m.content }};"
    "{% endfor %}"
)


TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}


def rendering(source):
    template = ChatTemplate(source, **TOKENS)
    return lambda given: template.render(
        given.messages, tools=given.tools, add_generation_prompt=True
    )


def text(source, *messages, tools=None):
    return render_with_workarounds(rendering(source), TemplateVariables(list(messages), tools))


@pytest.mark.parametrize(
    ("source", "messages", "expected"),
    [
        (NO_SYSTEM, (SYSTEM, USER), "u:Be brief.\n\nHi;"),
        (NO_SYSTEM, (USER, ANSWER, SYSTEM, USER), "u:Hi;a:Yo;u:Be brief.;u:Hi;"),
        (SYSTEM_FIRST, (SYSTEM, SYSTEM, USER), "s:Be brief.\n\nBe brief.;u:Hi;"),
        (SYSTEM_FIRST, (USER, ANSWER, SYSTEM, USER), "u:Hi;a:Yo;u:Be brief.;u:Hi;"),
        (
            TURNS,
            (SYSTEM, USER, USER, ANSWER, ANSWER, USER),
            "s:Be brief.;u:Hi\n\nHi;a:Yo\n\nYo;u:Hi;",
        ),
        (TURNS, (SYSTEM, USER, ANSWER, SYSTEM, USER), "s:Be brief.;u:Hi;a:Yo;u:Be brief.\n\nHi;"),
        (STRICT, (SYSTEM, USER, ANSWER, USER), "u:Be brief.\n\nHi;a:Yo;u:Hi;"),
        (TEXT_ARGUMENTS, (USER, call("f"), result("f")), 'f{"a": 1};'),
        (ITEMS, (USER, call("f")), "[('a', 1)];"),
        (IDS, (USER, call("f"), result("f")), "2d1e4d5ab;2d1e4d5ab;"),
        (
            ONE_CALL,
            (USER, call("f", "g", content="Both."), result("g"), result("f"), ANSWER),
            "Hi;Both.<f>;did f;<g>;did g;Yo;",
        ),
        (LIST_OF_TOOLS, (USER,), "u:Hi;"),
        (
            EITHER,
            (call("f", content="Now.", reasoning_content="Hm."), ANSWER),
            "Hm.\n\nNow.|;|Yo;",
        ),
    ],
)
def test_a_template_gets_the_shape_that_it_takes(source, messages, expected):
    if source == IDS:
        assert_ids_agree(text(source, *messages))
    elif source == ONE_CALL:
        assert sorted(text(source, *messages).split(";")) == sorted(expected.split(";"))
    else:
        assert text(source, *messages) == expected


def assert_ids_agree(ids):
    one, other, rest = ids.split(";")
    assert one == other
    assert one.isalnum()
    assert (len(one), rest) == (9, "")


def test_ids_that_fit_stay():
    fitting = call("f")
    fitting["tool_calls"][0]["id"] = "abcDEF123"
    assert text(IDS, USER, fitting) == "abcDEF123;"


def test_results_stand_behind_their_calls():
    """By their ids where they have known ones, else in their order."""
    given = TemplateVariables(
        [USER, call("f", "g", reasoning_content="Hm."), result("g"), result("f")], None
    )
    shaped = _one_call_a_message(given).messages
    said = [
        one.get("tool_call_id") or [c["id"] for c in one.get("tool_calls", ())] for one in shaped
    ]
    assert said == [[], ["call_g"], "call_g", ["call_f"], "call_f"]
    unknown = TemplateVariables([call("f", "g"), {**result("x")}, {**result("y")}], None)
    assert [one["role"] for one in _one_call_a_message(unknown).messages] == [
        "assistant", "tool", "assistant", "tool",
    ]  # fmt: skip


def test_what_was_said_before_calls_is_said_once():
    given = TemplateVariables(
        [call("f", "g", content="Both.", reasoning_content="Hm."), result("f"), result("g")], None
    )
    first, _, second, _ = _one_call_a_message(given).messages
    assert (first["content"], first["reasoning_content"]) == ("Both.", "Hm.")
    assert (second["content"], second["reasoning_content"]) == ("", "")


def test_a_call_without_a_result_stays():
    given = TemplateVariables([call("f", "g"), result("f"), USER], None)
    names = [
        c["id"] for one in _one_call_a_message(given).messages for c in one.get("tool_calls", ())
    ]
    assert names == ["call_f", "call_g"]


def test_arguments_that_are_no_object_become_one():
    bare = call("f")
    bare["tool_calls"][0]["function"]["arguments"] = "not JSON"
    assert text(ITEMS, USER, bare) == "[('arguments', 'not JSON')];"


def test_descriptions_that_are_left_out_are_empty():
    assert text(DESCRIBED, USER, tools=[TOOL]) == "fa;"
    bare = {"type": "function", "function": {"name": "g"}}
    assert text(DESCRIBED, USER, tools=[TOOL, bare]) == "fa;g;"


@pytest.mark.parametrize("properties", [None, [], "a"])
def test_a_schema_that_is_none_is_no_fault_of_the_template(properties):
    """The first error is raised, whatever the properties are."""
    parameters = {"type": "object", "properties": properties}
    tool = {"type": "function", "function": {"name": "f", "parameters": parameters}}
    with pytest.raises(TemplateFailed):
        text("{{ 1 / 0 }}", USER, tools=[tool])


def test_what_a_template_takes_is_not_changed():
    """Of every shape: the conversation is rendered once, as it was given."""
    given = TemplateVariables([SYSTEM, SYSTEM, USER, call("f", "g"), result("f"), USER], [TOOL])
    seen = []

    def render(conversation):
        seen.append(conversation)
        return "text"

    assert render_with_workarounds(render, given) == "text"
    assert len(seen) == 1
    assert seen[0] is given


def test_first_error_is_raised_if_nothing_helps():
    """It is about what the client sent, and not about a shape that was tried."""
    source = "{{ raise_exception(messages|length ~ ' ' ~ messages[0].role) }}"
    with pytest.raises(TemplateRefused, match=r"^3 system$"):
        text(source, SYSTEM, SYSTEM, USER)
    with pytest.raises(TemplateFailed, match="has no attribute 'x'"):
        text("{{ messages[0].x.y }}{{ missing.z }}", USER)


def test_a_template_that_exceeds_its_bounds_is_not_tried_again():
    count = []

    def render(_):
        count.append(1)
        raise TemplateExceeded("too much")

    with pytest.raises(TemplateExceeded):
        render_with_workarounds(render, TemplateVariables([SYSTEM, USER], [TOOL]))
    assert len(count) == 1


ONE_SYSTEM = (
    "{%- if messages[0].role == 'system' %}s:{{ messages[0].content }};{% endif %}"
    "{% for m in messages if m.role != 'system' %}{{ m.content }};{% endfor %}"
)


@pytest.mark.parametrize(
    ("source", "workarounds"),
    [
        (FIRST_CALL, (_one_call_a_message,)),
        (ONE_SYSTEM, (_system_first,)),
        (TEXT_ARGUMENTS, ()),
        (ONE_CALL, ()),
        (EACH, ()),
        (ITEMS, ()),
        (SYSTEM_FIRST, ()),
        ("text", ()),
    ],
)
def test_what_a_template_leaves_out_is_known(source, workarounds):
    """It writes the first and complains of nothing; others complain, or write none at all."""
    assert required_workarounds(rendering(source)) == workarounds


def test_what_would_be_left_out_is_said():
    (adapt,) = required_workarounds(rendering(ONE_SYSTEM))
    shaped = adapt(TemplateVariables([SYSTEM, SYSTEM, USER, ANSWER, SYSTEM, USER], None))
    said = rendering(ONE_SYSTEM)(shaped)
    assert said == "s:Be brief.\n\nBe brief.;Hi;Yo;Be brief.;Hi;"


def test_arguments_as_text_are_json():
    shaped = text(TEXT_ARGUMENTS, USER, call("f"))
    assert json.loads(shaped.removeprefix("f").removesuffix(";")) == {"a": 1}

"""Every chat template of a folder renders, or refuses in its own words.

`PILOTLIGHT_TEST_TEMPLATES=FOLDER pytest tests/prompt/test_template_folder.py -s`, with templates of
models in `*.jinja`: llama.cpp's source has some seventy in `models/templates`. Skipped without.
"""

import os
from pathlib import Path

import pytest

from pilotlight.prompt.chat_template import ChatTemplate
from pilotlight.prompt.errors import TemplateRefused
from pilotlight.prompt.template_variables import TemplateVariables
from pilotlight.prompt.workarounds import render_with_workarounds, required_workarounds

FOLDER = os.environ.get("PILOTLIGHT_TEST_TEMPLATES", "")
TEMPLATES = sorted(Path(FOLDER).glob("*.jinja")) if FOLDER else []

TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "Weather in Paris?"}
MORE = {"role": "user", "content": "And in Rome?"}
ANSWER = {"role": "assistant", "content": "It is sunny."}
THOUGHT = {**ANSWER, "reasoning_content": "I know."}


def calling(*cities, content="", **fields):
    return {
        "role": "assistant",
        "content": content,
        "tool_calls": [
            {
                "type": "function",
                "id": f"call_{city}",
                "function": {"name": "get_weather", "arguments": {"city": city}},
            }
            for city in cities
        ],
        **fields,
    }


def result(city):
    return {"role": "tool", "content": f"{city}: sunny", "tool_call_id": f"call_{city}"}


BARE = calling("Paris")
BARE["tool_calls"][0]["function"]["arguments"] = "not JSON"
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Tell the weather.",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "Where"},
                    "days": {"type": "integer"},
                },
                "required": ["city"],
            },
        },
    }
]
CONVERSATIONS = {
    "user": (USER,),
    "system": (SYSTEM, USER),
    "turns": (USER, ANSWER, MORE),
    "system and turns": (SYSTEM, USER, THOUGHT, MORE),
    "call": (USER, calling("Paris"), result("Paris")),
    "call and more": (SYSTEM, USER, calling("Paris"), result("Paris"), ANSWER, MORE),
    "two calls": (
        USER,
        calling("Paris", "Rome", content="Let me look.", reasoning_content="Two."),
        result("Paris"),
        result("Rome"),
    ),
    "bare arguments": (USER, BARE, result("Paris")),
    "neighbours": (USER, MORE),
    "late system": (USER, ANSWER, SYSTEM, MORE),
    "two systems": (SYSTEM, SYSTEM, USER),
}


@pytest.mark.skipif(not TEMPLATES, reason="PILOTLIGHT_TEST_TEMPLATES names no folder of templates")
@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
@pytest.mark.parametrize("tools", [None, TOOLS], ids=["no tools", "tools"])
def test_every_conversation_renders_or_is_refused(path, tools):
    template = ChatTemplate(path.read_text("utf-8"), **TOKENS)
    for thinking in ({}, {"enable_thinking": True}, {"enable_thinking": False}):

        def render(given, variables=thinking):
            return template.render(
                given.messages, tools=given.tools, add_generation_prompt=True, **variables
            )

        workarounds = required_workarounds(render)
        for name, messages in CONVERSATIONS.items():
            given = TemplateVariables(messages, tools)
            for adapt in workarounds:
                given = adapt(given)
            try:
                text = render_with_workarounds(render, given)
            except TemplateRefused as error:
                print(f"{path.name}: {name}: {error}")  # noqa: T201 - for whoever runs it
            else:
                assert "Paris" in text, name
                assert "system" not in name or "Be brief." in text, name

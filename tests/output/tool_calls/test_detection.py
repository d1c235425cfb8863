"""The chat template shows which format its model writes."""

# ruff: noqa: RUF001, E501 -- templates stay as they are
import pytest

from pilotlight.output.tool_calls import FORMATS, detect

# Excerpts of the models' own templates, or of those that engines ship for them.
TEMPLATES = {
    # openai/gpt-oss-20b
    "harmony": """
            {{- "<|start|>assistant to=" }}
            {{- "functions." + tool_call.name + "<|channel|>commentary " }}
            {{- (tool_call.content_type if tool_call.content_type is defined else "json") + "<|message|>" }}
            {{- tool_call.arguments|tojson }}
            {{- "<|call|>" }}
""",
    # google/gemma-4
    "gemma4": """
                    {{- '<|tool_call>call:' + function['name'] + '{' -}}
                            {{- key -}}:{{- format_argument(value, escape_keys=False) -}}
                    {{- '}<tool_call|>' -}}
        {{- '<|channel>thought\\n<channel|>' -}}
""",
    # deepseek-ai/DeepSeek-R1-Distill-Qwen-32B
    "deepseek_v3": """
        {{'<｜Assistant｜><｜tool▁calls▁begin｜><｜tool▁call▁begin｜>' + tool['type'] + '<｜tool▁sep｜>' + tool['function']['name'] + '\\n' + '```json' + '\\n' + tool['function']['arguments'] + '\\n' + '```' + '<｜tool▁call▁end｜>'}}
    {{'<｜tool▁calls▁end｜><｜end▁of▁sentence｜>'}}
""",
    # deepseek-ai/DeepSeek-V3.1
    "deepseek_v3_1": """
{{'<｜tool▁call▁begin｜>'+ tool['function']['name'] + '<｜tool▁sep｜>' + tool['function']['arguments'] + '<｜tool▁call▁end｜>'}}
    {%- endfor -%}{{'<｜tool▁calls▁end｜><｜end▁of▁sentence｜>'}}
""",
    # CohereForAI/c4ai-command-r7b-12-2024, tool_use
    "command_a": """
1. Action: write <|START_ACTION|> followed by a list of JSON-formatted tool calls, with each one containing "tool_name" and "parameters" fields.
<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>{% if message.tool_calls %}<|START_THINKING|>{{message.reasoning_content}}<|END_THINKING|><|START_ACTION|>[
    {"tool_call_id": "{{ tool_idx.value }}", "tool_name": "{{ tc['function']['name'] }}", "parameters": {{ tc['function']['arguments']|tojson }}}
""",
    # CohereForAI/c4ai-command-r-v01, tool_use
    "command_r": """
{{ '<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>Write \\'Action:\\' followed by a json-formatted list of actions that you want to perform in order to produce a good response to the user\\'s last input.' }}
""",
    # mistralai/Mistral-7B-Instruct-v0.3, as vLLM ships it
    "mistral": """
{% elif message['role'] == 'assistant' and message['tool_calls'] and message['tool_calls']|length > 0 %}{{ '[TOOL_CALLS]' + message['content']|string + eos_token }}
""",
    # mistralai/Mistral-Small-3.2-24B-Instruct-2506
    "mistral_v11": """
                {{- '[TOOL_CALLS]' + tool_call.function.name }}
                {{- '[CALL_ID]' + tool_call.id }}
                {{- '[ARGS]' + tool_call['function']['arguments']|tojson }}
""",
    # meetkai/functionary-small-v3.2
    "functionary_v3_2": """
            {{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'}}
                {{ '>>>all\\n' + message['content'] }}
                    {{ '>>>' + tool_call['function']['name'] + '\\n' + tool_call['function']['arguments'] }}
""",
    # meetkai/functionary-small-v3.1
    "functionary_v3_1": """
{{- '<|start_header_id|>system<|end_header_id|>\\n\\n' }}
start_tag => `<function`
Here is an example,
<function=example_function_name>{"example_name": "example_value"}</function>
""",
    # Qwen/Qwen3-Coder-30B-A3B-Instruct
    "qwen3_coder": """
    {{- '\\n\\nIf you choose to call a function ONLY reply in the following format with NO suffix:\\n\\n<tool_call>\\n<function=example_function_name>\\n<parameter=example_parameter_1>\\nvalue_1\\n</parameter>' }}
""",
    # zai-org/GLM-4.5
    "glm4": """
<tool_call>{function-name}
<arg_key>{arg-key-1}</arg_key>
<arg_value>{arg-value-1}</arg_value>
...
</tool_call>{%- endif -%}
""",
    # ibm-granite/granite-3.0-8b-instruct
    "granite": """
    {%- elif message['role'] == 'assistant_tool_call' %}
    {{- '<|start_of_role|>assistant<|end_of_role|><|tool_call|>' + message['content'] + '<|end_of_text|>\\n' }}
""",
    # microsoft/Phi-4-mini-instruct, as llama.cpp ships it
    "phi4_mini": """
            {{- 'You are a helpful assistant with some tools.\\nTo use a tool, respond in this format: <|tool_call|>{"name": "foo", "arguments": {"a": 1}}<|/tool_call|>' -}}
""",
    # meta-llama/Llama-3.2-3B-Instruct
    "llama3_json": """
    {{- 'Respond in the format {"name": function name, "parameters": dictionary of argument name and its value}.' }}
            {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}
            {{- '{"name": "' + tool_call.name + '", ' }}
            {{- '"parameters": ' }}
""",
    # Qwen/Qwen3-0.6B
    "hermes": """
    {{- "\\n</tools>\\n\\nFor each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:\\n<tool_call>\\n{\\"name\\": <function-name>, \\"arguments\\": <args-json-object>}\\n</tool_call><|im_end|>\\n" }}
""",
}  # fmt: skip


@pytest.mark.parametrize(("name", "template"), TEMPLATES.items(), ids=TEMPLATES)
def test_template_is_of_exactly_one_format(name, template):
    """No other row takes the template for its own, in whatever order they are tried."""
    assert [row.name for row in FORMATS.values() if row.matches(template)] == [name]
    assert detect(template) == name


def test_every_format_is_detected():
    """No row of the table is without a template."""
    assert TEMPLATES.keys() == FORMATS.keys()


@pytest.mark.parametrize(
    ("template", "name"),
    [
        # microsoft/Phi-4-mini-instruct, its own
        ("{{ '<|tool|>' + message['tools'] + '<|/tool|>' + '<|end|>' }}", "phi4_mini"),
        # vLLM's template for it
        ('<|system|>\nformatted as functools[{"name": [function name]', "phi4_mini"),
        # ibm-granite/granite-4.0-micro writes objects between tags
        (
            "{{- '<|start_of_role|>assistant<|end_of_role|>' }}{{- '\\n<tool_call>\\n{\"name\": \"' }}{{- '}\\n</tool_call>' }}",
            "hermes",
        ),
        ("<|start_of_role|>respond with <tool_call> followed by a JSON list of tools", "granite"),
        # NousResearch/Hermes-3-Llama-3.1 among Llama's headers
        (
            '<|start_header_id|>{"properties": {"name": x}, "parameters": y} <tool_call></tool_call>',
            "hermes",
        ),
    ],
)
def test_similar_templates_are_distinguished(template, name):
    """The same tag, or the same headers, in the templates of other models."""
    assert [row.name for row in FORMATS.values() if row.matches(template)] == [name]


@pytest.mark.parametrize(
    "template",
    [
        "",
        "{{ message.content }}",
        "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>",
        "{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}",
        "[INST] {{ message['content'] }} [/INST]",
    ],
)
def test_template_without_tools_has_no_format(template):
    """Where no tag is seen, nothing is guessed."""
    assert detect(template) is None

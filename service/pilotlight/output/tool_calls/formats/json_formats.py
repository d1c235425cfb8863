"""Formats whose calls are JSON objects, with the name and the arguments as members."""

from pilotlight.output.tool_calls.formats.format import ToolCallFormat
from pilotlight.output.tool_calls.grammars.lark import Layout, literal
from pilotlight.output.tool_calls.grammars.trigger import Trigger
from pilotlight.output.tool_calls.readers.json_call import JsonShape, closed_by

OBJECT_START = '{"name": "$name", "arguments": '

# NousResearch/Hermes-2-Pro, Qwen/Qwen2.5 and Qwen3 chat templates
HERMES = ToolCallFormat(
    "hermes",
    signs=(("<tool_call>",),),
    # Qwen3-Coder, GLM and Granite write XML or a list behind the same tag.
    lacks=("<function=", "<arg_key>", "JSON list"),
    openers=("<tool_call>",),
    reader=JsonShape(closers=closed_by("</tool_call>")).reader,
    grammar=Layout(
        opener=literal("<tool_call>"),
        before=(f"\n{OBJECT_START}",),
        after=literal("}\n</tool_call>"),
        between=literal("\n<tool_call>"),
    ).grammar,
    triggers=(Trigger("<tool_call>"),),
)

# ibm-granite/granite-3.x: the token; vLLM's granite_tool_parser.py: the string of 3.1
GRANITE = ToolCallFormat(
    "granite",
    signs=(
        ("<|start_of_role|>", "<|tool_call|>"),
        ("<|start_of_role|>", "<tool_call>", "JSON list"),
    ),
    lacks=("</tool_call>",),
    openers=("<|tool_call|>", "<tool_call>"),
    reader=JsonShape(listed="always", closers=closed_by("</tool_call>")).reader,
    grammar=Layout(
        opener='("<|tool_call|>" | "<tool_call>")',
        opening='"["',
        before=(OBJECT_START,),
        after=literal("}"),
        between=literal(", "),
        closing=literal("]"),
    ).grammar,
    triggers=(Trigger("<|tool_call|>"), Trigger("<tool_call>")),
)

# microsoft/Phi-4-mini-instruct; llama.cpp models/templates/llama-cpp-microsoft-Phi-4-mini-
# instruct.jinja; vLLM's phi4mini_tool_parser.py and its template: `functools[…]`
PHI4_MINI = ToolCallFormat(
    "phi4_mini",
    signs=(("<|/tool_call|>",), ("<|/tool|>",), ("<|system|>", "functools[")),
    lacks=(),
    openers=("<|tool_call|>", "functools"),
    reader=JsonShape(
        arguments_keys=("arguments", "parameters"),
        listed="maybe",
        closers=closed_by("<|/tool_call|>"),
    ).reader,
    grammar=Layout(
        opener=literal("<|tool_call|>["),
        before=(OBJECT_START,),
        after=literal("}"),
        between=literal(", "),
        closing=literal("]<|/tool_call|>"),
    ).grammar,
    triggers=(
        Trigger("<|tool_call|>", then='"[" tool_rest'),
        Trigger(r"functools\s*\[", expression=True),
    ),
    never=r"(?s:.*)functools\s*\{",
)

# llama.cpp models/templates/CohereForAI-c4ai-command-r7b-12-2024-tool_use.jinja
COMMAND_A = ToolCallFormat(
    "command_a",
    signs=(("<|START_ACTION|>",),),
    lacks=(),
    openers=("<|START_ACTION|>",),
    reader=JsonShape(
        name_key="tool_name",
        arguments_keys=("parameters",),
        listed="maybe",
        closers=closed_by("<|END_ACTION|>"),
    ).reader,
    grammar=Layout(
        opener=literal("<|START_ACTION|>"),
        opening=literal("[\n    "),
        before=(
            '{"tool_call_id": "',
            "/[0-9]{1,3}/",
            '", "tool_name": "$name", "parameters": ',
        ),
        after=literal("}"),
        between=literal(",\n    "),
        closing=literal("\n]<|END_ACTION|>"),
    ).grammar,
    triggers=(Trigger("<|START_ACTION|>"),),
)

# The template `tool_use` of CohereForAI/c4ai-command-r-v01 and -plus
COMMAND_R = ToolCallFormat(
    "command_r",
    signs=(("<|START_OF_TURN_TOKEN|>", "Action:"),),
    lacks=("<|START_ACTION|>",),
    openers=("Action:",),
    reader=JsonShape(
        name_key="tool_name",
        arguments_keys=("parameters",),
        before_json="```json",
        listed="maybe",
        closers=closed_by("```"),
    ).reader,
    grammar=Layout(
        opener=literal("Action: ```json"),
        opening=literal("\n[\n    "),
        before=('{\n        "tool_name": "$name",\n        "parameters": ',),
        after=literal("\n    }"),
        between=literal(",\n    "),
        closing=literal("\n]```"),
        indented=True,
    ).grammar,
    triggers=(Trigger(r"Action:[ \t\r\n]*```json", expression=True),),
)

# A bare object is a call if it names a listed function; other members may come first.
_BARE = r'\{\s*"name"\s*:\s*"$name"\s*,\s*"parameters"\s*:'
_OTHER_BARE = (
    r'\{(\s*"(type|id)"\s*:\s*("[^"]*"|[^"\[{,]*),)*'
    r'\s*("name"\s*:\s*"($names)"|"(parameters|arguments)"\s*:|"(type|id)"\s*:\s*[\[{])'
)

# meta-llama/Llama-3.1 and 3.2 chat templates; vLLM's llama_tool_parser.py: `;` between calls
LLAMA3_JSON = ToolCallFormat(
    "llama3_json",
    signs=(("<|start_header_id|>", '"parameters": '),),
    lacks=("<tool_call>", "<function=", ">>>all", "functools["),
    openers=("<|python_tag|>",),
    start="{",
    reader=JsonShape(
        arguments_keys=("parameters", "arguments"),
        separators=(";",),
        bare=("{", ";"),
        bare_keys=("type", "id"),
    ).reader,
    grammar=Layout(
        opener='("<|python_tag|>")?',
        before=('{"name": "$name", "parameters": ',),
        after=literal("}"),
        between=literal("; "),
    ).grammar,
    triggers=(
        Trigger(rf"<\|python_tag\|>\s*{_BARE}", then='" "? $body', expression=True),
        Trigger(_BARE, then='" "? $body', expression=True, anywhere=False),
    ),
    never=rf"((?s:.*)<\|python_tag\|>\s*\{{|{_OTHER_BARE})",
    text_after_calls=False,
)

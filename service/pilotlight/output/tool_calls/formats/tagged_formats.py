"""Formats whose arguments are not JSON: a tag for each parameter, or Gemma 4's own syntax."""

from pilotlight.output.tool_calls.formats.format import ToolCallFormat
from pilotlight.output.tool_calls.grammars.gemma_grammar import gemma_grammar
from pilotlight.output.tool_calls.grammars.trigger import Trigger
from pilotlight.output.tool_calls.grammars.xml_grammar import XmlLayout
from pilotlight.output.tool_calls.readers.call_reader import CallReader, Schemas
from pilotlight.output.tool_calls.readers.gemma_call import GemmaCall
from pilotlight.output.tool_calls.readers.json_call import closed_by
from pilotlight.output.tool_calls.readers.xml_call import Tags

# Qwen/Qwen3-Coder chat_template.jinja; llama.cpp common/parsers/qwen3-coder.cpp: the first
# tag may be missing
QWEN3_CODER = ToolCallFormat(
    "qwen3_coder",
    signs=(("<tool_call>", "<function="),),
    lacks=(),
    openers=("<tool_call>", "<function="),
    reader=Tags(
        name="<function=",
        name_end=">",
        key="<parameter=",
        key_end=">",
        value="",
        value_end="</parameter>",
        ends=("</function>",),
        lines=True,
        tail=closed_by("</tool_call>"),
    ).reader,
    grammar=XmlLayout(
        opener="<tool_call>",
        before="\n<function=$name>\n",
        key="<parameter=$key>\n",
        line="\n",
        value_end="</parameter>",
        after_value="\n",
        after="</function>\n</tool_call>",
        between="\n",
    ).grammar,
    triggers=(
        Trigger("<tool_call>"),
        Trigger(r"<function=\s*$name>", expression=True, then=r'"\n" $body'),
    ),
)

# zai-org/GLM-4.5 chat_template.jinja, in llama.cpp models/templates/glm_4_5.jinja
GLM4 = ToolCallFormat(
    "glm4",
    signs=(("<tool_call>", "<arg_key>"),),
    lacks=("<function=",),
    openers=("<tool_call>",),
    reader=Tags(
        name="",
        name_end="",
        key="<arg_key>",
        key_end="</arg_key>",
        value="<arg_value>",
        value_end="</arg_value>",
        ends=("</tool_call>",),
        lines=False,
    ).reader,
    grammar=XmlLayout(
        opener="<tool_call>",
        before="$name\n",
        key="<arg_key>$key</arg_key>\n<arg_value>",
        line="",
        value_end="</arg_value>",
        after_value="\n",
        after="</tool_call>",
        between="\n",
    ).grammar,
    triggers=(Trigger("<tool_call>"),),
)


def _gemma_reader(opener: str, schemas: Schemas | None) -> CallReader:
    return GemmaCall(closed_by("<tool_call|>"), opener, schemas)


# llama.cpp models/templates/gemma4.jinja, common/parsers/gemma4.cpp
GEMMA4 = ToolCallFormat(
    "gemma4",
    signs=(("<|tool_call>", "call:"),),
    lacks=(),
    openers=("<|tool_call>",),
    reader=_gemma_reader,
    grammar=gemma_grammar,
    triggers=(Trigger("<|tool_call>"),),
)

"""The table of formats: which models write calls in which way, and how to tell."""

# ruff: noqa: RUF001 -- DeepSeek's tokens have these characters
from collections.abc import Mapping
from types import MappingProxyType

from msgspec import Struct

from pilotlight.output.tool_calls.gemma_call import GemmaCall
from pilotlight.output.tool_calls.gemma_grammar import gemma_grammar
from pilotlight.output.tool_calls.header_call import (
    NAME,
    OBJECT,
    SPACES,
    WORD,
    HarmonyCall,
    HeaderShape,
    MistralCall,
    form,
)
from pilotlight.output.tool_calls.json_call import JsonShape, closed_by
from pilotlight.output.tool_calls.lark import GrammarWriter, Layout, literal
from pilotlight.output.tool_calls.reader import END, CallReader, ReaderFactory, Schemas, Tail
from pilotlight.output.tool_calls.xml_call import Tags
from pilotlight.output.tool_calls.xml_grammar import XmlLayout


class Format(Struct, frozen=True):
    """One way to write calls."""

    name: str
    signs: tuple[tuple[str, ...], ...]
    """The chat template of a model that writes this format contains all strings of one of these,"""
    lacks: tuple[str, ...]
    """and none of these, which are signs of others."""
    openers: tuple[str, ...]
    """Each begins a call wherever it is in content."""
    reader: ReaderFactory
    grammar: GrammarWriter
    """How a call is written, for constrained decoding."""
    start: str | None = None
    """Begins a call too where the answer begins with it, whitespace aside; any text does "" ."""

    def written_by(self, chat_template: str) -> bool:
        """Tell whether a model with this template writes the format, as far as is seen."""
        return any(
            all(word in chat_template for word in words) for words in self.signs
        ) and not any(word in chat_template for word in self.lacks)


_CALL_BEGIN = "<｜tool▁call▁begin｜>"
_CALLS_BEGIN = "<｜tool▁calls▁begin｜>"
_SEPARATOR = "<｜tool▁sep｜>"
_CALL_END = "<｜tool▁call▁end｜>"
_CALLS_END = "<｜tool▁calls▁end｜>"


def _deepseek(name: str, signs: tuple[str, ...], lacks: tuple[str, ...], layout: Layout) -> Format:
    """DeepSeek's two ways differ in the header alone, and are both read for either."""
    end = closed_by(_CALLS_END)
    call_end = Tail({_CALL_END: end, _CALLS_END: END})
    headers = (
        form(SPACES, NAME, _SEPARATOR, SPACES, OBJECT),
        form(SPACES, "function", _SEPARATOR, SPACES, NAME, SPACES, "```json"),
    )
    begun = tuple(
        form(SPACES, _CALL_BEGIN, *parts)
        for parts in (
            (SPACES, NAME, _SEPARATOR, SPACES, OBJECT),
            (SPACES, "function", _SEPARATOR, SPACES, NAME, SPACES, "```json"),
        )
    )
    shape = HeaderShape(headers + begun, Tail({"```": call_end} | dict(call_end.closers)))
    return Format(name, (signs,), lacks, (_CALLS_BEGIN, _CALL_BEGIN), shape.reader, layout.grammar)


def _harmony_reader(opener: str, schemas: Schemas | None) -> CallReader:
    shape = HeaderShape((), closed_by("<|call|>", "<|end|>", "<|return|>"))
    return HarmonyCall(shape, opener, schemas)


def _gemma_reader(opener: str, schemas: Schemas | None) -> CallReader:
    return GemmaCall(closed_by("<tool_call|>"), opener, schemas)


_OBJECT = '{"name": "$name", "arguments": '

_ROWS = (
    # openai/gpt-oss chat_template.jinja; llama.cpp common/parsers/gpt-oss.cpp
    Format(
        "harmony",
        signs=(("<|channel|>", "<|message|>"),),
        lacks=(),
        openers=("<|start|>", "<|channel|>"),
        start="to=",
        reader=_harmony_reader,
        grammar=Layout(
            opening='("<|start|>assistant")?',
            before=(
                "",
                "(",
                "<|channel|>commentary to=functions.$name <|constrain|>json<|message|>",
                "|",
                " to=functions.$name<|channel|>commentary json<|message|>",
                ")",
            ),
            between='"<|call|><|start|>assistant"',
            # Where the model has a token for it, this ends the answer.
            closing='("<|call|>")?',
        ).grammar,
    ),
    # llama.cpp models/templates/gemma4.jinja, common/parsers/gemma4.cpp
    Format(
        "gemma4",
        signs=(("<|tool_call>", "call:"),),
        lacks=(),
        openers=("<|tool_call>",),
        reader=_gemma_reader,
        grammar=gemma_grammar,
    ),
    # llama.cpp models/templates/deepseek-ai-DeepSeek-R1-Distill-Qwen-32B.jinja, …-V3.1.jinja
    _deepseek(
        "deepseek_v3",
        (_CALL_BEGIN, "```json"),
        (),
        Layout(
            opening=literal(_CALLS_BEGIN),
            before=(f"{_CALL_BEGIN}function{_SEPARATOR}$name\n```json\n",),
            after=literal("\n```" + _CALL_END),
            between=literal("\n"),
            closing=literal(_CALLS_END),
        ),
    ),
    _deepseek(
        "deepseek_v3_1",
        (_CALL_BEGIN,),
        ("```json",),
        Layout(
            opening=literal(_CALLS_BEGIN),
            before=(f"{_CALL_BEGIN}$name{_SEPARATOR}",),
            after=literal(_CALL_END),
            closing=literal(_CALLS_END),
        ),
    ),
    # llama.cpp models/templates/CohereForAI-c4ai-command-r7b-12-2024-tool_use.jinja
    Format(
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
            opening=literal("<|START_ACTION|>[\n    "),
            before=(
                '{"tool_call_id": "',
                "/[0-9]{1,3}/",
                '", "tool_name": "$name", "parameters": ',
            ),
            after=literal("}"),
            between=literal(",\n    "),
            closing=literal("\n]<|END_ACTION|>"),
        ).grammar,
    ),
    # The template `tool_use` of CohereForAI/c4ai-command-r-v01 and -plus
    Format(
        "command_r",
        signs=(("<|START_OF_TURN_TOKEN|>", "Action:"),),
        lacks=("<|START_ACTION|>",),
        openers=("Action:",),
        reader=JsonShape(
            name_key="tool_name",
            arguments_keys=("parameters",),
            lead="```json",
            listed="maybe",
            closers=closed_by("```"),
        ).reader,
        grammar=Layout(
            opening=literal("Action: ```json\n[\n    "),
            before=('{\n        "tool_name": "$name",\n        "parameters": ',),
            after=literal("\n    }"),
            between=literal(",\n    "),
            closing=literal("\n]```"),
        ).grammar,
    ),
    # mistral-common, tokenizers v3 and v7; llama.cpp common/chat.cpp, "Mistral Nemo"
    Format(
        "mistral",
        signs=(("[TOOL_CALLS]",),),
        lacks=("[ARGS]",),
        openers=("[TOOL_CALLS]",),
        reader=MistralCall,
        grammar=Layout(
            opening='"[TOOL_CALLS]" " "? "["',
            before=(_OBJECT,),
            after=literal("}"),
            between=literal(", "),
            closing=literal("]"),
        ).grammar,
    ),
    # mistral-common, tokenizers v11 and later; llama.cpp common/parsers/ministral3.cpp
    Format(
        "mistral_v11",
        signs=(("[TOOL_CALLS]", "[ARGS]"),),
        lacks=(),
        openers=("[TOOL_CALLS]",),
        reader=MistralCall,
        # As mistral-common's own grammars, without the id of a call.
        grammar=Layout(before=("[TOOL_CALLS]$name[ARGS]",)).grammar,
    ),
    # llama.cpp common/parsers/functionary-v3-2.cpp: the prompt ends with `>>>`
    Format(
        "functionary_v3_2",
        signs=((">>>all",),),
        lacks=(),
        openers=(">>>",),
        start="",
        reader=HeaderShape((form(WORD, "\n"),), content="all", listed=True).reader,
        grammar=Layout(opening='">>>"?', before=("$name\n",), between='">>>"').grammar,
    ),
    # MeetKai/functionary tests/prompt_test_v3-llama3.1.txt
    Format(
        "functionary_v3_1",
        signs=(("<|start_header_id|>", "<function="),),
        lacks=("<tool_call>", ">>>all"),
        openers=("<function=",),
        reader=HeaderShape((form(NAME, ">"),), closed_by("</function>"), listed=True).reader,
        grammar=Layout(
            before=("<function=$name>",), after='"</function>"', between=r'"\n"?'
        ).grammar,
    ),
    # Qwen/Qwen3-Coder chat_template.jinja; llama.cpp common/parsers/qwen3-coder.cpp: the first
    # tag is left out at times
    Format(
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
            before="<tool_call>\n<function=$name>\n",
            key="<parameter=$key>\n",
            line="\n",
            value_end="</parameter>",
            after_value="\n",
            after="</function>\n</tool_call>",
            between="\n",
        ).grammar,
    ),
    # zai-org/GLM-4.5 chat_template.jinja, in llama.cpp models/templates/glm_4_5.jinja
    Format(
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
            before="<tool_call>$name\n",
            key="<arg_key>$key</arg_key>\n<arg_value>",
            line="",
            value_end="</arg_value>",
            after_value="\n",
            after="</tool_call>",
            between="\n",
        ).grammar,
    ),
    # ibm-granite/granite-3.x: the token; vLLM's granite_tool_parser.py: the string of 3.1
    Format(
        "granite",
        signs=(
            ("<|start_of_role|>", "<|tool_call|>"),
            ("<|start_of_role|>", "<tool_call>", "JSON list"),
        ),
        lacks=("</tool_call>",),
        openers=("<|tool_call|>", "<tool_call>"),
        reader=JsonShape(listed="always", closers=closed_by("</tool_call>")).reader,
        grammar=Layout(
            opening='("<|tool_call|>" | "<tool_call>") "["',
            before=(_OBJECT,),
            after=literal("}"),
            between=literal(", "),
            closing=literal("]"),
        ).grammar,
    ),
    # microsoft/Phi-4-mini-instruct; llama.cpp models/templates/llama-cpp-microsoft-Phi-4-mini-
    # instruct.jinja; vLLM's phi4mini_tool_parser.py and its template: `functools[…]`
    Format(
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
            opening=literal("<|tool_call|>["),
            before=(_OBJECT,),
            after=literal("}"),
            between=literal(", "),
            closing=literal("]<|/tool_call|>"),
        ).grammar,
    ),
    # meta-llama/Llama-3.1 and 3.2 chat templates; vLLM's llama_tool_parser.py: `;` between calls
    Format(
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
            opening='("<|python_tag|>")?',
            before=('{"name": "$name", "parameters": ',),
            after=literal("}"),
            between=literal("; "),
        ).grammar,
    ),
    # NousResearch/Hermes-2-Pro, Qwen/Qwen2.5 and Qwen3 chat templates
    Format(
        "hermes",
        signs=(("<tool_call>",),),
        # Others put XML or lists behind the same tag.
        lacks=("<function=", "<arg_key>", "JSON list"),
        openers=("<tool_call>",),
        reader=JsonShape(closers=closed_by("</tool_call>")).reader,
        grammar=Layout(
            before=(f"<tool_call>\n{_OBJECT}",),
            after=literal("}\n</tool_call>"),
            between=literal("\n"),
        ).grammar,
    ),
)

FORMATS: Mapping[str, Format] = MappingProxyType({row.name: row for row in _ROWS})
"""Every format by its name, in the order in which `detect` tries them."""


def detect(chat_template: str) -> str | None:
    """Return the name of the format that a model with this template writes, if one is seen."""
    for name, row in FORMATS.items():
        if row.written_by(chat_template):
            return name
    return None

"""Formats with the function's name in a header and one JSON object of arguments behind it."""

# ruff: noqa: RUF001 -- DeepSeek's tokens have these characters
from pilotlight.output.tool_calls.formats.format import ToolCallFormat
from pilotlight.output.tool_calls.formats.json_formats import OBJECT_START
from pilotlight.output.tool_calls.grammars.lark import Layout, literal
from pilotlight.output.tool_calls.grammars.trigger import Trigger
from pilotlight.output.tool_calls.readers.call_reader import END, CallReader, Schemas, Tail
from pilotlight.output.tool_calls.readers.header_call import (
    NAME,
    OBJECT,
    SPACES,
    WORD,
    HarmonyCall,
    HeaderShape,
    MistralCall,
    header_pattern,
)
from pilotlight.output.tool_calls.readers.json_call import closed_by

_CALL_BEGIN = "<｜tool▁call▁begin｜>"
_CALLS_BEGIN = "<｜tool▁calls▁begin｜>"
_SEPARATOR = "<｜tool▁sep｜>"
_CALL_END = "<｜tool▁call▁end｜>"
_CALLS_END = "<｜tool▁calls▁end｜>"


def _deepseek(
    name: str, signs: tuple[str, ...], lacks: tuple[str, ...], layout: Layout
) -> ToolCallFormat:
    """Build one of DeepSeek's two formats: they differ in the header, and both headers are read."""
    end = closed_by(_CALLS_END)
    call_end = Tail({_CALL_END: end, _CALLS_END: END})
    headers = (
        (SPACES, NAME, _SEPARATOR, SPACES, OBJECT),
        (SPACES, "function", _SEPARATOR, SPACES, NAME, SPACES, "```json"),
    )
    # Behind `_CALLS_BEGIN` a header begins with `_CALL_BEGIN`, which is also an opener itself.
    patterns = tuple(
        header_pattern(*begin, *parts) for begin in ((), (SPACES, _CALL_BEGIN)) for parts in headers
    )
    shape = HeaderShape(patterns, Tail({"```": call_end} | dict(call_end.closers)))
    return ToolCallFormat(
        name,
        signs=(signs,),
        lacks=lacks,
        openers=(_CALLS_BEGIN, _CALL_BEGIN),
        reader=shape.reader,
        grammar=layout.grammar,
        triggers=(
            Trigger(_CALLS_BEGIN, then=f"{literal(_CALL_BEGIN)} tool_rest"),
            Trigger(_CALL_BEGIN),
        ),
    )


# llama.cpp models/templates/deepseek-ai-DeepSeek-R1-Distill-Qwen-32B.jinja, …-V3.1.jinja
DEEPSEEK_V3 = _deepseek(
    "deepseek_v3",
    (_CALL_BEGIN, "```json"),
    (),
    Layout(
        opener=literal(_CALLS_BEGIN + _CALL_BEGIN),
        before=(f"function{_SEPARATOR}$name\n```json\n",),
        after=literal("\n```" + _CALL_END),
        between=literal("\n" + _CALL_BEGIN),
        closing=literal(_CALLS_END),
    ),
)

DEEPSEEK_V3_1 = _deepseek(
    "deepseek_v3_1",
    (_CALL_BEGIN,),
    ("```json",),
    Layout(
        opener=literal(_CALLS_BEGIN + _CALL_BEGIN),
        before=(f"$name{_SEPARATOR}",),
        after=literal(_CALL_END),
        between=literal(_CALL_BEGIN),
        closing=literal(_CALLS_END),
    ),
)


def _harmony_reader(opener: str, schemas: Schemas | None) -> CallReader:
    shape = HeaderShape((), closed_by("<|call|>", "<|end|>", "<|return|>"))
    return HarmonyCall(shape, opener, schemas)


# In free text a header is a call only if it names a recipient; see `HarmonyCall`.
_HARMONY_HEADER = r"(<\|start\|>|<\|channel\|>)([^<]|<[^|]|<\|[^m])*to="
_RECIPIENT = '("<|channel|>commentary to=functions." | " to=functions.")'

# openai/gpt-oss chat_template.jinja; llama.cpp common/parsers/gpt-oss.cpp
HARMONY = ToolCallFormat(
    "harmony",
    signs=(("<|channel|>", "<|message|>"),),
    lacks=(),
    openers=("<|start|>", "<|channel|>"),
    start="to=",
    reader=_harmony_reader,
    grammar=Layout(
        opener=f'("<|start|>assistant")? {_RECIPIENT}',
        before=(
            "$name",
            '(" <|constrain|>json<|message|>" | "<|channel|>commentary json<|message|>")',
        ),
        between=f'"<|call|><|start|>assistant" {_RECIPIENT}',
        # This token ends the generation, if the vocabulary has it.
        closing='("<|call|>")?',
    ).grammar,
    triggers=(
        Trigger(_HARMONY_HEADER + r"functions\.", expression=True),
        Trigger(r"to=functions\.", expression=True, anywhere=False),
    ),
    never=rf"((?s:.*){_HARMONY_HEADER}|to=)($names)[\s<]",
)

# mistral-common, tokenizers v3 and v7; llama.cpp common/chat.cpp, "Mistral Nemo"
MISTRAL = ToolCallFormat(
    "mistral",
    signs=(("[TOOL_CALLS]",),),
    lacks=("[ARGS]",),
    openers=("[TOOL_CALLS]",),
    reader=MistralCall,
    grammar=Layout(
        opener='"[TOOL_CALLS]"',
        opening='" "? "["',
        before=(OBJECT_START,),
        after=literal("}"),
        between=literal(", "),
        closing=literal("]"),
    ).grammar,
    triggers=(Trigger("[TOOL_CALLS]"),),
)

# mistral-common, tokenizers v11 and later; llama.cpp common/parsers/ministral3.cpp
MISTRAL_V11 = ToolCallFormat(
    "mistral_v11",
    signs=(("[TOOL_CALLS]", "[ARGS]"),),
    lacks=(),
    openers=("[TOOL_CALLS]",),
    reader=MistralCall,
    # As in mistral-common's own grammars, without the call's id.
    grammar=Layout(
        opener='"[TOOL_CALLS]"', before=("$name[ARGS]",), between='"[TOOL_CALLS]"'
    ).grammar,
    triggers=(Trigger("[TOOL_CALLS]"),),
)

# llama.cpp common/parsers/functionary-v3-2.cpp: the prompt ends with `>>>`
FUNCTIONARY_V3_2 = ToolCallFormat(
    "functionary_v3_2",
    signs=((">>>all",),),
    lacks=(),
    openers=(">>>",),
    start="",
    reader=HeaderShape((header_pattern(WORD, "\n"),), content="all", listed=True).reader,
    grammar=Layout(opener='">>>"?', before=("$name\n",), between='">>>"').grammar,
    triggers=(Trigger(">>>$name\n"), Trigger("$name\n", anywhere=False)),
)

# MeetKai/functionary tests/prompt_test_v3-llama3.1.txt
FUNCTIONARY_V3_1 = ToolCallFormat(
    "functionary_v3_1",
    signs=(("<|start_header_id|>", "<function="),),
    lacks=("<tool_call>", ">>>all"),
    openers=("<function=",),
    reader=HeaderShape((header_pattern(NAME, ">"),), closed_by("</function>"), listed=True).reader,
    grammar=Layout(before=("<function=$name>",), after='"</function>"', between=r'"\n"?').grammar,
    triggers=(Trigger("<function=$name>"),),
)
